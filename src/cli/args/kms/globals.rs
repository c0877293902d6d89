//! The flags that the aws command takes with any verb.

use clap::{Arg, ArgAction, Command, ValueEnum};

/// One that has no effect on a vault of this host, and whether a value follows it.
struct Ignored {
    name: &'static str,
    valued: bool,
}

const fn flag(name: &'static str) -> Ignored {
    Ignored { name, valued: false }
}

const fn valued(name: &'static str) -> Ignored {
    Ignored { name, valued: true }
}

/// Taken and ignored; docs/differences-aws.md says why of each.
const IGNORED: &[Ignored] = &[
    valued("region"),
    valued("profile"),
    valued("endpoint-url"),
    valued("ca-bundle"),
    valued("cli-connect-timeout"),
    valued("cli-read-timeout"),
    valued("color"),
    flag("debug"),
    flag("no-cli-auto-prompt"),
    flag("no-cli-pager"),
    flag("no-paginate"),
    flag("no-sign-request"),
    flag("no-verify-ssl"),
];

/// Those that have an effect, and whether a value follows.
const USED: &[Ignored] =
    &[valued("output"), valued("query"), valued("cli-binary-format"), valued("cli-timestamp-format")];

/// How the text of a parameter that is bytes is read.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, ValueEnum)]
pub(in crate::cli) enum BinaryFormat {
    /// It is base64 of the bytes.
    #[default]
    Base64,
    /// It is the bytes.
    #[value(name = "raw-in-base64-out")]
    RawInBase64Out,
}

/// Whether a value follows a global flag of that name, without hyphens; `None` if there is none.
pub(super) fn takes_value(name: &str) -> Option<bool> {
    IGNORED.iter().chain(USED).find(|global| global.name == name).map(|global| global.valued)
}

/// The names of all of them.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    IGNORED.iter().chain(USED).map(|global| global.name)
}

/// A command that takes them and ignores them, but those that it has already. They are in no help: rekeyfs-kms(1) tells of
/// them.
pub(super) fn without_effect(command: Command) -> Command {
    IGNORED.iter().fold(command, |command, ignored| {
        if command.get_arguments().any(|arg| arg.get_long() == Some(ignored.name)) {
            return command;
        }
        let action = if ignored.valued { ArgAction::Set } else { ArgAction::SetTrue };
        command.arg(Arg::new(ignored.name).long(ignored.name).action(action).hide(true))
    })
}
