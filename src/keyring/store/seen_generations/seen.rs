//! What a host knows of one vault, and how a keyring that is found compares with it. Pure.
//!
//! The *mark* is the newest keyring of the vault that was ever in use here, wherever its directory lay: it counts at
//! every path that has no record of its own, so that moving a vault or mounting it elsewhere loses nothing. It is
//! replaced only by a keyring that comes from it, and is never lowered.
//!
//! A keyring that doesn't come from the mark is refused. If its user insists, it gets a *record of its place*, which
//! counts at that path instead of the mark from then on, and moves on with that keyring's line; also where the path is
//! the one at which the mark was seen. The mark stays what it is: the vault that it is of is as well protected at
//! any other path as before.

use std::path::{Path, PathBuf};

use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};

use crate::crypto::keys::RootCommitment;
use crate::crypto::sha256;
use crate::ids::{Generation, PathText, VaultId};
use crate::keyring::format::line::{Descent, Head};
use crate::keyring::format::model::KeyringBody;

/// Records of places that are kept: those that were used last. At the place of one that is dropped the mark counts
/// again, so nothing is taken that would have been refused.
pub(in crate::keyring) const MOST_PLACES: usize = 64;

/// A keyring that was found.
#[derive(Clone, Copy)]
pub(in crate::keyring) struct Sighting<'a> {
    /// Its vault.
    pub(in crate::keyring) vault: VaultId,
    /// The vault's directory, canonical.
    pub(in crate::keyring) path: &'a Path,
    /// Which it is.
    pub(in crate::keyring) head: Head,
    /// What it is sealed under.
    pub(in crate::keyring) root: RootCommitment,
    /// What it says of those before it.
    pub(in crate::keyring) body: &'a KeyringBody,
}

impl Sighting<'_> {
    /// Whether its root key is that one, or was drawn by someone who had that one.
    fn is_endorsed_by(&self, root: RootCommitment) -> bool {
        let former = self.body.extensions.former_roots();
        self.root == root || former.iter().any(|former| former.commitment(self.vault) == root)
    }
}

/// How a keyring compares with what is remembered.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(in crate::keyring) enum RollbackCheck {
    /// Nothing is remembered, or it is the same one or comes from it.
    Fine,
    /// It is newer, under a root key that is known, and doesn't tell whether it comes from the one remembered.
    Unproven(SeenAt),
    /// It is older.
    RolledBack(SeenAt),
    /// It doesn't come from it.
    Forked(SeenAt),
    /// It is sealed under another root key, which the one remembered doesn't endorse.
    OtherRoot(SeenAt),
}

/// The keyring that is remembered.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(in crate::keyring) struct SeenAt {
    /// Its generation.
    pub(in crate::keyring) generation: Generation,
    /// Where it was seen, if that is another place.
    pub(in crate::keyring) elsewhere: Option<PathBuf>,
}

/// One keyring that is remembered.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(in crate::keyring) struct Record {
    /// The vault's directory.
    path: PathText,
    generation: Generation,
    sha256: Hex32,
    /// None in a record that an older program made.
    root: Option<Hex32>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
struct Hex32([u8; 32]);

impl TryFrom<String> for Hex32 {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        const WRONG: &str = "32 bytes in hexadecimal are wanted";
        let bytes = HEXLOWER.decode(text.as_bytes()).map_err(|_| WRONG)?;
        bytes.try_into().map(Self).map_err(|_| WRONG)
    }
}

impl From<Hex32> for String {
    fn from(hex: Hex32) -> Self {
        HEXLOWER.encode(&hex.0)
    }
}

impl Record {
    /// Of a keyring of which no more is known.
    pub(in crate::keyring) fn bare(path: PathBuf, head: Head) -> Self {
        Self { path: PathText(path), generation: head.generation, sha256: Hex32(head.hash), root: None }
    }

    fn of(found: &Sighting<'_>) -> Self {
        let root = Some(Hex32(found.root.0));
        Self { root, ..Self::bare(found.path.to_owned(), found.head) }
    }

    pub(in crate::keyring) fn generation(&self) -> Generation {
        self.generation
    }

    fn head(&self) -> Head {
        Head { generation: self.generation, hash: self.sha256.0 }
    }

    fn check(&self, found: &Sighting<'_>) -> RollbackCheck {
        let elsewhere = Some(&self.path.0).filter(|path| *path != found.path).cloned();
        let seen = SeenAt { generation: self.generation, elsewhere };
        if found.head.generation < self.generation {
            return RollbackCheck::RolledBack(seen);
        }
        if found.head == self.head() {
            return RollbackCheck::Fine;
        }
        if found.head.generation == self.generation {
            return RollbackCheck::Forked(seen);
        }
        if self.root.is_some_and(|root| !found.is_endorsed_by(RootCommitment(root.0))) {
            return RollbackCheck::OtherRoot(seen);
        }
        match found.body.comes_from(self.head()) {
            Descent::Proven => RollbackCheck::Fine,
            Descent::Unknown => RollbackCheck::Unproven(seen),
            Descent::Other => RollbackCheck::Forked(seen),
        }
    }

