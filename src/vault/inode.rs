//! The inodes the kernel knows, and where each can be found in the lower tree.
//!
//! An inode stays in the table while the kernel has looked it up more often than it forgot it, or while
//! another inode's location names it as parent. Nothing here holds a descriptor for an inode with a name;
//! one without a known name is *pinned*: an O_PATH descriptor, taken before the name went, keeps it
//! reachable and its number from being used again.

use std::collections::VecDeque;
use std::collections::hash_map::{Entry, HashMap};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use parking_lot::Mutex;

use super::pages::KernelPages;
use super::{Error, FileKind, Result};
use crate::ids::Ino;

const SHARDS: usize = 64;
/// The longest lower name, in bytes.
pub(super) const ENTRY_MAX: usize = 255;

/// A name of an inode: the directory it is in, and its lower name there.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Location {
    pub(super) parent: Ino,
    pub(super) entry: Box<[u8]>,
}

/// A lower name copied to the stack, so that the inode isn't locked while it is used.
pub(super) struct EntryBuf {
    len: usize,
    bytes: [u8; ENTRY_MAX],
}

impl EntryBuf {
    fn new(entry: &[u8]) -> Self {
        let len = entry.len().min(ENTRY_MAX);
        let mut bytes = [0; ENTRY_MAX];
        bytes[..len].copy_from_slice(&entry[..len]);
        Self { len, bytes }
    }
}

impl std::ops::Deref for EntryBuf {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

#[derive(Default)]
struct Place {
    first: Option<Location>,
    /// Further hard links, those that the kernel has looked up.
    #[allow(clippy::box_collection)]
    more: Option<Box<Vec<Location>>>,
    pin: Option<Arc<OwnedFd>>,
}

impl Place {
    fn all(&self) -> impl Iterator<Item = &Location> {
        self.first.iter().chain(self.more.iter().flat_map(|more| more.iter()))
    }

    fn add(&mut self, location: Location) {
        if self.first.is_none() {
            self.first = Some(location);
        } else {
            self.more.get_or_insert_default().push(location);
        }
    }

    fn remove(&mut self, parent: Ino, entry: &[u8]) -> bool {
        let is_it = |l: &Location| l.parent == parent && *l.entry == *entry;
        if self.first.as_ref().is_some_and(is_it) {
            self.first = self.more.as_mut().and_then(|more| more.pop());
        } else {
            let Some(more) = self.more.as_mut() else { return false };
            let Some(at) = more.iter().position(is_it) else { return false };
            more.swap_remove(at);
        }
        if self.more.as_ref().is_some_and(|more| more.is_empty()) {
            self.more = None;
        }
        true
    }
}

/// An inode that the kernel knows. At most 200 bytes with its place in the table, and its lower name.
pub(super) struct Inode {
    pub(super) ino: Ino,
    /// Changed only under the shard's lock.
    lookups: AtomicU64,
    /// Locations of other inodes that name this one as parent. Changed only under the shard's lock.
    children: AtomicU32,
    pub(super) kind: FileKind,
    /// Cleared once it is known that there is no `security.capability` to clear before a write.
    pub(super) may_have_capability: AtomicBool,
    /// Another inode has its name and content now: whoever uses this one is to look again.
    replaced: AtomicBool,
    /// What the kernel may have cached of it.
    pub(super) kernel_pages: KernelPages,
    place: Mutex<Place>,
    /// What its open handles share.
    pub(super) file: Mutex<super::FileSlot>,
}

impl Inode {
    pub(super) fn new(ino: Ino, kind: FileKind, may_have_capability: bool) -> Self {
        Self {
            ino,
            lookups: AtomicU64::new(0),
            children: AtomicU32::new(0),
            kind,
            may_have_capability: AtomicBool::new(may_have_capability),
            replaced: AtomicBool::new(false),
            kernel_pages: KernelPages::default(),
            place: Mutex::default(),
            file: Mutex::default(),
        }
    }

    /// Another inode has its name and content from now on.
    pub(super) fn set_replaced(&self) {
        self.replaced.store(true, Ordering::SeqCst);
    }

    /// The open file, if it has one.
    pub(super) fn opened(&self) -> Option<Arc<super::file::OpenFile>> {
        self.file.lock().upgrade()
    }

    /// A directory in which it has a name.
    pub(super) fn parent(&self) -> Option<Ino> {
        self.place.lock().first.as_ref().map(|l| l.parent)
    }

    /// One of its names.
    pub(super) fn location(&self) -> Option<Location> {
        self.place.lock().first.clone()
    }

    /// One of its names in this directory.
    pub(super) fn entry_in(&self, parent: Ino) -> Option<EntryBuf> {
        self.place.lock().all().find(|l| l.parent == parent).map(|l| EntryBuf::new(&l.entry))
    }

    /// Whether it has no known name but, perhaps, this one.
    pub(super) fn is_last_name(&self, parent: Ino, entry: &[u8]) -> bool {
        self.place.lock().all().all(|l| l.parent == parent && *l.entry == *entry)
    }

