//! Copying a file's content under a new DEK, and comparing the copy with what it was made from.
//!
//! The copy is an empty lower file that nobody knows yet. Order of writes: size, pages, both header slots, then
//! everything durable, then read back; so the floor can be sealed with the first header.

use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::Ordering;

use super::read::open_block;
use super::scratch::CHUNK_PAGES;
use super::{Body, OpenFile, Sealed};
use crate::content::block::{self, Opened};
use crate::content::layout::{self, PAYLOAD};
use crate::crypto::keys::Dek;
use crate::crypto::page;
use crate::header::{Header, OtherSlot, Rewrapped, SLOTS, SlotKeys};
use crate::ids::{FileId, LowerOffset, PageCount, PageIndex, PlainOffset};
use crate::monitor::time_left::Part;
use crate::monitor::{Monitor, Progress};
use crate::storage;
use crate::vault::{Damage, Result, Vault};

/// Thousandths of a file's time that its copy takes; the rest is the comparison.
const COPY: u16 = 700;
/// Bytes of a copy that are left to the page cache: more would be written at the end, in a time in which nothing is heard of it.
const UNSYNCED: usize = 64 << 20;

/// How a copy ended.
pub(in crate::vault) enum Copied {
    /// All of it is durable and was read back; the file id of the copy, and what its slots say.
    All(FileId, SlotKeys),
    /// The file was changed meanwhile.
    Overtaken,
    /// The caller stopped it.
    Stopped,
}

/// The opened payloads of some pages, one after the other; `None` for a hole.
struct Chunk {
    first: PageIndex,
    pages: Vec<Option<Vec<u8>>>,
}

/// What a pass over the pages ended with.
enum Pass {
    Whole,
    Overtaken,
    Stopped,
}

impl OpenFile {
    /// Whether it has handles.
    pub(in crate::vault) fn is_open(&self) -> bool {
        self.handles.load(Ordering::SeqCst) > 0
    }

    /// How often its content or size was, or began to be, changed. Exact while its gate is closed.
    pub(in crate::vault) fn edits(&self) -> u64 {
        self.edits.load(Ordering::SeqCst)
    }

    /// Counts a change that begins. The caller is inside the gate.
    pub(in crate::vault) fn begin_edit(&self) {
        self.edits.fetch_add(1, Ordering::SeqCst);
    }

    /// Counts a change that ended, whether it succeeded or not.
    pub(in crate::vault) fn end_edit(&self) {
        self.changes.fetch_add(1, Ordering::Release);
    }
}

impl Vault {
    /// Copies the content of `file`, which had `edits` changes when its gate was last closed, to the empty lower
    /// file `to` under a new DEK.
    pub(in crate::vault) fn copy_under_new_dek(
        &self,
        file: &OpenFile,
        edits: u64,
        to: BorrowedFd<'_>,
        monitor: &mut Monitor<'_>,
    ) -> Result<Copied> {
        let (size, last) = {
            let state = file.state.read();
            (state.size, state.header_keys())
        };
        let Some(last) = last else { return Ok(Copied::Overtaken) };
        let (id, dek, suite) = (FileId::random(), Dek::generate(), self.keys.suite());
        let header = {
            let (gate, tag) = self.begin_next_wrap(&last)?;
            let wrapped = &gate.wrap(id, suite, &dek);
            Header::new(id, suite, &Rewrapped { backing: gate.backing(), wrapped, tag }, dek)
        };
        let mut sealed = Sealed::new(header);
        storage::truncate(to, layout::lower_size(size))?;
        let mut floor = layout::page_count(size);
        let mut unsynced = 0;
        let pass = file.each_chunk(edits, size, 0..COPY, monitor, &mut |chunk| {
            let hole = chunk.pages.iter().position(Option::is_none);
            floor = hole.map_or(floor, |at| floor.min(PageCount(chunk.first.0 + at as u64)));
            unsynced += write_chunk(&sealed, to, chunk)?;
            if unsynced >= UNSYNCED {
                storage::fdatasync(to)?;
                unsynced = 0;
            }
            Ok(())
        })?;
        match pass {
            Pass::Whole => {}
            Pass::Overtaken => return Ok(Copied::Overtaken),
            Pass::Stopped => return Ok(Copied::Stopped),
        }
        // Only now is it chosen which version wraps it, and bound to that until the header is written.
        let last = file.state.read().header_keys().unwrap_or(last);
        let (gate, tag) = self.begin_next_wrap(&last)?;
        let backing = gate.backing();
        let wrapped = &gate.wrap(id, suite, sealed.header.dek());
        let slot = *sealed.header.next_slot(Some(&Rewrapped { backing, wrapped, tag }), floor).bytes();
        let mut slots = [0; SLOTS];
        slots.as_chunks_mut::<{ crate::header::SLOT }>().0.fill(slot);
        storage::pwrite_all(to, &slots, LowerOffset(0))?;
        drop(gate);
        let keys = SlotKeys { backing, other: OtherSlot::Names(backing), tag };
        storage::fdatasync(to)?;
        self.compare(file, edits, size, to, monitor).map(|pass| match pass {
            Pass::Whole => Copied::All(id, keys),
            Pass::Overtaken => Copied::Overtaken,
            Pass::Stopped => Copied::Stopped,
        })
    }

