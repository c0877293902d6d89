//! The mtime of an open file that the kernel knows (`times` says why it is kept), and that of the lower file.

use std::sync::atomic::AtomicBool;

use parking_lot::Mutex;

use crate::ids::Time;
use crate::storage::LowerFs;

/// The mtime that the kernel knows, and whether the lower file may have another. The lock is a leaf.
pub(super) struct Mtime {
    pub(super) known: Mutex<Known>,
    pub(super) moved: AtomicBool,
    /// See [`Known::to_put_back`].
    marks_changes: bool,
}

/// Of a file that nothing has changed since.
pub(super) struct Known {
    /// What the kernel has.
    pub(super) kernel: Time,
    /// What the lower file had.
    pub(super) lower: Time,
}

impl Known {
    /// Both are the same.
    pub(super) fn same(time: Time) -> Self {
        Self { kernel: time, lower: time }
    }

    /// Whether the lower file has what the kernel has, or one that changes in the same tick have made of it.
    fn is_kept_below(&self) -> bool {
        let later = self.lower.nanos.checked_sub(self.kernel.nanos);
        self.lower.secs == self.kernel.secs && later.is_some_and(|nanos| nanos < 1_000_000)
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
        if self.marks_changes && known.is_kept_below() {
            LowerFs::just_after(known.lower)
        } else {
            known.kernel
        }
    }
}
