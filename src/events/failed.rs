//! Failed attempts to unlock the vault. A process without the vault's keys can't make a line of the log, which needs a MAC. So
//! it writes a small file beside the log, which the next process that unlocks the vault turns into an event. Anyone who can
//! write to the vault can forge or remove that file, but no line of the log.

use std::os::fd::{AsFd, BorrowedFd};

use super::{Actor, Event, FailedUnlock};
use crate::ids::{LowerOffset, Timestamp};
use crate::storage::{self, Access, Errno, Writable};

const FILE_NAME: &[u8] = b"unlock-failures";
/// The file is shorter.
const MAX_LEN: usize = 128;

/// Records in the vault directory `dir` that a secret opened no slot: how often, and who tried last and when. A failure to
/// write is ignored: it must not hide from the user that the secret is wrong.
pub fn record_failed_unlock(dir: BorrowedFd<'_>, _leave: Writable) {
    let Ok(file) = open(dir) else { return };
    let attempts = read(file.as_fd()).map_or(0, |(attempts, _)| attempts).saturating_add(1);
    let Actor { uid, pid } = Actor::current();
    let text = format!("{attempts} {} {uid} {pid}\n", Timestamp::now().0);
    let _ = storage::pwrite_all(file.as_fd(), text.as_bytes(), LowerOffset(0))
        .and_then(|()| storage::truncate(file.as_fd(), LowerOffset(text.len() as u64)));
}

/// The event of the failures recorded since this was last called, if there were any. Removes the file.
pub fn take_failed_unlocks(dir: BorrowedFd<'_>, _leave: Writable) -> Option<Event> {
    let file = storage::open_file(dir, FILE_NAME, Access::ReadOnly).ok()?;
    let (attempts, last) = read(file.as_fd()).unwrap_or((1, None));
    // If the file can't be removed, its event would be recorded again and again.
    storage::unlink(dir, FILE_NAME).ok()?;
    Some(Event::UnlockFailed { attempts, last })
}

fn open(dir: BorrowedFd<'_>) -> storage::Result<std::os::fd::OwnedFd> {
    match storage::open_owned(dir, FILE_NAME, Access::ReadWrite) {
        Err(Errno::NOENT) => storage::create_for_owner(dir, FILE_NAME, 0o600),
        file => file,
    }
}

/// What the file says; none if it has another form.
fn read(file: BorrowedFd<'_>) -> Option<(u64, Option<FailedUnlock>)> {
    let bytes = storage::read_all(file, MAX_LEN).ok()?;
    let text = std::str::from_utf8(&bytes).ok()?.strip_suffix('\n')?;
    let mut fields = text.split(' ');
    let attempts = fields.next()?.parse().ok()?;
    let time = Timestamp(fields.next()?.parse().ok()?);
    let actor = Actor { uid: fields.next()?.parse().ok()?, pid: fields.next()?.parse().ok()? };
    fields.next().is_none().then_some((attempts, Some(FailedUnlock { time, actor })))
}
