//! Merging: restores what was lost with a newer keyring from that keyring, once it is found, or from a backup of it. It
//! fills lost versions and adds keys that were made in the lost generations. Nothing else changes: what was trimmed or
//! deleted here stays so. Versions that the found keyring had retired are reported and not retired: the files were counted
//! before that, without those that were written since; retiring them again counts all. If one number has two materials,
//! nothing is merged.

use super::error::{KeyError, KeyringError};
use super::format::extensions::Extension;
use super::format::model::{Key, KeyState, KeyringBody, Version};
use super::format::ranges::LostGenerations;
use super::keys::Keys;
use super::store::Saves;
use crate::events::Event;
use crate::ids::{BackingKeyId, Generation, KeyId};

/// The extension of the body that lists the keys, 16 bytes each, that were deleted: no merge brings them back.
const DELETED: u32 = 3;

/// The result of a merge.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Merged {
    /// The generation of the keyring that was found.
    pub found: Generation,
    /// Versions that were lost or not known and are there again.
    pub versions: Vec<BackingKeyId>,
    /// Keys that were added, with all their versions.
    pub keys: Vec<KeyId>,
    /// Keys whose current version is the found keyring's now, which is newer.
    pub current: Vec<BackingKeyId>,
    /// Keys of the found keyring that aren't here and were not added: deleted here, or not made in lost generations.
    pub left_out: Vec<KeyId>,
    /// Keys of which the found keyring had retired more versions than are retired here: those below this one.
    pub retired_there: Vec<BackingKeyId>,
    /// How many versions are still lost, at most.
    pub still_lost: u64,
}

impl Merged {
    fn of(found: Generation) -> Self {
        let (versions, keys) = (Vec::new(), Vec::new());
        let (current, left_out, retired_there) = (Vec::new(), Vec::new(), Vec::new());
        Self { found, versions, keys, current, left_out, retired_there, still_lost: 0 }
    }
}

impl Keys {
    /// Merges a keyring of the same vault into this one, durably. Saves nothing if there is nothing to merge.
    ///
    /// # Errors
    /// [`KeyringError::OtherVault`], [`KeyringError::TwoMaterials`]; the keyring can't be saved.
    pub fn merge(&self, found: &Self) -> Result<Merged, KeyringError> {
        let vaults = (found.vault_id(), self.vault_id());
        if vaults.0 != vaults.1 {
            return Err(KeyringError::OtherVault { found: vaults.0, wanted: vaults.1 });
        }
        let found = found.store.lock().state().body.clone();
        // Once without saving: most often it tells that there is nothing to do, or that it can't be done.
        let mut tried = self.table.read().body.clone();
        let data_use: Vec<_> = tried.data_use().collect();
        let merged = tried.merge(&found)?;
        let same_data_use = tried.data_use().eq(data_use);
        if same_data_use && merged.versions.is_empty() && merged.keys.is_empty() && merged.current.is_empty()
        {
            return Ok(merged);
        }
        self.change(Saves::Once, |draft| {
            let merged = draft.body.merge(&found)?;
            // So that a host that has seen the found one doesn't take this one for older.
            let newer = Generation(found.generation.0.saturating_add(1));
            draft.body.generation = draft.body.generation.max(newer);
            draft.record(Event::KeyringMerged {
                found: found.generation,
                versions: merged.versions.len() as u64,
                keys: merged.keys.len() as u64,
            });
            Ok(merged)
        })
    }
}

impl KeyringBody {
    /// Records that a key is deleted.
    pub(super) fn record_deleted(&mut self, key: KeyId) {
        match self.extensions.iter_mut().find(|e| e.tag == DELETED) {
            Some(list) => list.data.extend_from_slice(key.as_bytes()),
            None => self.extensions.push(Extension { tag: DELETED, data: key.as_bytes().to_vec() }),
        }
    }

    /// Whether a key was deleted here.
    pub(super) fn was_deleted(&self, key: KeyId) -> bool {
        self.extensions.data(DELETED).chunks_exact(16).any(|id| id == key.as_bytes())
    }

