//! The order of the vault's locks, first to last; nothing is taken against it, nor twice by one thread where it isn't
//! said otherwise:
//!
//! 1. re-wraps under way, then moves under way (`Vault::rewraps`, [`super::key_usage::moves::Moves`]);
//! 2. an inode's gate ([`super::ops::inode_gates`]);
//! 3. an inode's `file` slot: opening a file holds it while it looks for the file by name;
//! 4. directory locks, all of an operation in one call, by ascending stripes ([`super::tree::locks`]), then a directory
//!    handle's stream;
//! 5. the inode lock (`OpenFile::state`);
//! 6. a range of the file's blocks;
//! 7. leaves, held for a few instructions and one at a time: inode table shards, an inode's place, directory cache,
//!    handles, census, file ids, pages known to hold data, a block that is kept, queue of stale
//!    files, count of forgotten inodes, queue of removed files.
//!
//! In debug builds the locks of 2 to 6 check it each time that they are taken, before they wait: what could deadlock
//! once in a million runs panics in the first one.

use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};

use parking_lot::{Mutex, MutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard};

/// A place in the order.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Rank {
    Gate,
    FileSlot,
    Directories,
    Inode,
    Blocks,
}

/// Says that this thread holds a lock of a rank, or waits for it, until it is dropped. Nothing in release builds.
pub(super) struct Hold {
    #[cfg(debug_assertions)]
    rank: Rank,
    /// Locks are given up by the thread that took them.
    here: PhantomData<*const ()>,
}

#[cfg(debug_assertions)]
thread_local! {
    static HELD: std::cell::RefCell<Vec<Rank>> = const { std::cell::RefCell::new(Vec::new()) };
}

impl Hold {
    /// To be called before a lock of this rank is waited for.
    #[cfg(debug_assertions)]
    pub(super) fn begin(rank: Rank) -> Self {
        let last = HELD.with_borrow(|held| held.iter().max().copied());
        // Ranges of blocks are given out in the order in which they were asked for: none waits in a circle.
        let fits = |last: Rank| last < rank || (last == rank && rank == Rank::Blocks);
        assert!(last.is_none_or(fits), "lock order: {rank:?} while {last:?} is held");
        HELD.with_borrow_mut(|held| held.push(rank));
        Self { rank, here: PhantomData }
    }

    /// To be called before a lock of this rank is waited for.
    #[cfg(not(debug_assertions))]
    #[inline(always)]
    pub(super) fn begin(_rank: Rank) -> Self {
        Self { here: PhantomData }
    }
}

#[cfg(debug_assertions)]
impl Drop for Hold {
    fn drop(&mut self) {
        HELD.with_borrow_mut(|held| {
            if let Some(at) = held.iter().rposition(|rank| *rank == self.rank) {
                held.swap_remove(at);
            }
        });
    }
}

/// Locks of one rank.
pub(super) trait Ranked {
    const RANK: Rank;
}

/// Rank of an inode's `file` slot.
pub(super) struct OfFileSlot;
/// Rank of the inode lock.
pub(super) struct OfInode;
/// Rank of a gate.
pub(super) struct OfGate;

impl Ranked for OfFileSlot {
    const RANK: Rank = Rank::FileSlot;
}

impl Ranked for OfInode {
    const RANK: Rank = Rank::Inode;
}

impl Ranked for OfGate {
    const RANK: Rank = Rank::Gate;
}

/// A lock of rank `R`, and a guard of it.
pub(super) struct Ordered<R, L>(L, PhantomData<R>);

/// What a lock guards, as long as it is held.
#[must_use]
pub(super) struct OrderedGuard<G> {
    guard: G,
    _hold: Hold,
}

impl<R, T> Ordered<R, Mutex<T>> {
    pub(super) fn mutex(value: T) -> Self {
        Self(Mutex::new(value), PhantomData)
    }
}

impl<R: Ranked, T> Ordered<R, Mutex<T>> {
    pub(super) fn lock(&self) -> OrderedGuard<MutexGuard<'_, T>> {
        let hold = Hold::begin(R::RANK);
        OrderedGuard { guard: self.0.lock(), _hold: hold }
    }
}

impl<R, T> Ordered<R, Mutex<T>> {
    /// Against the order, too: nothing is waited for.
    pub(super) fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        self.0.try_lock()
    }
}

impl<R, T> Ordered<R, RwLock<T>> {
    pub(super) fn rwlock(value: T) -> Self {
        Self(RwLock::new(value), PhantomData)
    }

    /// Against the order, too: nothing is waited for.
    pub(super) fn try_read(&self) -> Option<RwLockReadGuard<'_, T>> {
        self.0.try_read()
    }

    /// Against the order, too: nothing is waited for.
    pub(super) fn try_write(&self) -> Option<RwLockWriteGuard<'_, T>> {
        self.0.try_write()
    }

    pub(super) fn get_mut(&mut self) -> &mut T {
        self.0.get_mut()
    }
}

impl<R: Ranked, T> Ordered<R, RwLock<T>> {
    pub(super) fn read(&self) -> OrderedGuard<RwLockReadGuard<'_, T>> {
        let hold = Hold::begin(R::RANK);
        OrderedGuard { guard: self.0.read(), _hold: hold }
    }

    pub(super) fn write(&self) -> OrderedGuard<RwLockWriteGuard<'_, T>> {
        let hold = Hold::begin(R::RANK);
        OrderedGuard { guard: self.0.write(), _hold: hold }
    }
}

impl<G: Deref> Deref for OrderedGuard<G> {
    type Target = G::Target;
    fn deref(&self) -> &G::Target {
        &self.guard
    }
}

impl<G: DerefMut> DerefMut for OrderedGuard<G> {
    fn deref_mut(&mut self) -> &mut G::Target {
        &mut self.guard
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn panics(act: impl FnOnce() + std::panic::UnwindSafe) -> bool {
        std::panic::catch_unwind(act).is_err()
    }

    #[test]
    fn a_lock_that_is_taken_against_the_order_or_twice_is_noticed_at_once() {
        if !cfg!(debug_assertions) {
            return;
        }
        let (slot, inode) = (Hold::begin(Rank::FileSlot), Hold::begin(Rank::Inode));
        assert!(panics(|| drop(Hold::begin(Rank::FileSlot))));
        assert!(panics(|| drop(Hold::begin(Rank::Inode))));
        drop(Hold::begin(Rank::Blocks));
        // In whatever order they are given up, what is left counts.
        drop(slot);
        assert!(panics(|| drop(Hold::begin(Rank::Directories))));
        drop(inode);
        drop(Hold::begin(Rank::Gate));
    }
}
