//! What was typed, as clap takes it. Nothing here is checked beyond its shape; the commands turn these into
//! plans that are.

use std::ffi::OsString;
use std::num::NonZeroU32;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use super::args_backup::KeyBackup;
use super::args_events::Events;
use super::args_files::{Reencrypt, Status};
use super::args_fsck::Fsck;
use super::args_key::Key;
use super::args_kms::Kms;
use super::exit::{self, Exit, Failure};
use crate::crypto::suite::Suite;
use crate::ids::{AliasName, KeyVersion};

/// What `--version` says.
const VERSION: &str = if cfg!(feature = "null-cipher") {
    concat!(env!("CARGO_PKG_VERSION"), " (null cipher: for benchmarks, encrypts nothing)")
} else {
    env!("CARGO_PKG_VERSION")
};

/// The commands and options of `rekeyfs`.
#[derive(Parser, Debug)]
#[command(
    name = "rekeyfs",
    version = VERSION,
    about = "An encrypted filesystem whose keys rotate while it is mounted",
    after_help = exit::HELP,
    subcommand_required = true,
    arg_required_else_help = true,
    disable_help_subcommand = true
)]
struct Typed {
    #[command(subcommand)]
    command: Command,
}

/// One command.
#[derive(Subcommand, Debug)]
pub(super) enum Command {
    /// Make a vault
    Init(Init),
    /// Mount a vault; returns when it can be used
    Mount(Mount),
    /// Unmount; returns when the daemon is gone and everything is on disk
    Umount(Umount),
    /// Give a key a new version, used from now on by every file created
    Rotate(Rotate),
    /// Re-wrap every file that an older key version wraps; can be stopped and started again at any time
    Rewrap(Rewrap),
    /// Encrypt files anew under data keys of their own: against a data key that may be known, where re-wrapping
    /// doesn't help. Files that are open or have several names are left
    Reencrypt(Reencrypt),
    /// Show a vault's keys, its mount, how many files each key version wraps, and what is to come
    Status(Status),
    /// Check that everything in a vault, mounted or not, is what was written
    Fsck(Fsck),
    /// Show which key version wraps a file: one in a mount, or a ciphertext file
    Inspect(Inspect),
    /// Retire old versions of a key
    Key(Key),
    /// Back all keys up to a file, or make a lost keyring from one
    KeyBackup(KeyBackup),
    /// Show the audit log, or check it
    Events(Events),
    /// Manage keys with the verbs, flags and answers of `aws kms`
    Kms(Kms),
    /// List, add, remove or change what unlocks a vault
    Unlock(Unlock),
}

/// `rekeyfs init`.
#[derive(Args, Debug)]
pub(super) struct Init {
    /// The directory to make; an empty one may exist
    pub(super) vault: PathBuf,
    #[command(flatten)]
    pub(super) pass: Pass,
    #[command(flatten)]
    pub(super) kdf: Kdf,
    /// The cipher of file contents: aes-256-gcm or chacha20-poly1305
    #[arg(long, value_name = "SUITE", default_value = Suite::KNOWN[0].name())]
    pub(super) suite: String,
    /// Make no recovery key
    #[arg(long)]
    pub(super) no_recovery_key: bool,
}

/// `rekeyfs mount`.
#[derive(Args, Debug)]
pub(super) struct Mount {
    /// The vault's directory
    pub(super) vault: PathBuf,
    /// An empty directory
    pub(super) mountpoint: PathBuf,
    #[command(flatten)]
    pub(super) open: Open,
    /// Stay in the foreground
    #[arg(long, short)]
    pub(super) foreground: bool,
    /// Let other users in, as far as modes and owners allow
    #[arg(long)]
    pub(super) allow_other: bool,
    /// Refuse writes
    #[arg(long)]
    pub(super) read_only: bool,
    /// Don't re-wrap stale files when they are used
    #[arg(long)]
    pub(super) no_rewrap: bool,
    /// Hand each write over at once: the kernel gathers none in its cache
    #[arg(long)]
    pub(super) no_writeback: bool,
    /// Honour set-user-id bits and file capabilities
    #[arg(long)]
    pub(super) suid: bool,
    /// Honour device nodes
    #[arg(long)]
    pub(super) dev: bool,
    /// Mount options, as mount(8) takes them: ro, allow_other, suid, dev, noexec, noatime, norewrap, nowriteback,
    /// nonempty, fsname=NAME, passfile=FILE, extpass=COMMAND, keyfile=FILE, recovery_key, accept_rollback, any_cost
    #[arg(short = 'o', value_name = "OPTS")]
    pub(super) options: Vec<OsString>,
}