    /// Takes a keyring that comes from this one. Returns whether anything is another thing now.
    fn follow(&mut self, found: &Sighting<'_>) -> bool {
        let goes_on = matches!(self.check(found), RollbackCheck::Fine | RollbackCheck::Unproven(_));
        let newer = goes_on && found.head.generation > self.generation;
        if newer {
            *self = Self::of(found);
        }
        // An older program's record has no root key; that of the same keyring can be told.
        let completed = !newer && goes_on && self.root.is_none();
        if completed {
            self.root = Some(Hex32(found.root.0));
        }
        newer || completed
    }
}

/// All that is known of one vault.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(in crate::keyring) struct Seen {
    vault: VaultId,
    mark: Record,
    /// Used last: last.
    places: Vec<Record>,
    /// SHA-256 of this with an empty checksum: a torn record counts as none.
    checksum: String,
}

impl Seen {
    fn first(vault: VaultId, mark: Record) -> Self {
        Self { vault, mark, places: Vec::new(), checksum: String::new() }
    }

    /// What an older program remembered, by path: the newest is the mark, and each other path keeps its own.
    pub(in crate::keyring) fn taken_over(vault: VaultId, mut records: Vec<Record>) -> Option<Self> {
        records.sort_by_key(|record| record.generation);
        let mark = records.pop()?;
        let over = records.len().saturating_sub(MOST_PLACES);
        Some(Self { places: records.split_off(over), ..Self::first(vault, mark) })
    }

    /// Reads what [`Seen::encode`] made; none if it is torn, or of another vault.
    pub(in crate::keyring) fn decode(vault: VaultId, bytes: &[u8]) -> Option<Self> {
        let seen: Self = serde_json::from_slice(bytes).ok()?;
        (seen.vault == vault && seen.checksum == seen.sum()?).then_some(seen)
    }

    pub(in crate::keyring) fn encode(mut self) -> Option<Vec<u8>> {
        self.checksum = self.sum()?;
        serde_json::to_vec(&self).ok()
    }

    fn sum(&self) -> Option<String> {
        let plain = serde_json::to_vec(&Self { checksum: String::new(), ..self.clone() }).ok()?;
        Some(HEXLOWER.encode(&sha256(&plain)))
    }

    fn place(&self, path: &Path) -> Option<&Record> {
        self.places.iter().find(|record| record.path.0 == path)
    }

    /// What counts at a path.
    pub(in crate::keyring) fn at(&self, path: &Path) -> &Record {
        self.place(path).unwrap_or(&self.mark)
    }

    /// The newest generation that a keyring which is accepted at a path has to pass: no number is given out again
    /// that either of those which may have been there had.
    pub(in crate::keyring) fn newest_at(&self, path: &Path) -> Generation {
        self.mark.generation.max(self.at(path).generation)
    }

    /// Where the mark was seen, if it is what counts at `path` and was seen elsewhere.
    pub(in crate::keyring) fn seen_elsewhere(&self, path: &Path) -> Option<&Path> {
        let mark = Some(self.mark.path.0.as_path()).filter(|mark| *mark != path);
        mark.filter(|_| self.place(path).is_none())
    }

    pub(in crate::keyring) fn check(&self, found: &Sighting<'_>) -> RollbackCheck {
        self.at(found.path).check(found)
    }

    /// Takes a keyring that was opened, or saved, if it comes from what counts at its place. Returns whether anything
    /// is another thing now.
    pub(in crate::keyring) fn follow(&mut self, found: &Sighting<'_>) -> bool {
        let Some(at) = self.places.iter().position(|record| record.path.0 == found.path) else {
            return self.mark.follow(found);
        };
        let changed = self.places[at].follow(found);
        if changed {
            self.places[at..].rotate_left(1);
        }
        changed
    }

    /// Takes a keyring for its place, on its user's word. Returns whether anything is another thing now.
    pub(in crate::keyring) fn accept(&mut self, found: &Sighting<'_>) -> bool {
        if self.place(found.path).is_some_and(|known| known.generation >= found.head.generation) {
            return false;
        }
        self.places.retain(|record| record.path.0 != found.path);
        self.places.push(Record::of(found));
        let over = self.places.len().saturating_sub(MOST_PLACES);
        self.places.drain(..over);
        true
    }
}

/// What is known once a keyring is found of which nothing was.
pub(in crate::keyring) fn first(found: &Sighting<'_>) -> Seen {
    Seen::first(found.vault, Record::of(found))
}

#[cfg(test)]
mod tests;
