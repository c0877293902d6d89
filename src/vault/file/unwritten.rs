//! Files that hold pages which the kernel could not write back because their key couldn't be used (`write_back`).

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

use parking_lot::Mutex;

use crate::ids::{Ino, PlainOffset};
use crate::vault::tree::inode::Inode;

/// These inodes, and where the last of them ended. The lock is a leaf.
#[derive(Default)]
pub(in crate::vault) struct Unwritten {
    any: AtomicBool,
    files: Mutex<HashMap<Ino, (Weak<Inode>, PlainOffset)>>,
}

impl Unwritten {
    pub(super) fn note(&self, inode: &Arc<Inode>, end: PlainOffset) {
        let mut files = self.files.lock();
        if files.len() == files.capacity() {
            // Numbers of inodes that are forgotten can be another file's by now.
            files.retain(|_, (inode, _)| inode.strong_count() > 0);
        }
        let known = files.entry(inode.ino).or_insert_with(|| (Arc::downgrade(inode), end));
        if known.0.upgrade().is_some_and(|known| Arc::ptr_eq(&known, inode)) {
            known.1 = known.1.max(end);
        } else {
            *known = (Arc::downgrade(inode), end);
        }
        self.any.store(true, Ordering::Release);
    }

    pub(super) fn inodes(&self) -> Vec<Arc<Inode>> {
        let mut files = self.files.lock();
        files.retain(|_, (inode, _)| inode.strong_count() > 0);
        files.values().filter_map(|(inode, _)| inode.upgrade()).collect()
    }

    pub(super) fn end_of(&self, ino: Ino) -> Option<PlainOffset> {
        self.files.lock().get(&ino).map(|(_, end)| *end)
    }

    /// The file has a size that the kernel knows of.
    pub(super) fn forget(&self, ino: Ino) {
        if self.any.load(Ordering::Acquire) {
            let mut files = self.files.lock();
            files.remove(&ino);
            self.any.store(!files.is_empty(), Ordering::Release);
        }
    }
}
