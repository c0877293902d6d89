//! Which inode bears which file id.
//!
//! The rule: one file id, one inode. The key of a page is derived from the DEK and the file id, so pages of two files
//! with one header pass in either of them. Someone who can write the ciphertext can make such a file: he copies a
//! header, with an empty block, puts it where a user will append, and moves the page with what was appended into the
//! file that the header is of. So the id of each file that is opened or gets its first header is recorded with its
//! inode. An inode that comes with the id of another one is
//!
//! - refused (EIO; it can be truncated to zero or removed) while that other one is in use with this id, or is still
//!   there with a header of it;
//! - let in where the other one is gone or has another header now, as after a backup was put back below a mount: that looks
//!   the same as a copy that has served its purpose.
//!
//! Both are events that name both inodes. Hard links are one inode; where the lower filesystem may number each of them on
//! its own (FUSE), files of several names are let in. One that the kernel has forgotten, or that was removed
//! through the mount, is none any more.
//!
//! Memory is bounded, to 3 MiB and what the files that are open take. The id of an open file is always kept. Of those
//! that are closed and that the kernel knows, a shard keeps at least the last [`MANY`] that were opened, and forgets
//! the older ones: so someone who opens other files to have one forgotten needs some 50,000 of them, whenever he
//! begins. The shards' locks are leaves, taken when a file is loaded, emptied or gets its first header, never while it
//! is read or written.

mod claim;

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;

use crate::ids::{FileId, Ino};
use crate::vault::tree::inode::Inode;

const SHARDS: usize = 64;
/// How many ids of files that no one has open a shard keeps at least: as many as a table of 1024 slots takes.
const MANY: usize = 896;

/// The table.
pub(in crate::vault) struct FileIds {
    shards: [Mutex<Shard>; SHARDS],
}

impl Default for FileIds {
    fn default() -> Self {
        Self { shards: std::array::from_fn(|_| Mutex::default()) }
    }
}

/// Two ages of ids: those recorded since the last turn, and those of before it.
#[derive(Default)]
struct Shard {
    recent: HashMap<FileId, Weak<Inode>>,
    older: HashMap<FileId, Weak<Inode>>,
    /// How many of the older ones were kept at the last turn because their files were open.
    open: usize,
}

impl Shard {
    /// The inode that is known to bear the id, if the kernel knows it still. The id is a recent one then.
    fn find(&mut self, id: FileId) -> Option<Arc<Inode>> {
        if let Some(inode) = self.recent.get(&id) {
            return inode.upgrade();
        }
        let inode = self.older.remove(&id)?.upgrade()?;
        self.note(id, &inode);
        Some(inode)
    }

    fn note(&mut self, id: FileId, inode: &Arc<Inode>) {
        self.make_room();
        self.older.remove(&id);
        self.recent.insert(id, Arc::downgrade(inode));
    }

    fn remove(&mut self, id: FileId) {
        self.recent.remove(&id);
        self.older.remove(&id);
    }

    /// Before another id comes. A turn looks at all ids, so there is none before as many came as it keeps.
    fn make_room(&mut self) {
        let most = MANY.max(self.open);
        if self.recent.len() < most {
            return;
        }
        self.recent.retain(|_, inode| inode.strong_count() > 0);
        if self.recent.len() > most / 2 {
            self.older.retain(|_, inode| inode.upgrade().is_some_and(|inode| inode.is_loaded()));
            self.open = self.older.len();
            self.older.extend(self.recent.drain());
        }
    }

    /// Gives up memory that inodes no longer known have left.
    fn shrink(&mut self) {
        for ids in [&mut self.recent, &mut self.older] {
            ids.retain(|_, inode| inode.strong_count() > 0);
            ids.shrink_to_fit();
        }
    }
}

impl FileIds {
    fn shard(&self, id: FileId) -> &Mutex<Shard> {
        // Drawn at random.
        &self.shards[usize::from(id.as_bytes()[0]) % SHARDS]
    }

    /// Notes that this inode bears the id, unless another one that is known does: that is returned.
    fn claim(&self, id: FileId, inode: &Arc<Inode>) -> Option<Arc<Inode>> {
        let mut shard = self.shard(id).lock();
        match shard.find(id) {
            Some(known) => Some(known).filter(|known| !Arc::ptr_eq(known, inode)),
            None => {
                shard.note(id, inode);
                None
            }
        }
    }

    /// The inode bears the id, whichever did before.
    fn take_over(&self, id: FileId, inode: &Arc<Inode>) {
        self.shard(id).lock().note(id, inode);
    }

    /// The inode doesn't bear the id any more.
    fn give_up(&self, id: FileId, ino: Ino) {
        let mut shard = self.shard(id).lock();
        if shard.find(id).is_some_and(|known| known.ino == ino) {
            shard.remove(id);
        }
    }

    /// Gives up memory that inodes no longer known have left.
    pub(in crate::vault) fn shrink(&self) {
        self.shards.iter().for_each(|shard| shard.lock().shrink());
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock()).map(|shard| shard.recent.len() + shard.older.len()).sum()
    }
}

#[cfg(test)]
mod tests;
