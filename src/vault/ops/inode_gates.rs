//! Gates of inodes: shared by whatever opens or changes a file by its inode, closed for the moments in which a
//! file is about to be, or is, replaced by another one under its name. Striped by inode number; taken
//! once by an operation (`lock_order`).

use std::collections::HashSet;

use parking_lot::{Mutex, RwLock, RwLockReadGuard, RwLockWriteGuard};

use crate::ids::Ino;
use crate::vault::lock_order::{OfGate, Ordered, OrderedGuard};

const STRIPES: usize = 256;

type Gate = Ordered<OfGate, RwLock<()>>;

pub(in crate::vault) struct InodeGates {
    stripes: Box<[Gate]>,
    claimed: Mutex<HashSet<Ino>>,
}

/// The right to replace an inode, until it is dropped.
pub(in crate::vault) struct Claim<'a> {
    gates: &'a InodeGates,
    ino: Ino,
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        self.gates.claimed.lock().remove(&self.ino);
    }
}

impl Default for InodeGates {
    fn default() -> Self {
        let stripes = (0..STRIPES).map(|_| Gate::rwlock(())).collect();
        Self { stripes, claimed: Mutex::default() }
    }
}

impl InodeGates {
    /// The right to replace an inode; `None`: someone else is at it.
    pub(in crate::vault) fn claim(&self, ino: Ino) -> Option<Claim<'_>> {
        let new = self.claimed.lock().insert(ino);
        // Made only if it is ours: dropping one gives the claim up.
        new.then(|| Claim { gates: self, ino })
    }

    /// Held by an operation from before it looks for the inode until it is done with it.
    pub(in crate::vault) fn enter(&self, ino: Ino) -> OrderedGuard<RwLockReadGuard<'_, ()>> {
        self.of(ino).read()
    }

    /// Waits for those who are in, and keeps others out.
    pub(in crate::vault) fn close(&self, ino: Ino) -> OrderedGuard<RwLockWriteGuard<'_, ()>> {
        self.of(ino).write()
    }

    fn of(&self, ino: Ino) -> &Gate {
        &self.stripes[(ino.0.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as usize % STRIPES]
    }
}
