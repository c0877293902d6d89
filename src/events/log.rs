//! The log file. It is appended to under flock, so that several processes can share it.
//!
//! **Order.** The events of a change of keys are written and durable before the keyring is saved
//! ([`EventLog::record_change`]): every change has its event, and the anchor saved with the change covers that event. All
//! other events are appended when they happen, and become durable with the next change. Those that can't be written wait in
//! memory, up to a bound; beyond it they are counted.

use std::os::fd::{AsFd, OwnedFd};

use parking_lot::Mutex;

use super::anchor::Anchor;
use super::chain;
use super::file::{LOCK_PATIENCE_MS, lock, read_tail, whole_size, write_again};
use super::notice;
use super::pending::{Backlog, NewLine, PendingEvents, StampedEvent};
use super::preallocate::{Preallocation, Priority};
use super::rate_limit::{REFILL_LARGE_MS, REFILL_MS, RateLimits};
use super::{Actor, Class, Event, LogKeys};
use crate::ids::{Generation, LowerOffset, Timestamp};
use crate::printable;
use crate::storage::{self, Access, Errno, FileKind, Result, Writable};

/// The log's name in the vault directory.
pub const FILE_NAME: &str = "events.jsonl";
/// From this size on, in bytes, events that users can bring about at will come ten minutes apart.
const LARGE: u64 = 64 << 20;
/// How long a change of keys, which isn't made without its event, waits for another process that is writing, in
/// milliseconds.
const CHANGE_PATIENCE_MS: u32 = 5_000;
/// So many events that had to wait are written at a time: a disk that is full again keeps what it took.
const BATCH: usize = 32;

/// The audit log of one vault.
pub struct EventLog {
    dir: OwnedFd,
    /// `None`: the log is only read. As on a read-only filesystem, no event is kept.
    writable: Option<Writable>,
    /// By [`Class`]. Lock order: before `state`.
    limits: [Mutex<RateLimits>; 4],
    state: Mutex<LogState>,
}

struct LogState {
    keys: LogKeys,
    /// The log, locked for longer than one write, while the event key is replaced.
    held: Option<OwnedFd>,
    /// The keyring's anchor until the log was first read or written, then the log's end.
    place: Anchor,
    /// The last place that is known to be durable.
    durable: Anchor,
    /// The log's size when `place` was its end; if it has another size someone else wrote.
    size: Option<LowerOffset>,
    /// The keyring generation of the last change in the log that was read or written here.
    generation: Option<Generation>,
    /// Offset of the first byte that this process wrote and that isn't known to be durable.
    unsynced: Option<LowerOffset>,
    /// Whether a sync has failed since then. The kernel may then treat pages as clean that never reached the disk.
    sync_failed: bool,
    /// Whether this process has written any of it.
    wrote: bool,
    preallocation: Preallocation,
    pending: PendingEvents,
    failing: bool,
}

impl EventLog {
    /// The log in the vault directory `dir`. Nothing is read or written yet; `anchor` is the keyring's.
    pub fn new(dir: OwnedFd, keys: impl Into<LogKeys>, anchor: Anchor, writable: Option<Writable>) -> Self {
        let state = LogState {
            keys: keys.into(),
            held: None,
            place: anchor,
            durable: anchor,
            size: None,
            generation: None,
            unsynced: None,
            sync_failed: false,
            wrote: false,
            preallocation: Preallocation::default(),
            pending: PendingEvents::default(),
            failing: false,
        };
        Self { dir, writable, limits: Default::default(), state: Mutex::new(state) }
    }

    /// Appends an event in the name of [`Actor::current`](super::Actor::current). It doesn't fail: an event that can't be written
    /// now waits in memory, with one warning for each series of failures, and is written before the next event. Durable with
    /// the next change of the keyring.
    pub fn record(&self, event: &Event) {
        notice::log(event);
        let mut state = self.state.lock();
        state.pending.push(StampedEvent::now(event.clone()));
        drop(state);
        self.write_pending();
    }

    /// As [`EventLog::record`], for events that users of a mount can cause as fast as they like. `event` is called only if the
    /// limit of the class and of the acting user allows it, and the caller doesn't wait for the log. Events that are held back
    /// are counted, and the next line says how many.
    pub fn record_limited(&self, class: Class, event: impl FnOnce() -> Event) {
        let mut limit = self.limit(class).lock();
        let large = match self.state.try_lock() {
            Some(state) => state.size.is_some_and(|size| size.0 > LARGE),
            None => return limit.hold_back_one(),
        };
        if !limit.pass(
            Actor::current().uid,
            Timestamp::now(),
            if large { REFILL_LARGE_MS } else { REFILL_MS },
        ) {
            return;
        }
        drop(limit);
        let event = StampedEvent::now(event());
        let held_back = self.take_held_back();
        let written = self.state.try_lock().is_some_and(|mut state| {
            let mut line = NewLine::of(&event);
            line.beside.held_back = held_back;
            state.pending.is_empty() && self.write(&mut state, &[line], Priority::Limited, 0).is_ok()
        });
        if !written {
            let mut limit = self.limit(class).lock();
            limit.hold_back_one();
            limit.hold_back_again(held_back);
        }
    }

