//! Which pages of an open file are known to hold data, so that a floor can be sealed without reading them.
//!
//! *Filled* is the prefix of the file whose pages aren't zeros below: they were written, or looked at, since the file
//! was loaded, or lie below the floor that it was loaded with. A sealed block is never all zeros. A filled page stays
//! so until it is made a hole: an overwrite of it leaves the old block or the new one, in a power cut too.
//!
//! *Durable* is the part of it that a sync has covered which began after the pages were filled: what a floor may say.
//! A hole that was made while a sync was under way makes what that sync covered void ([`Mark`]).
//!
//! Everything but [`Filled::hole_from`] and [`Filled::restarted`], which take the exclusive inode lock, works under the
//! shared one: no page becomes a hole meanwhile. Of pages that are written ahead of the prefix, as write-back by
//! several threads does it, some ranges are remembered; what is forgotten makes the floor lower than it could be, and
//! no more.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use crate::ids::PageCount;

/// Ranges ahead of the prefix that are remembered: more than requests are under way at a time.
const AHEAD: usize = 16;

/// See the module.
#[derive(Default)]
pub(super) struct Filled {
    prefix: AtomicU64,
    durable: AtomicU64,
    /// How often pages were made holes.
    holes: u64,
    ahead: Mutex<Ahead>,
}

/// What was filled when a sync began.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Mark {
    prefix: u64,
    holes: u64,
}

impl Filled {
    /// Of a file just loaded, whose header says this floor.
    pub(super) fn below(floor: PageCount) -> Self {
        Self { prefix: floor.0.into(), durable: floor.0.into(), ..Self::default() }
    }

    /// Of the same open file, emptied or loaded again.
    pub(super) fn restarted(&self, floor: PageCount) -> Self {
        Self { holes: self.holes + 1, ..Self::below(floor) }
    }

    /// These pages were written, or were seen to hold data.
    pub(super) fn note(&self, pages: Range<u64>) {
        if pages.end <= self.prefix.load(Ordering::Relaxed) {
            return;
        }
        let mut ahead = self.ahead.lock();
        let prefix = ahead.add(pages, self.prefix.load(Ordering::Relaxed));
        self.prefix.store(prefix, Ordering::Relaxed);
    }

    /// Pages from here on become holes.
    pub(super) fn hole_from(&mut self, first: PageCount) {
        let lower = |count: &mut AtomicU64| *count.get_mut() = (*count.get_mut()).min(first.0);
        lower(&mut self.prefix);
        lower(&mut self.durable);
        self.holes += 1;
        *self.ahead.get_mut() = Ahead::default();
    }

    /// So many pages from the first on hold data.
    pub(super) fn prefix(&self) -> PageCount {
        PageCount(self.prefix.load(Ordering::Relaxed))
    }

    /// A sync begins.
    pub(super) fn mark(&self) -> Mark {
        Mark { prefix: self.prefix().0, holes: self.holes }
    }

    /// The sync that began then has succeeded.
    pub(super) fn is_durable(&self, mark: Mark) {
        if mark.holes == self.holes {
            self.durable.fetch_max(mark.prefix, Ordering::Relaxed);
        }
    }

    /// So many pages from the first on hold data durably.
    pub(super) fn durable(&self) -> PageCount {
        PageCount(self.durable.load(Ordering::Relaxed))
    }
}

/// Disjoint ranges of filled pages behind the prefix, in no order.
#[derive(Default)]
struct Ahead {
    ranges: [Range<u64>; AHEAD],
    used: usize,
}

impl Ahead {
    /// Adds pages; returns how far the prefix reaches with them.
    fn add(&mut self, pages: Range<u64>, prefix: u64) -> u64 {
        if pages.start > prefix {
            self.keep(pages);
            return prefix;
        }
        let mut prefix = prefix.max(pages.end);
        while let Some(at) = self.ranges[..self.used].iter().position(|range| range.start <= prefix) {
            prefix = prefix.max(self.ranges[at].end);
            self.drop_at(at);
        }
        prefix
    }

    fn keep(&mut self, mut pages: Range<u64>) {
        let touching =
            |pages: &Range<u64>, range: &Range<u64>| range.start <= pages.end && pages.start <= range.end;
        while let Some(at) = self.ranges[..self.used].iter().position(|range| touching(&pages, range)) {
            let range = &self.ranges[at];
            pages = pages.start.min(range.start)..pages.end.max(range.end);
            self.drop_at(at);
        }
        if self.used == AHEAD {
            // What lies farthest is the last to be reached.
            let farthest = (0..AHEAD).max_by_key(|at| self.ranges[*at].start).unwrap_or(0);
            if self.ranges[farthest].start < pages.start {
                return;
            }
            self.drop_at(farthest);
        }
        self.ranges[self.used] = pages;
        self.used += 1;
    }

    fn drop_at(&mut self, at: usize) {
        self.used -= 1;
        self.ranges.swap(at, self.used);
    }
}

#[cfg(test)]
mod tests;
