//! The lower file behind an open one, and how it comes to be open for writing. A file that could be opened for reading
//! only, as an immutable one, is opened once more as soon as someone wants to write, whoever else has it open.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::OnceLock;

use super::OpenFile;
use crate::storage::{Access, Errno, Stat};
use crate::vault::tree::inode::Inode;
use crate::vault::{Error, Result, Vault};

/// The lower file's descriptor. That of the first opening stays open beside one that came later: requests may be
/// using it.
pub(super) struct LowerFile {
    first: OwnedFd,
    writable: bool,
    for_writing: OnceLock<OwnedFd>,
}

impl LowerFile {
    pub(super) fn new(first: OwnedFd, writable: bool) -> Self {
        Self { first, writable, for_writing: OnceLock::new() }
    }

    pub(super) fn is_writable(&self) -> bool {
        self.writable || self.for_writing.get().is_some()
    }
}

impl AsFd for LowerFile {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.for_writing.get().unwrap_or(&self.first).as_fd()
    }
}

impl Vault {
    /// The lower file, what a stat says of it, and whether it can be written.
    pub(super) fn open_data(&self, inode: &Inode) -> Result<(OwnedFd, Stat, bool)> {
        if !self.read_only() {
            match self.tree.open_lower(inode, Access::ReadWrite) {
                Ok((fd, stat)) => return Ok((fd, stat, true)),
                // Immutable, append-only, or someone else's: it may still be read.
                Err(Error::Lower(Errno::ROFS | Errno::PERM | Errno::ACCESS | Errno::TXTBSY)) => {}
                Err(e) => return Err(e),
            }
        }
        let (fd, stat) = self.tree.open_lower(inode, Access::ReadOnly)?;
        Ok((fd, stat, false))
    }

    /// Has a file open for writing below, also one that could be opened for reading only at first. The caller holds
    /// no lock that comes behind the inode's `file` slot.
    ///
    /// # Errors
    /// EROFS on a read-only mount; what the lower filesystem says.
    pub(in crate::vault) fn demand_writable(&self, inode: &Inode, file: &OpenFile) -> Result<()> {
        if file.fd.is_writable() {
            return Ok(());
        }
        self.check_writable()?;
        let _slot = inode.file.lock();
        if !file.fd.is_writable() {
            let (fd, _) = self.tree.open_lower(inode, Access::ReadWrite)?;
            // Nobody else sets it: the slot is ours.
            let _ = file.fd.for_writing.set(self.tree.for_reading(fd));
        }
        Ok(())
    }
}
