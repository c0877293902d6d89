//! Appending to the log's file: opening and locking it, and continuing the chain behind its last authentic line.

use std::os::fd::{AsFd, OwnedFd};

use super::anchor::Anchor;
use super::chain;
use super::event::Event;
use super::file::{FileEnd, lock, read_tail};
use super::file_names::FILE_NAME;
use super::log::{EventLog, LogState};
use super::notice;
use super::pending::{NewLine, StampedEvent};
use super::preallocate::Priority;
use crate::ids::LowerOffset;
use crate::storage::{self, Access, Errno, FileKind, Result, Writable};

impl EventLog {
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

    /// The log's file, created if needed, and locked. Another process may continue the log in a new file while this one waits
    /// for the lock of the old one.
    pub(super) fn open_locked(&self, leave: Writable, patience_ms: u32) -> Result<OwnedFd> {
        for _ in 0..8 {
            let file = self.open_or_create(leave)?;
            lock(&file, patience_ms)?;
            let here = storage::stat(self.dir.as_fd(), FILE_NAME.as_bytes());
            if here.is_ok_and(|here| FileEnd::of(&file).is_ok_and(|end| end.ino == here.ino)) {
                return Ok(file);
            }
        }
        Err(Errno::BUSY)
    }

    /// Appends, and warns if that fails.
    pub(super) fn write(
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

    pub(super) fn append(
        &self,
        state: &mut LogState,
        lines: &[NewLine<'_>],
        priority: Priority,
        patience_ms: u32,
    ) -> Result<()> {
        let leave = self.writable.ok_or(Errno::ROFS)?;
        let file = match state.held {
            None => self.open_locked(leave, patience_ms)?,
            Some(_) => self.open_or_create(leave)?,
        };
        let there = FileEnd::of(&file)?;
        let size = there.size;
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
        if state.end != Some(there) {
            state.preallocation.forget();
            if state.end.is_some_and(|end| end.ino != there.ino) {
                // Who continues the log in a new file makes the old one durable before.
                state.unsynced = None;
            }
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
        state.end = None;
        state.unsynced.get_or_insert(size);
        storage::pwrite_all(file.as_fd(), text.as_bytes(), size)?;
        state.place = last;
        state.wrote = true;
        found.iter().for_each(|found| notice::log(&found.event));
        state.end = Some(FileEnd { size: LowerOffset(size.0 + text.len() as u64), ..there });
        Ok(())
    }
}
