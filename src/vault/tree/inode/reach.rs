//! How an inode is reached: by its known names, or by what keeps it reachable without one.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use crate::ids::Ino;
use crate::storage::FileHandle;

/// The longest lower name, in bytes.
pub(in crate::vault) const ENTRY_MAX: usize = 255;

/// A name of an inode: the directory it is in, and its lower name there.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(in crate::vault) struct Location {
    pub(in crate::vault) parent: Ino,
    pub(in crate::vault) entry: Box<[u8]>,
}

/// A lower name copied to the stack, so that the inode isn't locked while it is used.
pub(in crate::vault) struct EntryBuf {
    len: usize,
    bytes: [u8; ENTRY_MAX],
}

impl EntryBuf {
    pub(super) fn new(entry: &[u8]) -> Self {
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

/// The known names of an inode, and its pin.
#[derive(Default)]
pub(super) struct Reach {
    pub(super) first: Option<Location>,
    /// Further hard links, those that the kernel has looked up.
    #[allow(clippy::box_collection)]
    pub(super) more: Option<Box<Vec<Location>>>,
    pub(super) pin: Pin,
    /// Its inode has left the table, and with it the names: no further one is recorded, for nobody would uncount it in its
    /// parent.
    pub(super) left: bool,
}

/// What became of a name that was to be recorded.
#[derive(PartialEq, Eq, Debug)]
pub(super) enum Recorded {
    /// It was recorded already, or the inode has left the table.
    Not,
    Added,
    /// It took the place of one in this directory.
    InPlaceOf(Ino),
}

/// What keeps an inode reachable without a known name. The descriptors are O_PATH ones.
#[derive(Clone, Default)]
pub(in crate::vault) enum Pin {
    #[default]
    None,
    /// It has no links any more.
    Gone(Arc<OwnedFd>),
    /// It has links that the kernel hasn't looked up, or doesn't have to be reached any more: it was replaced.
    Spare(Arc<OwnedFd>),
    /// As `Spare`, for want of descriptors: opened when it is needed.
    Handle(Arc<FileHandle>),
}

impl Pin {
    /// The descriptor, if it is one.
    pub(in crate::vault) fn fd(&self) -> Option<Arc<OwnedFd>> {
        match self {
            Self::Gone(fd) | Self::Spare(fd) => Some(fd.clone()),
            Self::None | Self::Handle(_) => None,
        }
    }
}

impl Reach {
    pub(super) fn all(&self) -> impl Iterator<Item = &Location> {
        self.first.iter().chain(self.more.iter().flat_map(|more| more.iter()))
    }

    /// Records a name; in the place of the first one if an inode of this kind has but one.
    pub(super) fn record(&mut self, only_name: bool, parent: Ino, entry: &[u8]) -> Recorded {
        if self.left || self.all().any(|l| l.parent == parent && *l.entry == *entry) {
            return Recorded::Not;
        }
        let location = Location { parent, entry: entry.into() };
        // Another one that is remembered was moved away behind our back.
        if only_name {
            let old = self.first.replace(location);
            return old.map_or(Recorded::Added, |old| Recorded::InPlaceOf(old.parent));
        }
        if self.first.is_none() {
            self.first = Some(location);
        } else {
            self.more.get_or_insert_default().push(location);
        }
        Recorded::Added
    }

    /// The inode leaves the table: the parents of its names, which are recorded no more.
    pub(super) fn leave(&mut self) -> impl Iterator<Item = Ino> + use<> {
        self.left = true;
        let more = self.more.take().map(|more| *more).unwrap_or_default();
        self.first.take().into_iter().chain(more).map(|l| l.parent)
    }

    pub(super) fn remove(&mut self, parent: Ino, entry: &[u8]) -> bool {
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
