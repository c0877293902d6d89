//! Secrets that opened nothing. Without the vault's keys there is no MAC for a line of the log, so the process
//! that failed leaves a note in a small file beside it, which the next one that succeeds turns into an event.
//! Whoever can write to the vault can forge the note or take it away; the log itself they can't.

use std::os::fd::{AsFd, BorrowedFd};

use super::{Actor, Event, FailedUnlock};
use crate::ids::{LowerOffset, Timestamp};
use crate::storage::{self, Access, Errno, Writable};

const FILE_NAME: &[u8] = b"unlock-failures";
/// A note is shorter.
const MAX_LEN: usize = 128;

/// Notes that a secret opened nothing, in the vault directory `dir`: how often, and when and who last. What
/// can't be written is dropped: telling the user that the secret is wrong matters more.
pub fn note_failed_unlock(dir: BorrowedFd<'_>, _leave: Writable) {
    let Ok(file) = open(dir) else { return };
    let attempts = read(file.as_fd()).map_or(0, |(attempts, _)| attempts).saturating_add(1);
    let Actor { uid, pid } = Actor::current();
    let text = format!("{attempts} {} {uid} {pid}\n", Timestamp::now().0);
    let _ = storage::pwrite_all(file.as_fd(), text.as_bytes(), LowerOffset(0))
        .and_then(|()| storage::truncate(file.as_fd(), LowerOffset(text.len() as u64)));
}

/// The event of the failures noted since this was last called, if there were any; the note is gone then.
pub fn take_failed_unlocks(dir: BorrowedFd<'_>, _leave: Writable) -> Option<Event> {
    let file = storage::open_file(dir, FILE_NAME, Access::ReadOnly).ok()?;
    let (attempts, last) = read(file.as_fd()).unwrap_or((1, None));
    // Where the note can't be taken away, it would be told of again and again.
    storage::unlink(dir, FILE_NAME).ok()?;
    Some(Event::UnlockFailed { attempts, last })
}

fn open(dir: BorrowedFd<'_>) -> storage::Result<std::os::fd::OwnedFd> {
    match storage::open_owned(dir, FILE_NAME, Access::ReadWrite) {
        Err(Errno::NOENT) => storage::create_for_owner(dir, FILE_NAME, 0o600),
        file => file,
    }
}

/// What the note says; none if it isn't one.
fn read(file: BorrowedFd<'_>) -> Option<(u64, Option<FailedUnlock>)> {
    let bytes = storage::read_all(file, MAX_LEN).ok()?;
    let text = std::str::from_utf8(&bytes).ok()?.strip_suffix('\n')?;
    let mut fields = text.split(' ');
    let attempts = fields.next()?.parse().ok()?;
    let time = Timestamp(fields.next()?.parse().ok()?);
    let actor = Actor { uid: fields.next()?.parse().ok()?, pid: fields.next()?.parse().ok()? };
    fields.next().is_none().then_some((attempts, Some(FailedUnlock { time, actor })))
}
