//! Imported material: taken in, deleted, and deleted when it has expired. What a key takes is said in rules/import.rs.

use super::error::KeyringError;
use super::format::model::{Key, KeyState};
use super::keys::{Keys, known};
use super::rules::import::ImportType;
use super::store::Saves;
use crate::crypto::keys::KeyMaterial;
use crate::crypto::keys::SealKey;
use crate::events::Event;
use crate::ids::{KeyId, Timestamp};

type Result<T> = std::result::Result<T, KeyringError>;

impl Keys {
    /// What import tokens are sealed under. Another root key makes another one.
    pub(crate) fn import_token_key(&self) -> SealKey {
        let root = std::sync::Arc::clone(&self.store.lock().state().root);
        root.import_token_key(self.vault_id())
    }

    /// Takes key material in. Returns its id.
    ///
    /// # Errors
    /// [`KeyringError`]: no such key, or it doesn't take this material.
    pub(crate) fn import_material(
        &self,
        key: KeyId,
        material: KeyMaterial,
        import: Option<ImportType>,
        expires: Option<Timestamp>,
    ) -> Result<[u8; 32]> {
        let now = self.clock.now();
        self.change(Saves::Once, |draft| {
            let known = known(&mut draft.body, key)?;
            let before = known.state;
            let id = known.import(material, import, expires, now)?;
            let state = known.state;
            draft.record(Event::KeyOperation { key, operation: "ImportKeyMaterial" });
            if state != before {
                draft.record(Event::KeyStateChanged { key, state: state.name() });
            }
            Ok(id)
        })
    }

    /// Deletes imported material, the current version's or that of an id; it is not in `keyring.prev` either. Returns its
    /// id.
    ///
    /// # Errors
    /// [`KeyringError`]: no such key, it makes its own material, or it has none of that id.
    pub(crate) fn delete_material(&self, key: KeyId, wanted: Option<[u8; 32]>) -> Result<[u8; 32]> {
        self.announce_unusable(&[key]);
        self.change(Saves::Twice, |draft| {
            let known = known(&mut draft.body, key)?;
            let before = known.state;
            let gone = known.delete_material(wanted.as_ref())?;
            let id = wanted.or_else(|| Some(known.version(known.current)?.material_id));
            let state = known.state;
            draft.record(Event::KeyOperation { key, operation: "DeleteImportedKeyMaterial" });
            if let Some(backing) = gone {
                draft.record(Event::MaterialDeleted { backing, why: "deleted" });
            }
            if state != before {
                draft.record(Event::KeyStateChanged { key, state: state.name() });
            }
            Ok(id.unwrap_or_default())
        })
    }

    /// Deletes imported material whose date has passed; it is not in `keyring.prev` either. Saves nothing if
    /// there is none. Returns the keys that lost material.
    ///
    /// # Errors
    /// If the keyring can't be saved.
    pub fn expire_due(&self) -> Result<Vec<KeyId>> {
        let now = self.clock.now();
        let expired = |key: &&Key| key.versions.iter().any(|version| version.is_expired(now));
        let due: Vec<KeyId> = self.table.read().body.keys.iter().filter(expired).map(|key| key.id).collect();
        if due.is_empty() {
            return Ok(due);
        }
        self.announce_unusable(&due);
        self.change(Saves::Twice, |draft| {
            let mut notes = Vec::new();
            for key in &mut draft.body.keys {
                let before = key.state;
                let gone = key.expire(now);
                notes.extend(gone.into_iter().map(|b| Event::MaterialDeleted { backing: b, why: "expired" }));
                if key.state != before {
                    let state = KeyState::PendingImport.name();
                    notes.push(Event::KeyStateChanged { key: key.id, state });
                }
            }
            notes.into_iter().for_each(|event| draft.record(event));
            Ok(())
        })?;
        Ok(due)
    }
}
