//! fsync, and what the last close owes.

use std::os::fd::AsFd;
use std::sync::atomic::Ordering;

use super::floor::Pages;
use super::{OpenFile, Purpose};
use crate::ids::{Ino, LowerOffset};
use crate::storage;
use crate::vault::{Result, Sharing, SyncScope, Vault};

impl Vault {
    /// Makes a file durable. When it returns, nothing written before it began can be lost in a power cut.
    ///
    /// # Errors
    /// What the lower filesystem says; a failed fsync promises nothing.
    pub fn fsync(&self, ino: Ino, scope: SyncScope) -> Result<()> {
        let inode = self.inode(ino)?;
        // Its key need not be usable: what was written before must become durable all the same.
        match inode.opened() {
            Some(file) => {
                if scope == SyncScope::All {
                    // What it fails with is reported below.
                    if self.hand_over(&file).is_ok() {
                        file.put_mtime_back();
                    }
                }
                file.sync(scope)
            }
            None => self.file_of(&inode, Purpose::Read)?.sync(scope),
        }
    }

    /// Whether a close is to call [`Vault::flush`].
    pub fn flushes_at_close(&self) -> bool {
        self.sharing == Sharing::Writer
    }

    /// Hands what was written to a file to the lower filesystem's servers, before a close of it returns: an open that begins on
    /// another host after that sees it. It promises no more than a close does.
    ///
    /// # Errors
    /// What the lower filesystem says; the next fsync reports it too.
    pub fn flush(&self, ino: Ino) -> Result<()> {
        let Some(file) = self.inode(ino)?.opened() else { return Ok(()) };
        self.hand_over(&file)?;
        // The kernel doesn't wait for the release that would do it.
        file.put_mtime_back();
        Ok(())
    }

    /// Hands over what was written to a file, where other hosts read, before its mtime is set. JuiceFS's clients see by the mtime
    /// alone that they must look anew: one that looked between the two, when there was the mtime and not yet the data, would
    /// show zeros, or what was there before, until the file is changed again.
    ///
    /// # Errors
    /// What the lower filesystem says; the next fsync reports it too.
    fn hand_over(&self, file: &OpenFile) -> Result<()> {
        if !self.flushes_at_close() {
            return Ok(());
        }
        // Those that end while it syncs are for the next one.
        let changes = file.changes.load(Ordering::Acquire);
        if file.flushed_changes.load(Ordering::Acquire) < changes {
            file.flush()?;
            file.flushed_changes.fetch_max(changes, Ordering::AcqRel);
        }
        Ok(())
    }

    /// Makes durable what a walk over all files has seen, and what it has not: a power cut brings back no file, with an
    /// old header, that was emptied or removed before.
    ///
    /// # Errors
    /// What the lower filesystem says.
    pub fn make_durable(&self) -> Result<()> {
        if self.read_only() {
            return Ok(());
        }
        Ok(storage::syncfs(self.tree.dir(Ino::ROOT)?.fd())?)
    }

    /// Whether closing a handle of the file may have to wait for the disk, to make a truncate durable.
    pub fn release_may_sync(&self, ino: Ino) -> bool {
        let open = self.inode(ino).ok().and_then(|inode| inode.file.lock().upgrade());
        open.is_some_and(|file| file.state.read().truncate_unsynced())
    }

    /// Makes a truncate durable before the file's last user closes it: the next load takes its size for
    /// durable.
    pub(in crate::vault) fn sync_pending_truncate(&self, file: &OpenFile) -> Result<()> {
        let last = file.handles.load(Ordering::Relaxed) == 0;
        if last && file.state.read().truncate_unsynced() { file.sync(SyncScope::Data) } else { Ok(()) }
    }
}

impl OpenFile {
    /// Makes what was written so far durable, as a step of an operation. A failed write-out is kept for the
    /// next fsync: the descriptor reports it once.
    pub(super) fn flush(&self) -> Result<()> {
        self.keep_error(storage::fdatasync(self.fd.as_fd()))
    }

    /// Waits until no write-out of these lower bytes is under way, if the lower filesystem would let them
    /// change in the middle of it.
    pub(super) fn wait_stable(&self, lower: std::ops::Range<u64>) -> Result<()> {
        if !self.stable_pages_needed {
            return Ok(());
        }
        let (start, len) = (LowerOffset(lower.start), lower.end - lower.start);
        self.keep_error(storage::wait_stable(self.fd.as_fd(), start, len))
    }

    /// Whether something was written that no close has handed over.
    pub(super) fn has_more_to_hand_over(&self) -> bool {
        let (begun, changes) = (self.edits.load(Ordering::Acquire), self.changes.load(Ordering::Acquire));
        begun != changes || self.flushed_changes.load(Ordering::Acquire) < changes
    }

    fn keep_error(&self, synced: storage::Result<()>) -> Result<()> {
        if let Err(e) = synced {
            self.doubtful.store(true, Ordering::Relaxed);
            self.lost.store(e.raw_os_error(), Ordering::Relaxed);
        }
        Ok(synced?)
    }

    fn sync(&self, scope: SyncScope) -> Result<()> {
        if !self.looked.swap(true, Ordering::Relaxed) {
            self.look_for_data(&self.state.read(), Pages::Cached);
        }
        let (truncates, filled) = {
            // Exclusive, so that no overwrite of a page that this sync is about to promise is under way
            // that took the page for one nobody had asked to keep.
            let mut state = self.state.write();
            state.synced = state.pages();
            (state.truncates, state.filled.mark())
        };
        let sync = match scope {
            SyncScope::Data => storage::fdatasync,
            SyncScope::All => storage::fsync,
        };
        sync(self.fd.as_fd()).inspect_err(|_| self.doubtful.store(true, Ordering::Relaxed))?;
        let lost = self.lost.swap(0, Ordering::Relaxed);
        if lost != 0 {
            return Err(storage::Errno::from_raw_os_error(lost).into());
        }
        self.state.read().filled.is_durable(filled);
        if truncates > 0 {
            self.truncates_are_durable(truncates);
        }
        Ok(())
    }

    /// So many truncates, the first ones, are durable.
    pub(super) fn truncates_are_durable(&self, truncates: u64) {
        let mut state = self.state.write();
        state.durable_truncates = state.durable_truncates.max(truncates);
    }
}
