//! Writing. Inside the file: shared inode lock, and the range of its blocks. Growing, a first
//! write, and the first write into the last block: exclusive.
//!
//! Order of writes when a file grows (docs/format.md, "Growing"): the tail is made clean; the lower size
//! is set to the final one; then the pages are written. A new file's header goes out before any data. Where
//! other hosts read what this one writes ([`Sharing::Writer`](crate::vault::Sharing)) no size is seen before its pages, for who
//! reads zeros there keeps them: the last pages and the bytes behind them that say the size are one write. So it is on remote
//! filesystems, for the sake of the round trip.

use std::os::fd::AsFd;
use std::sync::atomic::Ordering;

use super::growth::{Growth, in_step, tail_behind};
use super::kept::{self, Kept};
use super::read::{chunk_end, lower_start, open_block};
use super::scratch::{Buffers, CHUNK_PAGES, REMOTE_CHUNK_PAGES, Scratch};
use super::{Body, OpenFile, Sealed, SegmentKeys, State};
use crate::content::block;
use crate::content::layout::{self, Piece};
use crate::crypto::keys::NewFile;
use crate::crypto::page;
use crate::header::{Header, OtherSlot, Rewrapped, SLOT, SLOTS, SlotKeys};
use crate::ids::{Ino, LowerOffset, PageCount, PageIndex, PlainOffset};
use crate::storage;
use crate::vault::tree::inode::Inode;
use crate::vault::{Damage, Error, Privileges, Result, Vault};

/// A write that is to be sealed: where it goes, and what it may rely on.
struct PlannedWrite<'a> {
    sealed: &'a Sealed,
    /// Blocks that need not be read.
    kept: &'a Kept,
    /// Size of the file once it is done: what is past it in its last block is zero.
    size: PlainOffset,
    /// Blocks from here on hold nothing that counts.
    old_pages: PageCount,
    /// Blocks below must not be overwritten while they are being written out.
    guarded: PageCount,
    /// The header slot to write with, or before, the first page.
    slot: Option<[u8; SLOT]>,
    /// Whether the last pages bring the lower size with them.
    grows: bool,
}

impl Vault {
    /// Writes `data` at `offset`, all of it.
    ///
    /// # Errors
    /// ENOKEY for the first write of an empty file whose alias' key can't be used, EIO where a block that
    /// has to be read first is damaged, ENOSPC and the like from below: then a file that was to grow is
    /// truncated to what it was.
    pub fn write(&self, ino: Ino, offset: PlainOffset, data: &[u8], privileges: Privileges) -> Result<usize> {
        let _gate = self.gates.enter(ino);
        let inode = self.inode(ino)?;
        let file = self.opened(&inode)?;
        let written = self.retry_when_full(|| self.write_to(&inode, &file, offset, data, privileges));
        file.end_edit();
        self.mtime_moved(&file);
        if let Err(error) = &written
            && file.writing_out.load(Ordering::Relaxed)
        {
            self.report_loss(ino, error);
        }
        written
    }

    fn write_to(
        &self,
        inode: &Inode,
        file: &OpenFile,
        offset: PlainOffset,
        data: &[u8],
        privileges: Privileges,
    ) -> Result<usize> {
        self.ensure_writable(inode, file)?;
        file.begin_edit();
        if data.is_empty() {
            return Ok(0);
        }
        let end = offset.0.checked_add(data.len() as u64).filter(|end| *end <= layout::MAX_SIZE.0);
        let end = PlainOffset(end.ok_or(Error::TooBig)?);
        if privileges == Privileges::Clear {
            self.tree.clear_privileges(inode, file.fd())?;
        }
        let (first, last) = (layout::locate(offset).0, layout::locate(PlainOffset(end.0 - 1)).0);
        {
            let state = file.state.read();
            if !matches!(state.body, Body::Unsynced)
                && let Some(sealed) = state.sealed()?
                && end <= state.size
                && (state.tail_clean || Some(last) != state.last_page())
            {
                let _blocks = file.block_locks.lock(first, last);
                match file.write_blocks(&PlannedWrite::inside(&state, sealed), offset, data) {
                    Ok(()) => {
                        state.filled.note(first.0..last.0 + 1);
                        return Ok(data.len());
                    }
                    // A block to be changed may have been read in the middle of another write: once more,
                    // with all others excluded, before it is called damaged.
                    Err(Error::Corrupt(_)) => {}
                    Err(e) => return Err(e),
                }
            }
        }
        let mut state = file.state.write();
        self.write_exclusive(inode, file, &mut state, offset, data)?;
        Ok(data.len())
    }

