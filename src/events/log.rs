//! The log file: appending under flock, so that several processes can share it.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rustix::fs::FlockOperation;
use rustix::io::retry_on_intr;

use super::Event;
use super::chain::{self, Anchor, Verification};
use super::limit::Limit;
use crate::crypto::keys::EventKey;
use crate::ids::{LowerOffset, Timestamp};
use crate::storage::{self, Access, Errno, FileKind, Result};

/// The log's name in the vault directory.
const FILE_NAME: &[u8] = b"events.jsonl";
/// Lines are far shorter than this, so the last whole one is in it.
const TAIL: u64 = 64 << 10;

/// The audit log of one vault.
pub struct EventLog {
    dir: OwnedFd,
    key: Arc<EventKey>,
    state: Mutex<State>,
}

struct State {
    /// The keyring's anchor until the log was first read or written, then the log's end.
    place: Anchor,
    /// The log's size when `place` was its end; another one means that someone else wrote.
    size: Option<LowerOffset>,
    limit: Limit,
    failing: bool,
    /// Whether lines were written since the last sync.
    unsynced: bool,
}

impl EventLog {
    /// The log in the vault directory `dir`. Nothing is read or written yet; `anchor` is the keyring's.
    pub fn new(dir: OwnedFd, key: Arc<EventKey>, anchor: Anchor) -> Self {
        let limit = Limit::new(Timestamp::now());
        let state = State { place: anchor, size: None, limit, failing: false, unsynced: false };
        Self { dir, key, state: Mutex::new(state) }
    }

    /// Appends an event. Never fails its caller: what can't be written is warned of (once in a row) and
    /// dropped. Events that reading can bring about are rate-limited; the next line says how many were
    /// held back. Durable with the next save of the keyring.
    pub fn record(&self, event: &Event) {
        let now = Timestamp::now();
        let mut state = self.state.lock();
        if event.is_rate_limited() && !state.limit.pass(now) {
            return;
        }
        match self.append(&mut state, event, now) {
            Ok(()) => state.failing = false,
            Err(e) if !state.failing => {
                state.failing = true;
                tracing::warn!("events.jsonl can't be written, so events are lost: {e}");
            }
            Err(_) => {}
        }
    }

    /// The place in the chain to keep in the keyring, made durable first: else a power cut would leave a log
    /// shorter than its anchor, which looks as if someone had cut it.
    pub fn durable_anchor(&self) -> Anchor {
        let mut state = self.state.lock();
        if state.unsynced {
            match self
                .open(Access::ReadOnly)
                .and_then(|f| f.map_or(Ok(()), |f| storage::fdatasync(f.as_fd())))
            {
                Ok(()) => state.unsynced = false,
                Err(e) => tracing::warn!("events.jsonl can't be synced: {e}"),
            }
        }
        state.place
    }

    /// Checks the whole log against its chain and `anchor`, the keyring's. A missing log is an empty one.
    ///
    /// # Errors
    /// If the log can't be read.
    pub fn verify(&self, anchor: Anchor) -> Result<Verification> {
        let log = match self.open(Access::ReadOnly)? {
            Some(file) => storage::read_all(file.as_fd(), storage::fstat(file.as_fd())?.size as usize)?,
            None => Vec::new(),
        };
        Ok(chain::verify(&self.key, &log, anchor))
    }

    /// The log, or none if it isn't there.
    fn open(&self, access: Access) -> Result<Option<OwnedFd>> {
        let file = match storage::open_file(self.dir.as_fd(), FILE_NAME, access) {
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
            match storage::create_file(self.dir.as_fd(), FILE_NAME, 0o600) {
                Err(Errno::EXIST) => {}
                created => return created,
            }
        }
        Err(Errno::BUSY)
    }

    fn append(&self, state: &mut State, event: &Event, now: Timestamp) -> Result<()> {
        let file = self.open_or_create()?;
        lock(&file)?;
        let size = storage::fstat(file.as_fd())?.lower_size();
        let mut text = String::new();
        let mut last = state.place;
        if state.size != Some(size) {
            let tail = read_tail(file.as_fd(), size)?;
            if !tail.is_empty() && !tail.ends_with(b"\n") {
                // A crash tore the last line: close it, so that the next one is whole.
                text.push('\n');
            }
            match chain::last_place(&tail) {
                Some(place) if place.count >= last.count => last = place,
                _ if last.count == 0 => {}
                _ => {
                    let (line, place) = chain::line(&self.key, last, &Event::LogCut, now, 0);
                    text.push_str(&line);
                    text.push('\n');
                    last = place;
                }
            }
        }
        let held_back = state.limit.take_held_back();
        let (line, place) = chain::line(&self.key, last, event, now, held_back);
        text.push_str(&line);
        text.push('\n');
        // Whatever happens now, the size is another one, and a failed write is looked at again.
        state.size = None;
        state.unsynced = true;
        storage::pwrite_all(file.as_fd(), text.as_bytes(), size)?;
        state.place = place;
        state.size = Some(LowerOffset(size.0 + text.len() as u64));
        Ok(())
    }
}

/// Locks the log until the descriptor is closed. Whoever records an event must not hang because someone else
/// sits on the lock, so this waits for a tenth of a second at most.
fn lock(file: &OwnedFd) -> Result<()> {
    for _ in 0..100 {
        match retry_on_intr(|| rustix::fs::flock(file, FlockOperation::NonBlockingLockExclusive)) {
            Err(Errno::WOULDBLOCK) => std::thread::sleep(Duration::from_millis(1)),
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
