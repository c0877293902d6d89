//! The log file: appending under flock, so that several processes can share it.
//!
//! What changes keys is written ahead and durable before the keyring is saved ([`EventLog::record_change`]):
//! no change is without its event, and the anchor saved with it covers that event. Everything else is
//! appended when it happens and becomes durable with the next of these; what can't be written then waits in
//! memory until it can, and is counted where there is too much of it.

use std::os::fd::{AsFd, OwnedFd};

use parking_lot::Mutex;

use super::anchor::Anchor;
use super::chain::{self, Circumstances};
use super::file::{LOCK_PATIENCE_MS, lock, read_tail, whole_size, write_again};
use super::pending::{PendingEvents, StampedEvent};
use super::preallocate::{Preallocation, Priority};
use super::rate_limit::{REFILL_LARGE_MS, REFILL_MS, RateLimits};
use super::{Actor, Class, Event, LogKeys};
use crate::ids::{Generation, LowerOffset, Timestamp};
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
    /// Without it the log is only read: as on a read-only filesystem, no event is kept.
    writable: Option<Writable>,
    /// By [`Class`]. Taken before `state`, never with it held.
    limits: [Mutex<RateLimits>; 4],
    state: Mutex<State>,
}

struct State {
    keys: LogKeys,
    /// The log, locked for longer than one write, while the event key is replaced.
    held: Option<OwnedFd>,
    /// The keyring's anchor until the log was first read or written, then the log's end.
    place: Anchor,
    /// The last place that is known to be durable.
    durable: Anchor,
    /// The log's size when `place` was its end; another one means that someone else wrote.
    size: Option<LowerOffset>,
    /// The keyring generation of the last change in the log, as far as it was seen.
    generation: Option<Generation>,
    /// Where the first byte lies that this process wrote and that isn't known to be durable.
    unsynced: Option<LowerOffset>,
    /// Whether a sync failed since: the kernel may take pages for clean then that never reached the disk.
    sync_failed: bool,
    /// Whether this process has written any of it.
    wrote: bool,
    preallocation: Preallocation,
    waiting: PendingEvents,
    failing: bool,
}

/// One line to be written: an event and what is stated beside it.
struct Line<'a> {
    event: &'a Event,
    beside: Circumstances,
}

impl<'a> Line<'a> {
    fn of(noted: &'a StampedEvent) -> Self {
        let StampedEvent { event, at, actor } = noted;
        Self { event, beside: Circumstances { now: *at, actor: *actor, generation: None, held_back: 0 } }
    }
}

impl EventLog {
    /// The log in the vault directory `dir`. Nothing is read or written yet; `anchor` is the keyring's.
    pub fn new(dir: OwnedFd, keys: impl Into<LogKeys>, anchor: Anchor, writable: Option<Writable>) -> Self {
        let state = State {
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
            waiting: PendingEvents::default(),
            failing: false,
        };
        Self { dir, writable, limits: Default::default(), state: Mutex::new(state) }
    }

    /// Appends an event, in the name of [`Actor::current`](super::Actor::current). Never fails its caller: what
    /// can't be written now (that is warned of, once in a row) waits in memory, and is written before the next
    /// event that can be. Durable with the next change of the keyring.
    pub fn record(&self, event: &Event) {
        let mut state = self.state.lock();
        state.waiting.push(StampedEvent::now(event.clone()));
        drop(state);
        self.write_waiting();
    }

    /// As [`EventLog::record`], for what users of a mount can bring about as fast as they like: `event` is made
    /// only if it may be written by the limit of its class and of the user in whose name it is, and nobody waits for it. What is held back is counted, and the next line says
    /// how many these were.
    pub fn record_limited(&self, class: Class, event: impl FnOnce() -> Event) {
        let mut limit = self.limit(class).lock();
        let large = match self.state.try_lock() {
            Some(state) => state.size.is_some_and(|size| size.0 > LARGE),
            None => return limit.hold_back(1),
        };
        if !limit.pass(
            Actor::current().uid,
            Timestamp::now(),
            if large { REFILL_LARGE_MS } else { REFILL_MS },
        ) {
            return;
        }
        drop(limit);
        let noted = StampedEvent::now(event());
        let held_back = self.take_held_back();
        let written = self.state.try_lock().is_some_and(|mut state| {
            let mut line = Line::of(&noted);
            line.beside.held_back = held_back;
            state.waiting.is_empty() && self.write(&mut state, &[line], Priority::Limited, 0).is_ok()
        });
        if !written {
            self.limit(class).lock().hold_back(1 + held_back);
        }
    }