    fn write_exclusive(
        &self,
        inode: &Inode,
        file: &OpenFile,
        state: &mut State,
        offset: PlainOffset,
        data: &[u8],
    ) -> Result<()> {
        self.changing_by_write(file, state, |state| {
            let end = PlainOffset(offset.0 + data.len() as u64);
            self.give_up_unsynced(file, state)?;
            file.clean_tail(self, state, Some((offset, end)))?;
            if let Some(sealed) = state.sealed()? {
                match file.grow_and_write(state, sealed, None, offset, data) {
                    Ok(size) => state.size = size,
                    Err(e) => {
                        self.take_back(inode, file, state);
                        return Err(e);
                    }
                }
                return Ok(());
            }
            self.with_new_header(inode, file, |header| {
                let (slot, sealed) = (header.to_slot(), Sealed::new(header));
                let written = file.grow_and_write(state, &sealed, Some(slot), offset, data);
                let size = written.inspect_err(|_| self.take_back(inode, file, state))?;
                (state.size, state.body) = (size, Body::Sealed(sealed));
                Ok(())
            })
        })
    }

    /// Makes a DEK and a header for an empty file and has `write` put them on disk, all behind the creation
    /// gate: a rotation that returns has no file of the old version still on its way (docs/design.md, G4).
    pub(super) fn with_new_header<T>(
        &self,
        inode: &Inode,
        file: &OpenFile,
        write: impl FnOnce(Header) -> Result<T>,
    ) -> Result<T> {
        let (guard, tag) = self.begin_first_wrap(inode, file)?;
        let new = NewFile::draw();
        let (id, suite, backing) = (new.id(), self.keys.suite(), guard.backing());
        let (wrapped, dek) = guard.wrap_new(suite, new);
        let written = write(Header::new(id, suite, &Rewrapped { backing, wrapped: &wrapped, tag }, dek))?;
        self.emptied.forget(inode.ino);
        self.record_in_census(inode, SlotKeys { backing, other: OtherSlot::Empty, tag });
        // Drawn just now: no other file has it yet.
        self.claim_file_id_again(id, inode.ino);
        Ok(written)
    }
}

impl<'a> PlannedWrite<'a> {
    fn inside(state: &'a State, sealed: &'a Sealed) -> Self {
        Self {
            sealed,
            kept: &state.kept,
            size: state.size,
            old_pages: state.pages(),
            guarded: state.guarded(),
            slot: None,
            grows: false,
        }
    }

    /// Whether what the block holds now has to be read: not if all that counts of it is overwritten.
    fn needs_old(&self, piece: &Piece) -> bool {
        let to_the_end =
            layout::block_start(piece.page).0 + piece.within.end as u64 >= self.size.0 || piece.is_whole();
        piece.page.0 < self.old_pages.0 && !(piece.within.start == 0 && to_the_end)
    }
}

