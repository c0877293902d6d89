//! Exit statuses and the one-line failures that lead to them. Where gocryptfs has a status for the same
//! thing it is the same number, so that scripts written for it keep working.
//!
//! Two groups have statuses of their own, which these are turned into at the very end ([`Statuses`](super::args::Statuses)):
//! `fsck` has those of fsck(8), and the verbs of `kms` that AWS has those of the `aws` command. docs/cli-abi.md has all tables.

use std::fmt::Display;
use std::process::ExitCode;

use crate::printable;
use crate::vault::{NAMED_FILES_MAX, NamedFile};

/// What the process ends with. The numbers are stable.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Exit {
    /// Done.
    Ok = 0,
    /// None of the others.
    Other = 1,
    /// The command line isn't right.
    Usage = 2,
    /// The vault directory: missing, not a vault, or not empty at `init`.
    Vault = 6,
    /// The vault could not be made.
    Init = 7,
    /// The keyring is damaged or of a newer format.
    Keyring = 8,
    /// The passphrase, key file or recovery key could not be read.
    ReadSecret = 9,
    /// The mountpoint: missing, not a directory, or not empty.
    Mountpoint = 10,
    /// Wrong passphrase, key file or recovery key, or a custodian refused.
    WrongSecret = 12,
    /// A custodian that the vault could be opened by can't be reached now.
    CustodianOffline = 13,
    /// The recovery key is misspelt.
    RecoveryKey = 14,
    /// Stopped by SIGINT or SIGTERM.
    Interrupted = 15,
    /// FUSE: no /dev/fuse, no fusermount3, or the kernel refused the mount.
    Fuse = 19,
    /// The daemon can't be asked: it died, its control socket, or its refusal.
    Control = 20,
    /// The passphrase is empty.
    EmptyPassphrase = 22,
    /// The keyring can't be opened for reading.
    KeyringMissing = 23,
    /// The keyring could not be written.
    KeyringNotWritten = 24,
    /// Another process holds the vault.
    InUse = 40,
    /// The keyring is older than, or another one than, what this host has seen, or that of a copy beside its vault; or this
    /// host hasn't seen it, and a custodian opens it.
    RolledBack = 41,
    /// The target isn't mounted, or its mount is detached.
    NotMounted = 42,
    /// The mount is busy: a process still uses it.
    Busy = 43,
    /// No such alias or key, or its state doesn't allow it.
    Key = 44,
    /// The event log was tampered with.
    Tampered = 45,
    /// The key backup can't be written or read, or is another vault's.
    Backup = 46,
    /// The reader of standard output has closed it, as `head` does: a shell's status for a tool that SIGPIPE ended.
    Pipe = 141,
    /// A `kms` verb was refused (the AWS CLI's status for that).
    Kms = 254,
}

/// The table, for `--help`.
pub(super) const HELP: &str = "\
Exit status:
   0  done
   1  another failure than these
   2  the command line isn't right
   6  vault directory missing, not a vault, or not empty at init
   7  the vault could not be made
   8  the keyring is damaged or of a newer format
   9  the passphrase, key file or recovery key could not be read
  10  mountpoint missing, not a directory or not empty
  12  wrong passphrase, key file or recovery key, or a custodian refused
  13  a custodian can't be reached now, and nothing else opened the vault: it may be tried again
  14  the recovery key is misspelt
  15  stopped by SIGINT or SIGTERM
  19  FUSE: no /dev/fuse, no fusermount3, or the kernel refused
  20  the mount's daemon can't be asked, because it died or for another reason, or it refused
  22  empty passphrase
  23  the keyring is missing or can't be read
  24  the keyring could not be written
  40  another process holds the vault
  41  the keyring is older than this host has seen it, or another one, or a copy's (see --accept-rollback), or one that a
      custodian opens and this host hasn't seen yet (see unlock trust)
  42  not mounted, or detached (umount -l)
  43  the mount is busy
  44  no such alias or key, or its state doesn't allow it
  45  events --verify: a line was changed, moved, added or taken out, or the log was truncated
  46  the key backup can't be written or read, is damaged, or is another vault's
 141  standard output was closed before all was written, as by `head`
 254  a kms verb was refused, with AWS's name for the reason";

