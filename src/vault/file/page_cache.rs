//! What the vault asks of the kernel's page cache. The FUSE session does it.

use std::io;

use crate::ids::Ino;

/// What the kernel caches of a mount's files.
pub trait PageCache: Send + Sync {
    /// Makes the kernel write back and drop all pages of an inode, mapped ones too. What can't be written is dropped,
    /// and the next fsync reports it. Returns when that is done. Called without any lock, and never on a thread that
    /// serves the kernel.
    ///
    /// # Errors
    /// The mount is gone.
    fn drop_pages(&self, ino: Ino) -> io::Result<()>;

    /// Makes the kernel forget a name in a directory, and the inode if nothing else holds it. Called as
    /// [`PageCache::drop_pages`] is.
    ///
    /// # Errors
    /// The mount is gone.
    fn drop_entry(&self, parent: Ino, name: &[u8]) -> io::Result<()> {
        let _ = (parent, name);
        Ok(())
    }
}