/// `rekeyfs umount`.
#[derive(Args, Debug)]
pub(super) struct Umount {
    /// The mountpoint, or the vault's directory
    pub(super) mountpoint: PathBuf,
    /// Detach now, also if it is busy; the daemon ends when the last user does
    #[arg(long, short)]
    pub(super) lazy: bool,
}

/// `rekeyfs rotate`.
#[derive(Args, Debug)]
pub(super) struct Rotate {
    /// A vault's directory, a mountpoint, or any path inside a mount
    pub(super) target: PathBuf,
    #[command(flatten)]
    pub(super) open: Open,
    /// Which key, by alias
    #[arg(long, value_name = "ALIAS", conflicts_with = "key_id")]
    pub(super) alias: Option<String>,
    /// Which key, by its id
    #[arg(long, value_name = "ID")]
    pub(super) key_id: Option<String>,
    /// Make a new key with the old one's policy, tags and rotation, and point the alias at it; the old key keeps
    /// its files, and an alias with today's date
    #[arg(long, conflicts_with = "key_id")]
    pub(super) new_key: bool,
    /// Every key whose automatic rotation is due, and no other. A mount does that by itself
    #[arg(long, conflicts_with_all = ["alias", "key_id", "new_key"])]
    pub(super) due: bool,
    /// Print JSON
    #[arg(long)]
    pub(super) json: bool,
}

/// `rekeyfs rewrap`.
#[derive(Args, Debug)]
pub(super) struct Rewrap {
    /// A vault's directory, a mountpoint, or any path inside a mount
    pub(super) target: PathBuf,
    #[command(flatten)]
    pub(super) open: Open,
    /// Move files to the key that this alias points at, and have them follow it from then on, whatever they
    /// followed before: all of the vault, or PATHS alone; a TARGET inside a mount is such a path
    #[arg(long, value_name = "ALIAS")]
    pub(super) to_alias: Option<AliasName>,
    /// With --to-alias: files in the mount, or directories for all files below them
    #[arg(requires = "to_alias", value_name = "PATH")]
    pub(super) paths: Vec<PathBuf>,
    /// Give files that don't say which alias they follow, those of versions before, that of their directory, where it
    /// points at their key; no file changes its key by it
    #[arg(long, conflicts_with = "to_alias")]
    pub(super) adopt: bool,
    /// Look at this many files in a second at most
    #[arg(long, value_name = "FILES")]
    pub(super) max_rate: Option<NonZeroU32>,
    /// Print the result as JSON
    #[arg(long)]
    pub(super) json: bool,
}

/// `rekeyfs inspect`.
#[derive(Args, Debug)]
pub(super) struct Inspect {
    /// Files in a mount, or ciphertext files
    #[arg(required = true)]
    pub(super) paths: Vec<PathBuf>,
    /// Print JSON: one object a file
    #[arg(long)]
    pub(super) json: bool,
}

/// `rekeyfs unlock`.
#[derive(Args, Debug)]
#[command(subcommand_required = true, arg_required_else_help = true, disable_help_subcommand = true)]
pub(super) struct Unlock {
    #[command(subcommand)]
    pub(super) command: UnlockCommand,
}

/// The commands of `rekeyfs unlock`.
#[derive(Subcommand, Debug)]
pub(super) enum UnlockCommand {
    /// Show the unlock slots; asks for no secret
    List(UnlockList),
    /// Add a passphrase, key file or recovery key
    Add(UnlockAdd),
    /// Remove a slot
    Remove(UnlockRemove),
    /// Replace the secret of a slot
    Change(UnlockChange),
}

/// `rekeyfs unlock list`.
#[derive(Args, Debug)]
pub(super) struct UnlockList {
    /// A vault's directory, a mountpoint, or any path inside a mount
    pub(super) target: PathBuf,
    /// Print JSON
    #[arg(long)]
    pub(super) json: bool,
}

/// `rekeyfs unlock add`.
#[derive(Args, Debug)]
pub(super) struct UnlockAdd {
    /// A vault's directory, a mountpoint, or any path inside a mount
    pub(super) target: PathBuf,
    #[command(flatten)]
    pub(super) open: Open,
    #[command(flatten)]
    pub(super) new: NewSecret,
}

