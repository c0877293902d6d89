//! Whether a mount is used, for `mount --idle`.
//!
//! A use is a request, except two: the kernel forgets inodes by itself, and monitors ask for the room on a filesystem
//! (statfs) without using it. What the kernel answers from its caches is no request. The daemon's own work isn't either.

use std::sync::atomic::{AtomicBool, Ordering};

/// Whether there was a request lately. In the common case one load of a line that all session threads share.
#[derive(Default, Debug)]
pub struct Activity(AtomicBool);

impl Activity {
    /// There is a request.
    pub(super) fn note(&self) {
        if !self.0.load(Ordering::Relaxed) {
            self.0.store(true, Ordering::Relaxed);
        }
    }

    /// Whether there was one since the last call.
    pub fn take(&self) -> bool {
        self.0.swap(false, Ordering::Relaxed)
    }
}
