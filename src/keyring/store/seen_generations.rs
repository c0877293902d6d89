//! What this host remembers of each vault's keyrings, so that it notices one that was rolled back, or that was changed in
//! two places at once. There is one small file for each vault, whatever the paths at which it is used; seen.rs says what is
//! in it and which record counts where. A damaged file counts as none, with a warning; a power cut leaves the old one or the
//! new one, whole.
//!
//! Older programs kept a file for each path. Those are read where the vault has no file, and removed once it has.

use std::ffi::OsString;
use std::fs;
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use data_encoding::HEXLOWER;
use serde::Deserialize;

use crate::crypto::sha256;
use crate::ids::{Generation, LowerOffset, VaultId};
use crate::keyring::format::line::Head;
use crate::storage::{self, RenameFlags};

mod seen;

use seen::{Record, Seen};
pub(in crate::keyring) use seen::{RollbackCheck, SeenAt, Sighting};

/// Bytes of a file that are read: several times what the most records with the longest paths take.
const MAX_LEN: u64 = 4 << 20;
/// Bytes of a record of another kind, at most.
const KEPT_MAX_LEN: u64 = 128 << 20;
/// What a file's name ends in.
const SUFFIX: &str = ".seen";

/// The state directory of this host and user.
#[derive(Clone, Debug)]
pub struct SeenGenerations {
    dir: Option<PathBuf>,
}

/// A record of an older program: one keyring at one path. Its checksum is over the other fields, as text.
#[derive(Deserialize)]
struct PathRecord {
    vault: VaultId,
    path: String,
    generation: Generation,
    sha256: String,
    checksum: String,
}

impl PathRecord {
    fn read(bytes: &[u8], vault: VaultId) -> Option<Record> {
        let record: Self = serde_json::from_slice(bytes).ok()?;
        let text = format!("{} {} {} {}", record.vault, record.path, record.generation.0, record.sha256);
        let whole = record.vault == vault && HEXLOWER.encode(&sha256(text.as_bytes())) == record.checksum;
        let path = OsString::from_vec(HEXLOWER.decode(record.path.as_bytes()).ok()?);
        let hash = HEXLOWER.decode(record.sha256.as_bytes()).ok()?.try_into().ok()?;
        whole.then(|| Record::bare(path.into(), Head { generation: record.generation, hash }))
    }
}

impl SeenGenerations {
    /// This user's: `$XDG_STATE_HOME/rekeyfs`, else `/var/lib/rekeyfs` for root and `~/.local/state/rekeyfs` for others;
    /// without any of them nothing is remembered. Root uses no other user's directory, though `sudo` may keep the variable.
    pub fn of_this_user() -> Self {
        let root = rustix::process::geteuid().is_root();
        let variable = |name| std::env::var_os(name).map(PathBuf::from).filter(|p| p.is_absolute());
        let state = variable("XDG_STATE_HOME").filter(|p| !root || is_roots(p));
        let dir = state.map(|p| p.join("rekeyfs")).or_else(|| {
            if root {
                Some(PathBuf::from("/var/lib/rekeyfs"))
            } else {
                variable("HOME").map(|p| p.join(".local/state/rekeyfs"))
            }
        });
        Self { dir }
    }

    /// In this directory, which is created when it is first needed.
    pub fn at(dir: PathBuf) -> Self {
        Self { dir: Some(dir) }
    }

    /// Compares a keyring with what is remembered.
    pub(in crate::keyring) fn check(&self, found: &Sighting<'_>) -> RollbackCheck {
        if let Some(file) = self.file(found.vault)
            && read(&file).is_some_and(|bytes| Seen::decode(found.vault, &bytes).is_none())
        {
            tracing::warn!(
                "{}: it is damaged and counts as none: that the keyring is an older one could not be noticed; if \
                 someone may have put it back, compare it with a backup before it is used",
                file.display()
            );
        }
        self.recall(found.vault).map_or(RollbackCheck::Fine, |seen| seen.check(found))
    }

    /// Remembers a durable keyring that comes from what counts at its path, unless a newer one is remembered: another
    /// process may have saved one meanwhile. If it can't be written, that is logged: a vault must open on a host whose state
    /// directory is read-only.
    pub(in crate::keyring) fn follow(&self, found: &Sighting<'_>) {
        self.update(found, |seen| seen.follow(found));
    }

    /// Remembers a durable keyring that the user accepted, for its path alone.
    pub(in crate::keyring) fn accept(&self, found: &Sighting<'_>) {
        self.update(found, |seen| seen.accept(found));
    }

    /// Remembers a durable keyring that was imported at the vault's own path.
    pub(in crate::keyring) fn import(&self, found: &Sighting<'_>) {
        self.update(found, |seen| seen.import(found));
    }

    /// Whether the root key of the keyring that counts at a path is remembered: another one is refused then.
    pub(in crate::keyring) fn knows_root(&self, vault: VaultId, path: &Path) -> bool {
        self.recall(vault).is_some_and(|seen| seen.at(path).has_root())
    }

    /// The generation that counts at a path, if anything is remembered.
    pub(in crate::keyring) fn generation(&self, vault: VaultId, path: &Path) -> Option<Generation> {
        self.recall(vault).map(|seen| seen.at(path).generation())
    }

    /// The newest generation that may have been at a path: a keyring that is accepted there gets a higher one.
    pub(in crate::keyring) fn newest(&self, vault: VaultId, path: &Path) -> Option<Generation> {
        self.recall(vault).map(|seen| seen.newest_at(path))
    }

