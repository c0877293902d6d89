//! Every `-o` option that is known, and what becomes of it. docs/mounting.md has the same list in words.
//!
//! The rule: an option is done, or it says nothing to a filesystem, or it is what a vault has anyway, or a warning says
//! what isn't done, or it is refused with a reason. None is accepted and forgotten.

/// What becomes of an option.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::cli) enum Meaning {
    /// It is done.
    Done,
    /// It is for mount(8), systemd or others, or what a vault has anyway.
    Nothing,
    /// It is accepted, and a warning says what isn't done.
    Warned(&'static str),
    /// It is refused; why, and what to do instead.
    Refused(&'static str),
}

/// Whether an option has a value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::cli) enum Takes {
    /// `name`.
    Nothing,
    /// `name=value`.
    Value,
}

const LOWER_TIMES: &str = "times of last access are kept by the filesystem below; give it to that one";
const SYNC: &str = "it can't be kept: FUSE has only write(2) wait for the disk, not create, rename or unlink; leave it out, and \
                    use programs that call fsync";
const OWNERS: &str =
    "a vault stores each file's owner; leave it out, and use chown, or bindfs to show other owners";
const MODES: &str =
    "a vault stores each file's mode; leave it out, and use chmod, or the umask of the programs";

use Meaning::{Done, Nothing, Refused, Warned};

/// Name, whether it has a value, and what becomes of it.
pub(in crate::cli) const TABLE: &[(&str, Takes, Meaning)] = &[
    ("ro", Takes::Nothing, Done),
    ("rw", Takes::Nothing, Done),
    ("remount", Takes::Nothing, Done),
    ("allow_other", Takes::Nothing, Done),
    ("allow_root", Takes::Nothing, Done),
    ("suid", Takes::Nothing, Done),
    ("nosuid", Takes::Nothing, Done),
    ("dev", Takes::Nothing, Done),
    ("nodev", Takes::Nothing, Done),
    ("exec", Takes::Nothing, Done),
    ("noexec", Takes::Nothing, Done),
    ("symfollow", Takes::Nothing, Done),
    ("nosymfollow", Takes::Nothing, Done),
    ("atime", Takes::Nothing, Done),
    ("relatime", Takes::Nothing, Done),
    ("noatime", Takes::Nothing, Done),
    ("nonempty", Takes::Nothing, Done),
    ("idle", Takes::Value, Done),
    ("rewrap", Takes::Nothing, Done),
    ("norewrap", Takes::Nothing, Done),
    ("no_rewrap", Takes::Nothing, Done),
    ("writeback", Takes::Nothing, Done),
    ("nowriteback", Takes::Nothing, Done),
    ("no_writeback", Takes::Nothing, Done),
    ("shared", Takes::Nothing, Done),
    ("xattr", Takes::Nothing, Done),
    ("noxattr", Takes::Nothing, Done),
    ("fsname", Takes::Value, Done),
    ("passfile", Takes::Value, Done),
    ("extpass", Takes::Value, Done),
    ("keyfile", Takes::Value, Done),
    ("recovery_key", Takes::Nothing, Done),
    ("custodian", Takes::Value, Done),
    ("no_custodian", Takes::Nothing, Done),
    ("custodian_timeout", Takes::Value, Done),
    ("accept_rollback", Takes::Nothing, Done),
    ("any_cost", Takes::Nothing, Done),
    ("context", Takes::Value, Done),
    ("fscontext", Takes::Value, Done),
    ("defcontext", Takes::Value, Done),
    ("rootcontext", Takes::Value, Done),
    // For mount(8) and systemd.
    ("defaults", Takes::Nothing, Nothing),
    ("auto", Takes::Nothing, Nothing),
    ("noauto", Takes::Nothing, Nothing),
    ("user", Takes::Nothing, Nothing),
    ("user", Takes::Value, Nothing),
    ("nouser", Takes::Nothing, Nothing),
    ("users", Takes::Nothing, Nothing),
    ("nousers", Takes::Nothing, Nothing),
    ("owner", Takes::Nothing, Nothing),
    ("noowner", Takes::Nothing, Nothing),
    ("group", Takes::Nothing, Nothing),
    ("nogroup", Takes::Nothing, Nothing),
    ("nofail", Takes::Nothing, Nothing),
    ("_netdev", Takes::Nothing, Nothing),
    ("_rnetdev", Takes::Nothing, Nothing),
    ("comment", Takes::Value, Nothing),
    ("helper", Takes::Value, Nothing),
    ("uhelper", Takes::Value, Nothing),
    ("subtype", Takes::Value, Nothing),
    // As it is anyway: a mount that succeeds prints nothing.
    ("quiet", Takes::Nothing, Nothing),
    ("silent", Takes::Nothing, Nothing),
    ("loud", Takes::Nothing, Nothing),
    ("async", Takes::Nothing, Nothing),
    ("default_permissions", Takes::Nothing, Nothing),
    ("diratime", Takes::Nothing, Nothing),
    ("norelatime", Takes::Nothing, Nothing),
    ("nostrictatime", Takes::Nothing, Nothing),
    ("nolazytime", Takes::Nothing, Nothing),
    ("noiversion", Takes::Nothing, Nothing),
    ("nomand", Takes::Nothing, Nothing),
    ("strictatime", Takes::Nothing, Warned(LOWER_TIMES)),
    ("nodiratime", Takes::Nothing, Warned(LOWER_TIMES)),
    ("lazytime", Takes::Nothing, Warned(LOWER_TIMES)),
    ("sync", Takes::Nothing, Refused(SYNC)),
    ("dirsync", Takes::Nothing, Refused(SYNC)),
    ("iversion", Takes::Nothing, Refused("FUSE keeps no version of an inode; leave it out")),
    ("mand", Takes::Nothing, Refused("Linux has no mandatory locks any more; leave it out")),
    ("uid", Takes::Value, Refused(OWNERS)),
    ("gid", Takes::Value, Refused(OWNERS)),
    ("umask", Takes::Value, Refused(MODES)),
    ("fmask", Takes::Value, Refused(MODES)),
    ("dmask", Takes::Value, Refused(MODES)),
];

