//! The log file: appending under flock, so that several processes can share it.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::fd::OwnedFd;
use std::sync::Arc;

use parking_lot::Mutex;
use rustix::fs::{FlockOperation, Mode, OFlags};

use super::Event;
use super::chain::{self, Anchor, Verification};
use super::limit::Limit;
use crate::crypto::keys::EventKey;
use crate::ids::Timestamp;

/// The log's name in the vault directory.
const FILE_NAME: &str = "events.jsonl";
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
    size: Option<u64>,
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
                tracing::warn!("{FILE_NAME} can't be written, so events are lost: {e}");
            }
            Err(_) => {}
        }
    }

    /// The place in the chain to keep in the keyring, made durable first: else a power cut would leave a log
    /// shorter than its anchor, which looks as if someone had cut it.
    pub fn durable_anchor(&self) -> Anchor {
        let mut state = self.state.lock();
        if state.unsynced {
            match self.open(false).and_then(|f| f.map_or(Ok(()), |f| f.sync_data())) {
                Ok(()) => state.unsynced = false,
                Err(e) => tracing::warn!("{FILE_NAME} can't be synced: {e}"),
            }
        }
        state.place
    }

    /// Checks the whole log against its chain and `anchor`, the keyring's. A missing log is an empty one.
    ///
    /// # Errors
    /// If the log can't be read.
    pub fn verify(&self, anchor: Anchor) -> io::Result<Verification> {
        let mut log = Vec::new();
        if let Some(mut file) = self.open(false)? {
            file.read_to_end(&mut log)?;
        }
        Ok(chain::verify(&self.key, &log, anchor))
    }

    /// The log, or none if it isn't there and isn't to be made.
    fn open(&self, create: bool) -> io::Result<Option<File>> {
        let mut flags = OFlags::RDONLY;
        if create {
            flags = OFlags::RDWR | OFlags::APPEND | OFlags::CREATE;
        }
        // NONBLOCK: a FIFO put in its place must not hang us.
        flags |= OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let file = match rustix::fs::openat(&self.dir, FILE_NAME, flags, Mode::RUSR | Mode::WUSR) {
            Ok(fd) => File::from(fd),
            Err(rustix::io::Errno::NOENT) if !create => return Ok(None),
            Err(e) => return Err(e.into()),
        };
        if !file.metadata()?.is_file() {
            return Err(io::Error::other("it isn't a regular file"));
        }
        Ok(Some(file))
    }

    fn append(&self, state: &mut State, event: &Event, now: Timestamp) -> io::Result<()> {
        let Some(mut file) = self.open(true)? else { return Ok(()) };
        // Released when the descriptor is closed.
        rustix::fs::flock(&file, FlockOperation::LockExclusive)?;
        let size = file.metadata()?.len();
        let mut text = String::new();
        let mut last = state.place;
        if state.size != Some(size) {
            let tail = read_tail(&mut file, size)?;
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
        file.write_all(text.as_bytes())?;
        state.place = place;
        state.size = Some(size + text.len() as u64);
        Ok(())
    }
}

fn read_tail(file: &mut File, size: u64) -> io::Result<Vec<u8>> {
    file.seek(SeekFrom::Start(size.saturating_sub(TAIL)))?;
    let mut tail = Vec::new();
    Read::take(file, TAIL).read_to_end(&mut tail)?;
    Ok(tail)
}
