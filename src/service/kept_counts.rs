//! The count of all files, kept on this host from one use of a vault to the next, so that it needn't be made again after
//! each mount. It is for people to look at: what removes versions and keys counts by itself, as ever.
//!
//! The record lies in this user's state directory on this host, beside the one of the keyring's generations, and holds the
//! census as it was when the vault's use ended. What uses the files and may change them marks the record first, and writes
//! it again at its end, after all changes. The count in it is taken up only if
//! - it isn't marked: the last use ended in order,
//! - it is of the same directory at the same path,
//! - and the event log is as it was: each mount and each command that changes files, on whichever host, leaves an event.
//!
//! Otherwise it is shown with its date, as one that may have changed since. A program that writes the ciphertext without
//! rekeyfs isn't noticed; a file of it counts right again as soon as it is used.

use std::os::fd::AsFd;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::keys;
use super::status::Status;
use crate::events::FILE_NAME;
use crate::ids::{PathText, Timestamp};
use crate::keyring::Keys;
use crate::storage;
use crate::vault::{SavedCensus, Vault};

/// What the record is called on this host, after the vault's id.
const NAME: &str = "counts";
/// The number of the record's form.
const SCHEMA: u32 = 1;
/// The most words of inode numbers that are kept: some 60 MiB, of 30 million files that lie close together.
const WORDS: usize = 2 << 20;

/// The record.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Record {
    schema: u32,
    /// What uses the files may have changed them since.
    in_use: bool,
    /// When it was written, with `in_use` unset.
    until: Timestamp,
    found: Found,
    census: SavedCensus,
}

/// What must be as it was for the count to hold.
#[derive(PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Found {
    path: PathText,
    /// The inode number of the ciphertext's directory.
    tree: u64,
    /// The event log's inode number and size.
    log: Option<(u64, u64)>,
}

impl Found {
    fn now(keys: &Keys) -> Option<Self> {
        let tree = storage::fstat(keys.open_tree().ok()?.as_fd()).ok()?.ino;
        let vault = keys.open_vault().ok()?;
        let log = storage::stat(vault.as_fd(), FILE_NAME.as_bytes()).ok().map(|stat| (stat.ino, stat.size));
        Some(Self { path: keys.vault_path().into(), tree, log })
    }

    fn is_same_place(&self, other: &Self) -> bool {
        (&self.path, self.tree) == (&other.path, other.tree)
    }
}

impl Record {
    /// The record of this vault at this place, and whether its count holds.
    fn read(keys: &Keys) -> Option<(Self, bool)> {
        let record: Self = serde_json::from_slice(&keys.kept_on_host(NAME)?).ok()?;
        let now = Found::now(keys)?;
        let holds = !record.in_use && record.found == now;
        (record.schema == SCHEMA && record.found.is_same_place(&now)).then_some((record, holds))
    }

    /// From now on the count may not hold.
    fn mark(self, keys: &Keys) {
        if !self.in_use {
            Self { in_use: true, ..self }.write(keys);
        }
    }

    fn write(&self, keys: &Keys) {
        match serde_json::to_vec(self) {
            Ok(bytes) => keys.keep_on_host(NAME, &bytes),
            Err(error) => tracing::warn!("the count of files can't be kept: {error}"),
        }
    }
}

/// Takes up the count that was kept, if it holds, and marks the record. To be called before anything is recorded or changed.
pub fn take_up_count(vault: &Vault) {
    let Some((record, holds)) = Record::read(vault.keys()) else { return };
    if holds && vault.restore_census(&record.census) {
        tracing::debug!("the count of files of {} is taken up", record.census.counted);
    }
    if !vault.read_only() {
        record.mark(vault.keys());
    }
}

/// Marks the record, for what changes files without taking them into use.
pub fn distrust_count(keys: &Keys) {
    if let Some((record, _)) = Record::read(keys) {
        record.mark(keys);
    }
}

/// A count that is to be kept.
pub struct CountToKeep {
    keys: Arc<Keys>,
    census: SavedCensus,
}

impl CountToKeep {
    /// That of a vault in use, if there is a complete one.
    pub fn of(vault: &Vault) -> Option<Self> {
        let census = vault.saved_census()?;
        if census.words() > WORDS {
            tracing::warn!("the count of files isn't kept: it would take too much space on this host");
            return None;
        }
        Some(Self { keys: Arc::clone(vault.keys()), census })
    }

    /// Keeps it. To be called when nothing changes files any more, what was changed is durable, and all events are written.
    pub fn write(self) {
        let Self { keys, census } = self;
        let Some(found) = Found::now(&keys) else { return };
        Record { schema: SCHEMA, in_use: false, until: Timestamp::now(), found, census }.write(&keys);
    }
}

/// A status with the count that was kept, where there is none of this use of the vault, whose files are `opened` or not.
pub(super) fn with_kept_count(keys: &Keys, opened: bool, status: Status) -> Status {
    if status.counted.is_some() {
        return status;
    }
    let Some((record, holds)) = Record::read(keys) else { return status };
    let versions = keys::versions(keys, record.census.versions());
    let (files_stale, files_staying) = record.census.belonging(keys);
    // That of an open vault would have been taken up.
    let holds = holds && !opened;
    Status {
        counted: holds.then(|| record.census.counted.to_string()),
        counts_as_of: (!holds).then(|| record.until.to_string()),
        files_seen: versions.iter().map(|seen| seen.files).sum(),
        files_stale,
        files_staying,
        versions,
        ..status
    }
}
