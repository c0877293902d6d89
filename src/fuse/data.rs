//! Requests for a file's content: the buffer that reads decrypt into, when a write is answered, and what a change of
//! content does to set-user-ID and set-group-ID bits.

use std::cell::RefCell;

use fuser::{LockOwner, ReplyData, ReplyEmpty, ReplyWrite, WriteFlags};

use super::adapter::Adapter;
use super::answer::Answer;
use super::convert;
use super::errno::{errno, may_be_made_in_part};
use super::pool::Task;
use super::replies::{empty, page_aligned, written};
use crate::ids::{Ino, PlainOffset};
use crate::vault::{Error, FallocMode, Privileges, Stale, Vault};

const SUID_SGID: u16 = 0o6000;

thread_local! {
    /// What reads decrypt into. It grows to the largest read and is kept, so that no read allocates.
    static BUFFER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Whether a request bypasses the kernel's cache: only those name a lock owner.
fn is_direct(lock_owner: Option<LockOwner>) -> bool {
    lock_owner.is_some()
}

impl Adapter {
    /// Reads, and answers.
    pub(super) fn read_into(
        &self,
        ino: Ino,
        offset: PlainOffset,
        size: u32,
        lock_owner: Option<LockOwner>,
        reply: Answer<ReplyData>,
    ) {
        if !is_direct(lock_owner) {
            self.vault.pages_come(ino);
        }
        BUFFER.with_borrow_mut(|buffer| {
            let into = page_aligned(buffer, size as usize);
            match self.vault.read(ino, offset, into) {
                Ok(got) => reply.send_read(got, |reply| reply.data(&into[..got])),
                Err(error) => reply.error(errno(&error)),
            }
        });
    }

    /// Writes, and answers. A direct write is answered once the kernel holds no older page of its range. The pages of a
    /// cached write may be locked, so nothing waits for pages before it is answered. If a cached write fails the kernel has
    /// pages and a size that the lower file lacks: it must look again as soon as no one has the file open. (A write that
    /// fails for its key: `vault::file::write_back`.)
    pub(super) fn write_from(
        &self,
        ino: Ino,
        offset: PlainOffset,
        data: &[u8],
        flags: WriteFlags,
        lock_owner: Option<LockOwner>,
        reply: Answer<ReplyWrite>,
    ) {
        let privileges = convert::privileges(flags.contains(WriteFlags::FUSE_WRITE_KILL_SUIDGID));
        let cached = flags.contains(WriteFlags::FUSE_WRITE_CACHE);
        let write = if cached { Vault::write_back } else { Vault::write };
        let write = || {
            self.clearing_unseen(ino)?;
            self.clearing_suid(ino, privileges, || write(&self.vault, ino, offset, data, privileges))
        };
        if is_direct(lock_owner) && !cached {
            let done = write();
            match self.vault.stale_pages(ino) {
                Stale::Nothing => written(reply, done),
                stale => self.pool.answer_after_drop(ino, offset, data.len(), stale, (reply, done)),
            }
            return;
        }
        self.vault.pages_come(ino);
        let done = write();
        let shown_wrong =
            cached && done.as_ref().is_err_and(|error| !matches!(error, Error::KeyNotUsable(_)));
        written(reply, done);
        if shown_wrong {
            self.pool.submit(Task::Forget { ino });
        }
    }

    /// Reserves, punches or zeroes, and answers. After an error the kernel has pages of ranges that may be zeros in the lower
    /// file, so it must look again.
    pub(super) fn allocate(
        &self,
        ino: Ino,
        offset: PlainOffset,
        length: u64,
        mode: FallocMode,
        privileges: Privileges,
        reply: Answer<ReplyEmpty>,
    ) {
        let allocate = || self.vault.fallocate(ino, offset, length, mode, privileges);
        let done = self.clearing_unseen(ino).and_then(|()| self.clearing_suid(ino, privileges, allocate));
        let in_part = (mode.punch_hole || mode.zero_range) && done.as_ref().is_err_and(may_be_made_in_part);
        empty(reply, done);
        if in_part {
            self.pool.submit(Task::LookAgain { ino });
        }
    }

    /// Does what may clear suid and sgid. The kernel leaves clearing them to this side, and keeps the mode that it knew: it
    /// must ask again if the mode changes.
    pub(super) fn clearing_suid<T>(
        &self,
        ino: Ino,
        privileges: Privileges,
        act: impl FnOnce() -> Result<T, Error>,
    ) -> Result<T, Error> {
        let suid = privileges == Privileges::Clear
            && self.vault.getattr(ino).is_ok_and(|attr| attr.perm & SUID_SGID != 0);
        let done = act();
        if suid {
            self.refresh_attributes(ino);
        }
        done
    }
}
