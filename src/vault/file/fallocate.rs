//! fallocate: reserving space below, making holes, zeroing.
//!
//! What can fail for want of disk space comes before what destroys, and the size comes last: after ENOSPC content and size
//! are as they were, and the lower filesystem has reserved nothing past the end. Where the lower filesystem
//! has no KEEP_SIZE the size has to come first, and a range is zeroed before it is known that there is space.

use std::os::fd::AsFd;

use super::scratch::{Buffers, Scratch};
use super::{Body, OpenFile, Purpose, State};
use crate::content::block::Opened;
use crate::content::layout;
use crate::ids::{Ino, LowerOffset, PageCount, PageIndex, PlainOffset};
use crate::storage::{self, Errno};
use crate::vault::tree::inode::Inode;
use crate::vault::{Error, FallocMode, Privileges, Result, Vault};

impl Vault {
    /// `fallocate(2)`: plain, KEEP_SIZE, PUNCH_HOLE and ZERO_RANGE.
    ///
    /// # Errors
    /// EINVAL for an empty range, EOPNOTSUPP where the lower filesystem can't punch or reserve.
    pub fn fallocate(
        &self,
        ino: Ino,
        offset: PlainOffset,
        len: u64,
        mode: FallocMode,
        privileges: Privileges,
    ) -> Result<()> {
        let end = offset.0.checked_add(len).filter(|end| *end <= layout::MAX_SIZE.0);
        let end = PlainOffset(end.ok_or(Error::TooBig)?);
        if len == 0 {
            return Err(Error::Invalid("fallocate of nothing"));
        }
        if mode.punch_hole && !mode.keep_size {
            return Err(Error::NotSupported("PUNCH_HOLE without KEEP_SIZE"));
        }
        let _gate = self.gates.enter(ino);
        let inode = self.inode(ino)?;
        let file = self.file_of(&inode, Purpose::Write)?;
        self.ensure_writable(&inode, &file)?;
        file.begin_edit();
        if privileges == Privileges::Clear {
            self.tree.clear_privileges(&inode, file.fd())?;
        }
        let done = self.retry_when_full(|| {
            let mut state = file.state.write();
            self.changing(&file, &mut state, |state| self.allocate(&inode, &file, state, offset, end, mode))
        });
        file.end_edit();
        self.mtime_moved(&file);
        done
    }

    fn allocate(
        &self,
        inode: &Inode,
        file: &OpenFile,
        state: &mut State,
        offset: PlainOffset,
        end: PlainOffset,
        mode: FallocMode,
    ) -> Result<()> {
        self.give_up_unsynced(file, state)?;
        if mode.punch_hole {
            return file.zero(self, state, (offset, end), Space::Freed);
        }
        state.sealed()?;
        let grown = Some(end).filter(|end| *end > state.size && !mode.keep_size);
        if grown.is_some() {
            // Before anything is reserved there.
            file.clean_tail(self, state, None)?;
        }
        let (start, len) = lower_range(offset, end);
        let zero = |state: &mut State| {
            if mode.zero_range { file.zero(self, state, (offset, end), Space::Kept) } else { Ok(()) }
        };
        let done = match storage::allocate_keep_size(file.fd.as_fd(), start, len) {
            Ok(()) => {
                zero(state).and_then(|()| grown.map_or(Ok(()), |size| self.grow(inode, file, state, size)))
            }
            Err(Errno::OPNOTSUPP) => {
                zero(state)?;
                return self.allocate_plainly(inode, file, state, (start, len), grown);
            }
            Err(e) => Err(e.into()),
        };
        if done.is_err() && start.0 + len > layout::lower_size(state.size).0 {
            file.give_back_past_end(state);
        }
        done
    }

    /// As NFS has it: what is allocated past the end of the file makes it grow, so it has to have its size first.
    fn allocate_plainly(
        &self,
        inode: &Inode,
        file: &OpenFile,
        state: &mut State,
        (start, len): (LowerOffset, u64),
        grown: Option<PlainOffset>,
    ) -> Result<()> {
        if start.0 + len > layout::lower_size(grown.unwrap_or(state.size)).0 {
            return Err(Error::NotSupported("FALLOC_FL_KEEP_SIZE past the end on this lower filesystem"));
        }
        let before = (state.size, matches!(state.body, Body::Sealed(_)));
        if let Some(size) = grown {
            self.grow(inode, file, state, size)?;
        }
        let allocated = storage::allocate(file.fd.as_fd(), start, len);
        if allocated.is_err() && grown.is_some() {
            state.size = before.0;
            if !before.1 {
                if let Some(last) = state.header_keys() {
                    self.emptied.note(inode.ino, last);
                }
                state.body = Body::NoHeader;
                self.census.forget(inode.ino);
            }
            self.take_back(inode, file, state);
        }
        Ok(allocated?)
    }
}

