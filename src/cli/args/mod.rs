//! What was typed, as clap takes it. Nothing here is checked beyond its shape; the commands turn these into
//! plans that are.

mod backup;
mod common;
mod completions;
mod console;
mod events;
mod files;
mod fsck;
mod generate;
mod hosts;
mod key;
pub(in crate::cli) mod kms;
pub(in crate::cli) mod kms_serve;
mod machine;
mod manual;
mod mount;
mod rotate;
mod unlock;

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{CommandFactory, Parser, Subcommand};

pub(in crate::cli) use backup::{
    AgeRecipients, BackupPass, Export, Import, Keep, KeyBackup, KeyBackupCommand, Merge,
};
pub(in crate::cli) use common::HERE;
use common::VERSION;
pub(in crate::cli) use common::{
    Colour, Form, Kdf, NewCustodian, NewSecret, Open, Output, Part, Pass, Revoke, TimestampFormat,
};
pub(in crate::cli) use completions::completions;
pub(in crate::cli) use console::Console;
pub(in crate::cli) use events::{Events, EventsCommand, EventsPrune, EventsRotate};
pub(in crate::cli) use files::{Inspect, Reencrypt, Rewrap, Status, StatusOutput};
pub(in crate::cli) use fsck::Fsck;
pub(in crate::cli) use generate::Generated;
use generate::Packaging;
pub(in crate::cli) use hosts::{Hosts, HostsCommand, HostsEvict};
pub(in crate::cli) use key::{Key, KeyCommand, Retire};
pub(in crate::cli) use kms::Kms;
pub(in crate::cli) use machine::{Info, Speed};
pub(in crate::cli) use manual::manual;
pub(in crate::cli) use mount::{Fstab, Init, Mount, Umount, UmountHelper};
pub(in crate::cli) use rotate::Rotate;
pub(in crate::cli) use unlock::{
    Labelling, Recover, Unlock, UnlockAdd, UnlockChange, UnlockCommand, UnlockLabel, UnlockList,
    UnlockRebind, UnlockRemove, UnlockTest, UnlockTrust,
};

use super::exit::{self, Exit, Failure};

/// The commands and options of `rekeyfs`.
#[derive(Parser, Debug)]
#[command(
    name = "rekeyfs",
    version = VERSION,
    about = "An encrypted filesystem whose keys rotate while it is mounted",
    after_help = exit::HELP,
    subcommand_required = true,
    arg_required_else_help = true
)]
struct Typed {
    #[command(subcommand)]
    command: Command,
}

/// The definitions of all commands with those of `kms`, which parsing makes where they are needed.
fn definitions() -> clap::Command {
    Typed::command().mut_subcommands(|command| match command.get_name() {
        "kms" => kms::with_verbs(command).defer(std::convert::identity),
        _ => command,
    })
}

/// One command.
#[derive(Subcommand, Debug)]
pub(in crate::cli) enum Command {
    /// Make a vault
    Init(Init),
    /// Mount a vault; returns when it can be used
    Mount(Mount),
    #[command(visible_alias = "unmount")]
    /// Unmount; returns when the daemon is gone and everything is on disk. Another user's daemon is waited for 30 s only
    Umount(Umount),
    /// Give a key a new version, used from now on by every file created
    Rotate(Rotate),
    /// Re-wrap every file that an older key version wraps; can be stopped and started again at any time
    Rewrap(Rewrap),
    /// Encrypt files again, under data keys of their own: against a data key that may be known, where re-wrapping
    /// doesn't help. Files that are open or have several names are left
    Reencrypt(Reencrypt),
    /// Show a vault's keys, its mount, how many files each key version wraps, and what is to come
    Status(Status),
    /// Show what can be known of a vault without a secret: nothing of it is authenticated
    Info(Info),
    /// Show which host uses a vault on a filesystem that several hosts have mounted, or evict one that is dead
    Hosts(Hosts),
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
    /// Manage keys in a browser on this host: prints the address to open, and serves it until it is told to end
    Console(Console),
    /// List, try, add, label, change or remove what unlocks a vault
    Unlock(Unlock),
    /// Get back into a vault whose passphrase is forgotten: takes the recovery key, and a new passphrase
    Recover(Recover),
    /// Measure the ciphers and the passphrase's cost on this machine
    Speed(Speed),
}

