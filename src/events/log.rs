//! The log file: appending under flock, so that several processes can share it.
//!
//! What changes keys is written ahead and durable before the keyring is saved ([`EventLog::record_change`]):
//! no change is without its event, and the anchor saved with it covers that event. Everything else is
//! appended when it happens and becomes durable with the next of these.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rustix::fs::FlockOperation;
use rustix::io::retry_on_intr;

use super::chain::{self, Anchor, Circumstances, Verification, Verifier};
use super::limit::{Limit, REFILL_LARGE_MS, REFILL_MS};
use super::{Actor, Class, Event};
use crate::crypto::keys::EventKey;
use crate::ids::{Generation, LowerOffset, Timestamp};
use crate::storage::{self, Access, Errno, FileKind, Result};

/// The log's name in the vault directory.
pub const FILE_NAME: &str = "events.jsonl";
/// Lines are far shorter than this, so the last whole one is in it.
const TAIL: u64 = 64 << 10;
/// From this size on, in bytes, events that users can bring about at will come ten minutes apart.
const LARGE: u64 = 64 << 20;
/// How much is read at a time when the whole log is checked.
const CHUNK: usize = 1 << 20;
/// How long whoever records something waits for another process that is writing, in milliseconds. Rate-limited
/// events don't wait at all.
const LOCK_PATIENCE_MS: u32 = 100;

/// The audit log of one vault.
pub struct EventLog {
    dir: OwnedFd,
    key: Arc<EventKey>,
    /// By [`Class`]. Taken before `state`, never with it held.
    limits: [Mutex<Limit>; 3],
    state: Mutex<State>,
}

struct State {
    /// The keyring's anchor until the log was first read or written, then the log's end.
    place: Anchor,
    /// The last place that is known to be durable.
    durable: Anchor,
    /// The log's size when `place` was its end; another one means that someone else wrote.
    size: Option<LowerOffset>,
    /// The keyring generation of the last change in the log, as far as it was seen.
    generation: Option<Generation>,
    failing: bool,
}

/// One line to be written, with what it states beside the event.
struct Line<'a> {
    event: &'a Event,
    generation: Option<Generation>,
    held_back: u64,
}

impl EventLog {
    /// The log in the vault directory `dir`. Nothing is read or written yet; `anchor` is the keyring's.
    pub fn new(dir: OwnedFd, key: Arc<EventKey>, anchor: Anchor) -> Self {
        let now = Timestamp::now();
        let state = State { place: anchor, durable: anchor, size: None, generation: None, failing: false };
        Self { dir, key, limits: [(); 3].map(|()| Mutex::new(Limit::new(now))), state: Mutex::new(state) }
    }

    /// Appends an event, in the name of [`Actor::current`]. Never fails its caller: what can't be written is
    /// warned of (once in a row) and dropped. Durable with the next change of the keyring.
    pub fn record(&self, event: &Event) {
        let held_back = self.take_held_back();
        let mut state = self.state.lock();
        self.write(&mut state, &[Line { event, generation: None, held_back }], LOCK_PATIENCE_MS);
    }

    /// As [`EventLog::record`], for what users of a mount can bring about as fast as they like: `event` is made
    /// only if it may be written, and nobody waits for it. What is held back is counted, and the next line says
    /// how many these were.
    pub fn record_limited(&self, class: Class, event: impl FnOnce() -> Event) {
        let mut limit = self.limit(class).lock();
        let large = match self.state.try_lock() {
            Some(state) => state.size.is_some_and(|size| size.0 > LARGE),
            None => return limit.hold_back(1),
        };
        if !limit.pass(Timestamp::now(), if large { REFILL_LARGE_MS } else { REFILL_MS }) {
            return;
        }
        drop(limit);
        let event = event();
        let held_back = self.take_held_back();
        let written = self.state.try_lock().is_some_and(|mut state| {
            self.write(&mut state, &[Line { event: &event, generation: None, held_back }], 0)
        });
        if !written {
            self.limit(class).lock().hold_back(1 + held_back);
        }
    }

    /// Writes a line that says how many events were held back, if any were.
    pub fn tell_held_back(&self) {
        let held_back = self.take_held_back();
        if held_back > 0 {
            let mut state = self.state.lock();
            let line = Line { event: &Event::HeldBack, generation: None, held_back };
            self.write(&mut state, &[line], LOCK_PATIENCE_MS);
        }
    }

