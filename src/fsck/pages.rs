//! Checks pages: reads 1 MiB at a time, and decrypts each page into a buffer that is reused. Nothing is allocated for a page.

use std::ops::{ControlFlow, Range};
use std::os::fd::BorrowedFd;

use super::file::Content;
use super::finding::Pages;
use crate::content::block::{self, Opened};
use crate::content::layout::{self, PAGE, PAYLOAD};
use crate::ids::{LowerOffset, PageCount, PageIndex};
use crate::storage::{self, Errno};

/// Pages read in one call: 1 MiB.
const CHUNK: u64 = 256;

/// What is wrong with a page.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Bad {
    /// Its tag doesn't fit.
    Damaged,
    /// It is zero below the floor.
    Missing,
    /// The lower filesystem can't read it.
    Unreadable(Errno),
}

/// Runs of pages with the same problem.
#[derive(Default)]
pub(super) struct Runs(pub(super) Vec<(Bad, Pages)>);

impl Runs {
    fn add(&mut self, bad: Bad, pages: Range<u64>) {
        if pages.is_empty() {
            return;
        }
        if let Some((last, run)) = self.0.last_mut()
            && *last == bad
            && run.first.0 + run.count.0 == pages.start
        {
            run.count.0 += pages.end - pages.start;
            return;
        }
        let count = PageCount(pages.end - pages.start);
        self.0.push((bad, Pages { first: PageIndex(pages.start), count }));
    }
}

/// A thread's buffers.
pub(super) struct Buffers {
    lower: Vec<u8>,
    payload: Vec<u8>,
}

impl Buffers {
    pub(super) fn new() -> Self {
        Self { lower: vec![0; (CHUNK * PAGE) as usize], payload: vec![0; PAYLOAD as usize] }
    }
}

/// Opens the pages of a range, and adds what is wrong to `runs`. `read` receives the number of bytes read, and says
/// whether the scan continues.
///
/// # Errors
/// What looking for data says; pages that can't be read are findings.
pub(super) fn scan(
    fd: BorrowedFd<'_>,
    content: &Content,
    range: Range<u64>,
    buffers: &mut Buffers,
    runs: &mut Runs,
    read: &mut dyn FnMut(u64) -> ControlFlow<()>,
) -> storage::Result<()> {
    let mut at = range.start;
    while at < range.end {
        let data = storage::seek_data(fd, LowerOffset(at * PAGE))?.map_or(range.end, |data| data.0 / PAGE);
        let data = data.clamp(at, range.end);
        runs.add(Bad::Missing, at..data.min(content.header.floor().0).max(at));
        at = data;
        let end = range.end.min(at + CHUNK);
        if at == end {
            break;
        }
        match chunk(fd, content, at..end, buffers, runs) {
            Ok(()) => {}
            // Most likely one page is unreadable: the others are checked nevertheless.
            Err(e) if end - at == 1 => runs.add(Bad::Unreadable(e), at..end),
            Err(_) => {
                for page in at..end {
                    if let Err(e) = chunk(fd, content, page..page + 1, buffers, runs) {
                        runs.add(Bad::Unreadable(e), page..page + 1);
                    }
                }
            }
        }
        if read((end - at) * PAGE).is_break() {
            break;
        }
        at = end;
    }
    Ok(())
}

fn chunk(
    fd: BorrowedFd<'_>,
    content: &Content,
    pages: Range<u64>,
    buffers: &mut Buffers,
    runs: &mut Runs,
) -> storage::Result<()> {
    let lower = &mut buffers.lower[..((pages.end - pages.start) * PAGE) as usize];
    let got = storage::pread(fd, lower, LowerOffset(pages.start * PAGE))?;
    lower[got..].fill(0);
    let mut segment = layout::segment(PageIndex(pages.start));
    let mut key = content.header.content_key(segment);
    for (page, lower) in pages.clone().map(PageIndex).zip(lower.chunks_exact(PAGE as usize)) {
        if layout::segment(page) != segment {
            segment = layout::segment(page);
            key = content.header.content_key(segment);
        }
        let block = &lower[(layout::block_range(page).start - page.0 * PAGE) as usize..];
        let payload = &mut buffers.payload[..layout::payload(page) as usize];
        match block::open(&key, page, block, payload) {
            Ok(Opened::Data) => {}
            Ok(Opened::Hole) if page.0 >= content.header.floor().0 => {}
            Ok(Opened::Hole) => runs.add(Bad::Missing, page.0..page.0 + 1),
            Err(_) => runs.add(Bad::Damaged, page.0..page.0 + 1),
        }
    }
    Ok(())
}

/// The ranges of pages that were found wrong.
pub(super) fn ranges(runs: &Runs) -> impl Iterator<Item = Range<u64>> {
    runs.0.iter().map(|(_, pages)| pages.first.0..pages.first.0 + pages.count.0)
}

#[cfg(test)]
mod tests {
    //! Runs are joined where they touch.
    use super::*;

    #[test]
    fn runs_that_touch_are_one() {
        let mut runs = Runs::default();
        runs.add(Bad::Damaged, 1..2);
        runs.add(Bad::Damaged, 2..4);
        runs.add(Bad::Missing, 4..4);
        runs.add(Bad::Missing, 4..5);
        runs.add(Bad::Damaged, 6..7);
        let runs: Vec<_> = runs.0.iter().map(|(bad, p)| (*bad, p.first.0, p.count.0)).collect();
        assert_eq!(runs, [(Bad::Damaged, 1, 3), (Bad::Missing, 4, 1), (Bad::Damaged, 6, 1)]);
    }
}