/// What is to be done.
#[derive(Debug)]
pub(in crate::cli) enum Invocation {
    /// A command.
    Command(Box<Command>),
    /// A mount from fstab.
    Fstab(Box<Fstab>),
    /// An unmount, as umount(8) asks for it.
    UmountHelper(UmountHelper),
    /// What the package holds beside the program.
    Generate(Generated),
    /// Help or the version: a text for standard output.
    Show(String),
}

/// Parses a command line, the program's name included. Called as `mount.…` or `umount.…`, it takes the arguments that
/// mount(8) or umount(8) gives; with a path where a command should be, those of mount(8) too.
///
/// # Errors
/// [`Exit::Usage`] with clap's reason on one line.
pub(in crate::cli) fn parse(line: impl IntoIterator<Item = OsString>) -> Result<Invocation, Failure> {
    let line = kms::as_kms_takes_it(line.into_iter().collect());
    let parsed = match Caller::of(&line) {
        Caller::Mount => Fstab::try_parse_from(&line).map(|fstab| Invocation::Fstab(Box::new(fstab))),
        Caller::Umount => UmountHelper::try_parse_from(&line).map(Invocation::UmountHelper),
        Caller::Packager => Packaging::try_parse_from(&line).map(|made| Invocation::Generate(made.into())),
        Caller::User => {
            Typed::try_parse_from(&line).map(|typed| Invocation::Command(Box::new(typed.command)))
        }
    };
    parsed.or_else(|error| {
        if error.use_stderr() { Err(usage(&error)) } else { Ok(Invocation::Show(error.to_string())) }
    })
}

/// Whose statuses a command ends with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::cli) enum Statuses {
    /// Those of rekeyfs.
    Own,
    /// Those of fsck(8).
    Fsck,
    /// Those of the aws command.
    Aws,
}

impl Statuses {
    /// Of a command line, right or wrong.
    pub(in crate::cli) fn of(line: impl IntoIterator<Item = OsString>) -> Self {
        let line = kms::as_kms_takes_it(line.into_iter().collect());
        match line.get(1).and_then(|command| command.to_str()) {
            Some("fsck") => Self::Fsck,
            Some("kms") if line.get(2).is_some_and(|verb| kms::is_own_verb(verb)) => Self::Own,
            Some("kms") => Self::Aws,
            _ => Self::Own,
        }
    }
}

/// Whose arguments a command line has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Caller {
    User,
    /// mount(8), or mount.fuse(8).
    Mount,
    /// umount(8).
    Umount,
    /// scripts/package.sh. No help and no completion shows its command.
    Packager,
}

impl Caller {
    fn of(line: &[OsString]) -> Self {
        use std::os::unix::ffi::OsStrExt;
        let called = line.first().map(PathBuf::from);
        let name = called.as_deref().and_then(|path| path.file_name()).unwrap_or_default().as_bytes();
        let is_path = |argument: &OsString| {
            let bytes = argument.as_bytes();
            !bytes.starts_with(b"-") && bytes.contains(&b'/')
        };
        if name.starts_with(b"umount.") {
            Self::Umount
        } else if name.starts_with(b"mount.") || line.get(1).is_some_and(is_path) {
            Self::Mount
        } else if line.get(1).is_some_and(|command| command == "generate") {
            Self::Packager
        } else {
            Self::User
        }
    }
}

fn usage(error: &clap::Error) -> Failure {
    let text = error.to_string();
    let reason: Vec<&str> = text.lines().take_while(|l| !l.is_empty()).map(str::trim).collect();
    let reason = reason.join(" ");
    let reason = reason.strip_prefix("error: ").unwrap_or(&reason);
    let help = "see `rekeyfs help` and `rekeyfs help COMMAND`";
    // Without a command clap shows the whole help instead of a reason.
    if error.kind() == clap::error::ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        return Failure::new(Exit::Usage, "command line", format!("no command is given; {help}"));
    }
    let meant = suggested(error).map(|meant| format!("; did you mean {meant}?")).unwrap_or_default();
    Failure::new(Exit::Usage, "command line", format!("{reason}{meant}; {help}"))
}

/// What is like the thing that isn't known, if something is.
fn suggested(error: &clap::Error) -> Option<String> {
    use clap::error::{ContextKind, ContextValue};
    [ContextKind::SuggestedSubcommand, ContextKind::SuggestedArg, ContextKind::SuggestedValue]
        .into_iter()
        .filter_map(|kind| error.get(kind))
        .find_map(|value| match value {
            ContextValue::String(one) => Some(one.clone()),
            // The likest is the last.
            ContextValue::Strings(several) => several.last().cloned(),
            _ => None,
        })
}

#[cfg(test)]
mod tests;
