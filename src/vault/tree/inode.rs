//! The inodes the kernel knows, and where each can be found in the lower tree.
//!
//! An inode stays in the table while the kernel has looked it up more often than it forgot it, or while
//! another inode's location names it as parent. Nothing here holds a descriptor for an inode with a name;
//! one without a known name is *pinned*: an O_PATH descriptor, taken before the name went, keeps it
//! reachable and its number from being used again. The pin of an inode whose last link is gone stays until the kernel
//! forgets it. One with links left that the kernel hasn't looked up can go for want of descriptors, since those keep
//! the number: its file handle takes the place of the pin, and it is pinned again when its last link goes.

use std::collections::VecDeque;
use std::collections::hash_map::{Entry, HashMap};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use parking_lot::Mutex;

use crate::ids::{Ino, NodeGeneration};
use crate::storage::FileHandle;
use crate::vault::file::OpenFile;
use crate::vault::file::kernel_pages::KernelPages;
use crate::vault::lock_order::{OfFileSlot, Ordered};
use crate::vault::{Error, FileKind, Result};

mod reach;
pub(super) mod xattr_marks;

pub(in crate::vault) use reach::{EntryBuf, Location, Pin};
use reach::{Reach, Recorded};
use xattr_marks::XattrMarks;

const SHARDS: usize = 64;

/// An inode that the kernel knows. At most 200 bytes with its place in the table, and its lower name.
pub(in crate::vault) struct Inode {
    pub(in crate::vault) ino: Ino,
    /// Changed only under the shard's lock.
    lookups: AtomicU64,
    /// Locations of other inodes that name this one as parent. Changed only under the shard's lock.
    children: AtomicU32,
    pub(in crate::vault) kind: FileKind,
    /// Constant: the kernel takes an inode with another one for another inode.
    pub(in crate::vault) generation: NodeGeneration,
    /// Cleared once it is known that there is no `security.capability` to clear before a write.
    pub(super) may_have_capability: AtomicBool,
    /// What is known of its extended attributes.
    pub(super) xattrs: XattrMarks,
    /// Its lower file was opened since it came into the table.
    pub(in crate::vault) opened_below: AtomicBool,
    /// Another inode has its name and content now: a user of this one must look the name up again.
    replaced: AtomicBool,
    /// What the kernel may have cached of it.
    pub(in crate::vault) kernel_pages: KernelPages,
    reach: Mutex<Reach>,
    /// What its open handles share; gone when the last is closed.
    pub(in crate::vault) file: Ordered<OfFileSlot, Mutex<Weak<OpenFile>>>,
}

/// Whether an inode that comes into the table can have a `security.capability`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::vault) enum Capability {
    /// It was made just now.
    None,
    Possible,
}

impl Inode {
    pub(in crate::vault) fn new(
        ino: Ino,
        kind: FileKind,
        generation: NodeGeneration,
        capability: Capability,
    ) -> Self {
        Self {
            ino,
            generation,
            lookups: AtomicU64::new(0),
            children: AtomicU32::new(0),
            kind,
            may_have_capability: AtomicBool::new(capability == Capability::Possible),
            xattrs: XattrMarks::default(),
            opened_below: AtomicBool::new(false),
            replaced: AtomicBool::new(false),
            kernel_pages: KernelPages::default(),
            reach: Mutex::default(),
            file: Ordered::mutex(Weak::new()),
        }
    }

    /// Another inode is about to take its name and content.
    pub(in crate::vault) fn mark_replaced(&self) {
        self.replaced.store(true, Ordering::SeqCst);
    }

    /// The other inode failed to take them.
    pub(in crate::vault) fn unmark_replaced(&self) {
        self.replaced.store(false, Ordering::SeqCst);
    }

    /// To be asked after something was read from it by a thread that doesn't hold its gate: what was read could be that of
    /// an inode that has lost its name to another one.
    ///
    /// # Errors
    /// [`Error::Stale`]: look the name up again.
    pub(super) fn check_current(&self) -> Result<()> {
        if self.replaced.load(Ordering::SeqCst) { Err(Error::Stale) } else { Ok(()) }
    }

