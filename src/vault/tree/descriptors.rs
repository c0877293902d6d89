//! Descriptors that the tree may use, and those it leaves.
//!
//! Programs that hold many files of a mount open use up what its daemon may have. Then they get ENFILE; but a rotation, an
//! event, `status` and the unmount itself take descriptors too, and must find some. So the tree leaves the last [`LEFT`]
//! below the limit. The kernel gives out the lowest number that is free: one within these says that all below are taken. An
//! open that gets such a number is undone; before a file is created, which can't be, the next number is looked at. Two
//! threads that create at the same time may see the same one: then one of those that are left is taken.

use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};

use crate::storage::{self, Errno};

/// Descriptors that are left to the rest of the process: for each of 16 requests at the control socket three, and what a
/// save of the keyring takes.
const LEFT: u64 = 64;

/// See the module.
pub(super) struct Descriptors {
    /// The first number that is left.
    end: RawFd,
    /// What is duplicated to see which number comes next.
    any: OwnedFd,
}

impl Descriptors {
    /// Of a process that may have so many. One that may have few, a command's, leaves half of them. `any` is whatever
    /// descriptor.
    pub(super) fn of(limit: u64, any: OwnedFd) -> Self {
        Self { end: end(limit), any }
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
        let fd = open()?;
        if fd.as_raw_fd() < self.end { Ok(fd) } else { Err(Errno::MFILE) }
    }

    /// Whether one more is free but for those that are left.
    ///
    /// # Errors
    /// EMFILE if none is.
    pub(super) fn look(&self) -> storage::Result<()> {
        self.open(|| storage::duplicate(self.any.as_fd())).map(drop)
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
        let none = Descriptors::of(0, file());
        assert_eq!(none.open(|| Ok(file())).unwrap_err(), Errno::MFILE);
        assert_eq!(none.look().unwrap_err(), Errno::MFILE);
        let some = Descriptors::of(u64::MAX, file());
        some.look().unwrap();
        some.open(|| Ok(file())).unwrap();
    }

    #[test]
    fn most_of_what_a_process_may_have_is_the_trees() {
        assert_eq!([0, 100, 128, 256, 1024, u64::MAX].map(end), [0, 50, 64, 192, 960, RawFd::MAX]);
    }
}
