//! Which files the kernel may hold pages of, so that it drops those that a direct write has made stale.
//!
//! Before it sends a direct write the kernel drops the pages in its way; after an asynchronous one (libaio, io_uring; with
//! FUSE_ASYNC_DIO) it doesn't, and a page that was read meanwhile would stay with what was there before. So its pages
//! are dropped before the write is answered: the kernel then waits for those being read, and writes those that a mapping has
//! changed. A file that is only used directly has none, and costs nothing.
//!
//! Order: a cached read or write is recorded (`Vault::pages_come`) *before* the lower file is looked at; a direct
//! write asks (`Vault::stale_pages`) *after* it has changed the lower file, whether it succeeded or not. So who
//! isn't seen by the write sees what it wrote. Dropping waits for the kernel, which waits for session threads: it is done on
//! no session thread and under no lock.

use std::sync::atomic::{AtomicU32, Ordering, fence};

/// What the kernel is to drop before a direct write is answered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub enum Stale {
    /// It holds no page of the file.
    Nothing,
    /// It may hold some: those in the range of the write.
    Range,
    /// All of the file, after which `Vault::all_pages_dropped` is called: for long no one has used the pages, if there
    /// are any, and what is dropped once needn't be dropped with each write.
    All,
}

/// What is known of the kernel's pages of one file, in one word:
///
/// | bits | |
/// |--|--|
/// | 0 | there may be pages |
/// | 1..8 | so many are dropping all of them |
/// | 8..12 | how often all were dropped: each time, the next must be earned by twice as many writes |
/// | 12..32 | direct writes in a row without a cached read or write between |
#[derive(Default)]
pub(in crate::vault) struct KernelPages(AtomicU32);

const MAY_BE: u32 = 1;
const DROPPING: u32 = 1 << 1;
const DROPPING_MASK: u32 = 0x7f << 1;
const DOUBLED: u32 = 1 << 8;
const DOUBLED_MASK: u32 = 0xf << 8;
const RUN: u32 = 1 << 12;
const RUN_MASK: u32 = !(RUN - 1);
/// Direct writes in a row that make it worth dropping all pages.
const LONG_RUN: u32 = 64;
const DOUBLED_MOST: u32 = 12;

impl KernelPages {
    /// A cached read or write comes.
    pub(super) fn come(&self) {
        let word = self.0.load(Ordering::SeqCst);
        if word & MAY_BE == 0 || word & RUN_MASK != 0 {
            self.0.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |w| Some((w | MAY_BE) & !RUN_MASK)).ok();
        }
        fence(Ordering::SeqCst);
    }

    /// Whether there may be pages.
    pub(super) fn may_be(&self) -> bool {
        self.0.load(Ordering::SeqCst) & MAY_BE != 0
    }

    /// A direct write has been made.
    pub(super) fn written(&self) -> Stale {
        fence(Ordering::SeqCst);
        let before = self.0.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |word| match next(word) {
            (Stale::Nothing, _) => None,
            (_, after) => Some(after),
        });
        before.map_or(Stale::Nothing, |word| next(word).0)
    }

    pub(super) fn all_dropped(&self) {
        let less = |word: u32| (word & DROPPING_MASK != 0).then(|| word - DROPPING);
        self.0.fetch_update(Ordering::SeqCst, Ordering::SeqCst, less).ok();
    }
}

/// What a direct write finds in this word, and what it makes of it.
fn next(word: u32) -> (Stale, u32) {
    if word & MAY_BE == 0 {
        // While all are being dropped some may still be there.
        return (if word & DROPPING_MASK == 0 { Stale::Nothing } else { Stale::Range }, word);
    }
    let (run, doubled) = (word / RUN + 1, (word & DOUBLED_MASK) / DOUBLED);
    if run < LONG_RUN << doubled || word & DROPPING_MASK == DROPPING_MASK {
        return (Stale::Range, if run > RUN_MASK / RUN { word } else { word + RUN });
    }
    let more = if doubled < DOUBLED_MOST { DOUBLED } else { 0 };
    (Stale::All, (word & !RUN_MASK & !MAY_BE) + more + DROPPING)
}

#[cfg(test)]
mod tests;