impl Exit {
    const ALL: [Self; 26] = [
        Self::Ok,
        Self::Other,
        Self::Usage,
        Self::Vault,
        Self::Init,
        Self::Keyring,
        Self::ReadSecret,
        Self::Mountpoint,
        Self::WrongSecret,
        Self::CustodianOffline,
        Self::RecoveryKey,
        Self::Interrupted,
        Self::Fuse,
        Self::Control,
        Self::EmptyPassphrase,
        Self::KeyringMissing,
        Self::KeyringNotWritten,
        Self::InUse,
        Self::RolledBack,
        Self::NotMounted,
        Self::Busy,
        Self::Key,
        Self::Tampered,
        Self::Backup,
        Self::Pipe,
        Self::Kms,
    ];

    /// The status with that number, as a daemon reports it; [`Exit::Other`] for a number that isn't used.
    pub fn from_number(number: u8) -> Self {
        Self::ALL.into_iter().find(|exit| *exit as u8 == number).unwrap_or(Self::Other)
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Why a command failed: one line for the user and the status.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Failure {
    /// The status.
    pub(super) exit: Exit,
    line: String,
    /// Files that block the command, listed after the line.
    pub(super) files: Vec<NamedFile>,
}

/// The result of a command, or of a part of one.
pub(super) type Outcome<T = ()> = Result<T, Failure>;

impl Failure {
    /// A failure of `object`. The cause carries its remedy after a semicolon, if it has one.
    pub(super) fn new(exit: Exit, object: impl Display, cause: impl Display) -> Self {
        Self::line(exit, format!("{object}: {cause}"))
    }

    /// A failure whose line already names its object.
    pub(super) fn line(exit: Exit, line: impl Display) -> Self {
        Self { exit, line: one_line(&line.to_string()), files: Vec::new() }
    }

    /// With files that block the command.
    pub(super) fn naming(self, files: &[NamedFile]) -> Self {
        Self { files: files.to_vec(), ..self }
    }

    /// A line for each of the files that block the command.
    pub(super) fn notes(&self) -> Vec<String> {
        let mut notes: Vec<String> = self.files.iter().map(note).collect();
        if notes.len() >= NAMED_FILES_MAX {
            notes.push("  these are some of them".to_owned());
        }
        notes
    }
}

/// A file, by the path that a user knows if that can be known, and why it is named.
pub(super) fn note(file: &NamedFile) -> String {
    let inode = file.inode.map(|inode| format!(", inode {inode}")).unwrap_or_default();
    match &file.path {
        Some(path) => format!("  {} ({}{inode}): {}", printable::path(path.as_path()), file.lower, file.why),
        None => format!("  {}{inode}: {}", file.lower, file.why),
    }
}

impl Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.line)
    }
}

/// A text as one line (see [`printable`]).
pub(super) fn one_line(text: &str) -> String {
    printable::line(text.trim_end()).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn help_lists_every_status_and_no_other() {
        let listed: Vec<u8> =
            HELP.lines().skip(1).filter_map(|l| l.split_whitespace().next()?.parse().ok()).collect();
        assert_eq!(listed, Exit::ALL.map(|exit| exit as u8));
        assert!(Exit::ALL.iter().all(|exit| Exit::from_number(*exit as u8) == *exit));
        assert_eq!(Exit::from_number(99), Exit::Other);
    }

    #[test]
    fn a_failure_is_one_line() {
        let failure = Failure::new(Exit::Other, "a\nb\x1b[31m", "no\tgood\n");
        assert_eq!(failure.to_string(), "a\\nb\\u{1b}[31m: no\\tgood");
    }
}
