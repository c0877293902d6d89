//! The log's file: its lock, its end, and writing a part of it again.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::fs::FlockOperation;
use rustix::io::retry_on_intr;

use super::anchor::Anchor;
use super::chain;
use crate::ids::LowerOffset;
use crate::storage::{self, Errno, Result};

/// Bytes at the end that hold the last two whole lines: lines are far shorter.
const TAIL: u64 = super::lines::LONGEST as u64;
/// Bytes read at a time.
pub(super) const CHUNK: usize = 1 << 20;
/// How long the recording of an event waits for another process that is writing, in milliseconds. Rate-limited events don't
/// wait.
pub(super) const LOCK_PATIENCE_MS: u32 = 100;

/// Writes what the file holds from `from` on again, so that its pages are dirty and the next sync writes them.
pub(super) fn write_again(file: BorrowedFd<'_>, from: LowerOffset) -> Result<()> {
    let (mut at, mut chunk) = (from, vec![0; CHUNK]);
    loop {
        let read = storage::pread(file, &mut chunk, at)?;
        if read == 0 {
            return Ok(());
        }
        storage::pwrite_all(file, &chunk[..read], at)?;
        at.0 += read as u64;
    }
}

/// A file, and how far it goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct FileEnd {
    /// Its inode number.
    pub(super) ino: u64,
    /// Its size.
    pub(super) size: LowerOffset,
}

impl FileEnd {
    /// As it is now.
    pub(super) fn of(file: &OwnedFd) -> Result<Self> {
        let stat = storage::fstat(file.as_fd())?;
        Ok(Self { ino: stat.ino, size: stat.lower_size() })
    }
}

/// The end while nobody is writing, if the lock can be taken; else the end as it is.
pub(super) fn whole_end(file: &OwnedFd) -> Result<FileEnd> {
    // Only for one stat, so that writers don't wait for a check of the whole log.
    let locked = lock(file, LOCK_PATIENCE_MS);
    let end = FileEnd::of(file)?;
    if locked.is_ok() {
        retry_on_intr(|| rustix::fs::flock(file, FlockOperation::Unlock))?;
    }
    Ok(end)
}

/// Locks the log until the descriptor is closed. Recording an event must not hang if another process keeps the lock.
pub(super) fn lock(file: &OwnedFd, patience_ms: u32) -> Result<()> {
    for tried in 0..=patience_ms {
        match retry_on_intr(|| rustix::fs::flock(file, FlockOperation::NonBlockingLockExclusive)) {
            Err(Errno::WOULDBLOCK) if tried < patience_ms => std::thread::sleep(Duration::from_millis(1)),
            locked => return locked,
        }
    }
    Err(Errno::WOULDBLOCK)
}

/// The end of a file of the log, and the place before it, which is known if this is all of it.
pub(super) fn read_tail(file: BorrowedFd<'_>, size: LowerOffset) -> Result<(Vec<u8>, Option<Anchor>)> {
    let mut tail = vec![0; size.0.min(TAIL) as usize];
    let read = storage::pread(file, &mut tail, LowerOffset(size.0.saturating_sub(TAIL)))?;
    tail.truncate(read);
    let before = (size.0 <= TAIL).then(|| chain::start_of(&tail));
    Ok((tail, before))
}
