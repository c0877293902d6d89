//! The mtime of an open file that the kernel knows (`times` says why it is kept), and that of the lower file.

use std::sync::atomic::AtomicBool;

use parking_lot::Mutex;

use crate::ids::Time;
use crate::storage::LowerFs;

/// The mtime that the kernel knows, and whether the lower file may have another. The lock is a leaf.
pub(super) struct Mtime {
    pub(super) known: Mutex<Known>,
    pub(super) moved: AtomicBool,
    /// See [`Mtime::to_put_back`].
    marks_changes: bool,
}

/// What the kernel has, and what the lower file has been given for it.
pub(super) struct Known {
    pub(super) kernel: Time,
    /// None: nothing yet.
    pub(super) lower: Option<Time>,
}

impl Known {
    /// Both are the same.
    pub(super) fn same(time: Time) -> Self {
        Self { kernel: time, lower: Some(time) }
    }

    /// The kernel has said this one, and the lower file gets it later.
    pub(super) fn announce(&mut self, time: Time) {
        if self.kernel != time {
            *self = Self { kernel: time, lower: None };
        }
    }
}

impl Mtime {
    /// The lower file has the one that the kernel knows, or is about to learn. `marks_changes`: other hosts may have it open,
    /// and see changes by nothing else.
    pub(super) fn new(known: Time, marks_changes: bool) -> Self {
        Self { known: Mutex::new(Known::same(known)), moved: AtomicBool::new(false), marks_changes }
    }

    /// The mtime that the lower file gets after a change of content: the kernel's. A change in the same tick of the kernel's clock as
    /// the one before it has none of its own: where others would not see it, it is later than what the lower file had.
    pub(super) fn to_put_back(&self, known: &Known) -> Time {
        match known.lower {
            Some(lower) if self.marks_changes => LowerFs::just_after(lower),
            _ => known.kernel,
        }
    }
}
