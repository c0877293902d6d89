//! Why a vault could not be mounted or unmounted, one line each: object, cause, remedy.

use std::io;
use std::path::PathBuf;

use crate::keyring::KeyringError;
use crate::service::TreeError;

/// A failure as it goes from the daemon to the terminal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// Exit status; not 0.
    pub code: u8,
    /// One line for people.
    pub text: String,
}

/// Why a vault could not be mounted or unmounted.
#[derive(Debug, thiserror::Error)]
pub enum MountError {
    /// A mount option that makes no sense.
    #[error("mount option {option}: {problem}")]
    Option {
        /// Its name.
        option: &'static str,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// The directory isn't a vault.
    #[error("{}: {problem}", path.display())]
    NotAVault {
        /// The directory.
        path: PathBuf,
        /// What it lacks, and what to do.
        problem: String,
    },
    /// Nothing can be mounted there.
    #[error("mountpoint {}: {problem}", path.display())]
    Mountpoint {
        /// The directory.
        path: PathBuf,
        /// What is wrong, and what to do.
        problem: String,
    },
    /// Another process uses the vault.
    #[error("{}: in use by {holder}; unmount it there first", path.display())]
    InUse {
        /// The vault.
        path: PathBuf,
        /// Who holds it: process id, command, mountpoint, as far as known.
        holder: String,
    },
    /// Another host had the vault in use, ended without unmounting, and may write still.
    #[error(
        "{}: host {host} ended without unmounting it, and {on} doesn't keep its late writes out: switch that host off, or end \
         its client of {on}, and then say so with `rekeyfs hosts evict {} {host} --host-is-dead`",
        path.display(), path.display()
    )]
    HostLost {
        /// The vault.
        path: PathBuf,
        /// Its name, escaped.
        host: String,
        /// The type of the filesystem.
        on: &'static str,
    },
    /// FUSE isn't available.
    #[error("FUSE: {0}")]
    Fuse(String),
    /// There is no vault mounted.
    #[error("{}: no vault is mounted there", .0.display())]
    NotMounted(PathBuf),
    /// Programs still use the mount.
    #[error("{}: busy: a program has files or its working directory in there (`fuser -vm` names it)", .0.display())]
    Busy(PathBuf),
    /// Unmounted, but another user's daemon is still running.
    #[error(
        "{}: unmounted, but its daemon, process {daemon}, is still there after {waited} s: what was written last may not be on \
         disk; see what keeps it (it may be syncing), or end it with `kill -9 {daemon}`, as when the power fails",
        path.display()
    )]
    DaemonStays {
        /// Where it was mounted.
        path: PathBuf,
        /// The daemon's process.
        daemon: i32,
        /// How long it was waited for, in seconds.
        waited: u64,
    },
    /// Its flags could not be changed.
    #[error("{}: cannot remount: {problem}", path.display())]
    Remount {
        /// The mountpoint.
        path: PathBuf,
        /// Why.
        problem: String,
    },
    /// Another reason why it isn't unmounted.
    #[error("{}: cannot unmount: {problem}", path.display())]
    Unmount {
        /// The mountpoint.
        path: PathBuf,
        /// Why, and what to do.
        problem: String,
    },
    /// A system call on the vault's directory failed.
    #[error("{}: {action}: {error}", path.display())]
    Vault {
        /// The vault.
        path: PathBuf,
        /// What was tried.
        action: &'static str,
        /// Its error.
        error: io::Error,
    },
    /// The keyring can't be opened.
    #[error(transparent)]
    Keyring(#[from] KeyringError),
    /// The tree can't be used.
    #[error(transparent)]
    Tree(#[from] TreeError),
    /// The process may have too few descriptors.
    #[error(
        "too few open files allowed: a mount needs {needed}, and the hard limit that this process was given is {hard} \
         (ulimit -n); mount without it"
    )]
    Descriptors {
        /// The hard limit.
        hard: u64,
        /// The least that will do.
        needed: u64,
    },
    /// The daemon could not be started.
    #[error("cannot start the daemon: {0}; `mount --foreground` needs none")]
    Daemon(#[source] io::Error),
    /// The session ended by an error.
    #[error("the FUSE session failed: {0}")]
    Session(#[source] io::Error),
    /// The daemon died before it could say why.
    #[error("the daemon ended before the mount was ready ({0}); `mount --foreground` may show why")]
    Died(String),
    /// The daemon's message.
    #[error("{}", .0.text)]
    Reported(Failure),
}