    /// Writes pending events, and how many were held back, if any. To be called now and then.
    pub fn catch_up(&self) {
        self.write_pending();
        let held_back = self.take_held_back();
        if held_back > 0 {
            let event = StampedEvent::now(Event::HeldBack);
            let mut line = NewLine::of(&event);
            line.beside.held_back = held_back;
            let mut state = self.state.lock();
            let written = self.write(&mut state, &[line], Priority::Ordinary, LOCK_PATIENCE_MS);
            drop(state);
            self.hold_back_again(written, held_back);
        }
    }

    /// Writes pending events before the process ends. Those that can't be written are lost; a line says how many and when they
    /// happened, in disk space that is reserved for it.
    pub fn drain(&self) {
        self.write_pending();
        let mut state = self.state.lock();
        if state.pending.is_empty() {
            return;
        }
        let lost = state.pending.lose_all();
        if let Some(event) = state.pending.lost() {
            let event = StampedEvent::now(event);
            match self.write(&mut state, &[NewLine::of(&event)], Priority::Closing, LOCK_PATIENCE_MS) {
                Ok(()) => state.pending.lost_reported(),
                // A vault that was only read has no log to write to.
                Err(Errno::ROFS) if !state.wrote => {}
                Err(e) => tracing::error!(
                    "{} could not be recorded in {FILE_NAME}: {e}",
                    printable::counted(lost, "event", "events")
                ),
            }
        }
        self.sync(&mut state).unwrap_or_else(warn_of_sync);
    }

    /// Appends, in one write, the events of a change of the keyring that is about to be saved as `generation`, and makes them
    /// durable with all lines before them. Returns the anchor to save in that keyring: the last place known to be durable, so
    /// that a power cut never leaves a log shorter than its anchor. `found` is the generation of the keyring that is changed.
    ///
    /// The caller holds the keyring's lock. If the log's last change made a newer generation than `found`, changes were lost;
    /// that is recorded first. `free_space` is called while the disk is full, and returns whether it freed something: the
    /// blocks allocated behind the log don't help a filesystem that writes the log's last block to another place (Btrfs).
    ///
    /// # Errors
    /// Why the events can't be written or made durable: the change is not to be made then.
    pub fn record_change(
        &self,
        events: &[Event],
        found: Generation,
        generation: Generation,
        free_space: &mut dyn FnMut() -> bool,
    ) -> Result<Anchor> {
        let held_back = self.take_held_back();
        let mut state = self.state.lock();
        let lost = self.last_generation(&mut state).filter(|logged| *logged > found);
        let lost = lost.map(|logged| StampedEvent::now(Event::ChangesLost { logged, found }));
        let stamped: Vec<StampedEvent> = events.iter().cloned().map(StampedEvent::now).collect();
        let mut lines: Vec<NewLine<'_>> = lost.iter().map(NewLine::of).collect();
        lines.extend(stamped.iter().map(|event| {
            let mut line = NewLine::of(event);
            line.beside.generation = Some(generation);
            line
        }));
        let Some(first) = lines.first_mut() else {
            self.sync(&mut state).unwrap_or_else(warn_of_sync);
            let durable = state.durable;
            drop(state);
            self.hold_back_again(Err(Errno::AGAIN), held_back);
            return Ok(durable);
        };
        first.beside.held_back = held_back;
        let mut again = |done: Result<()>| done.is_err_and(storage::is_disk_full) && free_space();
        let write = |state: &mut LogState| self.write(state, &lines, Priority::Change, CHANGE_PATIENCE_MS);
        // Once more: a short write may find space now.
        let mut written = write(&mut state).or_else(|e| match e {
            Errno::WOULDBLOCK => Err(e),
            _ => write(&mut state),
        });
        while again(written) {
            written = write(&mut state);
        }
        if written.is_ok() {
            lost.iter().for_each(|lost| notice::log(&lost.event));
            state.generation = Some(generation);
        }
        let mut done = written.and_then(|()| self.sync(&mut state).or_else(|_| self.sync(&mut state)));
        while written.is_ok() && again(done) {
            done = self.sync(&mut state);
        }
        let durable = state.durable;
        if written.is_ok() && done.is_err() {
            let failed = Event::ChangeFailed { generation, replaced: false };
            notice::log(&failed);
            state.pending.push(StampedEvent::now(failed));
        }
        drop(state);
        self.hold_back_again(written, held_back);
        done.map(|()| durable)
    }

