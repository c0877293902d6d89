//! What the calls of this layer have in common.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use super::errno::Result;
use super::fault::{self, Op};
use super::lease;

/// Makes a call that changes something, past its fault point and while this process may change something; once more where it
/// was interrupted.
pub(super) fn changing<T>(op: Op, call: impl Fn() -> Result<T>) -> Result<T> {
    rustix::io::retry_on_intr(|| {
        fault::point(op)?;
        lease::check()?;
        call()
    })
}

/// A descriptor by which an inode is reached. Calls that change an inode don't take an O_PATH one: they go by its magic
/// link, at once where it is known to be one, else after they were refused.
#[derive(Clone, Copy)]
pub struct AnyFd<'a> {
    fd: BorrowedFd<'a>,
    is_path: bool,
}

impl<'a> AnyFd<'a> {
    /// An O_PATH descriptor.
    pub fn path(fd: BorrowedFd<'a>) -> Self {
        Self { fd, is_path: true }
    }

    pub(super) fn is_path(self) -> bool {
        self.is_path
    }

    pub(super) fn borrowed(self) -> BorrowedFd<'a> {
        self.fd
    }
}

impl<'a> From<BorrowedFd<'a>> for AnyFd<'a> {
    fn from(fd: BorrowedFd<'a>) -> Self {
        Self { fd, is_path: false }
    }
}

impl AsFd for AnyFd<'_> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd
    }
}

/// The magic link of an own descriptor: the path from an O_PATH descriptor to its inode.
pub(super) fn magic_link(fd: BorrowedFd<'_>) -> String {
    format!("/proc/self/fd/{}", fd.as_raw_fd())
}
