//! The log file. It is appended to under flock, so that several processes can share it.
//!
//! **Order.** The events of a change of keys are written and durable before the keyring is saved
//! ([`EventLog::record_change`]): every change has its event, and the anchor saved with the change covers that event. All
//! other events are appended when they happen, and become durable with the next change. Those that can't be written wait in
//! memory, up to a bound; beyond it they are counted.

use std::os::fd::{AsFd, OwnedFd};

use parking_lot::{Mutex, MutexGuard};

use super::anchor::Anchor;
use super::chain;
use super::file::{FileEnd, LOCK_PATIENCE_MS, lock, read_tail, whole_end, write_again};
use super::file_names::FILE_NAME;
use super::first_uses::{FirstUses, RequestKind};
use super::notice;
use super::pending::{Backlog, NewLine, PendingEvents, StampedEvent};
use super::preallocate::{Preallocation, Priority};
use super::rate_limit::{REFILL_LARGE_MS, REFILL_MS, RateLimits};
use super::subject::HeldBack;
use super::{Actor, Class, Event, LogKeys};
use crate::ids::{Generation, LowerOffset, Timestamp};
use crate::printable;
use crate::storage::{self, Access, Errno, Result, Writable};

/// From this size on, in bytes, events that users can bring about at will come ten minutes apart.
const LARGE: u64 = 64 << 20;
/// How long a change of keys, which isn't made without its event, waits for another process that is writing, in
/// milliseconds.
pub(super) const CHANGE_PATIENCE_MS: u32 = 5_000;
/// So many events that had to wait are written at a time: a disk that is full again keeps what it took.
const BATCH: usize = 32;

/// The audit log of one vault.
pub struct EventLog {
    pub(super) dir: OwnedFd,
    /// `None`: the log is only read. As on a read-only filesystem, no event is kept.
    pub(super) writable: Option<Writable>,
    /// By [`Class`]. Lock order: before `state`.
    limits: [Mutex<RateLimits>; Class::ALL.len()],
    first_uses: Mutex<FirstUses>,
    pub(super) state: Mutex<LogState>,
}

pub(super) struct LogState {
    pub(super) keys: LogKeys,
    /// The log, locked for longer than one write, while the event key is replaced.
    pub(super) held: Option<OwnedFd>,
    /// The keyring's anchor until the log was first read or written, then the log's end.
    pub(super) place: Anchor,
    /// The last place that is known to be durable.
    pub(super) durable: Anchor,
    /// The log's file and size when `place` was its end; if it is another one someone else wrote.
    pub(super) end: Option<FileEnd>,
    /// The keyring generation of the last change in the log that was read or written here.
    pub(super) generation: Option<Generation>,
    /// Offset of the first byte that this process wrote and that isn't known to be durable.
    pub(super) unsynced: Option<LowerOffset>,
    /// Whether a sync has failed since then. The kernel may then treat pages as clean that never reached the disk.
    pub(super) sync_failed: bool,
    /// Whether this process has written any of it.
    pub(super) wrote: bool,
    pub(super) preallocation: Preallocation,
    pub(super) pending: PendingEvents,
    pub(super) failing: bool,
}

impl EventLog {
    /// The log in the vault directory `dir`. Nothing is read or written yet; `anchor` is the keyring's.
    pub fn new(dir: OwnedFd, keys: impl Into<LogKeys>, anchor: Anchor, writable: Option<Writable>) -> Self {
        let state = LogState {
            keys: keys.into(),
            held: None,
            place: anchor,
            durable: anchor,
            end: None,
            generation: None,
            unsynced: None,
            sync_failed: false,
            wrote: false,
            preallocation: Preallocation::default(),
            pending: PendingEvents::default(),
            failing: false,
        };
        Self {
            dir,
            writable,
            limits: Default::default(),
            first_uses: Mutex::default(),
            state: Mutex::new(state),
        }
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
        if self.is_within_limits(class) {
            self.append_limited(class, event(), Mutex::try_lock);
        }
    }

    /// As [`EventLog::record_limited`], for a request of this kind. The first one in a while is recorded whatever the user asked for
    /// beside it, and waits for the log: a flood hides no kind.
    pub fn record_request(&self, kind: RequestKind, event: impl FnOnce() -> Event) {
        let (user, class) = (Actor::current().user(), Class::Requests);
        if !self.first_uses.lock().is_first(user, kind, Timestamp::now()) {
            return self.record_limited(class, event);
        }
        if !self.append_limited(class, event(), |state| Some(state.lock())) {
            self.first_uses.lock().forget(user, kind);
        }
    }

    fn is_within_limits(&self, class: Class) -> bool {
        let mut limit = self.limit(class).lock();
        let large = match self.state.try_lock() {
            Some(state) => state.end.is_some_and(|end| end.size.0 > LARGE),
            None => {
                limit.hold_back_one();
                return false;
            }
        };
        let refill = if large { REFILL_LARGE_MS } else { REFILL_MS };
        limit.pass(Actor::current().user(), Timestamp::now(), refill)
    }

    /// Writes an event that its class allows, unless the log is another's or others wait for it. Returns whether it did.
    fn append_limited(
        &self,
        class: Class,
        event: Event,
        by: impl for<'a> FnOnce(&'a Mutex<LogState>) -> Option<MutexGuard<'a, LogState>>,
    ) -> bool {
        let event = StampedEvent::now(event);
        let held_back = self.take_held_back();
        let written = by(&self.state).is_some_and(|mut state| {
            let mut line = NewLine::of(&event);
            line.beside.held_back = held_back;
            state.pending.is_empty() && self.write(&mut state, &[line], Priority::Limited, 0).is_ok()
        });
        if !written {
            self.limit(class).lock().hold_back_one();
            self.hold_back_again(Err(Errno::AGAIN), held_back);
        }
        written
    }

    /// Writes pending events, and how many were held back, if any. To be called now and then.
    pub fn catch_up(&self) {
        self.write_pending();
        let held_back = self.take_held_back();
        if held_back.total() > 0 {
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
        let file = self.open_locked(self.writable.ok_or(Errno::ROFS)?, CHANGE_PATIENCE_MS)?;
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
        &self.limits[class as usize]
    }

    fn take_held_back(&self) -> HeldBack {
        HeldBack::of_each(|class| self.limit(class).lock().take_held_back())
    }

    /// Returns counts of held-back events that were taken for a line that could not be written.
    fn hold_back_again(&self, written: Result<()>, held_back: HeldBack) {
        if written.is_err() {
            held_back.each().for_each(|(class, count)| self.limit(class).lock().hold_back_again(count));
        }
    }

    /// Writes pending events as far as there is space, and then how many were lost, if any.
    pub(super) fn write_pending(&self) {
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
    pub(super) fn sync(&self, state: &mut LogState) -> Result<()> {
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

    /// The keyring generation of the last change in the log, if its end can be read.
    fn last_generation(&self, state: &mut LogState) -> Option<Generation> {
        if let Ok(Some(file)) = self.open(Access::ReadOnly)
            && let Ok(end) = whole_end(&file)
            && state.end != Some(end)
            && let Ok((tail, before)) = read_tail(file.as_fd(), end.size)
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
