//! One kept backup: what is known of it, what is found at its place, and writing it.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use parking_lot::{Condvar, Mutex};

use super::place::{Found, Mark, NO_BACKUP, Place};
use crate::ids::{Generation, Timestamp};
use crate::keyring::backup_file;
use crate::keyring::format::body;
use crate::keyring::format::header::{self, Header, Kind};
use crate::keyring::format::key_backups::Kept;
use crate::keyring::format::line::Descent;
use crate::keyring::format::model::{KeyringBody, Version};
use crate::printable;

/// How far a backup is behind the keyring.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Debug)]
pub struct Lag {
    /// Key versions that it doesn't have.
    pub versions: u64,
    /// Changes of the keyring that it doesn't have.
    pub generations: u64,
}

/// An export by hand.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ExportInfo {
    /// When.
    pub at: Timestamp,
    /// The generation of the keyring in it.
    pub generation: Generation,
    /// How far it is behind now.
    pub lag: Lag,
}

/// A backup that is kept.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KeptInfo {
    /// Where.
    pub to: PathBuf,
    /// Since when.
    pub begun: Timestamp,
    /// Whether age opens it; otherwise a passphrase does.
    pub age: bool,
    /// How far it is behind now; none: it isn't known, for it couldn't be read yet.
    pub lag: Option<Lag>,
    /// Why it couldn't be written, if it couldn't.
    pub problem: Option<String>,
}

impl ExportInfo {
    /// The last export that a keyring knows of.
    pub(in crate::keyring) fn of(body: &KeyringBody) -> Option<Self> {
        let last = body.extensions.key_backups()?.exported?;
        let (at, generation, made) = (last.at, last.generation, last.made);
        Some(Self { at, generation, lag: Held { generation, made }.lag(Held::of(body)) })
    }
}

/// What is known of a vault's key backups.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct KeyBackupInfo {
    /// The last export by hand.
    pub exported: Option<ExportInfo>,
    /// The backups that are kept.
    pub kept: Vec<KeptInfo>,
}

impl KeyBackupInfo {
    /// How far the newest backup is behind; none: there is no backup that is known of.
    pub fn lag(&self) -> Option<Lag> {
        let kept = self.kept.iter().filter_map(|kept| kept.lag);
        kept.chain(self.exported.map(|exported| exported.lag)).min()
    }
}

/// What this process knows of the kept backups.
pub(in crate::keyring) struct KeptBackups {
    /// Held while backups are written: one writer in a process.
    pub(super) writing: Mutex<()>,
    pub(super) tried: Mutex<HashMap<PathBuf, Tried>>,
    /// The generation of the keyring that was last looked at, and a wake-up for those who wait for it.
    pub(super) done: Mutex<Generation>,
    pub(super) passed: Condvar,
    /// Has a thread write backups; without one, who changes the keyring does.
    pub(super) background: OnceLock<Box<dyn Fn() + Send + Sync>>,
}

impl Default for KeptBackups {
    fn default() -> Self {
        let (writing, tried) = (Mutex::default(), Mutex::default());
        let (done, passed) = (Mutex::new(Generation(0)), Condvar::new());
        Self { writing, tried, done, passed, background: OnceLock::new() }
    }
}

/// What came of the last try.
#[derive(Clone, Default)]
pub(super) struct Tried {
    /// What the file at the place holds, as far as it is known.
    pub(super) holds: Option<Held>,
    mark: Option<Mark>,
    pub(super) problem: Option<String>,
}

/// What a backup holds.
#[derive(Clone, Copy)]
pub(super) struct Held {
    pub(super) generation: Generation,
    pub(super) made: u64,
}

impl Held {
    pub(super) fn of(body: &KeyringBody) -> Self {
        let made = body.extensions.key_backups().map_or(0, |known| known.made);
        Self { generation: body.generation, made }
    }

    pub(super) fn lag(self, now: Self) -> Lag {
        Lag {
            versions: now.made.saturating_sub(self.made),
            generations: now.generation.0.saturating_sub(self.generation.0),
        }
    }
}

/// How the file at a place compares with the keyring.
enum Standing {
    /// There is none.
    Absent,
    /// It is of this generation.
    Current(Mark),
    /// It is of an earlier one.
    Behind(Held),
}

