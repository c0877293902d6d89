//! Sizes: growing, truncating, undoing growth. A truncate to M pages never touches page M−1 (docs/format.md,
//! "Truncating"): what is past the size in it is made zero before the file grows again.

use std::os::fd::AsFd;
use std::sync::Arc;

use super::{Body, OpenFile, Purpose, Sealed, State};
use crate::content::layout;
use crate::header::{SLOT, SLOTS, SlotIndex};
use crate::ids::{LowerOffset, PageCount, PageIndex, PlainOffset};
use crate::storage;
use crate::vault::tree::inode::Inode;
use crate::vault::{Damage, Error, Result, Vault};

impl Vault {
    /// Sets the size of a file, which it returns; the caller is inside its gate, and puts the mtime back in the end
    /// (`times`): mostly it has one to set. Bytes that are truncated may read as zeros until the truncate is durable; new
    /// ones read as zeros.
    ///
    /// # Errors
    /// ENOKEY if the file's key can't be used, or its alias' key for an empty file that grows.
    pub(in crate::vault) fn truncate(&self, inode: &Inode, size: PlainOffset) -> Result<Arc<OpenFile>> {
        if size > layout::MAX_SIZE {
            return Err(Error::TooBig);
        }
        let purpose = if size.0 == 0 { Purpose::Truncate } else { Purpose::Write };
        let file = self.file_of(inode, purpose)?;
        self.ensure_writable(inode, &file)?;
        file.begin_edit();
        let changed = {
            let mut state = file.state.write();
            self.changing(&file, &mut state, |state| self.set_size(inode, &file, state, size))
        };
        file.end_edit();
        changed?;
        self.record_mtime_moved(&file);
        let synced = self.sync_pending_truncate(&file);
        if synced.is_err() {
            // The caller gets no file to do it for.
            self.put_mtime_back_if_closed(&file);
        }
        synced.map(|()| file)
    }

    fn set_size(&self, inode: &Inode, file: &OpenFile, state: &mut State, size: PlainOffset) -> Result<()> {
        if size.0 > 0 {
            self.give_up_unsynced(file, state)?;
        }
        match state.body {
            Body::KeyEvicted(_) => return Err(state.key_evicted_error()),
            Body::Unknown => return state.sealed().map(drop),
            _ => {}
        }
        if size.0 == 0 {
            let (id, last) = (state.body.file_id(), state.header_keys());
            file.truncate_to_zero(state)?;
            self.census.forget(inode.ino);
            if let Some(id) = id {
                self.give_up_file_id(id, inode.ino);
            }
            if let Some(last) = last {
                self.emptied.note(inode.ino, last);
            }
        } else if size > state.size {
            self.grow(inode, file, state, size)?;
        } else if size < state.size {
            file.shrink(self, state, size)?;
        } else {
            // As ftruncate to the same size does below: the times change, nothing else.
            file.set_lower_size(size)?;
        }
        self.unwritten.forget(inode.ino);
        Ok(())
    }

    /// Makes a file larger; an empty one gets its header.
    pub(super) fn grow(
        &self,
        inode: &Inode,
        file: &OpenFile,
        state: &mut State,
        size: PlainOffset,
    ) -> Result<()> {
        file.clean_tail(self, state, None)?;
        if state.sealed()?.is_some() {
            file.set_lower_size(size).inspect_err(|_| self.take_back(inode, file, state))?;
            state.size = size;
            return Ok(());
        }
        self.with_new_header(inode, file, |header| {
            let slot: [u8; SLOT] = header.to_slot();
            let written = file
                .set_lower_size(size)
                .and_then(|()| Ok(storage::pwrite_all(file.fd.as_fd(), &slot, LowerOffset(0))?));
            written.inspect_err(|_| self.take_back(inode, file, state))?;
            (state.body, state.size) = (Body::Sealed(Sealed::new(header)), size);
            Ok(())
        })
    }

