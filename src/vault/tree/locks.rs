//! Locks of directories: read-write locks striped by inode number.
//!
//! Stripes are taken ascending, each once, all of an operation in one call of [`DirLocks::lock`]; `lock_order` has
//! what may be held before and after that.
//!
//! Shared: lookup, create, and whatever reaches an inode by its lower name (so that the name leads to that
//! inode until it is done). Exclusive: remove, rename, long names' companions, storing of records.

use parking_lot::{RwLock, RwLockReadGuard, RwLockWriteGuard};

use crate::ids::Ino;
use crate::vault::lock_order::{Hold, Rank};

const STRIPES: usize = 256;
/// The most that one operation locks: both parents of a rename, and a directory on either side.
const MOST: usize = 4;

/// How a directory is locked.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(in crate::vault) enum Mode {
    Shared,
    Exclusive,
}

enum Guard<'a> {
    Shared { _guard: RwLockReadGuard<'a, ()> },
    Exclusive { _guard: RwLockWriteGuard<'a, ()> },
}

/// Locks held; released when dropped.
#[must_use]
pub(in crate::vault) struct Guards<'a> {
    _held: [Option<Guard<'a>>; MOST],
    _hold: Hold,
}

/// The stripes.
pub(in crate::vault) struct DirLocks {
    stripes: Box<[RwLock<()>]>,
}

impl DirLocks {
    pub(in crate::vault) fn new() -> Self {
        Self { stripes: (0..STRIPES).map(|_| RwLock::new(())).collect() }
    }

    /// Locks one directory.
    pub(in crate::vault) fn one(&self, dir: Ino, mode: Mode) -> Guards<'_> {
        let mut held = [const { None }; MOST];
        let hold = Hold::begin(Rank::Directories);
        held[0] = Some(self.take(stripe(dir), mode));
        Guards { _held: held, _hold: hold }
    }

    /// Locks several directories, at most four; those that share a stripe are locked once, in the stronger mode.
    pub(in crate::vault) fn lock(&self, wanted: &[(Ino, Mode)]) -> Guards<'_> {
        let mut stripes: [Option<(usize, Mode)>; MOST] = [None; MOST];
        for (slot, (dir, mode)) in stripes.iter_mut().zip(wanted) {
            *slot = Some((stripe(*dir), *mode));
        }
        // Empty slots first; then by stripe, the stronger mode last.
        stripes.sort_unstable();
        let hold = Hold::begin(Rank::Directories);
        let mut held = [const { None }; MOST];
        for i in 0..MOST {
            let Some((index, mode)) = stripes[i] else { continue };
            let again = stripes.get(i + 1).is_some_and(|next| next.is_some_and(|(n, _)| n == index));
            if !again {
                held[i] = Some(self.take(index, mode));
            }
        }
        Guards { _held: held, _hold: hold }
    }

    fn take(&self, index: usize, mode: Mode) -> Guard<'_> {
        match mode {
            Mode::Shared => Guard::Shared { _guard: self.stripes[index].read() },
            Mode::Exclusive => Guard::Exclusive { _guard: self.stripes[index].write() },
        }
    }
}

fn stripe(dir: Ino) -> usize {
    // Fibonacci hashing: neighbouring inode numbers go to different stripes.
    (dir.0.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as usize % STRIPES
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_stripe_is_locked_once_in_the_stronger_mode() {
        let locks = DirLocks::new();
        let a = Ino(7);
        let twin = (8..).map(Ino).find(|i| stripe(*i) == stripe(a)).unwrap();
        let guards = locks.lock(&[(a, Mode::Shared), (twin, Mode::Exclusive), (a, Mode::Shared)]);
        assert!(locks.stripes[stripe(a)].try_read().is_none());
        drop(guards);
        let guards = locks.lock(&[(a, Mode::Shared), (twin, Mode::Shared)]);
        assert!(locks.stripes[stripe(a)].try_read().is_some());
        assert!(locks.stripes[stripe(a)].try_write().is_none());
        drop(guards);
        assert!(locks.stripes.iter().all(|s| s.try_write().is_some()));
    }
}
