//! Opening the lower file of an open one: for writing too, if the lower filesystem lets the daemon; else for reading only,
//! until someone wants to write.

use std::os::fd::OwnedFd;

use super::OpenFile;
use crate::storage::{Access, Errno, Stat};
use crate::vault::tree::inode::Inode;
use crate::vault::{Error, Result, Vault};

impl Vault {
    /// The lower file, what a stat says of it, and what it is open for.
    pub(super) fn open_data(&self, inode: &Inode) -> Result<(OwnedFd, Stat, Access)> {
        if !self.read_only() {
            match self.tree.open_lower(inode, Access::ReadWrite) {
                Ok((fd, stat)) => return Ok((fd, stat, Access::ReadWrite)),
                // Immutable, append-only, or someone else's: it may still be read.
                Err(Error::Lower(Errno::ROFS | Errno::PERM | Errno::ACCESS | Errno::TXTBSY)) => {}
                Err(e) => return Err(e),
            }
        }
        let (fd, stat) = self.tree.open_lower(inode, Access::ReadOnly)?;
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
            let (fd, _) = self.tree.open_lower(inode, Access::ReadWrite)?;
            file.fd.set_writable(self.tree.for_reading(fd));
        }
        Ok(())
    }
}
