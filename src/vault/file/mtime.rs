//! The mtime of an open file that the kernel knows (`times` says why it is kept).

use std::sync::atomic::AtomicBool;

use parking_lot::Mutex;

use crate::ids::Time;

/// The mtime that the kernel knows, and whether the lower file may have another. The lock is a leaf.
pub(super) struct Mtime {
    pub(super) known: Mutex<Time>,
    pub(super) moved: AtomicBool,
}

impl Mtime {
    /// The lower file has the one that the kernel knows, or is about to learn.
    pub(super) fn new(known: Time) -> Self {
        Self { known: Mutex::new(known), moved: AtomicBool::new(false) }
    }
}
