//! Open directories: a descriptor, an id and an alias each, kept in an LRU.
//!
//! A [`Dir`] never changes. A thread that changes what it was made of (its record, or the directories above it)
//! holds its lock exclusively, and increments an epoch before it drops the cached one. A thread that loads one
//! caches it only if the epoch still is what it was before `.dir` was read. Loads need no lock for that.

use std::collections::HashMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::{Mutex, RwLock};

use crate::ids::{AliasName, DirId, Ino};
use crate::names::DirRecord;

const SHARDS: usize = 16;

/// An open directory.
pub(in crate::vault) struct Dir {
    fd: OwnedFd,
    pub(in crate::vault) ino: Ino,
    pub(in crate::vault) id: DirId,
    /// Whether the id was read from a record, rather than derived.
    pub(in crate::vault) stored: bool,
    /// The alias that its record names.
    pub(in crate::vault) alias: Option<AliasName>,
    /// The alias for new files in it, and the epoch in which it was that.
    effective: Mutex<Option<(u64, AliasName)>>,
}

impl Dir {
    /// One that has a record.
    pub(super) fn recorded(fd: OwnedFd, ino: Ino, record: DirRecord) -> Self {
        let DirRecord { id, alias } = record;
        Self { fd, ino, id, stored: true, alias, effective: Mutex::new(None) }
    }

    /// One whose id is derived.
    pub(super) fn derived(fd: OwnedFd, ino: Ino, id: DirId) -> Self {
        Self { fd, ino, id, stored: false, alias: None, effective: Mutex::new(None) }
    }

    /// Its descriptor; an O_PATH one if the directory may be searched but not read.
    pub(in crate::vault) fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// The alias for new files in it, if it is known since this epoch of aliases.
    pub(super) fn effective_alias(&self, epoch: u64) -> Option<AliasName> {
        self.effective.lock().as_ref().filter(|(then, _)| *then == epoch).map(|(_, alias)| alias.clone())
    }

    /// Keeps the alias for new files in it, as it was found in this epoch of aliases.
    pub(super) fn keep_effective_alias(&self, epoch: u64, alias: AliasName) {
        *self.effective.lock() = Some((epoch, alias));
    }
}

#[derive(Default)]
struct Shard {
    dirs: HashMap<Ino, (Arc<Dir>, u64)>,
    clock: u64,
}

impl Shard {
    fn evict_oldest(&mut self) -> Option<Arc<Dir>> {
        let oldest = self.dirs.iter().min_by_key(|(_, (_, used))| *used).map(|(ino, _)| *ino)?;
        self.dirs.remove(&oldest).map(|(dir, _)| dir)
    }
}

/// The LRU of open directories, and the root, which stays.
pub(in crate::vault) struct DirCache {
    root: RwLock<Arc<Dir>>,
    shards: Box<[Mutex<Shard>]>,
    per_shard: usize,
    /// Counts changes of records.
    epoch: AtomicU64,
    /// Counts changes of what aliases directories inherit.
    alias_epoch: AtomicU64,
}

impl DirCache {
    /// For at most about `descriptors` directories.
    pub(in crate::vault) fn new(root: Dir, descriptors: usize) -> Self {
        Self {
            root: RwLock::new(Arc::new(root)),
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            per_shard: (descriptors / SHARDS).max(2),
            epoch: AtomicU64::new(0),
            alias_epoch: AtomicU64::new(0),
        }
    }

    fn shard(&self, ino: Ino) -> &Mutex<Shard> {
        &self.shards[(ino.0.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 60) as usize % SHARDS]
    }

    /// The directory, if it is open.
    pub(in crate::vault) fn get(&self, ino: Ino) -> Option<Arc<Dir>> {
        if ino == Ino::ROOT {
            return Some(self.root.read().clone());
        }
        let mut shard = self.shard(ino).lock();
        shard.clock += 1;
        let now = shard.clock;
        let (dir, used) = shard.dirs.get_mut(&ino)?;
        *used = now;
        Some(dir.clone())
    }

    /// The epoch of records: to be asked before one is read that [`DirCache::insert`] is to cache.
    pub(super) fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::SeqCst)
    }

    /// The epoch of aliases.
    pub(super) fn alias_epoch(&self) -> u64 {
        self.alias_epoch.load(Ordering::SeqCst)
    }

    /// Takes another root into use, whose record has changed.
    pub(super) fn set_root(&self, root: Dir) {
        *self.root.write() = Arc::new(root);
    }

    /// Caches what was loaded in an epoch; `None` if that is over, else what is cached now.
    pub(super) fn insert(&self, dir: Dir, epoch: u64) -> Option<Arc<Dir>> {
        let evicted;
        let dir = {
            let mut shard = self.shard(dir.ino).lock();
            if self.epoch.load(Ordering::SeqCst) != epoch {
                return None;
            }
            evicted = if shard.dirs.len() >= self.per_shard { shard.evict_oldest() } else { None };
            shard.clock += 1;
            let now = shard.clock;
            shard.dirs.entry(dir.ino).or_insert_with(|| (Arc::new(dir), now)).0.clone()
        };
        // Closed outside the lock.
        drop(evicted);
        Some(dir)
    }

    /// Puts a directory in the place of the one that is cached, if one is.
    pub(super) fn replace(&self, dir: Dir) {
        let mut shard = self.shard(dir.ino).lock();
        let replaced =
            shard.dirs.get_mut(&dir.ino).map(|(cached, _)| std::mem::replace(cached, Arc::new(dir)));
        drop(shard);
        drop(replaced);
    }

    /// Drops a directory whose record has changed, or which is gone. Not the root.
    pub(super) fn invalidate(&self, ino: Ino) {
        self.epoch.fetch_add(1, Ordering::SeqCst);
        let dropped = self.shard(ino).lock().dirs.remove(&ino);
        drop(dropped);
    }

    /// Aliases must be looked up afresh: a directory was moved, or given another alias.
    pub(super) fn aliases_changed(&self) {
        self.alias_epoch.fetch_add(1, Ordering::SeqCst);
    }

    /// Closes half of the directories, for want of descriptors.
    pub(in crate::vault) fn shrink(&self) {
        for shard in &self.shards {
            let mut closed = Vec::new();
            let mut shard = shard.lock();
            for _ in 0..shard.dirs.len().div_ceil(2) {
                closed.extend(shard.evict_oldest());
            }
            drop(shard);
        }
    }
}

#[cfg(test)]
mod tests;
