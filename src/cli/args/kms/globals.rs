//! The flags that the aws command takes with any verb.

use clap::{Arg, ArgAction, Command, ValueEnum};

/// A flag, and whether a value follows it.
struct Global {
    name: &'static str,
    valued: bool,
}

const fn flag(name: &'static str) -> Global {
    Global { name, valued: false }
}

const fn valued(name: &'static str) -> Global {
    Global { name, valued: true }
}

/// Those that have no effect on a vault of this host: taken and ignored; docs/differences-aws.md says why of each.
const IGNORED: &[Global] = &[
    valued("region"),
    valued("profile"),
    valued("endpoint-url"),
    valued("ca-bundle"),
    valued("cli-connect-timeout"),
    valued("cli-read-timeout"),
    flag("debug"),
    flag("no-cli-auto-prompt"),
    flag("no-cli-pager"),
    flag("no-paginate"),
    flag("no-sign-request"),
    flag("no-verify-ssl"),
];

/// Those that have an effect, and whether a value follows.
const USED: &[Global] = &[
    valued("output"),
    valued("query"),
    valued("color"),
    valued("cli-binary-format"),
    valued("cli-timestamp-format"),
];

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

/// Whether the aws command has a global flag of that name. rekeyfs has as an option what is a setting there.
pub(super) fn is_of_aws(name: &str) -> bool {
    name != "cli-timestamp-format" && takes_value(name).is_some()
}

/// A command that takes them and ignores them, but those that it has already. They are in no help: rekeyfs-kms(1) tells of
/// them.
pub(super) fn without_effect(command: Command) -> Command {
    IGNORED.iter().fold(command, |command, flag| {
        if command.get_arguments().any(|arg| arg.get_long() == Some(flag.name)) {
            return command;
        }
        let action = if flag.valued { ArgAction::Set } else { ArgAction::SetTrue };
        command.arg(Arg::new(flag.name).long(flag.name).action(action).hide(true))
    })
}
