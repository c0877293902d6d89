//! Revocation: an old keyring file and its secret open nothing that is made from now on. One save replaces the root key,
//! the event key and the material of every key; the old file yields the old ones.
//!
//! What it doesn't do: files written before keep their data keys, which the old file unwraps from their old headers, or
//! has unwrapped; re-encrypting gives them new ones. The tree key stays, and with it names, symlinks and attributes. A key
//! with imported material makes none of its own; the report names it.
//!
//! Key backups are no longer kept: the old keyring has the root keys that seal them. The user begins again, with new ones.
//!
//! The old root key endorses the new one, so that a host that has seen the old one accepts the new one. An attacker who
//! has the old root key can endorse another one: a host that hasn't seen the new one yet can't tell them apart.

use super::store::Saves;
use std::path::PathBuf;
use std::sync::Arc;

use zeroize::Zeroizing;

use super::error::KeyringError;
use super::keys::Keys;
use super::rotation::rewrap_tree_keys;
use super::slots::{NewSlot, Proof, same_root, verified};
use super::store::Draft;
use crate::crypto::keys::{EventKey, RootKey};
use crate::crypto::password::KdfParams;
use crate::events::Event;
use crate::ids::{KeyId, Timestamp};
use crate::unlock::{RecoveryKey, Secret, Slot, SlotInfo, Slots, in_place_of};

/// What a revocation did.
pub struct Revocation {
    /// The text of the new recovery key, to be shown once.
    pub recovery: Zeroizing<String>,
    /// The slots that there are now; all are new ones.
    pub slots: Vec<SlotInfo>,
    /// The keys whose material the old keyring has and which can make none: it was imported.
    pub imported: Vec<KeyId>,
    /// Where key backups lie that are no longer kept: the old keyring has their keys.
    pub no_longer_kept: Vec<PathBuf>,
}

impl Keys {
    /// Generates a new root key and a new event key and gives each key a new version, so that old keyring files and old
    /// secrets open nothing that is made from now on. New slots are made for each secret of `keep`, which must open a
    /// slot now and has its label afterwards, for each of `add`, and for a new recovery key; every other slot is dropped.
    /// Passphrases of `keep` get the costs `kdf`, or those that they have now where these are higher.
    ///
    /// # Errors
    /// [`KeyringError`]; a secret of `keep` that opens no slot is refused. Nothing is changed then.
    pub fn revoke(
        &self,
        _proof: &Proof,
        keep: &[&Secret],
        add: &[NewSlot<'_>],
        kdf: KdfParams,
    ) -> Result<Revocation, KeyringError> {
        let slots = self.slots()?;
        let labels = self.slot_labels()?;
        let mut new_slots = Vec::with_capacity(keep.len() + add.len() + 1);
        for secret in keep {
            let slot = self.prove(secret)?.slot();
            let now = slots.iter().find(|info| info.id == Some(slot)).and_then(|info| info.kdf);
            let label = labels.iter().find(|(labelled, _)| *labelled == slot).map(|(_, label)| label.clone());
            new_slots.push(NewSlot { secret, kdf: now.map_or(kdf, |now| in_place_of(kdf, now)), label });
        }
        new_slots.extend(add.iter().cloned());
        let (vault, now) = (self.vault_id(), self.clock.now());
        let old = Arc::clone(&self.store.lock().state().root);
        let new = Arc::new(RootKey::generate());
        let recovery = RecoveryKey::generate();
        let text = recovery.to_text();
        let recovery = Secret::Recovery(recovery);
        let mut slots = Slots::default();
        new_slots.push(NewSlot::of(&recovery, kdf));
        let mut labels = Vec::with_capacity(new_slots.len());
        for NewSlot { secret, kdf, label } in &new_slots {
            let slot = Slot::seal(vault, &new, secret, *kdf, now)?;
            labels.push((slot.id(), label.clone()));
            slots.push(slot);
        }
        let slots = verified(&slots, vault, new_slots.iter().map(|slot| slot.secret), &new)?;
        let list = slots.list();
        let (imported, no_longer_kept) = self.change(Saves::Twice, |draft| {
            same_root(&draft.root, &old, self)?;
            draft.header.slots = slots;
            for (slot, label) in labels {
                draft.body.label_slot(slot, label);
            }
            draft.body.extensions.endorse(old.endorsement(vault));
            draft.root = new;
            draft.record(Event::RootKeyReplaced);
            let imported = draft.replace_material(now)?;
            let no_longer_kept = draft.body.stop_keeping(|_| true);
            for to in &no_longer_kept {
                draft.record(Event::BackupKeepingStopped(to.to_string_lossy().into_owned()));
            }
            draft.replace_event_key(Arc::new(EventKey::generate()));
            Ok((imported, no_longer_kept))
        })?;
        Ok(Revocation { recovery: text, slots: list, imported, no_longer_kept })
    }
}

impl Draft {
    /// Gives each key a new version, whatever its state: one that is disabled may be enabled again. Returns the keys that
    /// can make none.
    fn replace_material(&mut self, now: Timestamp) -> Result<Vec<KeyId>, KeyringError> {
        let (mut imported, mut rotated) = (Vec::new(), Vec::new());
        for key in &mut self.body.keys {
            match key.replace_material(now)? {
                Some((old, new)) => rotated.push(Event::KeyRotated { key: key.id, old, new }),
                None => imported.push(key.id),
            }
        }
        rewrap_tree_keys(self.header.vault, &mut self.body)?;
        rotated.into_iter().for_each(|event| self.record(event));
        Ok(imported)
    }
}
