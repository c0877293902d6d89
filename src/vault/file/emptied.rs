//! Files that were truncated to zero since the mount was made, and what their last header said: the next one is wrapped
//! as a re-wrap would have wrapped that, under the alias that it followed. If the directory decided, someone
//! who has a link to the file in a directory of his own could choose the key of what is written next.
//!
//! In memory alone: after a crash, or the next mount, an empty file is as a new one.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;

use crate::header::SlotKeys;
use crate::ids::Ino;

/// These files. The lock is a leaf.
#[derive(Default)]
pub(in crate::vault) struct Emptied {
    /// How many there are: mostly none, which each new file asks.
    count: AtomicUsize,
    files: Mutex<HashMap<Ino, SlotKeys>>,
}

impl Emptied {
    /// The file has been truncated to zero; this was its header.
    pub(super) fn note(&self, ino: Ino, last: SlotKeys) {
        let mut files = self.files.lock();
        files.insert(ino, last);
        self.count.store(files.len(), Ordering::SeqCst);
    }

    /// What the last header of an empty file said, if it had one.
    pub(in crate::vault) fn last(&self, ino: Ino) -> Option<SlotKeys> {
        if self.count.load(Ordering::SeqCst) == 0 {
            return None;
        }
        self.files.lock().get(&ino).copied()
    }

    /// The file has a header again, is gone, or is another one.
    pub(in crate::vault) fn forget(&self, ino: Ino) {
        if self.count.load(Ordering::SeqCst) == 0 {
            return;
        }
        let mut files = self.files.lock();
        files.remove(&ino);
        if files.capacity() > 1024 && files.len() * 4 < files.capacity() {
            files.shrink_to_fit();
        }
        self.count.store(files.len(), Ordering::SeqCst);
    }
}
