//! Reading: lower pages by the chunk, opened straight into the caller's buffer.

use std::os::fd::AsFd;

use super::scratch::{CHUNK_PAGES, Scratch};
use super::{OpenFile, Sealed, SegmentKeys, State};
use crate::content::block::{self, Opened};
use crate::content::layout::{self, Piece};
use crate::ids::{Ino, LowerOffset, PageIndex, PlainOffset};
use crate::storage;
use crate::vault::{Damage, Error, Result, Vault};

impl Vault {
    /// Reads up to `out.len()` bytes at `offset`; fewer only at the end of the file.
    ///
    /// # Errors
    /// EIO for a page that isn't what was written; what the lower filesystem says.
    pub fn read(&self, ino: Ino, offset: PlainOffset, out: &mut [u8]) -> Result<usize> {
        let inode = self.inode(ino)?;
        if self.others_write() {
            return self.read_current(&inode, offset, out);
        }
        let file = self.opened(&inode)?;
        let first = file.read(&file.state.read(), offset, out);
        match first {
            // The lower filesystem may let a read see half of a write: what fails is read once more with
            // all writers excluded before it is reported.
            Err(Error::Corrupt(_)) => {
                let again = file.read(&file.state.write(), offset, out);
                if let Err(Error::Corrupt(damage)) = &again {
                    self.report_damage(ino, *damage);
                }
                again
            }
            other => other,
        }
    }
}

impl OpenFile {
    pub(super) fn read(&self, state: &State, offset: PlainOffset, out: &mut [u8]) -> Result<usize> {
        let sealed = state.sealed()?;
        let len = state.size.0.saturating_sub(offset.0).min(out.len() as u64) as usize;
        let out = &mut out[..len];
        let Some(sealed) = sealed else {
            out.fill(0);
            return Ok(len);
        };
        let (mut scratch, mut keys) = (Scratch::take(), sealed.keys());
        let mut pieces = layout::pieces(offset, len).peekable();
        while let Some(first) = pieces.peek().map(|piece| piece.page) {
            let buffers = &mut *scratch;
            let end = chunk_end(first, CHUNK_PAGES, offset, len);
            let lower = &mut buffers.lower[..(end - lower_start(first)) as usize];
            let got = storage::pread(self.fd.as_fd(), lower, LowerOffset(lower_start(first)))?;
            if got < lower.len() && self.loaded_as.is_some() {
                // Another host has cut the file since it was loaded: pages that are gone are no holes.
                return Err(Damage::Size.into());
            }
            lower[got..].fill(0);
            while let Some(piece) = pieces.next_if(|piece| layout::block_range(piece.page).end <= end) {
                let lower = block_in(lower, first, piece.page);
                read_piece(&mut keys, &piece, lower, &mut buffers.payload, out)?;
            }
        }
        Ok(len)
    }

    /// Opens one block into `payload`; a hole becomes zeros.
    pub(super) fn read_block(&self, sealed: &Sealed, page: PageIndex, payload: &mut [u8]) -> Result<Opened> {
        let mut scratch = Scratch::take();
        let range = layout::block_range(page);
        self.read_block_of(sealed, page, &mut scratch.lower[..(range.end - range.start) as usize], payload)
    }

    /// As [`OpenFile::read_block`]; its ciphertext goes to `lower`, which has its length.
    pub(super) fn read_block_of(
        &self,
        sealed: &Sealed,
        page: PageIndex,
        lower: &mut [u8],
        payload: &mut [u8],
    ) -> Result<Opened> {
        let got = storage::pread(self.fd.as_fd(), lower, LowerOffset(layout::block_range(page).start))?;
        lower[got..].fill(0);
        open_block(&mut sealed.keys(), page, lower, payload)
    }
}

/// Where the lower bytes of a chunk that begins with block `first` begin.
pub(super) fn lower_start(first: PageIndex) -> u64 {
    layout::block_range(first).start
}

/// Where the chunk of at most `pages` that begins with block `first`, of a request that ends at `offset + len`, ends.
pub(super) fn chunk_end(first: PageIndex, pages: u64, offset: PlainOffset, len: usize) -> u64 {
    let (last, _) = layout::locate(PlainOffset(offset.0 + len as u64 - 1));
    layout::block_range(PageIndex(last.0.min(first.0 + pages - 1))).end
}

/// The bytes of block `page` in a chunk that begins with block `first`.
pub(super) fn block_in(chunk: &[u8], first: PageIndex, page: PageIndex) -> &[u8] {
    let range = layout::block_range(page);
    let start = lower_start(first);
    &chunk[(range.start - start) as usize..(range.end - start) as usize]
}

pub(super) fn open_block(
    keys: &mut SegmentKeys<'_>,
    page: PageIndex,
    lower: &[u8],
    payload: &mut [u8],
) -> Result<Opened> {
    let opened =
        block::open(keys.of(page), page, lower, payload).map_err(|_| Error::from(Damage::Page(page.0)))?;
    if opened == Opened::Hole {
        if keys.sealed.forbids_hole(page) {
            return Err(Damage::Page(page.0).into());
        }
        payload.fill(0);
    }
    Ok(opened)
}

fn read_piece(
    keys: &mut SegmentKeys<'_>,
    piece: &Piece,
    lower: &[u8],
    payload: &mut [u8],
    out: &mut [u8],
) -> Result<()> {
    let out = &mut out[piece.buffer.clone()];
    if piece.is_whole() {
        open_block(keys, piece.page, lower, out)?;
    } else {
        let payload = &mut payload[..layout::payload(piece.page) as usize];
        open_block(keys, piece.page, lower, payload)?;
        out.copy_from_slice(&payload[piece.within.clone()]);
    }
    Ok(())
}
