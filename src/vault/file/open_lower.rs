//! Opening the lower file of an open one: for writing too, if the lower filesystem lets the daemon; else for reading only,
//! until someone wants to write.
//!
//! Before a file on a remote filesystem is read for the first time, what the kernel has cached of it goes: it may be of a time
//! when another host had the vault. Its clients look at size and mtime to know whether pages are still right, and a re-wrap moves the
//! mtime by microseconds at most, which not all of them keep.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::Ordering;

use super::OpenFile;
use crate::storage::{self, Access, Errno, Stat};
use crate::vault::tree::inode::Inode;
use crate::vault::{Error, Result, Vault};

impl Vault {
    /// The lower file, to be read or written, and what a stat of it says. The caller holds the inode's `file` slot.
    ///
    /// # Errors
    /// [`Error::Stale`] if its names lead elsewhere; what opening says.
    pub(in crate::vault) fn open_lower(&self, inode: &Inode, access: Access) -> Result<(OwnedFd, Stat)> {
        let (fd, stat) = self.tree.open_lower(inode, access)?;
        if self.lower.is_remote && !inode.opened_below.load(Ordering::Acquire) {
            storage::drop_cached(fd.as_fd());
            inode.opened_below.store(true, Ordering::Release);
        }
        Ok((fd, stat))
    }

    /// The lower file, what a stat says of it, and what it is open for.
    pub(super) fn open_data(&self, inode: &Inode) -> Result<(OwnedFd, Stat, Access)> {
        if !self.read_only() {
            match self.open_lower(inode, Access::ReadWrite) {
                Ok((fd, stat)) => return Ok((fd, stat, Access::ReadWrite)),
                // Immutable, append-only, or someone else's: it may still be read.
                Err(Error::Lower(Errno::ROFS | Errno::PERM | Errno::ACCESS | Errno::TXTBSY)) => {}
                Err(e) => return Err(e),
            }
        }
        let (fd, stat) = self.open_lower(inode, Access::ReadOnly)?;
        Ok((fd, stat, Access::ReadOnly))
    }

    /// Has a file open for writing below, also one that could be opened for reading only at first. The caller holds
    /// no lock that comes behind the inode's `file` slot.
    ///
    /// # Errors
    /// EROFS on a read-only mount; what the lower filesystem says.
    pub(in crate::vault) fn ensure_writable(&self, inode: &Inode, file: &OpenFile) -> Result<()> {
        if file.fd.is_writable() {
            return Ok(());
        }
        self.check_writable()?;
        let _slot = inode.file.lock();
        if !file.fd.is_writable() {
            let (fd, _) = self.open_lower(inode, Access::ReadWrite)?;
            file.fd.set_writable(self.tree.for_reading(fd));
        }
        Ok(())
    }
}
