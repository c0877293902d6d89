//! Descriptors that the tree may use, and those it leaves.
//!
//! Programs that hold many files of a mount open use up what its daemon may have. Then they get ENFILE; but a rotation, an
//! event, `status` and the unmount itself take descriptors too, and must find some. So the tree leaves the last [`LEFT`]
//! below the limit. The kernel gives out the lowest number that is free: one within these says that all below are taken. An
//! open that gets such a number is undone, and a file that was created with one is removed again: nobody has seen it, for
//! the kernel makes nothing else in its directory until it has the answer.

use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use crate::storage::{self, Errno};

/// Descriptors that are left to the rest of the process: for each of 16 requests at the control socket three, and what a
/// save of the keyring takes.
const LEFT: u64 = 64;

/// See the module.
pub(super) struct Descriptors {
    /// The first number that is left.
    end: RawFd,
}

impl Descriptors {
    /// Of a process that may have so many. One that may have few, a command's, leaves half of them.
    pub(super) fn of(limit: u64) -> Self {
        Self { end: end(limit) }
    }

    /// So many may be in use, those of the rest of the process with them.
    pub(super) fn most(&self) -> usize {
        usize::try_from(self.end).unwrap_or(usize::MAX)
    }

    /// Calls `open`, which changes nothing.
    ///
    /// # Errors
    /// EMFILE if only those are free that are left; what `open` says.
    pub(super) fn open(&self, open: impl FnOnce() -> storage::Result<OwnedFd>) -> storage::Result<OwnedFd> {
        self.create(open, || Ok(()))
    }

    /// Calls `create`, and `remove` if what it created can't be kept open.
    ///
    /// # Errors
    /// As [`Descriptors::open`]. If `remove` fails the file stays, and one of those that are left is taken.
    pub(super) fn create(
        &self,
        create: impl FnOnce() -> storage::Result<OwnedFd>,
        remove: impl FnOnce() -> storage::Result<()>,
    ) -> storage::Result<OwnedFd> {
        let fd = create()?;
        if fd.as_raw_fd() < self.end || remove().is_err() { Ok(fd) } else { Err(Errno::MFILE) }
    }
}

fn end(limit: u64) -> RawFd {
    RawFd::try_from(limit.saturating_sub(LEFT).max(limit / 2)).unwrap_or(RawFd::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_ones_are_left() {
        let file = || OwnedFd::from(std::fs::File::open("/").unwrap());
        let none = Descriptors::of(0);
        assert_eq!(none.open(|| Ok(file())).unwrap_err(), Errno::MFILE);
        let some = Descriptors::of(u64::MAX);
        some.open(|| Ok(file())).unwrap();
    }

    #[test]
    fn a_file_that_was_created_with_one_that_is_left_is_removed_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("created");
        let create = || Ok(OwnedFd::from(std::fs::File::create_new(&path).unwrap()));
        let remove = || {
            std::fs::remove_file(&path).unwrap();
            Ok(())
        };
        assert_eq!(Descriptors::of(0).create(create, remove).unwrap_err(), Errno::MFILE);
        assert!(!path.exists());
        Descriptors::of(0).create(create, || Err(Errno::PERM)).expect("it stays, so it is used");
        remove().unwrap();
        Descriptors::of(u64::MAX).create(create, || unreachable!("it is kept")).unwrap();
        assert!(path.exists());
    }

    #[test]
    fn most_of_what_a_process_may_have_is_the_trees() {
        assert_eq!([0, 100, 128, 256, 1024, u64::MAX].map(end), [0, 50, 64, 192, 960, RawFd::MAX]);
    }
}
