//! A mount from its options to its end: checks, lock, daemon, unlocking, composition, session, unmount. This
//! and `cli` are the only places that name concrete parts of all layers.
//!
//! **Order.** Everything that can be refused is refused before a passphrase is asked for (`prepare`). The process forks before
//! it has secrets or threads, since neither locked memory nor threads are inherited. The parent reports the outcome.

mod attach;
mod backups;
mod context;
mod daemon;
mod due;
mod error;
mod fusermount;
pub mod inherited;
mod late;
mod limits;
mod lock;
pub mod log;
mod membership;
pub mod mountinfo;
mod mountpoint;
mod options;
mod prepare;
mod reader;
mod remount;
mod service_manager;
mod session;
mod signals;
mod unmount;
mod upkeep;
mod users;

pub use context::SecurityContext;
pub use error::{Failure, MountError};
pub use limits::protect_memory;
pub use lock::{
    Fencing, LockHolder, LostHost, SharedFilesystem, TakeOverWatch, VaultLock, lock_holder, served_mount,
};
pub use mountpoint::{dead_mount_of, is_dead};
pub use options::MountOptions;
pub use prepare::{Prepared, locate_vault, prepare};
pub use remount::{FlagChanges, remount};
pub use service_manager::report_failure;
pub use unmount::{UnmountMode, unmount};
pub use users::{MountUser, users_of};

use crate::unlock::Unlocking;

impl Prepared {
    /// Unlocks the vault and serves it. In the background it returns the daemon's process id once the mount can be used; the
    /// daemon itself never returns from here. In the foreground it returns after the unmount. It may be called again after a
    /// failure, with another secret.
    ///
    /// `exit_code` says what the daemon's process ends with for a failure; the waiting parent gets it as
    /// [`MountError::Reported`].
    ///
    /// # Errors
    /// Why there is no mount.
    pub fn serve(
        &self,
        unlocking: Unlocking,
        exit_code: fn(&MountError) -> u8,
    ) -> Result<Option<i32>, MountError> {
        if self.options.foreground {
            return self.run(unlocking, &daemon::Starting::in_foreground()).map(|()| None);
        }
        match daemon::split()? {
            daemon::Side::Parent(waiting) => {
                // The daemon has its own copies of both, and the lock.
                self.lock.leave_to_child();
                drop(unlocking);
                let daemon = waiting.wait().inspect_err(|_| self.lock.await_secret())?;
                Ok(Some(daemon.as_raw_nonzero().get()))
            }
            daemon::Side::Daemon(starting) => {
                daemon::live(&starting, exit_code, |starting| self.run(unlocking, starting))
            }
        }
    }

    fn run(&self, unlocking: Unlocking, starting: &daemon::Starting) -> Result<(), MountError> {
        let ended = session::run(self.clone(), unlocking, starting);
        // The lock itself is held until it is dropped, or until the daemon's process has ended.
        self.lock.clear();
        ended
    }
}
