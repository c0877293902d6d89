//! The blocks in which the last writes to an open file began or ended, as they are below: a write that goes on there, as an append or the
//! next request of a large write does, takes them from memory. Reading back what was written just now costs a call, and where the lower
//! filesystem is remote it has its client send that first. There more than one are kept: of the requests of a large write several are
//! served at once, in any order.
//!
//! **They are what is below, byte for byte.** A write takes a block out before it changes it, and puts it in once it is below.
//! Whatever else changes an open file drops them ([`Vault::changing`]), and so does whatever loads the file again; after a
//! failed write-out they aren't used. They are ciphertext, which is authenticated each time that it is used: no key and no plaintext
//! stays in memory by them.
//!
//! Its lock is a leaf. Who takes a block from here, or changes one, has locked the block, or the inode exclusively.
//!
//! [`Vault::changing`]: crate::vault::Vault

use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;

use crate::ids::PageIndex;

/// How many blocks are kept of a file.
pub(super) const MOST: usize = 1;
/// How many where a call may be a round trip: more than boundaries of requests that threads of a mount serve at once.
pub(super) const MOST_OF_REMOTE: usize = 8;

/// See the module.
#[derive(Default)]
pub(super) struct Kept(Mutex<Vec<Block>>);

/// How many of all files, about: 16 MiB.
const ALL: usize = 4096;

/// How many there are of all files.
static THERE_ARE: AtomicUsize = AtomicUsize::new(0);

struct Block {
    page: PageIndex,
    /// Its lower bytes.
    lower: Vec<u8>,
    _counted: Counted,
}

struct Counted;

impl Counted {
    fn new() -> Self {
        THERE_ARE.fetch_add(1, Ordering::Relaxed);
        Self
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        THERE_ARE.fetch_sub(1, Ordering::Relaxed);
    }
}

fn is_room() -> bool {
    THERE_ARE.load(Ordering::Relaxed) < ALL
}

impl Block {
    fn of(page: PageIndex, lower: &[u8], mut buffer: Vec<u8>) -> Self {
        buffer.clear();
        buffer.extend_from_slice(lower);
        Self { page, lower: buffer, _counted: Counted::new() }
    }
}

impl Kept {
    /// Copies a block to `lower`, which has its length; `false` if it isn't here.
    pub(super) fn copy(&self, page: PageIndex, lower: &mut [u8]) -> bool {
        let blocks = self.0.lock();
        let found = blocks.iter().find(|block| block.page == page && block.lower.len() == lower.len());
        if let Some(block) = found {
            lower.copy_from_slice(&block.lower);
        }
        found.is_some()
    }

    /// Keeps a block, in the place of the oldest one if there are too many: these are its bytes below.
    pub(super) fn keep(&self, page: PageIndex, lower: &[u8], most: usize) {
        let mut blocks = self.0.lock();
        blocks.retain(|block| block.page != page);
        let room = is_room();
        let buffer = if blocks.len() >= most || (!room && !blocks.is_empty()) {
            blocks.remove(0).lower
        } else if room {
            Vec::new()
        } else {
            return;
        };
        blocks.push(Block::of(page, lower, buffer));
    }

    /// Keeps a block that is less likely to be asked for than the others, which are in need of its place.
    pub(super) fn keep_if_room(&self, page: PageIndex, lower: &[u8], most: usize) {
        let mut blocks = self.0.lock();
        blocks.retain(|block| block.page != page);
        if blocks.len() < most && is_room() {
            blocks.insert(0, Block::of(page, lower, Vec::new()));
        }
    }

    /// Nobody writes any more.
    pub(super) fn clear(&self) {
        *self.0.lock() = Vec::new();
    }

    /// These blocks are about to change.
    pub(super) fn forget(&self, pages: &RangeInclusive<PageIndex>) {
        self.0.lock().retain(|block| !pages.contains(&block.page));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Which of the pages 0 to 9 are kept, each filled with its number.
    fn pages(kept: &Kept) -> Vec<u64> {
        let is = |page: &u64| {
            let mut lower = [0; 3];
            let is = kept.copy(PageIndex(*page), &mut lower);
            assert!(!is || lower == [*page as u8; 3]);
            is
        };
        (0..10).filter(is).collect()
    }

    fn keep(kept: &Kept, page: u64, most: usize) {
        kept.keep(PageIndex(page), &[page as u8; 3], most);
    }

    #[test]
    fn a_block_is_kept_until_it_changes_or_too_many_came_later() {
        let kept = Kept::default();
        for page in [7, 4, 6, 7] {
            keep(&kept, page, 3);
        }
        assert_eq!(pages(&kept), [4, 6, 7]);
        keep(&kept, 5, 3);
        assert_eq!(pages(&kept), [5, 6, 7], "the oldest goes");
        kept.keep_if_room(PageIndex(8), &[8; 3], 3);
        assert_eq!(pages(&kept), [5, 6, 7]);
        kept.keep_if_room(PageIndex(8), &[8; 3], 4);
        keep(&kept, 9, 4);
        assert_eq!(pages(&kept), [5, 6, 7, 9], "it goes first");
        kept.forget(&(PageIndex(8)..=PageIndex(8)));
        kept.forget(&(PageIndex(3)..=PageIndex(6)));
        kept.forget(&(PageIndex(9)..=PageIndex(9)));
        assert_eq!(pages(&kept), [7]);
        keep(&kept, 8, 1);
        assert_eq!(pages(&kept), [8]);
        kept.keep(PageIndex(8), &[9; 3], 1);
        let mut lower = [0; 3];
        assert!(kept.copy(PageIndex(8), &mut lower) && lower == [9; 3], "as it is now");
    }
}