    /// The descriptor that keeps it reachable without a name.
    pub(super) fn pin(&self) -> Option<Arc<OwnedFd>> {
        self.place.lock().pin.clone()
    }

    /// Keeps it reachable without a name, until it is forgotten. The descriptor is an O_PATH one.
    pub(super) fn set_pin(&self, fd: OwnedFd) {
        self.place.lock().pin.get_or_insert(Arc::new(fd));
    }

    /// Gives the pin up if it has a name.
    pub(super) fn unpin_if_named(&self) {
        let mut place = self.place.lock();
        if place.first.is_some() {
            place.pin = None;
        }
    }
}

type Shard = Mutex<HashMap<Ino, Arc<Inode>>>;

/// The table of inodes.
pub(super) struct Table {
    shards: Box<[Shard]>,
    /// Inodes pinned though they have hard links elsewhere; the oldest are given up when there are too many.
    linked_pins: Mutex<VecDeque<Weak<Inode>>>,
    linked_pins_max: usize,
}

impl Table {
    /// A table that knows the root. `linked_pins_max`: how many descriptors may keep inodes whose known
    /// names are gone but which have others.
    pub(super) fn new(linked_pins_max: usize) -> Self {
        let table = Self {
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            linked_pins: Mutex::default(),
            linked_pins_max,
        };
        let root = Inode::new(Ino::ROOT, FileKind::Directory, true);
        root.lookups.store(1, Ordering::Relaxed);
        table.shard(Ino::ROOT).lock().insert(Ino::ROOT, Arc::new(root));
        table
    }

    fn shard(&self, ino: Ino) -> &Shard {
        &self.shards[(ino.0.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 58) as usize % SHARDS]
    }

    /// The inode of this number, if it is known.
    pub(super) fn find(&self, ino: Ino) -> Option<Arc<Inode>> {
        self.shard(ino).lock().get(&ino).cloned()
    }

    /// The inode of this number.
    ///
    /// # Errors
    /// [`Error::Stale`] if it isn't known, or was replaced.
    pub(super) fn get(&self, ino: Ino) -> Result<Arc<Inode>> {
        self.find(ino).filter(|inode| !inode.replaced.load(Ordering::SeqCst)).ok_or(Error::Stale)
    }

    /// Counts a lookup of the inode under this name. The caller holds the directory's lock, so that the
    /// number can't have passed to another file since it was read.
    ///
    /// A number that is known as that of another kind of file was freed and used again behind our back (what
    /// we remove is pinned): the one that is there now takes its place, and its lookups, for the kernel counts
    /// by number.
    ///
    /// # Errors
    /// [`Error::Stale`] if the parent isn't known.
    pub(super) fn remember(&self, ino: Ino, kind: FileKind, parent: Ino, entry: &[u8]) -> Result<Arc<Inode>> {
        self.enter(ino, kind, parent, entry, true)
    }

    /// As [`Table::remember`], of a file that was made just now, and so has no capabilities: unless someone else
    /// was here first, who may have set some.
    pub(super) fn remember_made(&self, ino: Ino, parent: Ino, entry: &[u8]) -> Result<Arc<Inode>> {
        self.enter(ino, FileKind::Regular, parent, entry, false)
    }

    fn enter(
        &self,
        ino: Ino,
        kind: FileKind,
        parent: Ino,
        entry: &[u8],
        may_have_capability: bool,
    ) -> Result<Arc<Inode>> {
        if ino == Ino::ROOT || !self.hold(parent) {
            return Err(Error::Stale);
        }
        let mut displaced = None;
        let inode = {
            let mut shard = self.shard(ino).lock();
            let inode = match shard.entry(ino) {
                Entry::Occupied(known) if known.get().kind == kind => known.get().clone(),
                Entry::Occupied(mut known) => {
                    let old = known.get();
                    let new = Inode::new(ino, kind, true);
                    new.lookups.store(old.lookups.load(Ordering::Relaxed), Ordering::Relaxed);
                    new.children.store(old.children.load(Ordering::Relaxed), Ordering::Relaxed);
                    displaced = Some(known.insert(Arc::new(new)));
                    known.get().clone()
                }
                Entry::Vacant(free) => {
                    free.insert(Arc::new(Inode::new(ino, kind, may_have_capability))).clone()
                }
            };
            inode.lookups.fetch_add(1, Ordering::Relaxed);
            inode
        };
        if let Some(displaced) = displaced {
            self.leave(&displaced);
        }
        if !self.add_held(&inode, parent, entry) {
            self.release(parent);
        }
        Ok(inode)
    }

    /// Records a further name, without counting a lookup.
    fn add_held(&self, inode: &Inode, parent: Ino, entry: &[u8]) -> bool {
        let mut place = inode.place.lock();
        if place.all().any(|l| l.parent == parent && *l.entry == *entry) {
            return false;
        }
        // A directory has one name; another that is remembered was moved away behind our back.
        if inode.kind == FileKind::Directory
            && let Some(old) = place.first.take()
        {
            place.add(Location { parent, entry: entry.into() });
            drop(place);
            self.release(old.parent);
            return true;
        }
        place.add(Location { parent, entry: entry.into() });
        true
    }