impl OpenFile {
    /// Prepares a file for growing, or for a write into its last block: makes block N a hole and the last
    /// block zero past the size. Both can hold stale bytes after a power cut or a truncate. A truncate, and the
    /// zeros, are durable before the size grows: it must not grow over bytes that were truncated. The hole is not
    /// synced: the lower filesystem orders its metadata.
    ///
    /// `write` is what comes next: a last block that it replaces to its end need not be readable.
    pub(super) fn clean_tail(
        &self,
        vault: &Vault,
        state: &mut State,
        write: Option<(PlainOffset, PlainOffset)>,
    ) -> Result<()> {
        if state.tail_clean {
            return Ok(());
        }
        let Some(last) = state.last_page() else {
            state.tail_clean = true;
            return Ok(());
        };
        if state.truncate_unsynced() {
            self.flush()?;
            state.durable_truncates = state.truncates;
        }
        let in_last = (state.size.0 - layout::block_start(last).0) as usize;
        let replaced = write.is_some_and(|(from, to)| from <= layout::block_start(last) && to >= state.size);
        // It is full, or holds nothing but zeros, otherwise.
        let sealed = if in_last as u64 == layout::payload(last) { None } else { state.sealed()? };
        let (mut scratch, range) = (Scratch::take(), layout::block_range(last));
        let Buffers { lower, payload, .. } = &mut *scratch;
        let from = if sealed.is_some() { range.start } else { range.end };
        let (tail, len) =
            (&mut lower[..(layout::lower_size(state.size).0 - from) as usize], (range.end - from) as usize);
        self.read_tail(LowerOffset(from), tail, len)?;
        let lower = &mut tail[..len];
        if let Some(sealed) = sealed {
            let payload = &mut payload[..layout::payload(last) as usize];
            match open_block(&mut sealed.keys(), last, lower, payload) {
                Ok(_) if block::is_zero(&payload[in_last..]) => {
                    if write.is_some() {
                        state.kept.keep(last, lower, self.most_kept());
                    }
                }
                Ok(_) => {
                    payload[in_last..].fill(0);
                    state.kept.forget(&(last..=last));
                    self.flush()?;
                    self.replace_block(vault, sealed, last, lower, payload)?;
                    self.flush()?;
                }
                Err(Error::Corrupt(_)) if replaced => {}
                Err(e) => return Err(e),
            }
        }
        state.tail_clean = true;
        Ok(())
    }

    /// Reads the last block, if it is asked for, and block N behind it: the lower bytes from 4096·N on are a hole unless an
    /// interrupted growth left a page there, which is made one.
    fn read_tail(&self, start: LowerOffset, tail: &mut [u8], last: usize) -> Result<()> {
        let got = storage::pread(self.fd.as_fd(), tail, start)?;
        tail[got..].fill(0);
        if !block::is_zero(&tail[last..]) {
            storage::erase(self.fd.as_fd(), LowerOffset(start.0 + last as u64), layout::PAGE)?;
        }
        Ok(())
    }

    /// As [`OpenFile::write_block`], over a block that can have been synced: `before` is what it holds, and what it
    /// holds again if it can't be written.
    pub(super) fn replace_block(
        &self,
        vault: &Vault,
        sealed: &Sealed,
        page: PageIndex,
        before: &[u8],
        payload: &[u8],
    ) -> Result<()> {
        let written = self.write_block(sealed, page, payload);
        if written.is_err()
            && let Err(e) = self.put_back(LowerOffset(layout::block_range(page).start), before)
        {
            tracing::error!(
                ino = self.ino.0,
                lower = vault.lower_path(self.ino),
                "{} could not be put back: {e}",
                Damage::Page(page.0)
            );
        }
        written
    }

    /// Seals a block and writes it. Nothing else may be writing it.
    pub(super) fn write_block(&self, sealed: &Sealed, page: PageIndex, payload: &[u8]) -> Result<()> {
        let mut scratch = Scratch::take();
        let range = layout::block_range(page);
        let lower = &mut scratch.lower[..(range.end - range.start) as usize];
        block::payload_of(lower).copy_from_slice(payload);
        let mut nonce = [[0; 12]];
        page::fresh_nonces(&mut nonce);
        block::seal(&sealed.key(page), page, &nonce[0], lower);
        storage::pwrite_all(self.fd.as_fd(), lower, LowerOffset(range.start))?;
        Ok(())
    }

    /// Sets the final lower size if the file grows, then writes; returns the size that the file has then. `state` is
    /// what it was before.
    fn grow_and_write(
        &self,
        state: &State,
        sealed: &Sealed,
        slot: Option<[u8; SLOT]>,
        offset: PlainOffset,
        data: &[u8],
    ) -> Result<PlainOffset> {
        let size = state.size.max(PlainOffset(offset.0 + data.len() as u64));
        let (first, last) = ends_of(offset, data.len());
        let grows = size > state.size && self.growth == Growth::WithPages;
        if size > state.size && !grows {
            self.set_lower_size(size)?;
        }
        let plan = PlannedWrite { slot, size, grows, ..PlannedWrite::inside(state, sealed) };
        self.write_blocks(&plan, offset, data)?;
        state.filled.note(first.0..last.0 + 1);
        Ok(size)
    }