    /// Before a file is changed that was never synced and lost its header to a power cut: what is left of its
    /// pages, which no one can open, is given up for zeros, as if it had never been written. A program that finds
    /// such a file in its way, as a database does when it recovers, can then write it from scratch. It is an event.
    pub(super) fn give_up_unsynced(&self, file: &OpenFile, state: &mut State) -> Result<()> {
        if !matches!(state.body, Body::Unsynced) {
            return Ok(());
        }
        self.report_damage(file.ino, Damage::Header);
        tracing::warn!(
            ino = file.ino.0,
            lower = self.lower_path(file.ino),
            "a file that was never synced before a power cut is changed: what was in it is zeros now"
        );
        let end = (state.pages().0 + 1) * layout::PAGE;
        storage::erase(file.fd.as_fd(), LowerOffset(0), end)?;
        state.filled = state.filled.restarted(PageCount(0));
        (state.body, state.synced) = (Body::NoHeader, PageCount(0));
        Ok(())
    }
}

impl OpenFile {
    pub(super) fn set_lower_size(&self, size: PlainOffset) -> Result<()> {
        Ok(storage::truncate(self.fd.as_fd(), layout::lower_size(size))?)
    }

    /// Truncates to zero. The header goes with the pages; the next write makes a new DEK. Metadata order
    /// below keeps new pages from reaching an inode whose old ones are still counted, so nothing waits.
    fn truncate_to_zero(&self, state: &mut State) -> Result<()> {
        storage::truncate(self.fd.as_fd(), LowerOffset(0))?;
        // A sync may be under way that counts the truncates so far: a later one must not be taken for one of those.
        let filled = state.filled.restarted(PageCount(0));
        *state = State {
            truncates: state.truncates,
            durable_truncates: state.truncates,
            filled,
            ..State::empty()
        };
        Ok(())
    }

    /// Truncates to a smaller size above zero. A failure is undone: a page that was truncated can have been synced.
    fn shrink(&self, vault: &Vault, state: &mut State, size: PlainOffset) -> Result<()> {
        let floor = state.sealed()?.map(|sealed| sealed.header.floor());
        let (old, new) = (state.pages(), layout::page_count(size));
        self.lower_floor(state, new)?;
        // From here on the tail isn't known, whether what follows succeeds or not.
        state.tail_clean = false;
        state.truncates += 1;
        state.filled.hole_from(new);
        if new < old {
            // First the page, then the size: the other way round XFS can bring back the old size with a
            // torn page M.
            let start = layout::page_offset(PageIndex(new.0));
            let before = self.page_before_truncate(start);
            let done = storage::erase(self.fd.as_fd(), start, layout::PAGE).map_err(Error::from);
            let done = done.and_then(|()| self.set_lower_size(size));
            if let Err(e) = done {
                let restored = before.map_or(Ok(()), |page| self.put_back(start, &page));
                if let Err(e) = restored.and_then(|()| self.raise_floor_again(state, floor)) {
                    tracing::error!(
                        ino = self.ino.0,
                        lower = vault.lower_path(self.ino),
                        "a file that could not be truncated lost what was to go: {e}"
                    );
                }
                return Err(e);
            }
        } else {
            self.set_lower_size(size)?;
        }
        state.synced = state.synced.min(new);
        state.size = size;
        Ok(())
    }

    /// What the page holds that a truncate makes a hole; `None` if it can't be read, which is no reason to keep it.
    fn page_before_truncate(&self, start: LowerOffset) -> Option<[u8; layout::PAGE as usize]> {
        let mut page = [0; layout::PAGE as usize];
        let got = storage::pread(self.fd.as_fd(), &mut page, start).ok()?;
        (got == page.len()).then_some(page)
    }

    /// Writes a slot of a file that may have been synced: page 0 must not change while it is written out.
    pub(super) fn write_slot(&self, index: SlotIndex, slot: &[u8; SLOT]) -> Result<()> {
        self.wait_stable(0..layout::PAGE)?;
        Ok(storage::pwrite_all(self.fd.as_fd(), slot, index.offset())?)
    }

    /// As [`OpenFile::write_slot`], the same one twice. Whatever of the two sectors a power cut leaves, each is old or new.
    pub(super) fn write_both_slots(&self, slot: &[u8; SLOT]) -> Result<()> {
        self.wait_stable(0..layout::PAGE)?;
        let (mut both, offset) = ([0; SLOTS], SlotIndex::A.offset());
        both[..SLOT].copy_from_slice(slot);
        both[SLOT..].copy_from_slice(slot);
        Ok(storage::pwrite_all(self.fd.as_fd(), &both, offset)?)
    }
}
