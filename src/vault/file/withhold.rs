//! A reader whose lease is over ([`Lease`]): the keys that it has may not be in force any more, so nothing that needs one is
//! shown, until it is renewed.
//!
//! Order: a request is refused before it begins ([`Vault::may_show`]), and once more before it is answered, since it may have
//! waited for the lower filesystem meanwhile ([`Vault::if_live`]); a file that is loaded meanwhile is evicted by who loaded it. What is in memory is
//! wiped by the thread that calls [`Vault::withhold`]: the DEKs first, then the kernel's pages. A thread that waits for
//! the lower filesystem holds what it reads with: that is wiped when it has gone on.

use std::sync::Arc;
use std::time::Duration;

use super::{Body, OpenFile};
use crate::storage::Lease;
use crate::vault::tree::inode::Inode;
use crate::vault::{Error, FileKind, Result, Vault};

/// How often files that are being read are looked at again.
const POLL: Duration = Duration::from_millis(20);

impl Vault {
    /// From now on nothing that needs a key is shown while this lease is over. The first one stays.
    pub fn serve_under(&self, lease: Arc<Lease>) {
        let _ = self.lease.set(lease);
    }

    /// How long the lease lasts still under which it is served, if it is.
    pub fn lease_left(&self) -> Option<Duration> {
        self.lease.get().map(|lease| lease.left())
    }

    /// Whether what needs a key may be shown.
    pub fn may_show(&self) -> bool {
        self.lease.get().is_none_or(|lease| lease.live())
    }

    /// # Errors
    /// [`Error::LeaseOver`].
    pub fn check_lease(&self) -> Result<()> {
        if self.may_show() { Ok(()) } else { Err(Error::LeaseOver) }
    }

    /// What was found for a request, unless the lease is over by now: the lower filesystem may have been waited for.
    pub(in crate::vault) fn if_live<T>(&self, found: Result<T>) -> Result<T> {
        found.and_then(|found| self.check_lease().map(|()| found))
    }

    /// Wipes the DEKs of all open files, and has the kernel drop its pages. Returns when that is done, or when the lease is
    /// renewed, and things are as ever. Call it without a lock, on a thread that serves nobody.
    pub fn withhold(&self) {
        let mut waiting = self.open_files.all();
        let mut dropped = false;
        loop {
            waiting.retain(|file| !file.evict_now());
            if !std::mem::replace(&mut dropped, true) {
                self.drop_all_pages();
            }
            if waiting.is_empty() || self.may_show() {
                return;
            }
            std::thread::sleep(POLL);
        }
    }

    /// Those of files that are being read last: the kernel waits for pages that are on their way.
    fn drop_all_pages(&self) {
        let mut inodes = self.tree.inodes.all();
        inodes.retain(|inode| inode.kind == FileKind::Regular && inode.kernel_pages.may_be());
        let is_busy = |inode: &Inode| match inode.file.try_lock() {
            None => true,
            Some(slot) => slot.upgrade().is_some_and(|file| file.state.try_write().is_none()),
        };
        inodes.sort_by_cached_key(|inode| is_busy(inode));
        for inode in inodes {
            if self.may_show() {
                return;
            }
            self.drop_pages(inode.ino);
        }
    }

    /// For who has just loaded a file.
    pub(super) fn evict_if_over(&self, file: &OpenFile) -> Result<()> {
        self.check_lease().inspect_err(|_| {
            file.evict_now();
        })
    }
}

impl OpenFile {
    /// Wipes the DEK; false: it is in use.
    fn evict_now(&self) -> bool {
        let Some(mut state) = self.state.try_write() else { return false };
        if let Body::Sealed(sealed) = &state.body {
            let backing = sealed.header.backing();
            self.evict(&mut state.body, backing);
        }
        true
    }
}