    fn write_blocks(&self, plan: &PlannedWrite<'_>, offset: PlainOffset, data: &[u8]) -> Result<()> {
        let (first, last) = ends_of(offset, data.len());
        let mut scratch = Scratch::take();
        let chunk_pages = if self.is_remote { REMOTE_CHUNK_PAGES } else { CHUNK_PAGES };
        scratch.make_room((last.0 - first.0 + 1).min(chunk_pages));
        let Buffers { lower, ends, nonces, payload: _ } = &mut *scratch;
        let old = self.read_ends(plan, offset, data.len(), ends)?;
        plan.kept.forget(&(first..=last));
        nonces.resize((last.0 - first.0 + 1) as usize, [0; 12]);
        page::fresh_nonces(nonces);
        let (mut fresh, mut keys) = (nonces.iter(), plan.sealed.keys());
        let mut slot = plan.slot;
        if let Some(bytes) = slot
            && first.0 != 0
        {
            self.write_slot_alone(&bytes, plan.grows)?;
            slot = None;
        }
        let mut pieces = layout::pieces(offset, data.len()).peekable();
        while let Some(first) = pieces.peek().map(|piece| piece.page) {
            // A new file's slot goes out with page 0, in one write.
            let lead = if slot.is_some() { SLOTS } else { 0 };
            let (start, end) = (lower_start(first), chunk_end(first, chunk_pages, offset, data.len()));
            let pages = lead + (end - start) as usize;
            let tail = if plan.grows { tail_behind(end, plan.size) } else { 0 };
            let chunk = &mut in_step(lower, start - lead as u64)[..pages + tail];
            chunk[pages..].fill(0);
            if let Some(bytes) = slot.take() {
                chunk[..SLOT].copy_from_slice(&bytes);
                chunk[SLOT..SLOTS].fill(0);
            }
            while let Some(piece) = pieces.next_if(|piece| layout::block_range(piece.page).end <= end) {
                let nonce = fresh.next().ok_or(Error::Invalid("a nonce for each block"))?;
                let range = layout::block_range(piece.page);
                let at = lead + (range.start - start) as usize;
                let lower = &mut chunk[at..at + (range.end - range.start) as usize];
                fill_payload(&mut keys, &piece, &old, &data[piece.buffer.clone()], lower)?;
                block::seal(keys.of(piece.page), piece.page, nonce, lower);
            }
            if first.0 < plan.guarded.0 {
                self.wait_stable(start..end)?;
            }
            storage::pwrite_all(self.fd.as_fd(), chunk, LowerOffset(start - lead as u64))?;
            self.keep_ends(plan.kept, first, &chunk[lead..pages], (offset, data.len()), &old);
        }
        Ok(())
    }

    /// Keeps blocks of a chunk that was written just now, if it holds them: the last one of the write where a write that goes on changes it,
    /// and on remote filesystems the first one where one that comes before it does.
    fn keep_ends(
        &self,
        kept: &Kept,
        first: PageIndex,
        chunk: &[u8],
        (offset, len): (PlainOffset, usize),
        old: &Ends<'_>,
    ) {
        let end = PlainOffset(offset.0 + len as u64);
        let ((begins, within), last) = (layout::locate(offset), layout::locate(end).0);
        let several = layout::block_start(PageIndex(begins.0 + 1)) < end;
        let begins = (self.is_remote && several && within != 0 && old.of(begins).is_none()).then_some(begins);
        // Of one that was here both writes that meet in it are done, as it seems.
        let met = self.is_remote && several && old.was_kept(last);
        let goes_on = (layout::block_start(last) < end).then_some(last);
        for (page, met) in begins.map(|page| (page, false)).into_iter().chain(goes_on.map(|page| (page, met)))
        {
            let at = layout::block_range(page).start.checked_sub(lower_start(first)).map(|at| at as usize);
            if let Some(lower) = at.and_then(|at| chunk.get(at..at + block_len(page))) {
                if met {
                    kept.keep_if_room(page, lower, self.most_kept())
                } else {
                    kept.keep(page, lower, self.most_kept())
                }
            }
        }
    }

    fn most_kept(&self) -> usize {
        if self.is_remote { kept::MOST_OF_REMOTE } else { kept::MOST }
    }

