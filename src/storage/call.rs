//! What the calls of this layer have in common.

use std::os::fd::{AsRawFd, BorrowedFd};

use super::errno::Result;
use super::fault::{self, Op};

/// Makes a call that changes something, past its fault point; once more where it was interrupted.
pub(super) fn changing<T>(op: Op, call: impl Fn() -> Result<T>) -> Result<T> {
    rustix::io::retry_on_intr(|| {
        fault::point(op)?;
        call()
    })
}

/// The magic link of an own descriptor: the path from an O_PATH descriptor to its inode.
pub(super) fn magic_link(fd: BorrowedFd<'_>) -> String {
    format!("/proc/self/fd/{}", fd.as_raw_fd())
}