    /// Appends the events of a change of the keyring that is about to be saved as `generation`, in one write,
    /// and makes them durable with all that was written before. Returns the place to keep as anchor in that
    /// keyring: the last one that is known to be durable, so that a power cut never leaves a log shorter than
    /// its anchor. `found` is the generation of the keyring that the change is made on.
    ///
    /// The caller holds the keyring's lock. A log whose last change made another, newer generation than
    /// `found` has events of changes that were lost; that is noted first.
    pub fn record_change(&self, events: &[Event], found: Generation, generation: Generation) -> Anchor {
        let held_back = self.take_held_back();
        let mut state = self.state.lock();
        let lost = self.last_generation(&mut state).filter(|logged| *logged > found);
        let lost = lost.map(|logged| Event::ChangesLost { logged, found });
        let before = lost.iter().map(|event| (event, None));
        let lines = before.chain(events.iter().map(|event| (event, Some(generation))));
        let mut lines: Vec<Line<'_>> =
            lines.map(|(event, generation)| Line { event, generation, held_back: 0 }).collect();
        if let Some(first) = lines.first_mut() {
            first.held_back = held_back;
            self.write(&mut state, &lines, LOCK_PATIENCE_MS);
            state.generation = Some(generation);
        } else if held_back > 0 {
            self.limit(Class::Refusals).lock().hold_back(held_back);
        }
        self.sync(&mut state);
        state.durable
    }

    /// As [`EventLog::record`], and durable when this returns.
    pub fn record_durably(&self, event: &Event) {
        self.record(event);
        self.sync(&mut self.state.lock());
    }

    /// The keyring generation of the last change in the log, if its end can be read. Not authenticated.
    pub fn logged_generation(&self) -> Option<Generation> {
        self.last_generation(&mut self.state.lock())
    }

    /// Checks the whole log against its chain and `anchor`, the keyring's, which was read before this is
    /// called: the log may grow meanwhile. A missing log is an empty one.
    ///
    /// # Errors
    /// If the log can't be read.
    pub fn verify(&self, anchor: Anchor) -> Result<Verification> {
        let mut verifier = Verifier::new(&self.key, anchor);
        let Some(file) = self.open(Access::ReadOnly)? else { return Ok(verifier.end(&[])) };
        let end = whole_size(&file)?;
        let (mut at, mut rest, mut chunk) = (LowerOffset(0), Vec::new(), vec![0; CHUNK]);
        while at < end {
            let want = (end.0 - at.0).min(CHUNK as u64) as usize;
            let read = storage::pread(file.as_fd(), &mut chunk[..want], at)?;
            if read == 0 {
                break;
            }
            at.0 += read as u64;
            let mut lines = chunk[..read].split_inclusive(|&b| b == b'\n');
            for line in &mut lines {
                rest.extend_from_slice(line);
                if rest.pop_if(|b| *b == b'\n').is_some() {
                    verifier.line(&rest);
                    rest.clear();
                }
            }
        }
        Ok(verifier.end(&rest))
    }

    fn limit(&self, class: Class) -> &Mutex<Limit> {
        &self.limits[match class {
            Class::Refusals => 0,
            Class::Damage => 1,
            Class::Reencryptions => 2,
        }]
    }

    fn take_held_back(&self) -> u64 {
        self.limits.iter().map(|limit| limit.lock().take_held_back()).sum()
    }

    /// Makes what was written durable. Where that fails, the anchor stays where it was.
    fn sync(&self, state: &mut State) {
        if state.durable == state.place {
            return;
        }
        let synced =
            self.open(Access::ReadOnly).and_then(|f| f.map_or(Ok(()), |f| storage::fdatasync(f.as_fd())));
        match synced {
            Ok(()) => state.durable = state.place,
            Err(e) => tracing::warn!("{FILE_NAME} can't be synced, so a power cut may take events: {e}"),
        }
    }

