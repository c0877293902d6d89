//! Checks what a vault's directory holds beside the tree: the keyring and its predecessor, the files of the event log,
//! temporary files.

use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use super::dir::lower;
use super::finding::Code;
use super::reporter::{Location, Reporter};
use crate::events::{FAILURES_NAME, closed_at, log_files};
use crate::keyring::{
    FILE_NAME, HOSTS_NAME, KeyringError, Keys, LOCK_NAME, PREV_NAME, RESERVE_NAMES, is_set_aside,
};
use crate::names::LowerKind;
use crate::storage::{self, DirStream, FileKind};
use crate::vault::Vault;

/// How long a line of the event log may take to be written before it counts as torn.
const LINE_PATIENCE: Duration = Duration::from_millis(100);

/// Mode bits that let others write the keyring, or everyone read it.
const EXPOSED: u16 = 0o026;

const KNOWN: [&str; 10] = [
    "keyring",
    "keyring.prev",
    LOCK_NAME,
    "events.jsonl",
    FAILURES_NAME,
    "lock",
    HOSTS_NAME,
    "tree",
    super::UNDO_NAME,
    ".",
];

fn place(name: &str) -> Location {
    Location { path: Vec::new(), lower: name.as_bytes().to_vec() }
}

/// Checks the vault's directory. With a mount others may be writing.
pub(super) fn check(dir: &OwnedFd, keys: &Keys, mount: Option<&Vault>, reporter: &Reporter<'_>) {
    if let Err(e) = entries(dir, keys, mount, reporter) {
        let (code, detail) = lower(e, "its entries");
        reporter.find(&place("."), code, None, detail);
    }
    keyring(dir, keys, reporter);
    if mount.is_some()
        && let Err(error) = keys.check_keyring()
    {
        reporter.find(&place(FILE_NAME), Code::KeyringReplaced, None, error.to_string());
    }
    events(keys, mount, reporter);
}

fn entries(
    dir: &OwnedFd,
    keys: &Keys,
    mount: Option<&Vault>,
    reporter: &Reporter<'_>,
) -> storage::Result<()> {
    // A log that can't be read is found below.
    let log = log_files(dir.as_fd()).unwrap_or_default();
    let mut stream = DirStream::new(storage::open_dir(dir.as_fd(), b".")?);
    while let Some(entry) = stream.next()? {
        let mut known = KNOWN.iter().chain(&RESERVE_NAMES);
        let is_of_log = log.iter().any(|file| file.name.as_bytes() == entry.name);
        let is_known =
            is_of_log || known.any(|known| known.as_bytes() == entry.name) || is_set_aside(entry.name);
        if entry.name == b".." || is_known {
            continue;
        }
        let name = String::from_utf8_lossy(entry.name);
        let at = Location { path: Vec::new(), lower: entry.name.to_vec() };
        if LowerKind::of(entry.name) == LowerKind::Temporary {
            // No save is under way while the keyring's lock is held.
            let there =
                || storage::stat(dir.as_fd(), entry.name).is_ok_and(|s| s.kind() == FileKind::Regular);
            let left = if mount.is_some() { keys.with_saves_locked(there).unwrap_or(false) } else { there() };
            if left {
                reporter.find(&at, Code::Temporary, None, "of a save of the keyring that was interrupted");
            }
        } else if closed_at(entry.name).is_some() {
            let detail = format!(
                "the event log doesn't lead to {name}: an interrupted rotation left it, or it was put there"
            );
            reporter.find(&at, Code::UnknownEntry, None, detail);
        } else {
            reporter.find(&at, Code::UnknownEntry, None, "nothing of rekeyfs's");
        }
    }
    Ok(())
}

fn keyring(dir: &OwnedFd, keys: &Keys, reporter: &Reporter<'_>) {
    for name in [FILE_NAME, PREV_NAME] {
        if let Ok(stat) = storage::stat(dir.as_fd(), name.as_bytes())
            && stat.perm() & EXPOSED != 0
        {
            let detail = format!("mode {:o}: others can change or copy it; `chmod 600` it", stat.perm());
            reporter.find(&place(name), Code::KeyringExposed, None, detail);
        }
    }
    match keys.check_prev() {
        Ok(()) => {}
        Err(error @ KeyringError::Io { .. }) => {
            reporter.find(&place(PREV_NAME), Code::Unreadable, None, error.to_string());
        }
        Err(error) => {
            let detail = format!("it can't stand in for a lost keyring ({error}); the next save replaces it");
            reporter.find(&place(PREV_NAME), Code::KeyringPrevDamaged, None, detail);
        }
    }
    match keys.slots() {
        Ok(slots) => {
            for slot in slots.iter().filter(|slot| !slot.is_known()) {
                let id = slot.id.map(|id| format!(" {id}")).unwrap_or_default();
                let detail =
                    format!("unlock slot{id}: of the kind {:?}, which this program doesn't know", slot.kind);
                reporter.find(&place(FILE_NAME), Code::SlotUnknown, None, detail);
            }
        }
        Err(error) => reporter.find(&place(FILE_NAME), Code::Unreadable, None, error.to_string()),
    }
}

fn events(keys: &Keys, mount: Option<&Vault>, reporter: &Reporter<'_>) {
    let at = place("events.jsonl");
    let mut seen = keys.verify_events();
    if mount.is_some() && !matches!(&seen, Ok(found) if found.is_good() && !found.torn_end) {
        std::thread::sleep(LINE_PATIENCE);
        seen = keys.verify_events();
    }
    match seen {
        Ok(found) => {
            if found.breaks > 0 {
                let first =
                    found.first_break.map(|line| format!(", first at line {line}")).unwrap_or_default();
                let detail = format!(
                    "{} places where a line was changed, removed, added or moved{first}",
                    found.breaks
                );
                reporter.find(&at, Code::EventsBroken, None, detail);
            }
            if found.cut {
                let detail = format!("it lacks events of the {} that the keyring remembers", found.anchored);
                reporter.find(&at, Code::EventsCut, None, detail);
            }
            if found.files_removed {
                let detail = format!(
                    "the events up to {} aren't there, and no event says that they were pruned: a file of it was removed",
                    found.begins_after
                );
                reporter.find(&at, Code::EventsCut, None, detail);
            }
            if found.torn_end {
                let detail = "its last line was torn by a crash; the next event closes it";
                reporter.find(&at, Code::EventsTorn, None, detail);
            }
        }
        Err(e) => {
            let (code, detail) = lower(e, "the event log");
            reporter.find(&at, code, None, detail);
        }
    }
}