    /// As [`EventLog::record`], and durable when this returns.
    pub fn record_durably(&self, event: &Event) {
        self.record(event);
        self.sync(&mut self.state.lock()).unwrap_or_else(warn_of_sync);
    }

    /// The last place in the log that is known to be durable.
    pub fn durable(&self) -> Anchor {
        self.state.lock().durable
    }

    pub(super) fn keys(&self) -> LogKeys {
        self.state.lock().keys.clone()
    }

    /// Locks the log until [`EventLog::replace_key`] or [`EventLog::keep_key`] is called: no line may come between the last one of
    /// the old event key and the first one of the new.
    ///
    /// # Errors
    /// Why the log can't be locked.
    pub fn hold(&self) -> Result<()> {
        let file = self.open_or_create(self.writable.ok_or(Errno::ROFS)?)?;
        lock(&file, CHANGE_PATIENCE_MS)?;
        self.state.lock().held = Some(file);
        Ok(())
    }

    /// Uses a new event key from now on. The keyring that has it must be durable.
    pub fn replace_key(&self, keys: LogKeys) {
        self.state.lock().keys = keys;
        self.record_durably(&Event::EventKeyInUse);
        self.state.lock().held = None;
    }

    /// Unlocks the log without replacing the key.
    pub fn keep_key(&self) {
        self.state.lock().held = None;
    }

    /// What the log doesn't have, or not yet.
    pub fn backlog(&self) -> Backlog {
        let held_back = self.limits.iter().map(|limit| limit.lock().held_back_ever()).sum();
        let state = self.state.lock();
        Backlog { waiting: state.pending.waiting(), lost: state.pending.lost_events(), held_back }
    }

    fn limit(&self, class: Class) -> &Mutex<RateLimits> {
        &self.limits[match class {
            Class::Refusals => 0,
            Class::Damage => 1,
            Class::Reencryptions => 2,
            Class::DirectoryAliases => 3,
        }]
    }

    fn take_held_back(&self) -> u64 {
        self.limits.iter().map(|limit| limit.lock().take_held_back()).sum()
    }

    /// Returns a count of held-back events that was taken for a line that could not be written.
    fn hold_back_again(&self, written: Result<()>, held_back: u64) {
        if written.is_err() && held_back > 0 {
            self.limit(Class::Refusals).lock().hold_back_again(held_back);
        }
    }

    /// Writes pending events as far as there is space, and then how many were lost, if any.
    fn write_pending(&self) {
        loop {
            let held_back = self.take_held_back();
            let mut state = self.state.lock();
            let pending = std::mem::take(&mut state.pending);
            let lost = pending.lost().map(StampedEvent::now);
            let mut lines: Vec<NewLine<'_>> = pending.first(BATCH).chain(&lost).map(NewLine::of).collect();
            let count = lines.len();
            if let Some(first) = lines.first_mut() {
                first.beside.held_back = held_back;
            }
            let written = match count {
                0 => Err(Errno::AGAIN),
                _ => self.write(&mut state, &lines, Priority::Ordinary, LOCK_PATIENCE_MS),
            };
            state.pending = pending;
            if written.is_ok() {
                state.pending.written(count - usize::from(lost.is_some()));
                if lost.is_some() {
                    state.pending.lost_reported();
                }
            }
            let more = written.is_ok() && !state.pending.is_empty();
            drop(state);
            self.hold_back_again(written, held_back);
            if !more {
                return;
            }
        }
    }

    /// Makes the log durable. If that fails the anchor doesn't move, and the lines that may not be on disk are written again
    /// before the next attempt.
    fn sync(&self, state: &mut LogState) -> Result<()> {
        if state.durable == state.place {
            return Ok(());
        }
        let Some(file) = self.open(if state.sync_failed { Access::ReadWrite } else { Access::ReadOnly })?
        else {
            return Ok(());
        };
        if let Some(from) = state.unsynced.filter(|_| state.sync_failed) {
            if state.held.is_none() {
                lock(&file, LOCK_PATIENCE_MS)?;
            }
            write_again(file.as_fd(), from)?;
        }
        if let Err(e) = storage::fdatasync(file.as_fd()) {
            state.sync_failed = true;
            return Err(e);
        }
        (state.durable, state.unsynced, state.sync_failed) = (state.place, None, false);
        Ok(())
    }

    /// The log, or none if it isn't there.
    pub(super) fn open(&self, access: Access) -> Result<Option<OwnedFd>> {
        let (dir, name) = (self.dir.as_fd(), FILE_NAME.as_bytes());
        let opened = match access {
            Access::ReadOnly => storage::open_file(dir, name, access),
            Access::ReadWrite => storage::open_owned(dir, name, access),
        };
        let file = match opened {
            Ok(file) => file,
            Err(Errno::NOENT) => return Ok(None),
            Err(e) => return Err(e),
        };
        match storage::fstat(file.as_fd())?.kind() {
            FileKind::Regular => Ok(Some(file)),
            _ => Err(Errno::INVAL),
        }
    }

