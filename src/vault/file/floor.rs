//! The floor in a file's header: so many pages from the first on were durable and held data, so that one found zero,
//! or gone, was taken by someone else. It is the only thing that tells a page that was zeroed below from a hole.
//!
//! **Raised** with what is known to be filled and durable ([`super::filled`]): by a re-wrap, which syncs first and
//! writes both slots anyway, and when the last handle for writing is closed after an fsync, however large the file is.
//! That costs no sync. **Lowered**, durably, before a page below it becomes a hole or is truncated.
//!
//! Crash order: a floor must never be durable before the pages below it. So a sync that began after they were
//! written has returned before a slot with the floor is written. It doesn't matter whether that slot is durable:
//! what was there before it says less, and bears the same DEK under the same backing key. At a close both slots are
//! written by one call: each is one sector, and each combination of old and new ones that a power cut
//! leaves has a valid header. A write-out that failed makes all that comes after it doubtful, since the kernel takes such
//! pages for clean: no floor is raised then until the file is opened again.

use std::ops::Deref;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::scratch::Scratch;
use super::{Body, OpenFile, State};
use crate::content::block;
use crate::content::layout::{self, PAGE};
use crate::ids::{PageCount, PageIndex};
use crate::storage;
use crate::vault::{Result, Vault};

/// If of at most this many pages at the end of a file nothing is known, they are looked at. Of more nothing is read, not
/// even what is cached: the kernel would read on behind it, and a sweep must not read all content.
const UNKNOWN: u64 = 16;

/// Which pages are looked at.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Pages {
    /// All, read from the disk where they must be.
    OnDisk,
    /// Those that the kernel has cached.
    Cached,
}

impl Vault {
    /// Raises the floor of a file that is no longer open for writing, if an fsync has covered more than it says. Best
    /// effort: what fails leaves the floor that there was. Where the kernel shows the lower file's ctime as it is, it
    /// would be seen to move behind the close, and so would the mtime where other hosts' clients have to see it: then only a re-wrap
    /// does it.
    pub(in crate::vault) fn raise_floor(&self, file: &OpenFile) {
        let shows_ctime = !self.kernel_keeps_times.load(Ordering::Relaxed);
        let shows = shows_ctime || self.lower.shows_changes_by_mtime;
        if shows || file.writers.load(Ordering::Relaxed) > 0 || !file.may_rise(&file.state.read()) {
            return;
        }
        let mut state = file.state.write();
        if file.may_rise(&state)
            && let Err(e) = file.seal_higher_floor(&mut state)
        {
            tracing::debug!(ino = file.ino.0, "a floor could not be raised: {e}");
            self.reload(file, &mut state);
        }
    }
}

impl OpenFile {
    /// Looks whether the pages behind those that are known to be filled hold data, if they are few. `state` is locked by
    /// the caller.
    pub(super) fn look_for_data(&self, state: &State, pages: Pages) {
        let (first, end) = (state.filled.prefix().0, state.pages().0);
        if first >= end || end - first > UNKNOWN || !matches!(state.body, Body::Sealed(_)) {
            return;
        }
        let mut scratch = Scratch::take();
        let lower = &mut scratch.lower[..((end - first) * PAGE) as usize];
        let read = match pages {
            Pages::OnDisk => storage::pread,
            Pages::Cached => storage::pread_cached,
        };
        let Ok(got) = read(self.fd.as_fd(), lower, layout::page_offset(PageIndex(first))) else { return };
        let holds_data = |page: &u64| {
            let block = layout::block_range(PageIndex(*page));
            let at = |offset: u64| (offset - first * PAGE) as usize;
            !block::is_zero(&lower[at(block.start)..at(block.end)])
        };
        let whole = first..first + got as u64 / PAGE;
        let data = whole.take_while(holds_data).count() as u64;
        state.filled.note(first..first + data);
    }

    /// The pages that a floor may count.
    pub(super) fn floor_known(&self, state: &State) -> PageCount {
        if self.doubtful.load(Ordering::Relaxed) { PageCount(0) } else { state.filled.durable() }
    }

    /// Whether a higher floor can be sealed without a sync. Not while a re-wrap is about to do it, nor while the slots
    /// bear two backing keys: then the one in force must not be overwritten before the other one is durable.
    fn may_rise(&self, state: &State) -> bool {
        let Body::Sealed(sealed) = &state.body else { return false };
        self.floor_known(state) > sealed.header.highest_floor()
            && !sealed.header.keys().differ()
            && self.rewraps.load(Ordering::Relaxed) == 0
            && self.fd.is_writable()
    }

    fn seal_higher_floor(&self, state: &mut State) -> Result<()> {
        let floor = self.floor_known(state);
        let Body::Sealed(sealed) = &mut state.body else { return Ok(()) };
        let before = storage::fstat(self.fd.as_fd())?;
        if before.nlink == 0 {
            return Ok(());
        }
        let next = sealed.header.next_slot(None, floor);
        let written = self.write_both_slots(next.bytes()).inspect(|()| sealed.header.advance(next));
        storage::put_times_back(self.fd.as_fd(), before.atime, before.mtime)?;
        written
    }

    /// Makes a lower floor durable before pages from `first` on are punched or truncated; a re-wrap that is under way is
    /// overtaken by it. The wrap is kept: only the MAC is computed again.
    ///
    /// Each time costs a sync. So from the second time on the floor is lowered further than it need be: a program that
    /// truncates or punches a file from its end to its beginning, page by page, pays for a few syncs only.
    pub(super) fn lower_floor(&self, state: &mut State, first: PageCount) -> Result<()> {
        let Body::Sealed(sealed) = &mut state.body else { return Ok(()) };
        if sealed.header.highest_floor() <= first {
            return Ok(());
        }
        let lower = if state.floor_lowered { PageCount(first.0 / 2) } else { first };
        let next = sealed.header.next_slot(None, lower.min(sealed.header.floor()));
        self.write_slot(next.index(), next.bytes())?;
        self.flush()?;
        sealed.header.advance(next);
        state.floor_lowered = true;
        Ok(())
    }

    /// Seals again the floor that a truncate had lowered: the pages below it are what they were.
    pub(super) fn raise_floor_again(&self, state: &mut State, floor: Option<PageCount>) -> Result<()> {
        let Body::Sealed(sealed) = &mut state.body else { return Ok(()) };
        let Some(floor) = floor.filter(|floor| *floor > sealed.header.floor()) else { return Ok(()) };
        self.flush()?;
        let next = sealed.header.next_slot(None, floor);
        self.write_slot(next.index(), next.bytes())?;
        self.flush()?;
        sealed.header.advance(next);
        Ok(())
    }
}

/// A file that a re-wrap works on: it will raise the floor itself, and a slot written beside it would overtake it.
pub(super) struct Rewrapping(Arc<OpenFile>);

impl Rewrapping {
    pub(super) fn of(file: Arc<OpenFile>) -> Self {
        file.rewraps.fetch_add(1, Ordering::Relaxed);
        Self(file)
    }
}

impl Deref for Rewrapping {
    type Target = Arc<OpenFile>;
    fn deref(&self) -> &Arc<OpenFile> {
        &self.0
    }
}

impl Drop for Rewrapping {
    fn drop(&mut self) {
        self.0.rewraps.fetch_sub(1, Ordering::Relaxed);
    }
}