/// `rekeyfs unlock remove`.
#[derive(Args, Debug)]
pub(super) struct UnlockRemove {
    /// A vault's directory, a mountpoint, or any path inside a mount
    pub(super) target: PathBuf,
    /// The slot's id, as `rekeyfs unlock list` shows it
    pub(super) slot: String,
    #[command(flatten)]
    pub(super) open: Open,
    #[command(flatten)]
    pub(super) revoke: Revoke,
}

/// `rekeyfs unlock change`.
#[derive(Args, Debug)]
pub(super) struct UnlockChange {
    /// A vault's directory, a mountpoint, or any path inside a mount
    pub(super) target: PathBuf,
    /// The slot to replace; without it, the one that the given secret opens, if the new secret is of its kind
    #[arg(long, value_name = "ID")]
    pub(super) slot: Option<String>,
    #[command(flatten)]
    pub(super) open: Open,
    #[command(flatten)]
    pub(super) new: NewSecret,
    #[command(flatten)]
    pub(super) revoke: Revoke,
}

/// A new root key with the change of a slot.
#[derive(Args, Debug)]
pub(super) struct Revoke {
    /// Draw a new root key and a new event key and rotate every key too, so that old keyring files open nothing made from
    /// now on. Slots whose secret isn't given are dropped, and a new recovery key is printed. The vault must not be
    /// mounted
    #[arg(long)]
    pub(super) revoke: bool,
    /// With --revoke: keep the slot of the passphrase in this file
    #[arg(long, value_name = "FILE", requires = "revoke")]
    pub(super) keep_passfile: Vec<PathBuf>,
    /// With --revoke: keep the slot of this key file
    #[arg(long, value_name = "FILE", requires = "revoke")]
    pub(super) keep_keyfile: Vec<PathBuf>,
}

/// Where a passphrase or key file comes from.
#[derive(Args, Debug)]
pub(super) struct Pass {
    /// Take the passphrase from the first line of a file
    #[arg(long, value_name = "FILE", conflicts_with_all = ["extpass", "keyfile"])]
    pub(super) passfile: Option<PathBuf>,
    /// Take the passphrase from the first line that a shell command prints
    #[arg(long, value_name = "COMMAND", conflicts_with = "keyfile")]
    pub(super) extpass: Option<OsString>,
    /// Unlock with a key file of 32 random bytes instead of a passphrase
    #[arg(long, value_name = "FILE")]
    pub(super) keyfile: Option<PathBuf>,
}

/// What opens a vault that isn't mounted.
#[derive(Args, Debug)]
#[command(mut_arg("next_version", |arg| arg.requires("accept_rollback")))]
pub(super) struct Open {
    #[command(flatten)]
    pub(super) pass: Pass,
    /// Unlock with the recovery key: what is asked for or read is that, not the passphrase
    #[arg(long, conflicts_with = "keyfile")]
    pub(super) recovery_key: bool,
    /// Take a keyring that is older than, or another one than, what this host has seen of the vault, for the path at which
    /// it is; or let the keyring of a copy be changed beside its vault
    #[arg(long)]
    pub(super) accept_rollback: bool,
    #[command(flatten)]
    pub(super) next: NextVersion,
    /// Try unlock slots whatever they cost and however many there are: only for a keyring that is known to be yours
    #[arg(long)]
    pub(super) any_cost: bool,
}

/// From which number on versions of keys are new, when an older keyring takes a newer one's place.
#[derive(Args, Debug)]
pub(super) struct NextVersion {
    /// The number of the next version of each key, where nothing here tells how many were made since the older keyring
    /// was saved: those before it count as lost. Without it, 64 do
    #[arg(long, value_name = "VERSION", value_parser = clap::value_parser!(u32).range(1..))]
    next_version: Option<u32>,
}

impl NextVersion {
    pub(super) fn number(&self) -> Option<KeyVersion> {
        self.next_version.map(KeyVersion)
    }
}

/// Argon2id's costs.
#[derive(Args, Debug)]
pub(super) struct Kdf {
    /// Memory that trying a passphrase takes; without it, chosen so that it takes about a second
    #[arg(long, value_name = "MIB")]
    pub(super) kdf_memory: Option<u32>,
}