/// What becomes of the disk space that whole blocks take, once they are zeros.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Space {
    /// It is the lower filesystem's again.
    Freed,
    /// It stays the file's.
    Kept,
}

/// The pages of a range.
fn lower_range(offset: PlainOffset, end: PlainOffset) -> (LowerOffset, u64) {
    let (first, last) = (layout::locate(offset).0, layout::locate(PlainOffset(end.0 - 1)).0);
    let (start, end) = (layout::page_offset(first), layout::block_range(last).end);
    (start, end - start.0)
}

impl OpenFile {
    /// Frees what a reservation that failed has allocated past the end: ext4 fills the disk before it reports that it
    /// is full.
    fn give_back_past_end(&self, state: &State) {
        if let Err(e) = self.set_lower_size(state.size) {
            tracing::warn!(
                ino = self.ino.0,
                "space reserved for a change that failed could not be given back: {e}"
            );
        }
    }

    /// Makes `[offset, end)`, as far as it lies in the file, read as zeros: whole blocks become holes, the
    /// rest is written.
    fn zero(
        &self,
        vault: &Vault,
        state: &mut State,
        (offset, end): (PlainOffset, PlainOffset),
        space: Space,
    ) -> Result<()> {
        let end = end.min(state.size);
        if offset >= end || state.sealed()?.is_none() {
            return Ok(());
        }
        self.clean_tail(vault, state, None)?;
        let (first, within) = layout::locate(offset);
        let first_whole = first.0 + u64::from(within != 0);
        // The last block is whole also if the range reaches the end of the file.
        let whole_end = if end == state.size { state.pages().0 } else { layout::locate(end).0.0 };
        if first_whole < whole_end {
            self.lower_floor(state, PageCount(first_whole))?;
            state.filled.hole_from(PageCount(first_whole));
            self.zero_blocks(first_whole, whole_end, space)?;
        }
        // What is left: the ends of the range, which may lie terabytes apart.
        let edges = if first_whole < whole_end {
            let start = |page| layout::block_start(PageIndex(page)).min(end);
            [(offset, start(first_whole)), (start(whole_end), end)]
        } else {
            [(offset, end), (end, end)]
        };
        for piece in edges.iter().flat_map(|(from, to)| layout::pieces(*from, (to.0 - from.0) as usize)) {
            let Some(sealed) = state.sealed()? else { continue };
            let (mut scratch, range) = (Scratch::take(), layout::block_range(piece.page));
            let Buffers { lower, payload, .. } = &mut *scratch;
            let lower = &mut lower[..(range.end - range.start) as usize];
            let payload = &mut payload[..layout::payload(piece.page) as usize];
            if self.read_block_of(sealed, piece.page, lower, payload)? == Opened::Data {
                payload[piece.within.clone()].fill(0);
                if piece.page.0 < state.guarded().0 {
                    self.wait_stable(layout::block_range(piece.page))?;
                }
                self.replace_block(vault, sealed, piece.page, lower, payload)?;
            }
        }
        Ok(())
    }

    /// Makes blocks `[first, end)` holes, those first for which the lower filesystem may have no PUNCH_HOLE. Page 0
    /// keeps its header: its block is overwritten with zeros.
    fn zero_blocks(&self, first: u64, end: u64, space: Space) -> Result<()> {
        if first.max(1) < end {
            let (fd, start) = (self.fd.as_fd(), LowerOffset(first.max(1) * layout::PAGE));
            let len = end * layout::PAGE - start.0;
            match space {
                Space::Freed => storage::punch(fd, start, len)?,
                Space::Kept => match storage::zero_range(fd, start, len) {
                    // The caller, or another program, may use up the space in between: then this reports it.
                    Err(Errno::OPNOTSUPP) => {
                        storage::punch(fd, start, len)?;
                        match storage::allocate_keep_size(fd, start, len) {
                            Err(Errno::OPNOTSUPP) => {}
                            done => done?,
                        }
                    }
                    done => done?,
                },
            }
        }
        if first == 0 {
            let zeros = [0; (layout::PAGE - layout::BLOCK0_OFFSET) as usize];
            self.wait_stable(layout::block_range(PageIndex(0)))?;
            storage::pwrite_all(self.fd.as_fd(), &zeros, LowerOffset(layout::BLOCK0_OFFSET))?;
        }
        Ok(())
    }
}