/// What mount(8) reads from the list of mounts and passes on when it remounts.
pub(in crate::cli) const OF_THE_MOUNT: &[&str] = &["user_id", "group_id", "blksize", "max_read"];

/// What becomes of an option, if it is known.
pub(in crate::cli) fn meaning(name: &[u8], takes: Takes) -> Option<Meaning> {
    TABLE.iter().find(|(known, with, _)| known.as_bytes() == name && *with == takes).map(|row| row.2)
}

/// The same option is known the other way, with a value or without one.
pub(in crate::cli) fn takes(name: &[u8]) -> Option<Takes> {
    TABLE.iter().find(|(known, ..)| known.as_bytes() == name).map(|row| row.1)
}

/// The options by what becomes of them, for `mount --help`.
pub(in crate::cli) fn help() -> String {
    let names = |wanted: fn(Meaning) -> bool| {
        let shown = TABLE.iter().filter(|(_, _, meaning)| wanted(*meaning));
        let shown = shown.map(|(name, takes, _)| match takes {
            Takes::Nothing => (*name).to_owned(),
            Takes::Value => format!("{name}="),
        });
        shown.collect::<Vec<_>>().join(", ")
    };
    format!(
        "Mount options, as mount(8) takes them; docs/mounting.md says what each does\n\nDone: {}\n\nAccepted, for others or as it is \
         anyway: x-*, {}\n\nAccepted with a warning: {}\n\nRefused with a reason: {}",
        names(|meaning| meaning == Done),
        names(|meaning| meaning == Nothing),
        names(|meaning| matches!(meaning, Warned(_))),
        names(|meaning| matches!(meaning, Refused(_))),
    )
}

/// The names of the options that are done.
#[cfg(test)]
pub(in crate::cli) fn that_are_done() -> impl Iterator<Item = &'static str> {
    TABLE.iter().filter(|(_, _, meaning)| *meaning == Done).map(|(name, ..)| *name)
}