    /// Opens the copy as any file is opened, from the disk as far as the kernel lets go of what it has cached,
    /// and compares every page with the file's.
    fn compare(
        &self,
        file: &OpenFile,
        edits: u64,
        size: PlainOffset,
        to: BorrowedFd<'_>,
        monitor: &mut Monitor<'_>,
    ) -> Result<Pass> {
        storage::drop_cached(to);
        let fd = storage::duplicate(to)?;
        let lower = storage::fstat(to)?.lower_size();
        let copy = match self.load_body(&fd, lower, layout::page_count(size))? {
            Body::Sealed(sealed) if lower == layout::lower_size(size) => sealed,
            Body::Sealed(_)
            | Body::NoHeader
            | Body::KeyEvicted(_)
            | Body::Unreadable(_)
            | Body::Unsynced
            | Body::Unknown => {
                return Err(Damage::Header.into());
            }
        };
        file.each_chunk(edits, size, COPY..1000, monitor, &mut |chunk| {
            let got = read_chunk(&copy, to, chunk.first, chunk.pages.len() as u64, size)?;
            match got.pages.iter().zip(&chunk.pages).position(|(got, want)| got != want) {
                None => Ok(()),
                Some(at) => Err(Damage::Page(chunk.first.0 + at as u64).into()),
            }
        })
    }
}

impl OpenFile {
    /// Calls `act` with all pages but those of long holes, in order, which is this part of the work on the file. Ends early when
    /// the file is changed, or when it is cancelled.
    fn each_chunk(
        &self,
        edits: u64,
        size: PlainOffset,
        part: Range<u16>,
        monitor: &mut Monitor<'_>,
        act: &mut dyn FnMut(&Chunk) -> Result<()>,
    ) -> Result<Pass> {
        let end = layout::page_count(size).0;
        let mut first = 0;
        while first < end {
            let done = u64::from(part.end - part.start) * first / end;
            let part = Part(part.start + done as u16);
            monitor.report(Progress { part, ..monitor.last() });
            if monitor.check().is_err() {
                return Ok(Pass::Stopped);
            }
            if first > 0 {
                let start = layout::page_offset(PageIndex(first));
                let data = storage::seek_data(self.fd.as_fd(), start)?.map_or(end, |at| at.0 / layout::PAGE);
                if data > first {
                    // What is left out is a hole: the chunk of one page tells of it.
                    act(&Chunk { first: PageIndex(first), pages: vec![None] })?;
                    first = data.max(first + 1);
                    continue;
                }
            }
            let pages = (end - first).min(CHUNK_PAGES);
            let read = {
                let state = self.state.read();
                match state.sealed()? {
                    Some(sealed) if state.size == size => {
                        read_chunk(sealed, self.fd.as_fd(), PageIndex(first), pages, size)
                    }
                    _ => return Ok(Pass::Overtaken),
                }
            };
            match read {
                // In the middle of a write, which is the end of this anyway.
                _ if self.edits() != edits => return Ok(Pass::Overtaken),
                chunk => act(&chunk?)?,
            }
            first += pages;
        }
        Ok(Pass::Whole)
    }
}

/// Reads and opens pages. What is past `size` in the last one is zeros.
fn read_chunk(
    sealed: &Sealed,
    fd: BorrowedFd<'_>,
    first: PageIndex,
    pages: u64,
    size: PlainOffset,
) -> Result<Chunk> {
    let start = layout::block_range(first).start;
    let end = layout::block_range(PageIndex(first.0 + pages - 1)).end;
    let mut lower = vec![0; (end - start) as usize];
    storage::pread(fd, &mut lower, LowerOffset(start))?;
    let mut chunk = Chunk { first, pages: Vec::with_capacity(pages as usize) };
    let mut keys = sealed.keys();
    for page in (first.0..first.0 + pages).map(PageIndex) {
        let range = layout::block_range(page);
        let block = &lower[(range.start - start) as usize..(range.end - start) as usize];
        let mut payload = vec![0; layout::payload(page) as usize];
        let opened = open_block(&mut keys, page, block, &mut payload)?;
        let counts = (size.0 - layout::block_start(page).0).min(PAYLOAD) as usize;
        if let Some(past) = payload.get_mut(counts..) {
            past.fill(0);
        }
        chunk.pages.push((opened == Opened::Data).then_some(payload));
    }
    Ok(chunk)
}

/// Seals pages and writes them, those between two holes with one call. Returns how many bytes these were.
fn write_chunk(sealed: &Sealed, to: BorrowedFd<'_>, chunk: &Chunk) -> Result<usize> {
    let (mut run, mut written): (Vec<u8>, _) = (Vec::new(), 0);
    let (mut run_start, mut keys) = (0, sealed.keys());
    let mut nonces = vec![[0; 12]; chunk.pages.len()];
    page::fresh_nonces(&mut nonces);
    for ((page, payload), nonce) in (chunk.first.0..).map(PageIndex).zip(&chunk.pages).zip(&nonces) {
        let range = layout::block_range(page);
        match payload {
            Some(payload) => {
                if run.is_empty() {
                    run_start = range.start;
                }
                let at = run.len();
                run.resize(at + (range.end - range.start) as usize, 0);
                block::payload_of(&mut run[at..]).copy_from_slice(payload);
                block::seal(keys.of(page), page, nonce, &mut run[at..]);
            }
            None if !run.is_empty() => {
                storage::pwrite_all(to, &run, LowerOffset(run_start))?;
                written += run.len();
                run.clear();
            }
            None => {}
        }
    }
    if !run.is_empty() {
        storage::pwrite_all(to, &run, LowerOffset(run_start))?;
    }
    Ok(written + run.len())
}