    /// Whether it is what was found under its number.
    fn is(&self, found: &LookedUp<'_>) -> bool {
        let generation = found.links_elsewhere.is_none() || self.generation == found.generation;
        self.kind == found.kind && generation && self.check_current().is_ok()
    }

    /// The open file, if it has one.
    pub(in crate::vault) fn opened(&self) -> Option<Arc<OpenFile>> {
        self.file.lock().upgrade()
    }

    /// Whether it has an open file, or is just getting or losing one.
    pub(in crate::vault) fn is_loaded(&self) -> bool {
        self.file.try_lock().is_none_or(|slot| slot.strong_count() > 0)
    }

    /// A directory in which it has a name.
    pub(in crate::vault) fn parent(&self) -> Option<Ino> {
        self.reach.lock().first.as_ref().map(|l| l.parent)
    }

    /// One of its names.
    pub(in crate::vault) fn location(&self) -> Option<Location> {
        self.reach.lock().first.clone()
    }

    /// One of its names in this directory.
    pub(in crate::vault) fn entry_in(&self, parent: Ino) -> Option<EntryBuf> {
        self.reach.lock().all().find(|l| l.parent == parent).map(|l| EntryBuf::new(&l.entry))
    }

    /// What keeps it reachable without a name.
    pub(in crate::vault) fn pin(&self) -> Pin {
        self.reach.lock().pin.clone()
    }

    /// Whether it has no links any more.
    pub(in crate::vault) fn is_gone(&self) -> bool {
        matches!(self.reach.lock().pin, Pin::Gone(_))
    }

    /// Gives the pin up if it has a name.
    pub(super) fn unpin_if_named(&self) {
        let mut reach = self.reach.lock();
        if reach.first.is_some() {
            reach.pin = Pin::None;
        }
    }

    /// Puts a file handle in the place of a descriptor that can be spared, if there is one.
    fn spare_pin(&self) {
        let Pin::Spare(fd) = self.pin() else { return };
        let handle = if self.check_current().is_ok() { FileHandle::of(fd.as_fd(), b"") } else { Ok(None) };
        let mut reach = self.reach.lock();
        // Its last link may have gone meanwhile.
        if matches!(reach.pin, Pin::Spare(_)) {
            reach.pin = handle.ok().flatten().map_or(Pin::None, |handle| Pin::Handle(Arc::new(handle)));
        }
    }
}

/// An entry of a directory, as a lookup found it or a creation made it.
pub(super) struct LookedUp<'a> {
    pub(in crate::vault) ino: Ino,
    pub(in crate::vault) kind: FileKind,
    pub(in crate::vault) generation: NodeGeneration,
    pub(in crate::vault) parent: Ino,
    /// Its lower name.
    pub(in crate::vault) entry: &'a [u8],
    /// The file was made just now, and so has no capabilities: unless someone else was here first, who may have set
    /// some.
    pub(super) made_now: bool,
    /// If another host changes the tree, the inode's links: where it is the only one, a name that is known is an old one.
    pub(super) links_elsewhere: Option<u64>,
}

/// What is left of an inode's links after one was removed below.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::vault) enum Links {
    /// It has others, known or not.
    Others,
    /// It was the last.
    None,
}

type Shard = Mutex<HashMap<Ino, Arc<Inode>>>;

/// The table of inodes.
pub(in crate::vault) struct Table {
    shards: Box<[Shard]>,
    /// Inodes that got a pin that can be spared; the oldest are when there are too many.
    spare_pins: Mutex<VecDeque<Weak<Inode>>>,
    spare_pins_max: usize,
}

impl Table {
    /// A table that knows the root. `spare_pins_max`: how many descriptors may keep inodes whose known
    /// names are gone but which have others.
    pub(in crate::vault) fn new(spare_pins_max: usize) -> Self {
        let table = Self {
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            spare_pins: Mutex::default(),
            spare_pins_max,
        };
        let root =
            Inode::new(Ino::ROOT, FileKind::Directory, NodeGeneration::default(), Capability::Possible);
        root.lookups.store(1, Ordering::Relaxed);
        table.shard(Ino::ROOT).lock().insert(Ino::ROOT, Arc::new(root));
        table
    }

