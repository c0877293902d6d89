//! Directories: a descriptor, an id and an alias each, kept in an LRU, reopened by name from the nearest one
//! that is still there.
//!
//! A [`Dir`] never changes. Whoever changes what it was made of (its record, or the directories above it)
//! holds its lock exclusively, and counts up an epoch before it drops the cached one; whoever loads one
//! caches it only if the epoch still is what it was before `.dir` was read. Loads need no lock for that.

use std::collections::HashMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::{Mutex, RwLock};

use super::{Tree, out_of_descriptors};
use crate::ids::{AliasName, DirId, Ino};
use crate::names::TreeCiphers;
use crate::storage::{self, Errno};
use crate::vault::{Error, Result};

const SHARDS: usize = 16;
/// How often a way down is tried again that a rename has changed under it.
const TRIES: usize = 16;
/// No tree is deeper: what walks further goes in a circle, over directories moved behind our back.
const DEEPEST: usize = 1 << 20;

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
    /// Its descriptor; an O_PATH one if the directory may be searched but not read.
    pub(in crate::vault) fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
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

    /// Caches what was loaded in an epoch; `None` if that is over, else what is cached now.
    fn insert(&self, dir: Dir, epoch: u64) -> Option<Arc<Dir>> {
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

impl Tree {
    /// The open directory of this inode.
    ///
    /// # Errors
    /// [`Error::Stale`] if it isn't known or has no name any more; damage of its record; what opening says.
    pub(in crate::vault) fn dir(&self, ino: Ino) -> Result<Arc<Dir>> {
        for _ in 0..TRIES {
            if let Some(dir) = self.dirs.get(ino) {
                return Ok(dir);
            }
            if let Some(dir) = self.load(ino)? {
                return Ok(dir);
            }
        }
        Err(Error::Stale)
    }

    /// Opens the directories down to `ino` from the nearest that is open. `None`: a name has changed meanwhile.
    fn load(&self, ino: Ino) -> Result<Option<Arc<Dir>>> {
        let mut down = Vec::new();
        let mut at = ino;
        let mut dir = loop {
            if let Some(dir) = self.dirs.get(at) {
                break dir;
            }
            let location = self.inodes.get(at)?.location().ok_or(Error::Stale)?;
            let parent = location.parent;
            down.push((at, location.entry));
            if down.len() > DEEPEST {
                return Err(Error::Stale);
            }
            at = parent;
        };
        while let Some((ino, entry)) = down.pop() {
            match self.child_dir(&dir, &entry, ino)? {
                Some(child) => dir = child,
                None => return Ok(None),
            }
        }
        Ok(Some(dir))
    }

    /// The directory that `entry` leads to, cached or opened. `None`: it doesn't lead to that inode.
    pub(super) fn child_dir(&self, parent: &Dir, entry: &[u8], ino: Ino) -> Result<Option<Arc<Dir>>> {
        let mut shrunk = false;
        loop {
            if let Some(dir) = self.dirs.get(ino) {
                return Ok(Some(dir));
            }
            let epoch = self.dirs.epoch.load(Ordering::SeqCst);
            let fd = match self.with_room(|| open_dir(parent.fd(), entry)) {
                Ok(fd) => fd,
                Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(None),
                Err(e) => return Err(e.into()),
            };
            let stat = storage::fstat(fd.as_fd())?;
            if self.ino(&stat)? != ino {
                return Ok(None);
            }
            let dir = match self.make_dir(fd, ino, || self.names.derived_id(parent.id, entry)) {
                // There was room for the directory, but not for its record.
                Err(Error::Lower(e)) if out_of_descriptors(e) && !shrunk => {
                    self.dirs.shrink();
                    shrunk = true;
                    continue;
                }
                dir => dir?,
            };
            if let Some(dir) = self.dirs.insert(dir, epoch) {
                return Ok(Some(dir));
            }
        }
    }

    /// A directory from its descriptor: by its record, or else by the derived id.
    pub(super) fn make_dir(&self, fd: OwnedFd, ino: Ino, derive: impl FnOnce() -> DirId) -> Result<Dir> {
        make_dir(&self.names, fd, ino, derive)
    }

    /// After a change of a directory's record, or its removal. The caller holds its lock exclusively.
    pub(super) fn dir_changed(&self, dir: &Dir) -> Result<()> {
        if dir.ino == Ino::ROOT {
            let fd = storage::open_dir(dir.fd(), b".")?;
            let fresh = self.make_dir(fd, Ino::ROOT, || dir.id)?;
            *self.dirs.root.write() = Arc::new(fresh);
        } else {
            self.dirs.invalidate(dir.ino);
        }
        Ok(())
    }

    /// The alias under which new files in a directory are wrapped: its own, else that of the nearest directory
    /// above which has one, else the default one.
    pub(in crate::vault) fn alias_in(&self, dir: &Arc<Dir>) -> Result<AliasName> {
        let epoch = self.dirs.alias_epoch.load(Ordering::SeqCst);
        let mut below = Vec::new();
        let mut at = dir.clone();
        let alias = loop {
            if let Some(alias) = &at.alias {
                break alias.clone();
            }
            if let Some((then, alias)) = &*at.effective.lock()
                && *then == epoch
            {
                break alias.clone();
            }
            if at.ino == Ino::ROOT {
                break AliasName::default_alias();
            }
            let parent = self.inodes.get(at.ino)?.parent().ok_or(Error::Stale)?;
            let above = self.dir(parent)?;
            below.push(std::mem::replace(&mut at, above));
            if below.len() > DEEPEST {
                return Err(Error::Stale);
            }
        };
        for dir in below {
            *dir.effective.lock() = Some((epoch, alias.clone()));
        }
        Ok(alias)
    }
}

/// A directory from its descriptor: by its record, or else by the derived id.
pub(super) fn make_dir(
    names: &TreeCiphers,
    fd: OwnedFd,
    ino: Ino,
    derive: impl FnOnce() -> DirId,
) -> Result<Dir> {
    let (id, stored, alias) = match super::dir_record::read(names, fd.as_fd())? {
        Some(record) => (record.id, true, record.alias),
        None => (derive(), false, None),
    };
    Ok(Dir { fd, ino, id, stored, alias, effective: Mutex::new(None) })
}

/// Opens a directory, as O_PATH if it may be searched but not read.
pub(in crate::vault) fn open_dir(at: BorrowedFd<'_>, name: &[u8]) -> storage::Result<OwnedFd> {
    match storage::open_dir(at, name) {
        // It can't be listed, but what is in it can still be reached by name.
        Err(Errno::ACCESS) => storage::open_path(at, name),
        done => done,
    }
}

#[cfg(test)]
mod tests;
