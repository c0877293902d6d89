//! Failed attempts to unlock the vault. A process without the vault's keys can't make a line of the log, which needs a MAC. So
//! it writes a small file beside the log, which the next process that unlocks the vault turns into an event. Anyone who can
//! write to the vault can forge or remove that file, but no line of the log.

use std::os::fd::{AsFd, BorrowedFd};

use super::{Actor, Event, FailedUnlock};
use crate::ids::{LowerOffset, SlotId, Timestamp};
use crate::storage::{self, Access, Errno, Writable};

/// The file's name.
pub const FAILURES_NAME: &str = "unlock-failures";
/// The file is shorter.
const MAX_LEN: usize = 128;

/// The longest name of a kind of secret.
const KIND_MAX_LEN: usize = 16;

/// What the file says.
struct Failures {
    attempts: u64,
    /// The kind of secret of the last; a program before 0.2 didn't write it.
    kind: Option<String>,
    /// The slot that the last was tried with, where it was one. Older programs didn't write it.
    slot: Option<SlotId>,
    last: FailedUnlock,
}

/// Records in the vault directory `dir` that a secret opened no slot: how often, who tried last and when, and with which kind
/// of secret, of which slot where it can be but one. A failure to write is ignored: it must not hide from the user that the secret is wrong.
pub fn record_failed_unlock(dir: BorrowedFd<'_>, _leave: Writable, kind: &str, slot: Option<SlotId>) {
    let Ok(file) = open(dir) else { return };
    let attempts = read(file.as_fd()).map_or(0, |failures| failures.attempts).saturating_add(1);
    let Actor { uid, pid, .. } = Actor::current();
    let slot = slot.map(|slot| format!(" {slot}")).unwrap_or_default();
    let text = format!("{attempts} {} {uid} {pid} {kind}{slot}\n", Timestamp::now().0);
    let _ = storage::pwrite_all(file.as_fd(), text.as_bytes(), LowerOffset(0))
        .and_then(|()| storage::truncate(file.as_fd(), LowerOffset(text.len() as u64)));
}

/// The event of the failures recorded since this was last called, if there were any. Removes the file.
pub fn take_failed_unlocks(dir: BorrowedFd<'_>, _leave: Writable) -> Option<Event> {
    let file = storage::open_file(dir, FAILURES_NAME.as_bytes(), Access::ReadOnly).ok()?;
    let failures = read(file.as_fd());
    // If the file can't be removed, its event would be recorded again and again.
    storage::unlink(dir, FAILURES_NAME.as_bytes()).ok()?;
    Some(match failures {
        Some(Failures { attempts, kind, slot, last }) => {
            Event::UnlockFailed { attempts, kind, slot, last: Some(last) }
        }
        None => Event::UnlockFailed { attempts: 1, kind: None, slot: None, last: None },
    })
}

fn open(dir: BorrowedFd<'_>) -> storage::Result<std::os::fd::OwnedFd> {
    match storage::open_owned(dir, FAILURES_NAME.as_bytes(), Access::ReadWrite) {
        Err(Errno::NOENT) => storage::create_for_owner(dir, FAILURES_NAME.as_bytes(), 0o600),
        file => file,
    }
}

/// What the file says; none if it has another form.
fn read(file: BorrowedFd<'_>) -> Option<Failures> {
    let bytes = storage::read_all(file, MAX_LEN).ok()?;
    let text = std::str::from_utf8(&bytes).ok()?.strip_suffix('\n')?;
    let mut fields = text.split(' ');
    let attempts = fields.next()?.parse().ok()?;
    let time = Timestamp(fields.next()?.parse().ok()?);
    let actor = Actor::of(fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    let kind = fields.next();
    let named = kind.is_none_or(|kind| {
        (1..=KIND_MAX_LEN).contains(&kind.len()) && kind.bytes().all(|byte| byte.is_ascii_lowercase())
    });
    let slot = fields.next().map(str::parse).transpose().ok()?;
    let whole = named && fields.next().is_none();
    let kind = kind.map(str::to_owned);
    whole.then_some(Failures { attempts, kind, slot, last: FailedUnlock { time, actor } })
}
