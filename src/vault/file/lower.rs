//! The descriptor of the lower file behind an open one. A file that could be opened for reading only, as an immutable one,
//! is opened once more as soon as someone wants to write (`open_lower`), even while others have it open.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::OnceLock;

use crate::storage::Access;

/// The lower file's descriptor. That of the first opening stays open beside one that came later: requests may be
/// using it.
pub(super) struct LowerFile {
    first: OwnedFd,
    access: Access,
    for_writing: OnceLock<OwnedFd>,
}

impl LowerFile {
    pub(super) fn new(first: OwnedFd, access: Access) -> Self {
        Self { first, access, for_writing: OnceLock::new() }
    }

    pub(super) fn is_writable(&self) -> bool {
        self.access == Access::ReadWrite || self.for_writing.get().is_some()
    }

    /// Takes a descriptor for writing beside the first one. The caller holds the inode's `file` slot.
    pub(super) fn set_writable(&self, fd: OwnedFd) {
        // Nobody else sets it: the slot is the caller's.
        let _ = self.for_writing.set(fd);
    }
}

impl AsFd for LowerFile {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.for_writing.get().unwrap_or(&self.first).as_fd()
    }
}