    /// Where the vault was in use last, if `path` is another place without a record of its own.
    pub(in crate::keyring) fn seen_elsewhere(&self, vault: VaultId, path: &Path) -> Option<PathBuf> {
        self.recall(vault)?.seen_elsewhere(path).map(Path::to_owned)
    }

    /// Where the vault's newest keyring was in use last, if that is another place than `path`.
    pub(in crate::keyring) fn mark_elsewhere(&self, vault: VaultId, path: &Path) -> Option<PathBuf> {
        self.recall(vault)?.mark_elsewhere(path).map(Path::to_owned)
    }

    /// Keeps a record of another kind beside these, in the place of the one before. If it can't be written, that is logged.
    pub(in crate::keyring) fn keep(&self, vault: VaultId, name: &str, bytes: &[u8]) {
        let Some(dir) = self.dir.as_deref() else { return };
        let file = format!("{vault}.{name}");
        let written = fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(dir)
            .and_then(|()| write(dir, file.as_bytes(), bytes));
        if let Err(e) = written {
            tracing::warn!("{}: it can't be written: {e}", dir.join(file).display());
        }
    }

    /// The record that [`SeenGenerations::keep`] wrote last; none if it is longer than any that is kept.
    pub(in crate::keyring) fn kept(&self, vault: VaultId, name: &str) -> Option<Vec<u8>> {
        let file = fs::File::open(self.dir.as_ref()?.join(format!("{vault}.{name}"))).ok()?;
        let mut bytes = Vec::new();
        let len = file.take(KEPT_MAX_LEN + 1).read_to_end(&mut bytes).ok()?;
        (len as u64 <= KEPT_MAX_LEN).then_some(bytes)
    }

    fn update(&self, found: &Sighting<'_>, change: impl FnOnce(&mut Seen) -> bool) {
        let (Some(dir), Some(file)) = (self.dir.as_deref(), self.file(found.vault)) else { return };
        let written = (|| {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
            // Reading and writing are one step for all processes of this host.
            let _lock = lock(dir);
            let seen = match self.recall(found.vault) {
                Some(mut seen) => change(&mut seen).then_some(seen),
                None => Some(seen::first(found)),
            };
            let Some(bytes) = seen.and_then(Seen::encode) else { return Ok(()) };
            write(dir, file_name(found.vault).as_bytes(), &bytes)?;
            for (old, _) in self.by_path(found.vault) {
                // If this fails it stays, and is never read again.
                let _ = fs::remove_file(old);
            }
            Ok::<_, io::Error>(())
        })();
        if let Err(e) = written {
            tracing::warn!("{}: can't remember the keyring's generation: {e}", file.display());
        }
    }

    fn recall(&self, vault: VaultId) -> Option<Seen> {
        match read(&self.file(vault)?) {
            Some(bytes) => Seen::decode(vault, &bytes),
            None => Seen::taken_over(vault, self.by_path(vault).filter_map(|(_, record)| record).collect()),
        }
    }

    fn file(&self, vault: VaultId) -> Option<PathBuf> {
        Some(self.dir.as_ref()?.join(file_name(vault)))
    }

    /// The files of older programs for a vault, `VAULT-PLACE.seen`, and their records.
    fn by_path(&self, vault: VaultId) -> impl Iterator<Item = (PathBuf, Option<Record>)> {
        let prefix = format!("{vault}-");
        let entries =
            self.dir.as_ref().and_then(|dir| fs::read_dir(dir).ok()).into_iter().flatten().flatten();
        let names = entries.filter(move |entry| {
            let name = entry.file_name();
            name.to_str().is_some_and(|name| name.starts_with(&prefix) && name.ends_with(SUFFIX))
        });
        names.map(move |entry| {
            let record = read(&entry.path()).and_then(|bytes| PathRecord::read(&bytes, vault));
            (entry.path(), record)
        })
    }
}

fn read(file: &Path) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    fs::File::open(file).ok()?.take(MAX_LEN).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

/// Whether a directory, or the one that it would be created in, belongs to root.
fn is_roots(path: &Path) -> bool {
    path.ancestors().find_map(|dir| fs::metadata(dir).ok()).is_some_and(|meta| meta.uid() == 0)
}

/// Locks the directory until the file is closed; none if it can't be.
fn lock(dir: &Path) -> Option<fs::File> {
    let dir = fs::File::open(dir).ok()?;
    rustix::fs::flock(&dir, rustix::fs::FlockOperation::LockExclusive).ok().map(|()| dir)
}

fn file_name(vault: VaultId) -> String {
    format!("{vault}{SUFFIX}")
}

/// Puts a record in the place of the one before. In a power cut one of the two is there, whole: the bytes are on the disk
/// before they get the name. When they get it there isn't waited for: at worst the newest generations aren't known.
fn write(dir: &Path, name: &[u8], bytes: &[u8]) -> io::Result<()> {
    let dir = fs::File::open(dir)?;
    let (dir, temporary) = (dir.as_fd(), storage::temporary_name());
    let written = storage::create_file(dir, &temporary, 0o600).and_then(|file| {
        storage::pwrite_all(file.as_fd(), bytes, LowerOffset(0))?;
        storage::fdatasync(file.as_fd())?;
        storage::rename(dir, &temporary, dir, name, RenameFlags::empty())
    });
    if written.is_err() {
        // The first error is the one that is reported.
        let _ = storage::unlink(dir, &temporary);
    }
    Ok(written?)
}

#[cfg(test)]
mod tests;