    /// Writes what had to wait, and a line that says how many events were held back, if any were: to be called
    /// now and then.
    pub fn catch_up(&self) {
        self.write_waiting();
        let held_back = self.take_held_back();
        if held_back > 0 {
            let noted = StampedEvent::now(Event::HeldBack);
            let mut line = Line::of(&noted);
            line.beside.held_back = held_back;
            let mut state = self.state.lock();
            let told = self.write(&mut state, &[line], Priority::Ordinary, LOCK_PATIENCE_MS);
            drop(state);
            self.hold_back_again(told, held_back);
        }
    }

    /// Writes what had to wait, before the process ends. What can't be written is lost: a line says how many
    /// events these were and when they happened, in room that is kept for it.
    pub fn settle(&self) {
        self.write_waiting();
        let mut state = self.state.lock();
        if state.waiting.is_empty() {
            return;
        }
        let lost = state.waiting.lose_all();
        if let Some(event) = state.waiting.lost() {
            let noted = StampedEvent::now(event);
            match self.write(&mut state, &[Line::of(&noted)], Priority::Closing, LOCK_PATIENCE_MS) {
                Ok(()) => state.waiting.told(),
                // A vault that was only read keeps no log.
                Err(Errno::ROFS) if !state.wrote => {}
                Err(e) => tracing::error!("{lost} events could not be recorded in {FILE_NAME}: {e}"),
            }
        }
        self.sync(&mut state).unwrap_or_else(warn_of_sync);
    }

