//! How a file grows: a size that no file has must not be left by a crash in between, and none be seen before its pages where others read.

use crate::content::layout;
use crate::ids::PlainOffset;
use crate::storage::LowerFs;
use crate::vault::Sharing;

/// How a file grows.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Growth {
    /// Its size first, and then its pages.
    SizeFirst,
    /// With its pages: others may read it meanwhile, and a remote filesystem sends all that it has of a file before it sets its size.
    /// A call that is broken off leaves whole pages ([`in_step`]).
    WithPages,
}

impl Growth {
    /// Not without its size first where a power cut could leave one in the middle of a page, which no file has.
    pub(super) fn on(lower: &LowerFs, sharing: Sharing) -> Self {
        let with_pages = sharing == Sharing::Writer || lower.is_remote;
        if with_pages && lower.writes_pages_at_once() { Self::WithPages } else { Self::SizeFirst }
    }
}

/// How many bytes behind the lower bytes up to `end` belong to a file of this size: if its last page ends there, those that
/// say how much of that counts.
pub(super) fn tail_behind(end: u64, size: PlainOffset) -> usize {
    let lower = layout::lower_size(size).0;
    if lower.saturating_sub(end) < layout::PAGE { lower.saturating_sub(end) as usize } else { 0 }
}

/// The buffer from where pages of memory begin and end with those of a lower file, as of `lower`. FUSE's direct I/O, which GlusterFS asks
/// for, ends its requests with a page of memory: a file that grows by several has a size of whole pages in between.
pub(super) fn in_step(buffer: &mut [u8], lower: u64) -> &mut [u8] {
    let page = layout::PAGE as usize;
    let at = (lower as usize % page).wrapping_sub(buffer.as_ptr().addr()) % page;
    &mut buffer[at..]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_of_memory_are_those_of_the_lower_file() {
        let mut buffer = vec![0; 4 * layout::PAGE as usize];
        for skip in [0, 1, 16, 4095] {
            for lower in [0, 1024, 4096, 3 << 20, (3 << 20) + 5] {
                let there = in_step(&mut buffer[skip..], lower);
                assert_eq!(there.as_ptr().addr() as u64 % layout::PAGE, lower % layout::PAGE);
                assert!(there.len() > 2 * layout::PAGE as usize - 4096);
            }
        }
    }
}
