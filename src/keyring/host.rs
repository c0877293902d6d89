//! What this host remembers of each keyring it has seen, so that one that was put back, or changed in two
//! places at once, is noticed. One small file for each (vault id, path); a torn one counts as none.

use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};

use crate::crypto::{random, sha256};
use crate::ids::{Generation, VaultId};

/// The state directory of this host and user.
#[derive(Clone, Debug)]
pub struct HostMemory {
    dir: Option<PathBuf>,
}

/// What identifies one saved keyring.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Seen {
    pub(super) generation: Generation,
    pub(super) hash: [u8; 32],
}

/// How a keyring compares with what is remembered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Verdict {
    /// Nothing is remembered, or it is the same or a newer one.
    Fine,
    /// It is older than this.
    RolledBack(Generation),
    /// It doesn't follow the remembered one.
    Forked,
}

/// A record, with a checksum over the rest: what it says must be whole to count.
#[derive(Serialize, Deserialize)]
struct Record {
    vault: VaultId,
    path: String,
    generation: Generation,
    sha256: String,
    checksum: String,
}

impl Record {
    fn new(vault: VaultId, path: &Path, seen: Seen) -> Self {
        let mut record = Self {
            vault,
            path: HEXLOWER.encode(path.as_os_str().as_bytes()),
            generation: seen.generation,
            sha256: HEXLOWER.encode(&seen.hash),
            checksum: String::new(),
        };
        record.checksum = record.sum();
        record
    }

    fn sum(&self) -> String {
        let text = format!("{} {} {} {}", self.vault, self.path, self.generation.0, self.sha256);
        HEXLOWER.encode(&sha256(text.as_bytes()))
    }
}

impl HostMemory {
    /// That of this user: `$XDG_STATE_HOME/rekeyfs`, else `/var/lib/rekeyfs` for root and
    /// `~/.local/state/rekeyfs` for others; nothing is remembered if there is none of them. Root uses no other user's:
    /// `sudo` may keep the variable.
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

    /// One in a directory of the caller's choice; it is made when first needed.
    pub fn at(dir: PathBuf) -> Self {
        Self { dir: Some(dir) }
    }

    /// Compares a keyring (and the hash of the one before it, which it states) with what is remembered.
    pub(super) fn judge(&self, vault: VaultId, path: &Path, found: Seen, previous: &[u8; 32]) -> Verdict {
        let Some(seen) = self.recall(vault, path) else { return Verdict::Fine };
        let follows = Generation(seen.generation.0.saturating_add(1));
        if found.generation < seen.generation {
            Verdict::RolledBack(seen.generation)
        } else if (found.generation == seen.generation && found.hash != seen.hash)
            || (found.generation == follows && *previous != seen.hash)
        {
            Verdict::Forked
        } else {
            Verdict::Fine
        }
    }

    /// Remembers a keyring that is durable, unless a newer one is remembered: who opens a keyring may be overtaken
    /// by who saves the next. It is never lowered: it is evidence of what an older keyring lacks. What can't be written is warned of: a vault must open on a host whose state
    /// directory is read-only.
    pub(super) fn remember(&self, vault: VaultId, path: &Path, seen: Seen) {
        let Some(file) = self.file(vault, path) else { return };
        // Looking and writing are one step for all processes of this host.
        let _lock = file.parent().and_then(lock);
        if self.recall(vault, path).is_some_and(|known| known.generation >= seen.generation) {
            return;
        }
        if let Err(e) = write(&file, &Record::new(vault, path, seen)) {
            tracing::warn!("{}: can't remember the keyring's generation: {e}", file.display());
        }
    }

    /// The generation that this host has seen last, if it remembers one.
    pub(super) fn generation(&self, vault: VaultId, path: &Path) -> Option<Generation> {
        self.recall(vault, path).map(|seen| seen.generation)
    }

    fn recall(&self, vault: VaultId, path: &Path) -> Option<Seen> {
        let record: Record = serde_json::from_slice(&fs::read(self.file(vault, path)?).ok()?).ok()?;
        let hash = HEXLOWER.decode(record.sha256.as_bytes()).ok()?.try_into().ok()?;
        (record.sum() == record.checksum && record.vault == vault)
            .then_some(Seen { generation: record.generation, hash })
    }

    fn file(&self, vault: VaultId, path: &Path) -> Option<PathBuf> {
        let place = HEXLOWER.encode(&sha256(path.as_os_str().as_bytes())[..8]);
        Some(self.dir.as_ref()?.join(format!("{vault}-{place}.seen")))
    }
}

/// Whether a directory, or what it is to be made in, is root's.
fn is_roots(path: &Path) -> bool {
    path.ancestors().find_map(|dir| fs::metadata(dir).ok()).is_some_and(|meta| meta.uid() == 0)
}

/// Locks the directory until the file is closed; none if it isn't there yet.
fn lock(dir: &Path) -> Option<fs::File> {
    let dir = fs::File::open(dir).ok()?;
    rustix::fs::flock(&dir, rustix::fs::FlockOperation::LockExclusive).ok().map(|()| dir)
}

fn write(file: &Path, record: &Record) -> io::Result<()> {
    let dir = file.parent().unwrap_or(Path::new("/"));
    fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    let temporary = file.with_extension(HEXLOWER.encode(&random::array::<8>()));
    // Not synced: what a power cut takes away is only the memory of the newest generation, and every change
    // of a key would wait for it.
    let written =
        fs::write(&temporary, serde_json::to_vec(record)?).and_then(|()| fs::rename(&temporary, file));
    if written.is_err() {
        // The first error is the one to tell.
        let _ = fs::remove_file(&temporary);
    }
    written
}
