//! A mount from its options to its end: checks, lock, daemon, unlocking, composition, session, unmount. This
//! and `cli` are the only places that name concrete parts of all layers.
//!
//! Order matters: what can be refused is refused before a passphrase is asked for; the process splits before
//! it has secrets or threads (locked memory isn't inherited, nor are threads); the parent reports what comes.

mod attach;
mod daemon;
mod due;
mod error;
pub mod inherited;
mod limits;
mod lock;
pub mod log;
pub mod mountinfo;
mod mountpoint;
mod options;
mod remount;
mod session;
mod signals;
mod unmount;

use std::path::{Path, PathBuf};

pub use error::{Failure, MountError};
pub use limits::protect_memory;
pub use lock::VaultLock;
pub use options::MountOptions;
pub use remount::{FlagChanges, remount};
pub use session::open_vault;
pub use unmount::{How, unmount};

use mountpoint::Mountpoint;
use rustix::process::geteuid;

use crate::keyring::KeyringFile;
use crate::storage::{self, Walked, walk};
use crate::unlock::Secret;

/// A mount that nothing stands against so far; the vault is locked for it.
#[derive(Debug)]
pub struct Prepared {
    options: MountOptions,
    /// Absolute and without symlinks.
    vault: PathBuf,
    mountpoint: Mountpoint,
    lock: VaultLock,
}

/// Checks vault, device and mountpoint, takes away what a killed daemon left at the mountpoint, and locks the
/// vault, waiting up to 5 s for a daemon on its way out. Asks for no secret.
///
/// # Errors
/// What stands against the mount.
pub fn prepare(options: MountOptions) -> Result<Prepared, MountError> {
    options.validate()?;
    let vault = locate_vault(&options.vault)?;
    if !options.read_only {
        KeyringFile::writable(&vault)?;
    }
    attach::check_device()?;
    let mountpoint = mountpoint::check(&options, &vault)?;
    let lock = VaultLock::take(&vault)?;
    Ok(Prepared { options, vault, mountpoint, lock })
}

/// The absolute path of a vault, once it is seen to be one.
///
/// # Errors
/// [`MountError::NotAVault`]; a header that can't be read.
pub fn locate_vault(asked: &Path) -> Result<PathBuf, MountError> {
    let not_a_vault =
        |problem: &str| MountError::NotAVault { path: asked.to_owned(), problem: problem.to_owned() };
    let found =
        walk(asked, geteuid().as_raw()).and_then(Walked::there).map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => not_a_vault("no such directory; `rekeyfs init` makes a vault"),
            _ => not_a_vault(&error.to_string()),
        })?;
    let kind = storage::fstat(found.fd()).map(|stat| stat.kind());
    if kind.map_err(|error| not_a_vault(&error.to_string()))? != storage::FileKind::Directory {
        return Err(not_a_vault("not a directory"));
    }
    let path = found.path().to_owned();
    KeyringFile::read_header(&path)?;
    Ok(path)
}

impl Prepared {
    /// The vault's directory, absolute.
    pub fn vault(&self) -> &Path {
        &self.vault
    }

    /// Unlocks the vault and serves it. In the background it returns once the mount can be used; the daemon
    /// itself never returns from here. In the foreground it returns after the unmount.
    ///
    /// `exit_code` says what the daemon's process ends with for a failure; the waiting parent gets it as
    /// [`MountError::Reported`].
    ///
    /// # Errors
    /// Why there is no mount.
    pub fn serve(self, secret: Secret, exit_code: fn(&MountError) -> u8) -> Result<(), MountError> {
        if self.options.foreground {
            return session::run(self, secret, &daemon::Starting::in_foreground());
        }
        match daemon::split()? {
            daemon::Side::Parent(waiting) => {
                // The daemon has its own copies of both, and the lock.
                self.lock.leave_to_child();
                drop(secret);
                waiting.wait()
            }
            daemon::Side::Daemon(starting) => {
                daemon::live(&starting, exit_code, |starting| session::run(self, secret, starting))
            }
        }
    }
}
