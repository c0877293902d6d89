//! Sizes: growing, cutting, cutting back. A cut to M pages never touches page M−1 (docs/format.md,
//! "Cutting"): what is past the size in it is made zero before the file grows again.

use std::os::fd::AsFd;

use super::{Body, OpenFile, Purpose, State};
use crate::content::layout;
use crate::header::{SLOT, SlotIndex};
use crate::ids::{LowerOffset, PageCount, PageIndex, PlainOffset};
use crate::storage;
use crate::vault::inode::Inode;
use crate::vault::{Damage, Error, Result, Vault};

impl Vault {
    /// Sets the size of a file; the caller is inside its gate. Bytes that are cut may read as zeros until the cut is durable; new ones
    /// read as zeros.
    ///
    /// # Errors
    /// ENOKEY if the file's key can't be used, or its alias' key for an empty file that grows.
    pub(in crate::vault) fn truncate(&self, inode: &Inode, size: PlainOffset) -> Result<()> {
        if size > layout::MAX_SIZE {
            return Err(Error::TooBig);
        }
        let purpose = if size.0 == 0 { Purpose::Empty } else { Purpose::Change };
        let file = self.file_of(inode, purpose)?;
        file.check_writable()?;
        file.begin_edit();
        let mut state = file.state.write();
        if size.0 > 0 {
            self.give_up_unsynced(&file, &mut state)?;
        }
        let has_header = matches!(state.body, Body::Sealed(_));
        if matches!(state.body, Body::Shut(_)) {
            return Err(state.shut_error());
        }
        if size.0 == 0 {
            file.empty(&mut state)?;
            self.census.forget(inode.ino);
        } else if !has_header && size > state.size {
            state.sealed()?;
            file.clean_tail(&mut state, None)?;
            self.with_new_header(inode, |header| {
                let slot: [u8; SLOT] = header.to_slot();
                file.set_lower_size(size)?;
                if let Err(e) = storage::pwrite_all(file.fd.as_fd(), &slot, LowerOffset(0)) {
                    file.cut_back(&mut state, PlainOffset(0));
                    return Err(e.into());
                }
                state.body = Body::Sealed(super::Sealed::new(header));
                state.size = size;
                Ok(())
            })?;
        } else if size > state.size {
            file.clean_tail(&mut state, None)?;
            file.set_lower_size(size)?;
            state.size = size;
        } else if size < state.size {
            file.cut(&mut state, size)?;
        } else {
            // As ftruncate to the same size does below: the times change, nothing else.
            file.set_lower_size(size)?;
        }
        drop(state);
        self.mtime_moved(&file);
        self.settle(&file)
    }

    /// Before a file is changed that was never synced and lost its header to a power cut: what is left of its
    /// pages, which no one can open, is given up for zeros, as if it had never been written. A program that finds
    /// such a file in its way, as a database does when it recovers, can then write it anew. It is an event.
    pub(super) fn give_up_unsynced(&self, file: &OpenFile, state: &mut State) -> Result<()> {
        if !matches!(state.body, Body::Unsynced) {
            return Ok(());
        }
        self.note_damage(file.ino, Damage::Header);
        tracing::warn!(
            ino = file.ino.0,
            "a file that was never synced before a power cut is changed: what was in it is zeros now"
        );
        let end = (state.pages().0 + 1) * layout::PAGE;
        storage::punch(file.fd.as_fd(), LowerOffset(0), end)?;
        (state.body, state.synced) = (Body::Bare, PageCount(0));
        Ok(())
    }
}

impl OpenFile {
    pub(super) fn set_lower_size(&self, size: PlainOffset) -> Result<()> {
        Ok(storage::truncate(self.fd.as_fd(), layout::lower_size(size))?)
    }

    /// Cuts to nothing. The header goes with the pages; the next write makes a new DEK. Metadata order
    /// below keeps new pages from reaching an inode whose old ones are still counted, so nothing waits.
    fn empty(&self, state: &mut State) -> Result<()> {
        storage::truncate(self.fd.as_fd(), LowerOffset(0))?;
        *state = State::empty();
        Ok(())
    }

    fn cut(&self, state: &mut State, size: PlainOffset) -> Result<()> {
        state.sealed()?;
        let (old, new) = (state.pages(), layout::page_count(size));
        self.lower_floor(state, new)?;
        // From here on the tail isn't known, whether what follows succeeds or not.
        state.tail_clean = false;
        state.cuts += 1;
        if new < old {
            // First the page, then the size: the other way round XFS can bring back the old size with a
            // torn page M.
            storage::punch(self.fd.as_fd(), layout::page_offset(PageIndex(new.0)), layout::PAGE)?;
        }
        self.set_lower_size(size)?;
        state.synced = state.synced.min(new);
        state.size = size;
        Ok(())
    }

    /// Undoes a growth that failed: `old` is the size before it. Best effort: what it can't undo reads as
    /// zeros or is overwritten by the next growth.
    pub(super) fn cut_back(&self, state: &mut State, old: PlainOffset) {
        let pages = layout::page_count(old);
        let punched = if old.0 == 0 {
            Ok(())
        } else {
            storage::punch(self.fd.as_fd(), layout::page_offset(PageIndex(pages.0)), layout::PAGE)
        };
        let cut = punched.and_then(|()| storage::truncate(self.fd.as_fd(), layout::lower_size(old)));
        if let Err(e) = cut {
            tracing::warn!(ino = self.ino.0, "cutting back a file that could not grow failed: {e}");
        }
        if old.0 > 0 {
            state.tail_clean = false;
            state.cuts += 1;
        }
    }

    /// Writes a slot of a file that may have been synced: page 0 must not change while it is written out.
    pub(super) fn write_slot(&self, index: SlotIndex, slot: &[u8; SLOT]) -> Result<()> {
        self.wait_stable(0..layout::PAGE)?;
        Ok(storage::pwrite_all(self.fd.as_fd(), slot, index.offset())?)
    }

    /// Makes a lower floor durable before pages below it are punched or cut; a re-wrap that is under way is
    /// overtaken by it. The wrap is kept: only the MAC is made anew.
    pub(super) fn lower_floor(&self, state: &mut State, floor: PageCount) -> Result<()> {
        let Body::Sealed(sealed) = &mut state.body else { return Ok(()) };
        if sealed.header.highest_floor() <= floor {
            return Ok(());
        }
        let next = sealed.header.next_slot(None, floor.min(sealed.header.floor()));
        self.write_slot(next.index(), next.bytes())?;
        self.flush()?;
        sealed.header.advance(next);
        Ok(())
    }
}
