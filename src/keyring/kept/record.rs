//! What a keyring's body records of its backups, and how that changes.

use std::collections::HashMap;
use std::path::PathBuf;

use crate::ids::{Generation, KeyId, Timestamp};
use crate::keyring::format::key_backups::{Exported, Kept, KeyBackups};
use crate::keyring::format::model::{Key, KeyringBody};

impl KeyringBody {
    /// The backups that are kept.
    pub(super) fn kept(&self) -> &[Kept] {
        self.extensions.key_backups().map_or(&[], |known| &known.kept)
    }

    /// Stops keeping those that are meant. Returns where they lie.
    pub(in crate::keyring) fn stop_keeping(&mut self, meant: impl Fn(&Kept) -> bool) -> Vec<PathBuf> {
        let Some(mut known) = self.extensions.key_backups().cloned() else { return Vec::new() };
        let stopped: Vec<Kept> = known.kept.extract_if(.., |kept| meant(kept)).collect();
        self.extensions.set_key_backups(known);
        stopped.into_iter().map(|kept| kept.to).collect()
    }

    /// Records an export of this keyring, which is about to be saved.
    pub(in crate::keyring) fn record_export(&mut self, at: Timestamp) {
        let mut known = self.extensions.key_backups().cloned().unwrap_or_default();
        known.exported = Some(Exported { at, generation: self.generation, made: known.made });
        self.extensions.set_key_backups(known);
    }

    /// Records that this keyring, which is about to be saved, was made from a backup of generation `backup`: the file has all its
    /// keys, whether it was exported, kept, or made by a program that recorded nothing. The time is that of its own record; if
    /// it has none, `at`, when the file was there to be read.
    pub(in crate::keyring) fn record_import(&mut self, backup: Generation, at: Timestamp) {
        let own = self.extensions.key_backups().and_then(|known| known.exported);
        let made = own.filter(|exported| exported.generation == backup);
        self.record_export(made.map_or(at, |exported| exported.at));
    }

    /// Records that the last export was this one, or none.
    pub(in crate::keyring) fn set_export(&mut self, exported: Option<Exported>) {
        if let Some(known) = self.extensions.key_backups().cloned() {
            self.extensions.set_key_backups(KeyBackups { exported, ..known });
        }
    }

    /// How many versions with material each key has; none if nothing counts them.
    pub(in crate::keyring) fn count_versions(&self) -> Option<HashMap<KeyId, u64>> {
        self.extensions
            .key_backups()
            .map(|_| self.keys.iter().map(|key| (key.id, with_material(key))).collect())
    }

    /// Adds what the keys got since `before` to what was made.
    pub(in crate::keyring) fn count_made(&mut self, before: &HashMap<KeyId, u64>) {
        let got = |key: &Key| with_material(key).saturating_sub(before.get(&key.id).copied().unwrap_or(0));
        let made: u64 = self.keys.iter().map(got).sum();
        if made > 0 {
            let known = self.extensions.key_backups().cloned();
            let known = known.map(|known| KeyBackups { made: known.made.saturating_add(made), ..known });
            known.into_iter().for_each(|known| self.extensions.set_key_backups(known));
        }
    }
}

fn with_material(key: &Key) -> u64 {
    key.versions.iter().filter(|version| version.material.is_some()).count() as u64
}