    fn merge(&mut self, found: &Self) -> Result<Merged, KeyringError> {
        let mut merged = Merged::of(found.generation);
        // A key that isn't here was made after the keyring's past parted from the found one's, or deleted.
        let past = self.lost_generations.map_or(self.generation, |lost| lost.after);
        for theirs in &found.keys {
            if let Some(ours) = self.key_mut(theirs.id) {
                ours.merge(theirs, &mut merged)?;
            } else if found.generation > past && !self.was_deleted(theirs.id) {
                self.keys.push(theirs.clone());
                merged.keys.push(theirs.id);
            } else {
                merged.left_out.push(theirs.id);
            }
        }
        for alias in found.aliases.iter().filter(|alias| merged.keys.contains(&alias.key)) {
            if self.alias(&alias.name).is_none() {
                self.aliases.push(alias.clone());
            }
        }
        let theirs = found.untagged().filter(|(key, _)| merged.keys.contains(key));
        let records: Vec<_> = self.untagged().chain(theirs).collect();
        self.set_untagged(&records);
        for (key, first) in found.data_use() {
            if self.key(key).is_some() {
                self.record_data_use(key, first);
            }
        }
        if let Some(lost) = self.lost_generations {
            let all = lost.known.is_some_and(|known| known <= lost.after.max(found.generation));
            // What the found one lacks itself is still lost.
            let theirs = found.lost_generations;
            let after = lost.after.max(theirs.map_or(found.generation, |theirs| theirs.after));
            self.lost_generations = match theirs {
                None if all => None,
                Some(theirs) if all => Some(LostGenerations { after, ..theirs }),
                _ => Some(LostGenerations { after, ..lost }),
            };
            // The found one is the newest that ever was: it has all versions, and later numbers are free.
            for theirs in found.keys.iter().filter(|_| all) {
                if let Some(ours) = self.key_mut(theirs.id) {
                    ours.free_after(theirs.last_number());
                }
            }
        }
        let lost = self.keys.iter().flat_map(Key::lost_versions);
        merged.still_lost = lost.map(|range| u64::from(range.last.0 - range.first.0) + 1).sum();
        Ok(merged)
    }
}

impl Key {
    fn merge(&mut self, found: &Self, merged: &mut Merged) -> Result<(), KeyringError> {
        let id = |version: &Version| BackingKeyId { key: self.id, version: version.number };
        for theirs in found.versions.iter().filter(|version| version.was_imported()) {
            let ours = self.version(theirs.number).filter(|ours| ours.was_imported());
            if ours.is_some_and(|ours| ours.material_id != theirs.material_id) {
                return Err(KeyringError::TwoMaterials(id(theirs)));
            }
        }
        let waits = self.version(self.current).is_some_and(|current| !current.was_imported());
        let mut filled = Vec::new();
        // Numbers after the last one were never used here: they count as lost.
        self.lose_up_to(found.last_number());
        for theirs in found.versions.iter().filter(|version| version.was_imported()) {
            if self.fill_gap(theirs.clone()) {
                filled.push(BackingKeyId { key: self.id, version: theirs.number });
            }
        }
        let usable = self.version(found.current).is_some_and(|version| version.material.is_some());
        if usable && (found.current > self.current || waits) {
            if waits && let Some(at) = self.versions.iter().position(|version| !version.was_imported()) {
                // A version that waits for its first material is replaced by the one that has it.
                let number = self.versions.remove(at).number;
                self.gap_at(number);
            }
            self.current = found.current;
            merged.current.push(BackingKeyId { key: self.id, version: self.current });
        }
        if found.min_decryption > self.min_decryption {
            merged.retired_there.push(BackingKeyId { key: self.id, version: found.min_decryption });
        }
        if self.state == KeyState::PendingImport && self.has_all_material() {
            self.state = KeyState::Enabled;
        }
        merged.versions.append(&mut filled);
        self.check_numbers().map_err(|_| KeyError::UnknownKey(self.id).into())
    }
}
