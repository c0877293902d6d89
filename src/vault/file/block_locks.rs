//! Range locks of one file: a write inside it holds all blocks that it touches, from before it reads what it changes of
//! its ends until all is written. With its ends alone held, a small write inside a large one reads a block, which
//! the large one replaces, and puts it back.
//!
//! A thread waits for the ranges that were asked for before its own and overlap it, whether they are held or waited for:
//! none starves, and as each waits for earlier ones only, there is no deadlock. Ranges that don't overlap are held side by
//! side.

use parking_lot::{Condvar, Mutex};

use crate::ids::PageIndex;
use crate::vault::lock_order::{Hold, Rank};

#[derive(Default)]
pub(in crate::vault) struct BlockLocks {
    queue: Mutex<Claims>,
    freed: Condvar,
}

#[derive(Default)]
struct Claims {
    next: u64,
    /// Those who hold and those who wait, in no order: no more than there are threads. Its memory is kept, so that
    /// only a file's first write inside it allocates.
    all: Vec<Claim>,
    waiting: usize,
}

#[derive(Clone, Copy)]
struct Claim {
    number: u64,
    first: PageIndex,
    last: PageIndex,
}

impl Claim {
    fn waits_for(&self, other: &Self) -> bool {
        other.number < self.number && other.first <= self.last && self.first <= other.last
    }
}

/// A range that is held, until it is dropped.
#[must_use]
pub(in crate::vault) struct BlockLock<'a> {
    ranges: &'a BlockLocks,
    number: u64,
    _hold: Hold,
}

impl BlockLocks {
    /// Locks the blocks from `first` to `last`. The caller holds the inode lock, and no other range of this file.
    pub(in crate::vault) fn lock(&self, first: PageIndex, last: PageIndex) -> BlockLock<'_> {
        let hold = Hold::begin(Rank::Blocks);
        let mut queue = self.queue.lock();
        let claim = Claim { number: queue.next, first, last };
        queue.next += 1;
        queue.all.push(claim);
        while queue.all.iter().any(|other| claim.waits_for(other)) {
            queue.waiting += 1;
            self.freed.wait(&mut queue);
            queue.waiting -= 1;
        }
        BlockLock { ranges: self, number: claim.number, _hold: hold }
    }
}

impl Drop for BlockLock<'_> {
    fn drop(&mut self) {
        let mut queue = self.ranges.queue.lock();
        if let Some(at) = queue.all.iter().position(|claim| claim.number == self.number) {
            queue.all.swap_remove(at);
        }
        if queue.waiting > 0 {
            self.ranges.freed.notify_all();
        }
    }
}

#[cfg(test)]
mod tests;
