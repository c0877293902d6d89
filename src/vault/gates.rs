//! Gates of inodes: shared by whatever opens or changes a file by its inode, closed for the moments in which a
//! file is about to be, or is, replaced by another one under its name. Striped by inode number; taken before
//! every other lock, and once by an operation.

use parking_lot::{RwLock, RwLockReadGuard, RwLockWriteGuard};

use crate::ids::Ino;

const STRIPES: usize = 256;

pub(super) struct Gates(Box<[RwLock<()>]>);

impl Default for Gates {
    fn default() -> Self {
        Self((0..STRIPES).map(|_| RwLock::new(())).collect())
    }
}

impl Gates {
    /// Held by an operation from before it looks for the inode until it is done with it.
    pub(super) fn enter(&self, ino: Ino) -> RwLockReadGuard<'_, ()> {
        self.of(ino).read()
    }

    /// Waits for those who are in, and keeps others out.
    pub(super) fn close(&self, ino: Ino) -> RwLockWriteGuard<'_, ()> {
        self.of(ino).write()
    }

    fn of(&self, ino: Ino) -> &RwLock<()> {
        &self.0[(ino.0.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as usize % STRIPES]
    }
}
