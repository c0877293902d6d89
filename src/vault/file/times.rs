//! Whose mtime counts. With the writeback cache the kernel has the time stamps of a file, shows them, and sends
//! SETATTR when one of them has changed; its writes come later and move the lower mtime. A write in the tick of
//! the clock in which the file was made, or written back already, changes nothing for the kernel: it sends no
//! SETATTR, and what it shows would be another time once it has forgotten the inode. So what it knows is kept
//! here and put back when it is done: at the last close, before an fsync, and at each close where other hosts read.

use std::sync::atomic::Ordering;

use super::OpenFile;
use super::mtime::Known;
use crate::ids::{Time, TimeChange};
use crate::storage::{self, Errno};
use crate::vault::{Result, Vault};

impl Vault {
    /// Says, as the session begins, whether the kernel keeps time stamps of regular files itself and sends the
    /// changes: as it does with the writeback cache.
    pub fn set_kernel_keeps_times(&self, keeps: bool) {
        self.kernel_keeps_times.store(keeps, Ordering::Relaxed);
    }

    /// Called after each change of content or size, whether it succeeded or not.
    pub(super) fn mtime_moved(&self, file: &OpenFile) {
        self.record_mtime_moved(file);
        // The kernel may write after the last close that it announced.
        self.put_mtime_back_if_closed(file);
    }

    /// As [`Vault::mtime_moved`], where the caller sets the mtime next, or opens a handle, and puts it back after that.
    pub(super) fn record_mtime_moved(&self, file: &OpenFile) {
        if self.kernel_keeps_times.load(Ordering::Relaxed) {
            file.mtime.moved.store(true, Ordering::Release);
        }
    }

    /// At the last close, and at the end of what works on a file without a handle.
    pub(in crate::vault) fn put_mtime_back_if_closed(&self, file: &OpenFile) {
        if file.handles.load(Ordering::Relaxed) == 0 {
            file.put_mtime_back();
        }
    }
}

impl OpenFile {
    /// Sets times, not while a re-wrap is between taking and restoring them.
    ///
    /// # Errors
    /// What the lower filesystem says.
    pub(in crate::vault) fn set_times(&self, atime: TimeChange, mtime: TimeChange) -> Result<()> {
        let _state = self.state.read();
        let mut known = self.mtime.known.lock();
        let (later, mtime) = match mtime {
            // JuiceFS's clients look anew at a file whose mtime is another one: not before its data can be seen. The close, or an fsync, does it.
            TimeChange::At(time)
                if self.hands_over
                    && self.handles.load(Ordering::Relaxed) > 0
                    && self.has_more_to_hand_over() =>
            {
                (Some(time), TimeChange::Keep)
            }
            mtime => (None, mtime),
        };
        if let Some(time) = later {
            known.announce(time);
            self.mtime.moved.store(true, Ordering::Release);
            if atime == TimeChange::Keep {
                return Ok(());
            }
        }
        // Before: a write that comes in between moves it again.
        let moved = mtime != TimeChange::Keep && self.mtime.moved.swap(false, Ordering::AcqRel);
        if let Err(e) = storage::set_times_as_writer(self.fd(), atime, mtime) {
            self.mtime.moved.fetch_or(moved, Ordering::AcqRel);
            // The kernel says when it has written to a file of another owner, whose times only that one sets: the
            // write itself has moved the lower mtime.
            if !(moved && atime == TimeChange::Keep && e == Errno::PERM) {
                return Err(e.into());
            }
        }
        match mtime {
            TimeChange::At(time) => *known = Known::same(time),
            TimeChange::Now => *known = Known::same(storage::fstat(self.fd())?.mtime),
            TimeChange::Keep => {}
        }
        Ok(())
    }

    /// Whether the kernel has this mtime, and nothing has moved the lower one since it was that.
    pub(in crate::vault) fn has_mtime(&self, mtime: Time) -> bool {
        !self.mtime.moved.load(Ordering::Acquire) && self.mtime.known.lock().kernel == mtime
    }

    /// Gives the lower file the mtime that the kernel knows, if a change of content has moved it since. Not a
    /// failure of whatever calls: the data is there, and the time is that of its way to the lower file.
    pub(super) fn put_mtime_back(&self) {
        if !self.mtime.moved.swap(false, Ordering::Acquire) {
            return;
        }
        let _state = self.state.read();
        let mut known = self.mtime.known.lock();
        let time = self.mtime.to_put_back(&known);
        match storage::set_times(self.fd(), TimeChange::Keep, TimeChange::At(time)) {
            Ok(()) => known.lower = Some(time),
            Err(e) => {
                self.mtime.moved.store(true, Ordering::Release);
                tracing::debug!(ino = self.ino.0, "an mtime could not be put back: {e}");
            }
        }
    }
}
