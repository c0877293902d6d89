//! Which inode bears which file id.
//!
//! The rule: one file id, one inode. The key of a page is derived from the DEK and the file id, so pages of two files with one
//! header pass in either of them. Whoever can write the ciphertext can make such a file: he copies a header, with an empty
//! block, puts it where a user will append, and moves the page with what was appended into the file that the header is of.
//! So the id of each file that is opened or gets its first header is noted with its inode. An inode that comes with the id
//! of another one is
//!
//! - refused (EIO; it can be cut to nothing or removed) while that other one is in use with this id, or is still there with a
//!   header of it;
//! - let in where the other one is gone or has another header now, as after a backup was put back below a mount: that can't
//!   be told from a copy that has served its purpose.
//!
//! Both are events that name both inodes. Hard links are one inode; where the lower filesystem may number each of them on
//! its own (FUSE), files of several names are let in. One that the kernel has forgotten, or that was removed
//! through the mount, is none any more.
//!
//! Memory is bounded, to 3 MiB and what the files that are open take. The id of an open file is always kept. Of those that
//! are closed and that the kernel knows, a shard keeps at least the last [`MANY`] that were opened, and forgets the older
//! ones: so whoever has other files opened to have one forgotten needs some 50,000 of them, whenever he begins. The
//! shards' locks are leaves, taken when a file is loaded, emptied or gets its first header, never while it is read or
//! written.

use std::collections::HashMap;
use std::os::fd::AsFd;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;

use super::states_file_id;
use crate::events::{Class, Event, FileRef};
use crate::ids::{FileId, Ino};
use crate::storage::{self, Access};
use crate::vault::tree::inode::{Inode, Pin};
use crate::vault::{Result, Vault};

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

/// Two ages of ids: those noted since the last turn, and those of before it.
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

    /// Gives up room that inodes no longer known have left.
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

    /// The inode bears the id, whoever did before.
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

    /// Gives up room that inodes no longer known have left.
    pub(in crate::vault) fn shrink(&self) {
        self.shards.iter().for_each(|shard| shard.lock().shrink());
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock()).map(|shard| shard.recent.len() + shard.older.len()).sum()
    }
}

impl Vault {
    /// Notes the id of a file that is being opened and has so many names. The caller holds the inode's `file` slot, and
    /// no lock that comes behind it. Returns the inode to which the id belongs, where that is another one.
    pub(super) fn claim_file_id(&self, id: FileId, ino: Ino, names: u64) -> Option<Ino> {
        // One that the kernel doesn't know is being looked at by whoever walks the tree.
        let inode = self.tree.inodes.find(ino)?;
        let other = self.file_ids.claim(id, &inode)?;
        if self.may_be_one_file(names, &other) {
            return None;
        }
        if matches!(other.pin(), Pin::Gone(_)) {
            self.file_ids.take_over(id, &inode);
            return None;
        }
        let refused = self.still_bears(&other, id);
        self.note_file_id_of_two(id, ino, other.ino, refused);
        if refused {
            return Some(other.ino);
        }
        self.file_ids.take_over(id, &inode);
        None
    }

    /// As [`Vault::claim_file_id`], under the inode lock, where no directory can be locked to see whether the other inode
    /// still bears the id: what was taken from a file while its key was gone is not given back.
    pub(super) fn claim_file_id_again(&self, id: FileId, ino: Ino) -> Option<Ino> {
        let inode = self.tree.inodes.find(ino)?;
        let other = self.file_ids.claim(id, &inode)?;
        if !self.lower.links_share_ino {
            return None;
        }
        self.note_file_id_of_two(id, ino, other.ino, true);
        Some(other.ino)
    }

    /// Whether these can be hard links to one file: a FUSE filesystem below may give each name a number of its own, and
    /// the kernel keeps a count of links for each number, of which one may be of before the other was made.
    fn may_be_one_file(&self, names: u64, other: &Inode) -> bool {
        let linked = || {
            let path = self.tree.path_fd(other).ok().flatten();
            path.is_some_and(|path| storage::fstat(path.as_fd()).is_ok_and(|stat| stat.nlink > 1))
        };
        !self.lower.links_share_ino && (names > 1 || linked())
    }

    /// The file was cut to nothing.
    pub(super) fn give_up_file_id(&self, id: FileId, ino: Ino) {
        self.file_ids.give_up(id, ino);
    }

    /// Whether an inode is in use with this id, or has a slot of it on disk. Waits for nobody: two threads may each hold
    /// what the other asks about.
    fn still_bears(&self, inode: &Inode, id: FileId) -> bool {
        let loaded = match inode.file.try_lock() {
            Some(slot) => slot.upgrade(),
            None => return true,
        };
        match loaded.and_then(|file| file.bears(id)) {
            Some(bears) => bears,
            None => self.bears_below(inode, id).unwrap_or(false),
        }
    }

    /// Its mode isn't widened for that: whoever opens it holds its `file` slot.
    fn bears_below(&self, inode: &Inode, id: FileId) -> Result<bool> {
        let Some(path) = self.tree.path_fd(inode)? else { return Ok(false) };
        Ok(states_file_id(storage::reopen(path.as_fd(), Access::ReadOnly)?.as_fd(), id)?)
    }

    fn note_file_id_of_two(&self, id: FileId, ino: Ino, other: Ino, refused: bool) {
        tracing::error!(
            ino = ino.0,
            lower = self.lower_path(ino),
            other = other.0,
            other_lower = self.lower_path(other),
            refused,
            "two inodes bear one file id"
        );
        self.keys.events().record_limited(Class::Damage, || Event::FileIdTwice {
            file: FileRef { file: Some(id), ..self.file_ref(ino) },
            other: self.file_ref(other),
            refused,
        });
    }
}

#[cfg(test)]
mod tests;