    /// Writes the slot of a new file whose page 0 isn't written with it: as a whole page if it brings the size with it.
    fn write_slot_alone(&self, slot: &[u8; SLOT], grows: bool) -> Result<()> {
        let mut page = [0; layout::PAGE as usize];
        page[..SLOT].copy_from_slice(slot);
        let bytes = if grows { &page[..] } else { &page[..SLOT] };
        Ok(storage::pwrite_all(self.fd.as_fd(), bytes, LowerOffset(0))?)
    }

    /// Reads what a write changes without replacing it: at most its first and its last block, which are
    /// locked with all between (or all others are excluded). In one call if they are neighbours.
    fn read_ends<'a>(
        &self,
        plan: &PlannedWrite<'_>,
        offset: PlainOffset,
        len: usize,
        buffer: &'a mut [u8],
    ) -> Result<Ends<'a>> {
        let end = offset.0 + len as u64;
        let last = layout::block_start(layout::locate(PlainOffset(end - 1)).0).max(offset);
        let pieces = layout::pieces(offset, len).take(1);
        let pieces = pieces.chain(layout::pieces(last, (end - last.0) as usize).filter(|_| last > offset));
        let mut blocks = pieces.filter(|piece| plan.needs_old(piece)).map(|piece| piece.page);
        let (first, second) = (blocks.next(), blocks.next());
        let len = |page: Option<PageIndex>| page.map_or(0, block_len);
        let both = &mut buffer[..len(first) + len(second)];
        // After a failed write-out what is below may be what was there before.
        let trusted = !self.doubtful.load(Ordering::Relaxed);
        let missing = |page: &PageIndex, lower: &mut [u8]| !(trusted && plan.kept.copy(*page, lower));
        let (one, two) = both.split_at_mut(len(first));
        let read = [first.filter(|page| missing(page, one)), second.filter(|page| missing(page, two))];
        match read.into() {
            (Some(first), Some(second)) if first.0 + 1 == second.0 => self.read_from(first, both)?,
            (first, second) => {
                first.map_or(Ok(()), |page| self.read_from(page, one))?;
                second.map_or(Ok(()), |page| self.read_from(page, two))?;
            }
        }
        Ok(Ends { first, second, read, lower: buffer })
    }

    /// Reads the lower bytes from the start of a block on; what is past the end is zeros.
    fn read_from(&self, page: PageIndex, lower: &mut [u8]) -> Result<()> {
        let got = storage::pread(self.fd.as_fd(), lower, LowerOffset(lower_start(page)))?;
        lower[got..].fill(0);
        Ok(())
    }
}

/// The first and the last block of a write.
fn ends_of(offset: PlainOffset, len: usize) -> (PageIndex, PageIndex) {
    (layout::locate(offset).0, layout::locate(PlainOffset(offset.0 + len as u64 - 1)).0)
}

/// How many bytes a block takes below.
fn block_len(page: PageIndex) -> usize {
    let range = layout::block_range(page);
    (range.end - range.start) as usize
}

/// What the ends of a write held: the lower bytes of at most two blocks, one after the other.
struct Ends<'a> {
    first: Option<PageIndex>,
    second: Option<PageIndex>,
    /// Of these, the blocks that were read from below.
    read: [Option<PageIndex>; 2],
    lower: &'a [u8],
}

impl Ends<'_> {
    /// Whether a block was in memory.
    fn was_kept(&self, page: PageIndex) -> bool {
        self.of(page).is_some() && !self.read.contains(&Some(page))
    }

    /// The lower bytes of a block, if it was read.
    fn of(&self, page: PageIndex) -> Option<&[u8]> {
        let first = self.first.map_or(0, block_len);
        if self.first == Some(page) {
            Some(&self.lower[..first])
        } else {
            (self.second == Some(page)).then(|| &self.lower[first..first + block_len(page)])
        }
    }
}

/// Puts a block's payload into its place in `lower`: `data`, and around it what was there, or zeros.
fn fill_payload(
    keys: &mut SegmentKeys<'_>,
    piece: &Piece,
    old: &Ends<'_>,
    data: &[u8],
    lower: &mut [u8],
) -> Result<()> {
    let payload = block::payload_of(lower);
    if let Some(old) = old.of(piece.page) {
        open_block(keys, piece.page, old, payload)?;
    } else {
        payload[..piece.within.start].fill(0);
        payload[piece.within.end..].fill(0);
    }
    payload[piece.within.clone()].copy_from_slice(data);
    Ok(())
}