    /// The log, or none if it isn't there.
    fn open(&self, access: Access) -> Result<Option<OwnedFd>> {
        let file = match storage::open_file(self.dir.as_fd(), FILE_NAME.as_bytes(), access) {
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
    fn open_or_create(&self) -> Result<OwnedFd> {
        for _ in 0..8 {
            if let Some(file) = self.open(Access::ReadWrite)? {
                return Ok(file);
            }
            match storage::create_file(self.dir.as_fd(), FILE_NAME.as_bytes(), 0o600) {
                Err(Errno::EXIST) => {}
                Err(e) => return Err(e),
                Ok(file) => {
                    self.give_to_owner(file.as_fd());
                    storage::fsync(self.dir.as_fd())?;
                    return Ok(file);
                }
            }
        }
        Err(Errno::BUSY)
    }

    /// A log that root makes in someone else's vault is for the vault's owner to go on with.
    fn give_to_owner(&self, file: BorrowedFd<'_>) {
        if let (Ok(dir), Ok(made)) = (storage::fstat(self.dir.as_fd()), storage::fstat(file))
            && (dir.uid, dir.gid) != (made.uid, made.gid)
        {
            // Failing leaves the log to its maker alone; the owner is warned when it can't be written.
            let _ = storage::chown(file, Some(dir.uid), Some(dir.gid));
        }
    }

    /// Appends, and warns where that fails. Returns whether it was written.
    fn write(&self, state: &mut State, lines: &[Line<'_>], patience_ms: u32) -> bool {
        match self.append(state, lines, patience_ms) {
            Ok(()) => {
                state.failing = false;
                true
            }
            // Without patience someone else's write is no failure, and a read-only filesystem keeps no log.
            Err(Errno::WOULDBLOCK) if patience_ms == 0 => false,
            Err(Errno::ROFS) => true,
            Err(e) => {
                if !std::mem::replace(&mut state.failing, true) {
                    tracing::warn!("{FILE_NAME} can't be written, so events are lost: {e}");
                }
                false
            }
        }
    }

    fn append(&self, state: &mut State, lines: &[Line<'_>], patience_ms: u32) -> Result<()> {
        let file = self.open_or_create()?;
        lock(&file, patience_ms)?;
        let size = storage::fstat(file.as_fd())?.lower_size();
        let (now, actor) = (Timestamp::now(), Actor::current());
        let mut text = String::new();
        let mut last = state.place;
        let mut add = |last: &mut Anchor, line: &Line<'_>| {
            let beside = Circumstances { now, actor, generation: line.generation, held_back: line.held_back };
            let (line, place) = chain::line(&self.key, *last, line.event, beside);
            text.push_str(&line);
            text.push('\n');
            *last = place;
        };
        let mut unfinished = false;
        if state.size != Some(size) {
            let tail = read_tail(file.as_fd(), size)?;
            unfinished = !tail.is_empty() && !tail.ends_with(b"\n");
            let end = chain::end_of(&tail);
            state.generation = end.generation.or(state.generation);
            match end.place {
                Some(place) if place.count > last.count || place == last => last = place,
                None if last.count == 0 => {}
                _ => add(&mut last, &Line { event: &Event::LogCut, generation: None, held_back: 0 }),
            }
            if !end.torn.is_empty() {
                let event = chain::torn(end.torn);
                add(&mut last, &Line { event: &event, generation: None, held_back: 0 });
            }
        }
        lines.iter().for_each(|line| add(&mut last, line));
        if unfinished {
            text.insert(0, '\n');
        }
        // Whatever happens now, the size is another one, and a failed write is looked at again.
        state.size = None;
        storage::pwrite_all(file.as_fd(), text.as_bytes(), size)?;
        state.place = last;
        state.size = Some(LowerOffset(size.0 + text.len() as u64));
        Ok(())
    }

    /// The keyring generation of the last change in the log, if its end can be read.
    fn last_generation(&self, state: &mut State) -> Option<Generation> {
        if let Ok(Some(file)) = self.open(Access::ReadOnly)
            && let Ok(size) = whole_size(&file)
            && state.size != Some(size)
            && let Ok(tail) = read_tail(file.as_fd(), size)
        {
            state.generation = chain::end_of(&tail).generation.or(state.generation);
        }
        state.generation
    }
}

/// The size when nobody is in the middle of a write, if that can be had.
fn whole_size(file: &OwnedFd) -> Result<LowerOffset> {
    // Held for one stat: writers don't wait for a check of the whole log.
    let locked = lock(file, LOCK_PATIENCE_MS);
    let size = storage::fstat(file.as_fd())?.lower_size();
    if locked.is_ok() {
        retry_on_intr(|| rustix::fs::flock(file, FlockOperation::Unlock))?;
    }
    Ok(size)
}

/// Locks the log until the descriptor is closed. Whoever records an event must not hang because someone else
/// sits on the lock.
fn lock(file: &OwnedFd, patience_ms: u32) -> Result<()> {
    for tried in 0..=patience_ms {
        match retry_on_intr(|| rustix::fs::flock(file, FlockOperation::NonBlockingLockExclusive)) {
            Err(Errno::WOULDBLOCK) if tried < patience_ms => std::thread::sleep(Duration::from_millis(1)),
            locked => return locked,
        }
    }
    Err(Errno::WOULDBLOCK)
}

fn read_tail(file: BorrowedFd<'_>, size: LowerOffset) -> Result<Vec<u8>> {
    let mut tail = vec![0; size.0.min(TAIL) as usize];
    let read = storage::pread(file, &mut tail, LowerOffset(size.0.saturating_sub(TAIL)))?;
    tail.truncate(read);
    Ok(tail)
}