    /// The log, created if needed. Another process may create or remove it at the same time.
    fn open_or_create(&self, _leave: Writable) -> Result<OwnedFd> {
        for _ in 0..8 {
            if let Some(file) = self.open(Access::ReadWrite)? {
                return Ok(file);
            }
            // If root creates the log in another user's vault, the vault's owner must be able to append to it.
            match storage::create_for_owner(self.dir.as_fd(), FILE_NAME.as_bytes(), 0o600) {
                Err(Errno::EXIST) => {}
                Err(e) => return Err(e),
                Ok(file) => {
                    storage::fsync_dir(self.dir.as_fd())?;
                    return Ok(file);
                }
            }
        }
        Err(Errno::BUSY)
    }

    /// Appends, and warns if that fails.
    fn write(
        &self,
        state: &mut LogState,
        lines: &[NewLine<'_>],
        priority: Priority,
        patience_ms: u32,
    ) -> Result<()> {
        let done = self.append(state, lines, priority, patience_ms);
        match done {
            Ok(()) => state.failing = false,
            // A caller that doesn't wait has not failed if someone else writes, and a read-only filesystem keeps no log.
            Err(Errno::WOULDBLOCK) if patience_ms == 0 => {}
            Err(Errno::ROFS) => {}
            Err(e) => {
                if !std::mem::replace(&mut state.failing, true) {
                    tracing::warn!("{FILE_NAME} can't be written, so events have to wait: {e}");
                }
            }
        }
        done
    }

    fn append(
        &self,
        state: &mut LogState,
        lines: &[NewLine<'_>],
        priority: Priority,
        patience_ms: u32,
    ) -> Result<()> {
        let file = self.open_or_create(self.writable.ok_or(Errno::ROFS)?)?;
        if state.held.is_none() {
            lock(&file, patience_ms)?;
        }
        let size = storage::fstat(file.as_fd())?.lower_size();
        let keys = state.keys.clone();
        let mut text = String::new();
        let mut last = state.place;
        let mut add = |last: &mut Anchor, line: &NewLine<'_>| {
            let (line, place) = chain::line(&keys, *last, line.event, line.beside);
            text.push_str(&line);
            text.push('\n');
            *last = place;
        };
        let (mut unfinished, mut found) = (false, Vec::new());
        if state.size != Some(size) {
            state.preallocation.forget();
            let (tail, before) = read_tail(file.as_fd(), size)?;
            unfinished = !tail.is_empty() && !tail.ends_with(b"\n");
            let end = chain::end_of(&keys, before, &tail);
            // A change of the keyring is made with the keyring's current key.
            if end.key_replaced && end.forged && priority != Priority::Change {
                return Err(Errno::KEYREVOKED);
            }
            state.generation = end.generation.or(state.generation);
            match end.place {
                Some(place) if place.count > last.count || place == last => last = place,
                None if last.count == 0 => {}
                _ => found.push(StampedEvent::now(Event::LogCut)),
            }
            if !end.rest.is_empty() {
                let event = if end.forged { chain::forged(end.rest) } else { chain::torn(end.rest) };
                found.push(StampedEvent::now(event));
            }
        }
        found.iter().for_each(|event| add(&mut last, &NewLine::of(event)));
        lines.iter().for_each(|line| add(&mut last, line));
        if unfinished {
            text.insert(0, '\n');
        }
        state.preallocation.for_line(file.as_fd(), size, text.len() as u64, priority)?;
        // After a failed write the size isn't known, and the end of the log is read again.
        state.size = None;
        state.unsynced.get_or_insert(size);
        storage::pwrite_all(file.as_fd(), text.as_bytes(), size)?;
        state.place = last;
        state.wrote = true;
        found.iter().for_each(|found| notice::log(&found.event));
        state.size = Some(LowerOffset(size.0 + text.len() as u64));
        Ok(())
    }

    /// The keyring generation of the last change in the log, if its end can be read.
    fn last_generation(&self, state: &mut LogState) -> Option<Generation> {
        if let Ok(Some(file)) = self.open(Access::ReadOnly)
            && let Ok(size) = whole_size(&file)
            && state.size != Some(size)
            && let Ok((tail, before)) = read_tail(file.as_fd(), size)
        {
            state.generation = chain::end_of(&state.keys, before, &tail).generation.or(state.generation);
        }
        state.generation
    }
}

impl Drop for EventLog {
    fn drop(&mut self) {
        self.drain();
    }
}

fn warn_of_sync(error: Errno) {
    tracing::warn!("{FILE_NAME} can't be synced, so a power cut may take events: {error}");
}
