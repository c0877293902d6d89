//! What the threads beside the requests call: each waits for work of its own until the queues are closed.

use std::time::Duration;

use crate::ids::Ino;
use crate::sys;
use crate::vault::Vault;

impl Vault {
    /// Waits for stale files that were opened, at most `max` of them and at most `timeout`; `None` once the
    /// vault is closing.
    pub fn next_stale(&self, max: usize, timeout: Duration) -> Option<Vec<Ino>> {
        self.stale.pop(max, timeout)
    }

    /// Holds re-wraps back, or lets them go on: the mount is read-only for a while. Files that are opened meanwhile are queued.
    pub fn hold_rewraps(&self, held: bool) {
        self.stale.hold(held);
    }

    /// Whether re-wraps are held back.
    pub fn rewraps_are_held(&self) -> bool {
        self.stale.is_held()
    }

    /// Whether a regular file is open.
    pub fn has_open_files(&self) -> bool {
        !self.handles.is_empty()
    }

    /// Stale files that wait for their re-wrap.
    pub fn stale_waiting(&self) -> usize {
        self.stale.len()
    }

    /// Wakes all that wait in [`Vault::next_stale`], [`Vault::trim_heap`] or [`Vault::run_deferred_close`], for good.
    pub fn close_queues(&self) {
        self.stale.close();
        self.forgets.close();
        self.deferred_close.close();
    }

    /// Gives memory back to the system each time the kernel has forgotten many inodes, until
    /// [`Vault::close_queues`].
    pub fn trim_heap(&self) {
        while self.forgets.wait() {
            self.tree.inodes.shrink();
            self.census.shrink();
            self.file_ids.shrink();
            sys::trim_heap();
        }
    }

    /// Closes removed files that the kernel has forgotten, until [`Vault::close_queues`].
    pub fn run_deferred_close(&self) {
        self.deferred_close.serve();
    }
}