    /// Appends the events of a change of the keyring that is about to be saved as `generation`, in one write,
    /// and makes them durable with all that was written before. Returns the place to keep as anchor in that
    /// keyring: the last one that is known to be durable, so that a power cut never leaves a log shorter than
    /// its anchor. `found` is the generation of the keyring that the change is made on.
    ///
    /// The caller holds the keyring's lock. A log whose last change made another, newer generation than
    /// `found` has events of changes that were lost; that is noted first. `make_room` is called while the disk is
    /// full, and returns whether it gave up something: what is allocated behind the log is of no use to a
    /// filesystem that writes the log's last block in another place (Btrfs).
    ///
    /// # Errors
    /// Why the events can't be written or made durable: the change is not to be made then.
    pub fn record_change(
        &self,
        events: &[Event],
        found: Generation,
        generation: Generation,
        make_room: &mut dyn FnMut() -> bool,
    ) -> Result<Anchor> {
        let held_back = self.take_held_back();
        let mut state = self.state.lock();
        let lost = self.last_generation(&mut state).filter(|logged| *logged > found);
        let lost = lost.map(|logged| StampedEvent::now(Event::ChangesLost { logged, found }));
        let noted: Vec<StampedEvent> = events.iter().cloned().map(StampedEvent::now).collect();
        let mut lines: Vec<Line<'_>> = lost.iter().map(Line::of).collect();
        lines.extend(noted.iter().map(|noted| {
            let mut line = Line::of(noted);
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
        let mut again = |done: Result<()>| done.is_err_and(storage::is_no_room) && make_room();
        let write = |state: &mut State| self.write(state, &lines, Priority::Change, CHANGE_PATIENCE_MS);
        // Once more: a write that was cut short may have found the room that it lacked.
        let mut written = write(&mut state).or_else(|e| match e {
            Errno::WOULDBLOCK => Err(e),
            _ => write(&mut state),
        });
        while again(written) {
            written = write(&mut state);
        }
        if written.is_ok() {
            state.generation = Some(generation);
        }
        let mut done = written.and_then(|()| self.sync(&mut state).or_else(|_| self.sync(&mut state)));
        while written.is_ok() && again(done) {
            done = self.sync(&mut state);
        }
        let durable = state.durable;
        if written.is_ok() && done.is_err() {
            state.waiting.push(StampedEvent::now(Event::ChangeFailed { generation, replaced: false }));
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

    /// Keeps all others from writing until [`EventLog::replace_key`] or [`EventLog::keep_key`] is called: between
    /// the last line of the old event key and the first one of the new one there is none.
    ///
    /// # Errors
    /// Why the log can't be locked.
    pub fn hold(&self) -> Result<()> {
        let file = self.open_or_create(self.writable.ok_or(Errno::ROFS)?)?;
        lock(&file, CHANGE_PATIENCE_MS)?;
        self.state.lock().held = Some(file);
        Ok(())
    }

    /// Makes lines with a new event key from now on: the keyring that has it is durable.
    pub fn replace_key(&self, keys: LogKeys) {
        self.state.lock().keys = keys;
        self.record_durably(&Event::EventKeyInUse);
        self.state.lock().held = None;
    }

    /// Lets others write again, with the key that there was.
    pub fn keep_key(&self) {
        self.state.lock().held = None;
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

    /// Counts as held back again what was taken for a line that could not be written.
    fn hold_back_again(&self, written: Result<()>, held_back: u64) {
        if written.is_err() && held_back > 0 {
            self.limit(Class::Refusals).lock().hold_back(held_back);
        }
    }

    /// Writes the events that wait, as far as there is room, and then how many were lost, if any were.
    fn write_waiting(&self) {
        loop {
            let held_back = self.take_held_back();
            let mut state = self.state.lock();
            let waiting = std::mem::take(&mut state.waiting);
            let lost = waiting.lost().map(StampedEvent::now);
            let mut lines: Vec<Line<'_>> = waiting.first(BATCH).chain(&lost).map(Line::of).collect();
            let count = lines.len();
            if let Some(first) = lines.first_mut() {
                first.beside.held_back = held_back;
            }
            let written = match count {
                0 => Err(Errno::AGAIN),
                _ => self.write(&mut state, &lines, Priority::Ordinary, LOCK_PATIENCE_MS),
            };
            state.waiting = waiting;
            if written.is_ok() {
                state.waiting.written(count - usize::from(lost.is_some()));
                if lost.is_some() {
                    state.waiting.told();
                }
            }
            let more = written.is_ok() && !state.waiting.is_empty();
            drop(state);
            self.hold_back_again(written, held_back);
            if !more {
                return;
            }
        }
    }

    /// Makes what was written durable. Where that fails, the anchor stays where it was, and what isn't known
    /// to be on disk is written once more before the next try.
    fn sync(&self, state: &mut State) -> Result<()> {
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

    /// The log, made if need be. Another process may make it, or take it away, in between.
    fn open_or_create(&self, _leave: Writable) -> Result<OwnedFd> {
        for _ in 0..8 {
            if let Some(file) = self.open(Access::ReadWrite)? {
                return Ok(file);
            }
            // A log that root makes in someone else's vault is for the vault's owner to go on with.
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

    /// Appends, and warns where that fails.
    fn write(
        &self,
        state: &mut State,
        lines: &[Line<'_>],
        priority: Priority,
        patience_ms: u32,
    ) -> Result<()> {
        let done = self.append(state, lines, priority, patience_ms);
        match done {
            Ok(()) => state.failing = false,
            // Without patience someone else's write is no failure, and a read-only filesystem keeps no log.
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
        state: &mut State,
        lines: &[Line<'_>],
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
        let mut add = |last: &mut Anchor, line: &Line<'_>| {
            let (line, place) = chain::line(&keys, *last, line.event, line.beside);
            text.push_str(&line);
            text.push('\n');
            *last = place;
        };
        let mut unfinished = false;
        if state.size != Some(size) {
            state.preallocation.forget();
            let (tail, before) = read_tail(file.as_fd(), size)?;
            unfinished = !tail.is_empty() && !tail.ends_with(b"\n");
            let end = chain::end_of(&keys, before, &tail);
            // Who changes the keyring knows that its key is the keyring's.
            if end.key_replaced && end.forged && priority != Priority::Change {
                return Err(Errno::KEYREVOKED);
            }
            state.generation = end.generation.or(state.generation);
            match end.place {
                Some(place) if place.count > last.count || place == last => last = place,
                None if last.count == 0 => {}
                _ => add(&mut last, &Line::of(&StampedEvent::now(Event::LogCut))),
            }
            if !end.rest.is_empty() {
                let event = if end.forged { chain::forged(end.rest) } else { chain::torn(end.rest) };
                add(&mut last, &Line::of(&StampedEvent::now(event)));
            }
        }
        lines.iter().for_each(|line| add(&mut last, line));
        if unfinished {
            text.insert(0, '\n');
        }
        state.preallocation.for_line(file.as_fd(), size, text.len() as u64, priority)?;
        // Whatever happens now, the size is another one, and a failed write is looked at again.
        state.size = None;
        state.unsynced.get_or_insert(size);
        storage::pwrite_all(file.as_fd(), text.as_bytes(), size)?;
        state.place = last;
        state.wrote = true;
        state.size = Some(LowerOffset(size.0 + text.len() as u64));
        Ok(())
    }

    /// The keyring generation of the last change in the log, if its end can be read.
    fn last_generation(&self, state: &mut State) -> Option<Generation> {
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
        self.settle();
    }
}

fn warn_of_sync(error: Errno) {
    tracing::warn!("{FILE_NAME} can't be synced, so a power cut may take events: {error}");
}