    fn shard(&self, ino: Ino) -> &Shard {
        &self.shards[(ino.0.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 58) as usize % SHARDS]
    }

    /// The inode of this number, if it is known.
    pub(in crate::vault) fn find(&self, ino: Ino) -> Option<Arc<Inode>> {
        self.shard(ino).lock().get(&ino).cloned()
    }

    /// The inode of this number.
    ///
    /// # Errors
    /// [`Error::Stale`] if it isn't known, or was replaced.
    pub(in crate::vault) fn get(&self, ino: Ino) -> Result<Arc<Inode>> {
        self.find(ino).filter(|inode| inode.check_current().is_ok()).ok_or(Error::Stale)
    }

    /// Counts a lookup of an inode under a name. The caller holds the directory's lock, so that the
    /// number can't have passed to another file since it was read.
    ///
    /// A number that is known as that of another kind of file, or where another host changes the tree with another generation, was freed and used again behind
    /// our back (what we remove is pinned), one of an inode that was replaced may have been: the one that is there now takes
    /// its place, and its lookups, for the kernel counts by number. Returns whether that was so.
    ///
    /// # Errors
    /// [`Error::Stale`] if the parent isn't known.
    pub(super) fn remember(&self, found: &LookedUp<'_>) -> Result<(Arc<Inode>, bool)> {
        let &LookedUp { ino, kind, generation, parent, entry, made_now, links_elsewhere } = found;
        if ino == Ino::ROOT || !self.hold(parent) {
            return Err(Error::Stale);
        }
        let mut displaced = None;
        let inode = {
            let mut shard = self.shard(ino).lock();
            let inode = match shard.entry(ino) {
                Entry::Occupied(known) if known.get().is(found) => known.get().clone(),
                Entry::Occupied(mut known) => {
                    let old = known.get();
                    let new = Inode::new(ino, kind, generation, Capability::Possible);
                    new.lookups.store(old.lookups.load(Ordering::Relaxed), Ordering::Relaxed);
                    new.children.store(old.children.load(Ordering::Relaxed), Ordering::Relaxed);
                    displaced = Some(known.insert(Arc::new(new)));
                    known.get().clone()
                }
                Entry::Vacant(free) => {
                    let capability = if made_now { Capability::None } else { Capability::Possible };
                    free.insert(Arc::new(Inode::new(ino, kind, generation, capability))).clone()
                }
            };
            inode.lookups.fetch_add(1, Ordering::Relaxed);
            inode
        };
        if let Some(displaced) = &displaced {
            self.leave(displaced);
        }
        let only_name = kind == FileKind::Directory || links_elsewhere == Some(1);
        if !self.add_held(&inode, parent, entry, only_name) {
            self.release(parent);
        }
        Ok((inode, displaced.is_some()))
    }

    /// Records a further name, without counting a lookup. The parent is counted for it already; false if it has to be
    /// uncounted.
    fn add_held(&self, inode: &Inode, parent: Ino, entry: &[u8], only_name: bool) -> bool {
        let recorded = inode.reach.lock().record(only_name, parent, entry);
        self.uncount_replaced(&recorded);
        recorded != Recorded::Not
    }

    fn uncount_replaced(&self, recorded: &Recorded) {
        if let Recorded::InPlaceOf(parent) = recorded {
            self.release(*parent);
        }
    }

    /// Strikes out a name that is gone.
    pub(super) fn remove_location(&self, inode: &Inode, parent: Ino, entry: &[u8]) {
        let removed = inode.reach.lock().remove(parent, entry);
        if removed {
            self.release(parent);
        }
    }

    /// Notes that a name was moved. The kernel may forget the inode meanwhile: its names are changed in one step.
    pub(super) fn move_location(&self, inode: &Inode, from: (Ino, &[u8]), to: (Ino, &[u8])) {
        if !self.hold(to.0) {
            return self.remove_location(inode, from.0, from.1);
        }
        let (known, recorded) = {
            let mut reach = inode.reach.lock();
            let known = reach.remove(from.0, from.1);
            (
                known,
                if known {
                    reach.record(inode.kind == FileKind::Directory, to.0, to.1)
                } else {
                    Recorded::Not
                },
            )
        };
        self.uncount_replaced(&recorded);
        if recorded == Recorded::Not {
            self.release(to.0);
        }
        if known {
            self.release(from.0);
        }
    }