    /// Strikes out a name that is gone.
    pub(super) fn remove_location(&self, inode: &Inode, parent: Ino, entry: &[u8]) {
        let removed = inode.place.lock().remove(parent, entry);
        if removed {
            self.release(parent);
        }
    }

    /// Notes that a name was moved.
    pub(super) fn move_location(&self, inode: &Inode, from: (Ino, &[u8]), to: (Ino, &[u8])) {
        if !self.hold(to.0) {
            return self.remove_location(inode, from.0, from.1);
        }
        let known = inode.place.lock().remove(from.0, from.1);
        if !known || !self.add_held(inode, to.0, to.1) {
            self.release(to.0);
        }
        if known {
            self.release(from.0);
        }
    }

    /// Notes that an inode pinned just now has hard links that the kernel may still look up. Such pins are
    /// bounded: the kernel may keep these inodes for long, and finds them again by their other names.
    pub(super) fn pinned_with_links(&self, inode: &Arc<Inode>) {
        let mut pins = self.linked_pins.lock();
        pins.push_back(Arc::downgrade(inode));
        while pins.len() > self.linked_pins_max {
            let oldest = pins.pop_front().and_then(|weak| weak.upgrade());
            if let Some(oldest) = oldest {
                oldest.place.lock().pin = None;
            }
        }
    }

    /// Counts a lookup of an inode by its number alone: one that isn't known yet is entered without a name, so
    /// that whoever looks it up from now on finds it, and with it its `file` slot. The caller has a descriptor
    /// of the lower file, which keeps the number from passing to another, and forgets the lookup again.
    pub(super) fn adopt(&self, ino: Ino, kind: FileKind) -> Arc<Inode> {
        let mut shard = self.shard(ino).lock();
        let inode = shard.entry(ino).or_insert_with(|| Arc::new(Inode::new(ino, kind, true)));
        inode.lookups.fetch_add(1, Ordering::Relaxed);
        inode.clone()
    }

    /// The kernel forgets `n` lookups. Returns the inode if that was the last of it.
    pub(super) fn forget(&self, ino: Ino, n: u64) -> Option<Arc<Inode>> {
        if ino == Ino::ROOT {
            return None;
        }
        let gone = {
            let mut shard = self.shard(ino).lock();
            let inode = shard.get(&ino)?;
            let left = inode.lookups.load(Ordering::Relaxed).saturating_sub(n);
            inode.lookups.store(left, Ordering::Relaxed);
            if left > 0 || inode.children.load(Ordering::Relaxed) > 0 {
                return None;
            }
            shard.remove(&ino)?
        };
        self.leave(&gone);
        Some(gone)
    }

    /// Counts a child of `parent`; false if that isn't known.
    fn hold(&self, parent: Ino) -> bool {
        let shard = self.shard(parent).lock();
        let known = shard.get(&parent);
        known.inspect(|p| _ = p.children.fetch_add(1, Ordering::Relaxed)).is_some()
    }

    /// Uncounts a child of `parent`, and forgets it if it was kept for that alone.
    fn release(&self, parent: Ino) {
        if let Some(gone) = self.release_one(parent) {
            self.leave(&gone);
        }
    }

    fn release_one(&self, parent: Ino) -> Option<Arc<Inode>> {
        let mut shard = self.shard(parent).lock();
        let inode = shard.get(&parent)?;
        let left = inode.children.load(Ordering::Relaxed).saturating_sub(1);
        inode.children.store(left, Ordering::Relaxed);
        if left > 0 || inode.lookups.load(Ordering::Relaxed) > 0 { None } else { shard.remove(&parent) }
    }

    /// Uncounts an inode that left the table in its parents, and they in theirs: not by recursion, for
    /// paths may be deep.
    fn leave(&self, gone: &Inode) {
        let mut parents: Vec<Ino> = Vec::new();
        let take = |inode: &Inode, parents: &mut Vec<Ino>| {
            let mut place = inode.place.lock();
            parents.extend(place.all().map(|l| l.parent));
            place.first = None;
            place.more = None;
        };
        take(gone, &mut parents);
        while let Some(parent) = parents.pop() {
            if let Some(inode) = self.release_one(parent) {
                take(&inode, &mut parents);
            }
        }
    }

    /// Gives up room that inodes no longer known have left.
    pub(super) fn shrink(&self) {
        for shard in &self.shards {
            let mut shard = shard.lock();
            // Room to grow is left, so that it isn't taken back at once.
            let room = shard.len() * 2;
            shard.shrink_to(room);
        }
    }

    /// How many inodes are known.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.shards.iter().map(|s| s.lock().len()).sum()
    }
}

#[cfg(test)]
mod tests;
