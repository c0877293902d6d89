//! What a direct write makes stale in the kernel's page cache (`kernel_pages`).

use super::kernel_pages::Stale;
use crate::ids::Ino;
use crate::vault::Vault;

impl Vault {
    /// The kernel's page cache is about to have pages of this file, or has some that it writes.
    pub fn pages_come(&self, ino: Ino) {
        if let Some(inode) = self.tree.inodes.find(ino) {
            inode.kernel_pages.come();
        }
    }

    /// What of its pages the kernel is to drop before a direct write, made just now, is answered.
    pub fn stale_pages(&self, ino: Ino) -> Stale {
        self.tree.inodes.find(ino).map_or(Stale::Nothing, |inode| inode.kernel_pages.written())
    }

    /// The kernel has dropped all pages of the file, as [`Stale::All`] asked.
    pub fn all_pages_dropped(&self, ino: Ino) {
        if let Some(inode) = self.tree.inodes.find(ino) {
            inode.kernel_pages.all_dropped();
        }
    }
}