/// Writes one backup, if it isn't of this keyring yet.
pub(super) fn try_to_write(header: &Header, body: &KeyringBody, kept: &Kept, before: &Tried) -> Tried {
    let held = Held::of(body);
    let done = |mark| Tried { holds: Some(held), mark, problem: None };
    let failed = |holds, problem| Tried { holds, mark: None, problem: Some(problem) };
    let place = match Place::open(header.vault, kept) {
        Ok(place) => place,
        Err(problem) => return failed(before.holds, problem),
    };
    let seen = before.holds.is_some_and(|holds| holds.generation == held.generation);
    if seen && before.mark.is_some() && place.mark() == before.mark {
        return before.clone();
    }
    let holds = match standing(&place, header, body, kept) {
        Ok(Standing::Current(mark)) => return done(Some(mark)),
        Ok(Standing::Behind(held)) => Some(held),
        Ok(Standing::Absent) => None,
        Err(problem) => return failed(None, problem),
    };
    let sealed = backup_file::seal(header, body, &kept.slots, &kept.root).map_err(|e| e.to_string());
    match sealed.and_then(|bytes| place.replace(&bytes)) {
        Ok(mark) => done(mark),
        Err(problem) => failed(holds, problem),
    }
}

/// Reads one backup, and changes nothing.
pub(super) fn look(header: &Header, body: &KeyringBody, kept: &Kept) -> Tried {
    let found = Place::open(header.vault, kept).and_then(|place| standing(&place, header, body, kept));
    match found {
        Ok(Standing::Current(mark)) => Tried { holds: Some(Held::of(body)), mark: Some(mark), problem: None },
        Ok(Standing::Behind(held)) => Tried { holds: Some(held), mark: None, problem: None },
        Ok(Standing::Absent) => Tried { holds: None, mark: None, problem: Some("isn't there".to_owned()) },
        Err(problem) => Tried { holds: None, mark: None, problem: Some(problem) },
    }
}

/// How what is at a place compares with the keyring.
///
/// # Errors
/// It is something that must not be overwritten.
fn standing(
    place: &Place,
    header: &Header,
    body: &KeyringBody,
    kept: &Kept,
) -> std::result::Result<Standing, String> {
    let (bytes, mark) = match place.read()? {
        Found::Nothing => return Ok(Standing::Absent),
        Found::File(bytes, mark) => (bytes, mark),
    };
    let parts = header::parse(&bytes, Kind::Backup).map_err(|_| NO_BACKUP.to_owned())?;
    if parts.header.vault != header.vault {
        return Err(format!(
            "is a backup of vault {}, and is not overwritten; move it away",
            parts.header.vault
        ));
    }
    let opened = kept.root.open_keyring(header.vault, parts.aad, parts.sealed).ok();
    let found = opened.and_then(|opened| body::decode(&opened).ok()).ok_or(
        "is damaged, or a backup that this keyring doesn't keep, and is not overwritten; move it away",
    )?;
    let (theirs, ours) = (found.generation, body.generation);
    if theirs == ours && same(body, &found) {
        return Ok(Standing::Current(mark));
    }
    let other_past = found.predecessor().is_some_and(|before| body.comes_from(before) == Descent::Other);
    if theirs >= ours || other_past || !has_all_of(body, &found) {
        return Err(format!(
            "is of another or newer keyring of this vault (generation {}, this one has {}), and is not overwritten: is this a copy, \
             or an older keyring? Merge it, or move it away",
            theirs.0, ours.0
        ));
    }
    Ok(Standing::Behind(Held::of(&found)))
}

fn same(here: &KeyringBody, there: &KeyringBody) -> bool {
    matches!((body::encode(here), body::encode(there)), (Ok(here), Ok(there)) if *here == *there)
}

/// Whether this keyring has, or had, all key material that is there. Two keyrings that parted at the generation before look
/// alike but for that.
fn has_all_of(here: &KeyringBody, there: &KeyringBody) -> bool {
    there.keys.iter().all(|theirs| match here.key(theirs.id) {
        None => here.was_deleted(theirs.id),
        Some(ours) => {
            let same = |version: &Version| {
                ours.version(version.number).is_none_or(|ours| ours.material_id == version.material_id)
            };
            ours.last_number() >= theirs.last_number() && theirs.versions.iter().all(same)
        }
    })
}

/// Logs what is new since the last try.
pub(super) fn tell(to: &Path, before: &Tried, now: &Tried) {
    let to = printable::path(to);
    match (&before.problem, &now.problem) {
        (old, Some(new)) if old.as_ref() != Some(new) => {
            tracing::warn!("key backup {to} {new}; it is tried again at each change and by the mount");
        }
        (Some(_), None) => tracing::info!("key backup {to} is up to date again"),
        _ => {}
    }
}