    /// Strikes out a name that is gone below. `fd` was opened before that; it pins the inode if there are no links
    /// any more, or none that is known.
    pub(in crate::vault) fn strike(
        &self,
        inode: &Arc<Inode>,
        parent: Ino,
        entry: &[u8],
        fd: OwnedFd,
        links: Links,
    ) {
        let (removed, spare) = {
            let mut reach = inode.reach.lock();
            let removed = reach.remove(parent, entry);
            let nameless = reach.first.is_none();
            let fd = reach.pin.fd().unwrap_or_else(|| Arc::new(fd));
            if links == Links::None {
                reach.pin = Pin::Gone(fd);
            } else if nameless && !matches!(reach.pin, Pin::Gone(_)) {
                reach.pin = Pin::Spare(fd);
            }
            (removed, nameless && links == Links::Others)
        };
        if removed {
            self.release(parent);
        }
        if spare {
            self.limit_spare_pins(inode);
        }
    }

    /// As [`Table::strike`], for an inode whose name another one has now: it has to be reached no more, but its number is
    /// to be that of another inode not before the kernel had time to forget it.
    pub(in crate::vault) fn strike_replaced(
        &self,
        inode: &Arc<Inode>,
        parent: Ino,
        entry: &[u8],
        fd: OwnedFd,
    ) {
        inode.reach.lock().pin = Pin::Spare(Arc::new(fd));
        self.remove_location(inode, parent, entry);
        self.limit_spare_pins(inode);
    }

    fn limit_spare_pins(&self, newest: &Arc<Inode>) {
        let mut spared = Vec::new();
        {
            let mut pins = self.spare_pins.lock();
            pins.push_back(Arc::downgrade(newest));
            while pins.len() > self.spare_pins_max {
                spared.extend(pins.pop_front());
            }
        }
        for inode in spared.iter().filter_map(Weak::upgrade) {
            inode.spare_pin();
        }
    }

    /// Counts a lookup of an inode by its number alone: one that isn't known yet is entered without a name, so
    /// that a lookup from now on finds it, and with it its `file` slot. The caller has a descriptor
    /// of the lower file, which keeps the number from passing to another, and forgets the lookup again.
    pub(in crate::vault) fn adopt(&self, ino: Ino, kind: FileKind, generation: NodeGeneration) -> Arc<Inode> {
        let mut shard = self.shard(ino).lock();
        let inode = shard
            .entry(ino)
            .or_insert_with(|| Arc::new(Inode::new(ino, kind, generation, Capability::Possible)));
        inode.lookups.fetch_add(1, Ordering::Relaxed);
        inode.clone()
    }

    /// The kernel forgets `n` lookups. Returns the inode if that was the last of it.
    pub(in crate::vault) fn forget(&self, ino: Ino, n: u64) -> Option<Arc<Inode>> {
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
        let mut parents: Vec<Ino> = gone.reach.lock().leave().collect();
        while let Some(parent) = parents.pop() {
            if let Some(inode) = self.release_one(parent) {
                parents.extend(inode.reach.lock().leave());
            }
        }
    }

    /// Gives up memory that inodes no longer known have left.
    pub(in crate::vault) fn shrink(&self) {
        for shard in &self.shards {
            let mut shard = shard.lock();
            // Some is left to grow, so that it isn't taken back at once.
            let capacity = shard.len() * 2;
            shard.shrink_to(capacity);
        }
    }

    /// All inodes that are known.
    pub(in crate::vault) fn all(&self) -> Vec<Arc<Inode>> {
        self.shards.iter().flat_map(|shard| shard.lock().values().cloned().collect::<Vec<_>>()).collect()
    }

    /// How many inodes are known.
    pub(in crate::vault) fn len(&self) -> usize {
        self.shards.iter().map(|s| s.lock().len()).sum()
    }
}

#[cfg(test)]
mod tests;
