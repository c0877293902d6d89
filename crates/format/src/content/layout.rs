//! Where a plaintext byte lies in a lower file (docs/format.md, "A file"). Pages have 4096 bytes, and no block lies in
//! two of them, so that no interrupted write makes more than one block unreadable.
//!
//! ```text
//! page 0    0 header slots (header/layout.rs) | 1024 block 0: nonce (12), tag (16), ciphertext (3044)
//! page i    0 block i: nonce (12), tag (16), ciphertext (4068)
//! ```
//!
//! A lower size S = 4096·N + t says: N pages, t bytes of plaintext in the last block; t = 0 says full. Bytes from
//! 4096·N on are a hole that is never read: they let `stat` tell the size without a key.

use std::ops::Range;

use crate::crypto::page::{Nonce, Tag};
use crate::ids::{LowerOffset, PageCount, PageIndex, PlainOffset, SegmentIndex};

/// Bytes of a lower page.
pub const PAGE: u64 = 4096;
/// Bytes of a block's nonce and tag, which come before the ciphertext.
pub const BLOCK_OVERHEAD: u64 = (size_of::<Nonce>() + size_of::<Tag>()) as u64;
/// Where block 0 begins in page 0, behind the two header slots.
pub const BLOCK0_OFFSET: u64 = 1024;
/// Payload bytes of block 0.
pub const BLOCK0_PAYLOAD: u64 = PAGE - BLOCK0_OFFSET - BLOCK_OVERHEAD;
/// Payload bytes of every other block.
pub const PAYLOAD: u64 = PAGE - BLOCK_OVERHEAD;
/// Pages sealed under one content key.
pub const SEGMENT_PAGES: u64 = 1 << 14;
/// The largest plaintext size: its lower size stays below 2^63, what `off_t` holds.
pub const MAX_SIZE: PlainOffset = PlainOffset((i64::MAX as u64 / PAGE - 1) * PAYLOAD);

/// A lower size that no file has: between 0 and a page, or a remainder over the last block's payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("impossible lower size")]
pub struct ImpossibleSize;

/// Payload bytes of block `page`.
pub const fn payload(page: PageIndex) -> u64 {
    if page.0 == 0 { BLOCK0_PAYLOAD } else { PAYLOAD }
}

/// The plaintext offset where block `page` begins.
pub const fn block_start(page: PageIndex) -> PlainOffset {
    PlainOffset(if page.0 == 0 { 0 } else { BLOCK0_PAYLOAD + (page.0 - 1) * PAYLOAD })
}

/// The block that holds the byte at `offset`, and where in its payload.
pub const fn locate(offset: PlainOffset) -> (PageIndex, u64) {
    if offset.0 < BLOCK0_PAYLOAD {
        (PageIndex(0), offset.0)
    } else {
        let rest = offset.0 - BLOCK0_PAYLOAD;
        (PageIndex(1 + rest / PAYLOAD), rest % PAYLOAD)
    }
}

/// The number of blocks, and so of pages, of a file of `size` bytes.
pub const fn page_count(size: PlainOffset) -> PageCount {
    PageCount(if size.0 == 0 { 0 } else { locate(PlainOffset(size.0 - 1)).0.0 + 1 })
}

/// The lower size of a file of `size` bytes. `size` is at most [`MAX_SIZE`].
pub const fn lower_size(size: PlainOffset) -> LowerOffset {
    if size.0 == 0 {
        return LowerOffset(0);
    }
    let (last, within) = locate(PlainOffset(size.0 - 1));
    LowerOffset((last.0 + 1) * PAGE + within + 1)
}

/// The plaintext size of a file with this lower size.
///
/// # Errors
/// [`ImpossibleSize`] for one that rekeyfs never leaves, not even in a crash.
pub const fn plain_size(lower: LowerOffset) -> Result<PlainOffset, ImpossibleSize> {
    if lower.0 == 0 {
        return Ok(PlainOffset(0));
    }
    let (pages, rest) = (lower.0 / PAGE, lower.0 % PAGE);
    if pages == 0 {
        return Err(ImpossibleSize);
    }
    let last = PageIndex(pages - 1);
    if rest > payload(last) {
        return Err(ImpossibleSize);
    }
    let in_last = if rest == 0 { payload(last) } else { rest };
    Ok(PlainOffset(block_start(last).0 + in_last))
}

/// Where page `page` begins in the lower file.
pub const fn page_offset(page: PageIndex) -> LowerOffset {
    LowerOffset(page.0 * PAGE)
}

/// The lower bytes of block `page`: what data writers write, and what zeros make a hole.
pub const fn block_range(page: PageIndex) -> Range<u64> {
    let start = page.0 * PAGE;
    if page.0 == 0 { BLOCK0_OFFSET..PAGE } else { start..start + PAGE }
}

/// The segment of `page`: which content key seals it.
pub const fn segment(page: PageIndex) -> SegmentIndex {
    SegmentIndex(page.0 / SEGMENT_PAGES)
}

/// A part of one block: which bytes of its payload, and where they are in the caller's buffer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    /// The block.
    pub page: PageIndex,
    /// Bytes of its payload.
    pub within: Range<usize>,
    /// The same bytes in the buffer.
    pub buffer: Range<usize>,
}

impl Piece {
    /// Whether the piece is the block's whole payload.
    pub fn is_whole(&self) -> bool {
        self.within.len() as u64 == payload(self.page)
    }
}

/// Splits `[offset, offset + len)` into pieces, one a block, in ascending order.
pub fn pieces(offset: PlainOffset, len: usize) -> impl Iterator<Item = Piece> {
    let mut done = 0;
    std::iter::from_fn(move || {
        if done == len {
            return None;
        }
        let (page, within) = locate(PlainOffset(offset.0 + done as u64));
        let n = ((payload(page) - within) as usize).min(len - done);
        let within = within as usize;
        let piece = Piece { page, within: within..within + n, buffer: done..done + n };
        done += n;
        Some(piece)
    })
}

#[cfg(test)]
mod tests;
