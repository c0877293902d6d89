//! How a file grows: a size that no file has must not be left by a crash in between, and none be seen before its pages where others read.

use crate::content::layout;
use crate::ids::{PageIndex, PlainOffset};
use crate::storage::LowerFs;
use crate::vault::Sharing;

/// How a file grows.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Growth {
    /// Its size first, and then its pages.
    SizeFirst,
    /// By one call where that is one request to the lower filesystem's servers, which is served whole or not at all; else its size
    /// first.
    OneRequest,
    /// With its pages, since others read it meanwhile.
    WithPages,
}

impl Growth {
    /// How many pages are one request on each remote filesystem.
    const REQUEST: u64 = 4;

    /// Not without its size first where a power cut could leave one in the middle of a page, which no file has.
    pub(super) fn on(lower: &LowerFs, sharing: Sharing) -> Self {
        match sharing {
            _ if !lower.writes_pages_at_once() => Self::SizeFirst,
            Sharing::Writer => Self::WithPages,
            _ if lower.is_remote => Self::OneRequest,
            _ => Self::SizeFirst,
        }
    }

    /// Whether a write to these pages brings the size with it.
    pub(super) fn is_by(self, first: PageIndex, last: PageIndex) -> bool {
        match self {
            Self::SizeFirst => false,
            Self::OneRequest => last.0 - first.0 < Self::REQUEST,
            Self::WithPages => true,
        }
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
