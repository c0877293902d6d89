//! fallocate: reserving space below, making holes, zeroing.

use std::os::fd::AsFd;
use std::sync::atomic::Ordering;

use super::scratch::Scratch;
use super::{OpenFile, Purpose, State};
use crate::content::block::Opened;
use crate::content::layout;
use crate::ids::{Ino, LowerOffset, PageCount, PageIndex, PlainOffset};
use crate::storage;
use crate::vault::inode::Inode;
use crate::vault::{Error, FallocMode, Result, Vault};

impl Vault {
    /// `fallocate(2)`: plain, KEEP_SIZE, PUNCH_HOLE and ZERO_RANGE. `kill_priv`: as with [`Vault::write`].
    ///
    /// # Errors
    /// EINVAL for an empty range, EOPNOTSUPP where the lower filesystem can't punch or reserve.
    pub fn fallocate(
        &self,
        ino: Ino,
        offset: PlainOffset,
        len: u64,
        mode: FallocMode,
        kill_priv: bool,
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
        let file = self.file_of(&inode, Purpose::Change)?;
        file.check_writable()?;
        file.begin_edit();
        if kill_priv {
            self.tree.kill_priv(&inode, file.fd())?;
        }
        self.give_up_unsynced(&file, &mut file.state.write())?;
        let done = self.with_space(|| self.allocate(&inode, &file, offset, end, mode));
        self.mtime_moved(&file);
        done
    }

    fn allocate(
        &self,
        inode: &Inode,
        file: &OpenFile,
        offset: PlainOffset,
        end: PlainOffset,
        mode: FallocMode,
    ) -> Result<()> {
        if mode.punch_hole || mode.zero_range {
            file.zero(&mut file.state.write(), offset, end)?;
        }
        if mode.punch_hole {
            return Ok(());
        }
        let size = file.state.read().size;
        if end > size && !mode.keep_size {
            self.truncate(inode, end)?;
        }
        let state = file.state.write();
        if state.sealed()?.is_none() {
            // An empty file whose size is kept: without a header there is nothing to reserve space for.
            return Ok(());
        }
        file.reserve(offset, end)
    }
}

impl OpenFile {
    fn reserve(&self, offset: PlainOffset, end: PlainOffset) -> Result<()> {
        let (first, last) = (layout::locate(offset).0, layout::locate(PlainOffset(end.0 - 1)).0);
        let (start, end) = (layout::page_offset(first), layout::block_range(last).end);
        Ok(storage::allocate_keep_size(self.fd.as_fd(), start, end - start.0)?)
    }

    /// Makes `[offset, end)`, as far as it lies in the file, read as zeros: whole blocks become holes, the
    /// rest is written.
    fn zero(&self, state: &mut State, offset: PlainOffset, end: PlainOffset) -> Result<()> {
        let end = end.min(state.size);
        if offset >= end || state.sealed()?.is_none() {
            return Ok(());
        }
        self.clean_tail(state, None)?;
        let (first, within) = layout::locate(offset);
        let first_whole = first.0 + u64::from(within != 0);
        // The last block is whole also if the range reaches the end of the file.
        let whole_end = if end == state.size { state.pages().0 } else { layout::locate(end).0.0 };
        if first_whole < whole_end {
            self.lower_floor(state, PageCount(first_whole))?;
            self.punch_blocks(first_whole, whole_end)?;
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
            let mut scratch = Scratch::take();
            let payload = &mut scratch.payload[..layout::payload(piece.page) as usize];
            if self.read_block(sealed, piece.page, payload)? == Opened::Data {
                payload[piece.within.clone()].fill(0);
                if piece.page.0 < state.guarded().0 {
                    self.wait_stable(layout::block_range(piece.page))?;
                }
                self.write_block(sealed, piece.page, payload)?;
            }
        }
        Ok(())
    }

    /// Makes blocks `[first, end)` holes. Page 0 keeps its header: its block is overwritten with zeros.
    fn punch_blocks(&self, first: u64, end: u64) -> Result<()> {
        self.changed.store(true, Ordering::Relaxed);
        let mut first = first;
        if first == 0 {
            let zeros = [0; (layout::PAGE - layout::BLOCK0_OFFSET) as usize];
            self.wait_stable(layout::block_range(PageIndex(0)))?;
            storage::pwrite_all(self.fd.as_fd(), &zeros, LowerOffset(layout::BLOCK0_OFFSET))?;
            first = 1;
        }
        if first < end {
            let start = LowerOffset(first * layout::PAGE);
            storage::punch(self.fd.as_fd(), start, (end - first) * layout::PAGE)?;
        }
        Ok(())
    }
}
