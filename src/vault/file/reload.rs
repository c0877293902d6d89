//! What becomes of an open file when a change of it fails: undone below as far as that goes, and then memory is what
//! the disk says (see [`super`]). All of it under the exclusive inode lock; nothing of it on the way of a change that
//! succeeds.

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::Ordering;

use super::filled::Filled;
use super::kept::Kept;
use super::{Body, OpenFile, State};
use crate::content::layout::{self, ImpossibleSize};
use crate::ids::{Ino, LowerOffset, PageCount, PageIndex, PlainOffset};
use crate::storage;
use crate::vault::tree::inode::Inode;
use crate::vault::{Damage, Error, Result, Vault};

impl Vault {
    /// Makes a change; after an error memory is what a fresh load finds. No block is kept from before it.
    pub(super) fn changing<T>(
        &self,
        file: &OpenFile,
        state: &mut State,
        change: impl FnOnce(&mut State) -> Result<T>,
    ) -> Result<T> {
        let done = self.changing_by_write(file, state, change);
        state.kept = Kept::default();
        done
    }

    /// As [`Vault::changing`], for a write, which sees to it that no block is kept that it changes.
    pub(super) fn changing_by_write<T>(
        &self,
        file: &OpenFile,
        state: &mut State,
        change: impl FnOnce(&mut State) -> Result<T>,
    ) -> Result<T> {
        let done = change(state);
        if done.is_err() {
            self.reload(file, state);
        }
        done
    }

    /// Takes over what is on disk.
    pub(super) fn reload(&self, file: &OpenFile, state: &mut State) {
        let Err(error) = self.load_again(file, state) else { return };
        tracing::warn!(
            ino = file.ino.0,
            lower = self.lower_path(file.ino),
            "a file can't be read after a change of it failed: {error}"
        );
        match (&state.body, error) {
            (Body::Sealed(sealed), Error::KeyNotUsable(_)) => {
                let backing = sealed.header.backing();
                file.evict(&mut state.body, backing);
            }
            (Body::KeyEvicted(_), _) => {}
            _ => {
                state.body = Body::Unknown;
                file.must_reload.store(true, Ordering::Relaxed);
            }
        }
    }

    /// As [`Vault::reload`].
    ///
    /// # Errors
    /// ENOKEY if its key can't be used, what the lower filesystem says; `state` is as it was then.
    pub(super) fn load_again(&self, file: &OpenFile, state: &mut State) -> Result<()> {
        let lower = storage::fstat(file.fd())?.lower_size();
        let mut found = self.load_state(file.ino, file.fd(), lower)?;
        if let (Body::Sealed(new), Body::Sealed(old)) = (&mut found.body, &state.body) {
            new.header.succeed(&old.header);
        }
        found.filled = state.filled.restarted(found.filled.prefix());
        if let Some(other) = found.body.file_id().and_then(|id| self.claim_file_id_again(id, file.ino)) {
            found.body = Body::Unreadable(Damage::FileId(other));
        }
        // A truncate that failed may have been made all the same.
        *state = State { truncates: state.truncates, durable_truncates: state.durable_truncates, ..found };
        file.must_reload.store(false, Ordering::Relaxed);
        Ok(())
    }

    /// What a load of a lower file of this size finds.
    pub(super) fn load_state(&self, ino: Ino, fd: BorrowedFd<'_>, lower: LowerOffset) -> Result<State> {
        let (size, body) = match layout::plain_size(lower) {
            Ok(size) if size.0 == 0 => (size, Body::NoHeader),
            Ok(size) => (size, self.load_body_of(ino, fd, lower, layout::page_count(size))?),
            // Any size will do: all that can be done with the file is to truncate it to zero.
            Err(ImpossibleSize) => (PlainOffset(lower.0), Body::Unreadable(Damage::Size)),
        };
        let (synced, tail_clean) = (layout::page_count(size), size.0 == 0);
        let floor = match &body {
            Body::Sealed(sealed) => sealed.header.floor(),
            Body::NoHeader | Body::KeyEvicted(_) | Body::Unreadable(_) | Body::Unsynced | Body::Unknown => {
                PageCount(0)
            }
        };
        Ok(State { size, body, synced, tail_clean, filled: Filled::below(floor), ..State::empty() })
    }

    /// Undoes a growth, or the first write of a file without a header, that failed: `state` says what was there
    /// before. Best effort; what can't be undone is taken over. A header that stays on disk is counted.
    pub(super) fn take_back(&self, inode: &Inode, file: &OpenFile, state: &mut State) {
        let undone = match &state.body {
            Body::Sealed(_) => file.undo_growth(state),
            // All that it held was zeros.
            _ => file.erase_first_write(state.size),
        };
        if let Err(e) = undone {
            tracing::warn!(
                ino = file.ino.0,
                lower = self.lower_path(file.ino),
                "a file that could not grow could not be set back to its size: {e}"
            );
        }
        self.reload(file, state);
        if let Body::Sealed(sealed) = &state.body {
            self.record_in_census(inode, sealed.header.keys());
        }
    }
}

impl OpenFile {
    /// What a growth may have left: a larger size, and pages from block N on.
    fn undo_growth(&self, state: &mut State) -> Result<()> {
        let lower = layout::lower_size(state.size);
        if storage::fstat(self.fd.as_fd())?.lower_size() == lower {
            return Ok(());
        }
        state.truncates += 1;
        let next = layout::page_offset(PageIndex(state.pages().0));
        // A page that stays behind the end is made a hole before the file grows again.
        let erased = storage::erase(self.fd.as_fd(), next, layout::PAGE);
        storage::truncate(self.fd.as_fd(), lower)?;
        Ok(erased?)
    }

    /// What the first write of a file without a header may have left: a larger size, a slot, whole or torn, and
    /// pages that no other header opens.
    fn erase_first_write(&self, old: PlainOffset) -> Result<()> {
        let lower = layout::lower_size(old);
        if storage::fstat(self.fd.as_fd())?.lower_size() != lower {
            storage::truncate(self.fd.as_fd(), lower)?;
        }
        if old.0 > 0 {
            storage::erase(self.fd.as_fd(), LowerOffset(0), (layout::page_count(old).0 + 1) * layout::PAGE)?;
        }
        Ok(())
    }

    /// Puts back what a page held before a change of it failed, durably: it can have been synced, and what took its place
    /// can be on disk by now. The lower file must not grow by it.
    pub(super) fn put_back(&self, start: LowerOffset, before: &[u8]) -> Result<()> {
        let end = start.0 + before.len() as u64;
        if storage::fstat(self.fd.as_fd())?.size >= end {
            storage::pwrite_all(self.fd.as_fd(), before, start)?;
            self.flush()?;
        }
        Ok(())
    }
}
