//! Until when this host may use a vault that several share.
//!
//! A member renews its lease every few seconds; whoever takes its place, or makes a key unusable, waits until a lease that
//! wasn't renewed is over. So when it is over, nothing more may be changed, or shown under a key: not by what is under way
//! either, nor by what undoes a step that failed. The next host does that.
//!
//! **Guard.** The writer's lease stands in front of every call of this layer that changes something. The kernel kills the
//! process at the lease's end; the guard is for the moments in which that signal is late. A call that has begun when the lease
//! ends is the kernel's and the cluster's, and may arrive.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::errno::{Errno, Result};
use crate::sys::boottime::BootTime;

/// No process's lease ends there: nothing is shared.
const NEVER: u64 = u64::MAX;

#[cfg(not(test))]
static GUARD: AtomicU64 = AtomicU64::new(NEVER);

#[cfg(test)]
thread_local! {
    // Tests run beside each other in one process.
    static GUARD: AtomicU64 = const { AtomicU64::new(NEVER) };
}

#[cfg(not(test))]
fn with_guard<T>(look: impl FnOnce(&AtomicU64) -> T) -> T {
    look(&GUARD)
}

#[cfg(test)]
fn with_guard<T>(look: impl FnOnce(&AtomicU64) -> T) -> T {
    GUARD.with(look)
}

/// A member's lease.
#[derive(Debug)]
pub struct Lease {
    /// In nanoseconds of the boot's clock.
    end: AtomicU64,
    guards: bool,
}

impl Lease {
    /// A reader's, which is over until it is extended. What shows something under a key asks it.
    pub fn of_reader() -> Arc<Self> {
        Arc::new(Self { end: AtomicU64::new(0), guards: false })
    }

    /// The writer's: from now on this process changes nothing when it is over, until it is dropped.
    pub fn of_writer(end: BootTime) -> Arc<Self> {
        let lease = Arc::new(Self { end: AtomicU64::new(0), guards: true });
        lease.extend(end);
        lease
    }

    /// Sets its end.
    pub fn extend(&self, end: BootTime) {
        self.end.store(end.nanoseconds(), Ordering::Release);
        if self.guards {
            with_guard(|guard| guard.store(end.nanoseconds(), Ordering::Release));
        }
    }

    /// How long it still lasts.
    pub fn left(&self) -> Duration {
        let end = self.end.load(Ordering::Acquire);
        Duration::from_nanos(end.saturating_sub(BootTime::now().nanoseconds()))
    }

    /// Whether it isn't over.
    pub fn live(&self) -> bool {
        is_before(self.end.load(Ordering::Acquire))
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if self.guards {
            with_guard(|guard| guard.store(NEVER, Ordering::Release));
        }
    }
}

fn is_before(end: u64) -> bool {
    BootTime::now().nanoseconds() < end
}

/// Whether this process may change something.
///
/// # Errors
/// EIO: its lease is over.
pub(super) fn check() -> Result<()> {
    match with_guard(|guard| guard.load(Ordering::Acquire)) {
        NEVER => Ok(()),
        end if is_before(end) => Ok(()),
        _ => Err(Errno::IO),
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::{AsFd, OwnedFd};

    use super::*;
    use crate::ids::LowerOffset;
    use crate::storage;

    #[test]
    fn nothing_is_changed_once_the_writers_lease_is_over() {
        let dir = tempfile::tempdir().unwrap();
        let fd: OwnedFd = std::fs::File::open(dir.path()).unwrap().into();
        let file = storage::create_file(fd.as_fd(), b"f", 0o600).unwrap();
        let lease = Lease::of_writer(BootTime::now().after(Duration::from_secs(60)));
        assert!(lease.live());
        storage::pwrite_all(file.as_fd(), b"before", LowerOffset(0)).unwrap();
        lease.extend(BootTime::now());
        assert!(!lease.live());
        assert_eq!(storage::pwrite_all(file.as_fd(), b"after!", LowerOffset(0)), Err(Errno::IO));
        assert_eq!(storage::truncate(file.as_fd(), LowerOffset(0)), Err(Errno::IO));
        assert_eq!(storage::punch(file.as_fd(), LowerOffset(0), 4096), Err(Errno::IO));
        assert_eq!(storage::unlink(fd.as_fd(), b"f"), Err(Errno::IO));
        assert_eq!(storage::rmdir(fd.as_fd(), b"d"), Err(Errno::IO));
        let flags = storage::RenameFlags::empty();
        assert_eq!(storage::rename(fd.as_fd(), b"f", fd.as_fd(), b"g", flags), Err(Errno::IO));
        assert_eq!(std::fs::read(dir.path().join("f")).unwrap(), b"before");
        // What an end in order writes comes after it is given back.
        drop(lease);
        storage::truncate(file.as_fd(), LowerOffset(0)).unwrap();
    }

    #[test]
    fn a_readers_lease_is_over_until_it_is_extended() {
        let lease = Lease::of_reader();
        assert!(!lease.live());
        lease.extend(BootTime::now().after(Duration::from_secs(60)));
        assert!(lease.live() && lease.left() > Duration::from_secs(50));
        lease.extend(BootTime::now());
        assert!(!lease.live());
        assert_eq!(lease.left(), Duration::ZERO);
    }
}