/// The new secret of `unlock add` and `unlock change`; without any, a passphrase is asked for.
#[derive(Args, Debug)]
pub(super) struct NewSecret {
    /// Take the new passphrase from the first line of a file
    #[arg(long, value_name = "FILE", conflicts_with_all = ["new_extpass", "new_keyfile", "new_recovery_key"])]
    pub(super) new_passfile: Option<PathBuf>,
    /// Take the new passphrase from the first line that a shell command prints
    #[arg(long, value_name = "COMMAND", conflicts_with_all = ["new_keyfile", "new_recovery_key"])]
    pub(super) new_extpass: Option<OsString>,
    /// Use a key file of 32 random bytes
    #[arg(long, value_name = "FILE", conflicts_with = "new_recovery_key")]
    pub(super) new_keyfile: Option<PathBuf>,
    /// Draw a recovery key and print it once
    #[arg(long)]
    pub(super) new_recovery_key: bool,
    #[command(flatten)]
    pub(super) kdf: Kdf,
}

/// `rekeyfs VAULT MOUNTPOINT -o OPTS`, as mount(8) calls it for fstab.
#[derive(Parser, Debug)]
#[command(name = "mount.fuse.rekeyfs", version = VERSION, about = "Mount a rekeyfs vault, as mount(8) calls it")]
#[command(after_help = exit::HELP)]
pub(super) struct Fstab {
    /// The vault's directory
    pub(super) vault: PathBuf,
    /// An empty directory
    pub(super) mountpoint: PathBuf,
    /// Mount options
    #[arg(short = 'o', value_name = "OPTS")]
    pub(super) options: Vec<OsString>,
    /// Accept options that aren't known
    #[arg(short = 's')]
    pub(super) sloppy: bool,
    /// Check the options and mount nothing
    #[arg(short = 'f')]
    pub(super) fake: bool,
    /// Accepted, as mount(8) may pass it
    #[arg(short = 'v')]
    _verbose: bool,
    /// Accepted, as mount(8) may pass it
    #[arg(short = 'n')]
    _no_mtab: bool,
    /// Accepted, as mount(8) may pass it
    #[arg(short = 't', value_name = "TYPE")]
    _type: Option<OsString>,
}

/// What is to be done.
#[derive(Debug)]
pub(super) enum Invocation {
    /// A command.
    Command(Box<Command>),
    /// A mount from fstab.
    Fstab(Box<Fstab>),
    /// Help or the version: a text for standard output.
    Show(String),
}

/// Parses a command line, the program's name included. Called as `mount.…`, or with a path where a command
/// should be, it takes the arguments that mount(8) gives.
///
/// # Errors
/// [`Exit::Usage`] with clap's reason on one line.
pub(super) fn parse(line: impl IntoIterator<Item = OsString>) -> Result<Invocation, Failure> {
    let line: Vec<OsString> = line.into_iter().collect();
    let parsed = if from_fstab(&line) {
        Fstab::try_parse_from(&line).map(|fstab| Invocation::Fstab(Box::new(fstab)))
    } else {
        Typed::try_parse_from(&line).map(|typed| Invocation::Command(Box::new(typed.command)))
    };
    parsed.or_else(|error| {
        if error.use_stderr() { Err(usage(&error)) } else { Ok(Invocation::Show(error.to_string())) }
    })
}

fn from_fstab(line: &[OsString]) -> bool {
    use std::os::unix::ffi::OsStrExt;
    let called = line.first().map(PathBuf::from);
    let name = called.as_deref().and_then(|path| path.file_name()).unwrap_or_default();
    name.as_bytes().starts_with(b"mount.")
        || line
            .get(1)
            .is_some_and(|first| !first.as_bytes().starts_with(b"-") && first.as_bytes().contains(&b'/'))
}

fn usage(error: &clap::Error) -> Failure {
    let text = error.to_string();
    let reason: Vec<&str> = text.lines().take_while(|l| !l.is_empty()).map(str::trim).collect();
    let reason = reason.join(" ");
    let reason = reason.strip_prefix("error: ").unwrap_or(&reason);
    let help = "see `rekeyfs --help` and `rekeyfs COMMAND --help`";
    // Without a command clap shows the whole help instead of a reason.
    if error.kind() == clap::error::ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        return Failure::new(Exit::Usage, "command line", format!("no command is given; {help}"));
    }
    Failure::new(Exit::Usage, "command line", format!("{reason}; {help}"))
}

#[cfg(test)]
#[path = "args_tests.rs"]
mod tests;
