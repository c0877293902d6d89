//! Closing the log's file and continuing the log in a new one, and removing the oldest of the closed files.
//!
//! **Order of a rotation.** The file that is written is locked, complete and durable. A new file with its first line, which names
//! the old one and the place where that ends, is made durable under a temporary name. The old file gets its closed name beside
//! `events.jsonl` (a hard link), then the new one is renamed over `events.jsonl`; the directory is synced after each. So
//! `events.jsonl` is there at any time, and is the old file or the new one.
//!
//! A crash before the rename leaves a second name of the file that is written, and perhaps a temporary file. Nothing leads to
//! that name; the next rotation removes it. The caller holds the keyring's lock and saves the keyring afterwards: its anchor
//! then lies behind the first line of the new file, so that the new file can't be taken away unnoticed either.
//!
//! **Order of pruning.** The event that says which events go is durable and anchored before the first file is removed; files
//! are removed oldest first. A crash leaves some that are said to be gone: they still verify, and the next time they go.

use std::os::fd::{AsFd, BorrowedFd};

use rustix::fs::RenameFlags;

use super::Actor;
use super::chain::{self, Circumstances};
use super::event::Event;
use super::file::FileEnd;
use super::file_names::{FILE_NAME, closed_at, closed_name};
use super::files::{LogFile, log_files};
use super::log::{CHANGE_PATIENCE_MS, EventLog, LogState};
use super::notice;
use super::preallocate::Priority;
use super::subject::HeldBack;
use crate::ids::{Generation, LowerOffset, Timestamp};
use crate::storage::{self, DirStream, Errno, Result, Writable};

impl EventLog {
    /// Closes the file that is written and continues the log in a new one, durably. `generation` is that of the keyring, which the
    /// first line states: who finds an older keyring need not read the files before. Returns the name of the closed file.
    ///
    /// # Errors
    /// ENODATA if there is nothing to close; EAGAIN while events wait that can't be written; EEXIST if another file has the
    /// name; those of the calls. The log is as it was then, or continued already.
    pub fn rotate(&self, generation: Generation) -> Result<String> {
        self.write_pending();
        let leave = self.writable.ok_or(Errno::ROFS)?;
        let file = self.open_locked(leave, CHANGE_PATIENCE_MS)?;
        let mut state = self.state.lock();
        if !state.pending.is_empty() {
            return Err(Errno::AGAIN);
        }
        state.held = Some(file);
        let rotated = self.continue_in_new_file(&mut state, generation, leave);
        state.held = None;
        rotated
    }

    fn continue_in_new_file(
        &self,
        state: &mut LogState,
        generation: Generation,
        leave: Writable,
    ) -> Result<String> {
        // Writes nothing but what closes torn or forged lines, and finds the end.
        self.append(state, &[], Priority::Ordinary, CHANGE_PATIENCE_MS)?;
        self.sync(state)?;
        let (dir, previous) = (self.dir.as_fd(), state.place);
        if previous.count == 0 || state.durable != previous {
            return Err(Errno::NODATA);
        }
        let event = Event::LogContinued { previous };
        let (now, actor) = (Timestamp::now(), Actor::current());
        let beside =
            Circumstances { now, actor, generation: Some(generation), held_back: HeldBack::default() };
        let (mut line, place) = chain::line(&state.keys, previous, &event, beside);
        line.push('\n');
        let old = state.held.as_ref().map(FileEnd::of).transpose()?.ok_or(Errno::BADF)?;
        let closed = closed_name(previous.count);
        let temporary = storage::temporary_name();
        let placed = new_file(dir, &temporary, line.as_bytes(), leave)
            .and_then(|()| close(dir, &closed, old.ino, leave))
            .and_then(|()| storage::rename(dir, &temporary, dir, FILE_NAME.as_bytes(), RenameFlags::empty()));
        if let Err(error) = placed {
            // What stays does no harm.
            let _ = storage::unlink(dir, &temporary);
            let _ = remove_other_names(dir, old.ino, leave);
            return Err(error);
        }
        // From here on the log is read again before it is written.
        (state.end, state.unsynced) = (None, None);
        state.place = place;
        state.preallocation.forget();
        storage::fsync_dir(dir)?;
        state.durable = place;
        state.generation = Some(generation);
        notice::log(&event);
        Ok(closed)
    }

    /// The closed files that go if the newest `keep` of them stay, oldest first.
    ///
    /// # Errors
    /// Those of the calls.
    pub fn prunable(&self, keep: usize) -> Result<Vec<LogFile>> {
        let mut files = log_files(self.dir.as_fd())?;
        files.retain(|file| file.last.is_some());
        files.truncate(files.len().saturating_sub(keep));
        Ok(files)
    }

    /// Removes these files, oldest first; an anchored event says so already.
    ///
    /// # Errors
    /// Those of `unlinkat(2)`.
    pub fn remove_closed(&self, files: &[LogFile]) -> Result<()> {
        self.writable.ok_or(Errno::ROFS)?;
        for file in files {
            match storage::unlink(self.dir.as_fd(), file.name.as_bytes()) {
                Err(Errno::NOENT) => {}
                done => done?,
            }
        }
        storage::fsync_dir(self.dir.as_fd())
    }
}

fn new_file(dir: BorrowedFd<'_>, name: &[u8], line: &[u8], _leave: Writable) -> Result<()> {
    if storage::is_append_only(dir)? {
        return Err(Errno::PERM);
    }
    let file = storage::create_for_owner(dir, name, 0o600)?;
    storage::pwrite_all(file.as_fd(), line, LowerOffset(0))?;
    storage::fsync(file.as_fd())
}

/// Gives the file that is written, of this inode number, its closed name, durably.
fn close(dir: BorrowedFd<'_>, closed: &str, ino: u64, leave: Writable) -> Result<()> {
    remove_other_names(dir, ino, leave)?;
    storage::link(dir, FILE_NAME.as_bytes(), dir, closed.as_bytes())?;
    storage::fsync_dir(dir)
}

/// Removes the closed names that an interrupted rotation left of the file that is written.
fn remove_other_names(dir: BorrowedFd<'_>, ino: u64, _leave: Writable) -> Result<()> {
    let mut names = Vec::new();
    let mut stream = DirStream::new(storage::open_dir(dir, b".")?);
    while let Some(entry) = stream.next()? {
        if closed_at(entry.name).is_some() {
            names.push(entry.name.to_vec());
        }
    }
    for name in names {
        if storage::stat(dir, &name).is_ok_and(|stat| stat.ino == ino) {
            storage::unlink(dir, &name)?;
        }
    }
    Ok(())
}
