//! Block locks: a fixed table of mutexes by hash of inode and page. A write holds those of its first and
//! last block, which it may have to read, change and seal again; blocks between are written whole.

use parking_lot::{Mutex, MutexGuard};

use crate::ids::{Ino, PageIndex};

const STRIPES: usize = 1024;

pub(in crate::vault) struct Stripes(Box<[Mutex<()>]>);

impl Default for Stripes {
    fn default() -> Self {
        Self((0..STRIPES).map(|_| Mutex::new(())).collect())
    }
}

impl Stripes {
    /// Locks the stripes of two blocks of one file, in ascending order, once if they are the same.
    pub(super) fn lock(
        &self,
        ino: Ino,
        first: PageIndex,
        last: PageIndex,
    ) -> (MutexGuard<'_, ()>, Option<MutexGuard<'_, ()>>) {
        let (a, b) = (index(ino, first), index(ino, last));
        let low = self.0[a.min(b)].lock();
        (low, (a != b).then(|| self.0[a.max(b)].lock()))
    }
}

fn index(ino: Ino, page: PageIndex) -> usize {
    // Fibonacci hashing: neighbouring pages and inodes fall on different stripes.
    let mixed = (ino.0 ^ page.0.rotate_left(32)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    (mixed >> 54) as usize % STRIPES
}
