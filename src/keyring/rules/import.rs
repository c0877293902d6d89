//! Imported material in the life cycle of a key: which material a key accepts, when it expires, how it rotates. No I/O; the
//! time is a parameter. Material is recognized by its id, a one-way function of it: after it expired or was deleted, only
//! the id remains.

use std::sync::Arc;

use super::error::RuleError;
use crate::crypto::keys::KeyMaterial;
use crate::ids::{BackingKeyId, KeyVersion, Timestamp};
use crate::keyring::error::{KeyError, KeyringError, Unusable};
use crate::keyring::format::model::{Cause, Key, KeyState, Manager, Origin, Version};

/// The material id of a version that has never had material.
const NONE_YET: [u8; 32] = [0; 32];

/// What an import is meant to be (KMS: `ImportType`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum ImportType {
    /// The next version's.
    New,
    /// One that the key had before.
    Existing,
}

impl Version {
    /// One whose material is still to come.
    fn awaited(number: KeyVersion, cause: Cause, now: Timestamp) -> Self {
        let material_id = NONE_YET;
        Self { number, material_id, material: None, created: now, rotated: None, cause, expires: None }
    }

    /// Whether it has had material.
    pub(crate) fn was_imported(&self) -> bool {
        self.material_id != NONE_YET
    }
}

impl Key {
    /// A new key that waits for its material.
    pub(in crate::keyring) fn external(description: &str, now: Timestamp) -> Self {
        let key = Self::create(Manager::Customer, description, now);
        let first = Version::awaited(KeyVersion(1), Cause::Creation, now);
        Self { origin: Origin::External, state: KeyState::PendingImport, versions: vec![first], ..key }
    }

    /// Accepts material. Returns its id.
    ///
    /// # Errors
    /// If the key makes its own material or is pending deletion, if other new material waits for a rotation, or if this
    /// isn't what `import` says.
    pub(in crate::keyring) fn import(
        &mut self,
        material: KeyMaterial,
        import: Option<ImportType>,
        expires: Option<Timestamp>,
        now: Timestamp,
    ) -> Result<[u8; 32], KeyringError> {
        self.may_import()?;
        let id = material.material_id(self.id);
        let known = self.versions.iter().position(|version| version.material_id == id);
        let first_is_free = self.versions.first().is_some_and(|first| !first.was_imported());
        // New material that waits already is what the same call brought, whose answer was lost.
        let waits = |index: usize| self.versions.get(index).is_some_and(|known| known.number > self.current);
        let index = match known {
            Some(index) if import == Some(ImportType::New) && !waits(index) => {
                return Err(RuleError::MaterialIsOld.into());
            }
            Some(index) => index,
            None if first_is_free => 0,
            None if import != Some(ImportType::New) => {
                return Err(RuleError::MaterialIsAnother.into());
            }
            None => self.add_waiting(now)?,
        };
        let version = self.versions.get_mut(index).ok_or(KeyError::UnknownKey(self.id))?;
        version.material_id = id;
        version.material = Some(Arc::new(material));
        version.expires = expires;
        if self.state == KeyState::PendingImport && self.has_all_material() {
            self.state = KeyState::Enabled;
        }
        Ok(id)
    }

    /// Adds a version without material that is to wait for a rotation. Returns its index.
    fn add_waiting(&mut self, now: Timestamp) -> Result<usize, KeyringError> {
        if self.versions.last().is_some_and(|last| last.number > self.current) {
            return Err(RuleError::MaterialWaits(self.id).into());
        }
        let number = self.next_number()?;
        self.versions.push(Version::awaited(number, Cause::OnDemand, now));
        Ok(self.versions.len() - 1)
    }

    /// Whether material can be imported into this key now.
    ///
    /// # Errors
    /// As [`Key::import`].
    pub(crate) fn may_import(&self) -> Result<(), KeyringError> {
        if self.origin != Origin::External {
            return Err(RuleError::MakesOwnMaterial(self.id).into());
        }
        match self.state {
            KeyState::PendingDeletion => {
                Err(KeyError::NotUsable { key: self.id, state: Unusable::State(self.state) }.into())
            }
            KeyState::Enabled | KeyState::Disabled | KeyState::PendingImport => Ok(()),
        }
    }

    /// Deletes imported material, the current one's or that of an id. Returns the version that lost it; none if
    /// it had none.
    ///
    /// # Errors
    /// [`RuleError::MakesOwnMaterial`]; [`RuleError::NoSuchMaterial`] for an unknown id.
    pub(in crate::keyring) fn delete_material(
        &mut self,
        id: Option<&[u8; 32]>,
    ) -> Result<Option<BackingKeyId>, KeyringError> {
        if self.origin != Origin::External {
            return Err(RuleError::MakesOwnMaterial(self.id).into());
        }
        let current = self.current;
        let meant = |version: &&mut Version| match id {
            Some(id) => version.material_id == *id && version.was_imported(),
            None => version.number == current,
        };
        let version = self.versions.iter_mut().find(meant).ok_or(RuleError::NoSuchMaterial)?;
        let gone = version.material.take().map(|_| version.number);
        Ok(self.lost(gone.into_iter().collect()).pop())
    }

    /// Deletes material that has expired. Returns the versions that lost theirs.
    pub(in crate::keyring) fn expire(&mut self, now: Timestamp) -> Vec<BackingKeyId> {
        let expired = self.versions.iter_mut().filter(|version| version.is_expired(now));
        let gone = expired.map(|version| {
            version.material = None;
            version.number
        });
        let gone = gone.collect();
        self.lost(gone)
    }

    /// A key that lacks material of a version in use waits for it.
    fn lost(&mut self, gone: Vec<KeyVersion>) -> Vec<BackingKeyId> {
        let in_use = matches!(self.state, KeyState::Enabled | KeyState::Disabled);
        if in_use && !gone.is_empty() && !self.has_all_material() {
            self.state = KeyState::PendingImport;
        }
        gone.into_iter().map(|version| BackingKeyId { key: self.id, version }).collect()
    }

    /// Whether the current version and those before it that aren't retired have their material.
    pub(in crate::keyring) fn has_all_material(&self) -> bool {
        let in_use =
            self.versions.iter().filter(|v| (self.min_decryption..=self.current).contains(&v.number));
        in_use.into_iter().all(|version| version.material.is_some())
    }

    /// The imported version that waits for a rotation.
    ///
    /// # Errors
    /// [`RuleError::NothingWaits`] if there is none with material.
    pub(in crate::keyring) fn waiting_version(&mut self) -> Result<&mut Version, KeyringError> {
        let (id, current) = (self.id, self.current);
        let waiting = self.versions.iter_mut().find(|v| v.number > current && v.material.is_some());
        waiting.ok_or_else(|| RuleError::NothingWaits(id).into())
    }
}

impl Version {
    /// Whether it has material that is past its date.
    pub(in crate::keyring) fn is_expired(&self, now: Timestamp) -> bool {
        self.material.is_some() && self.has_expired(now)
    }

    /// Whether its date has passed, whether the material is still there or not.
    pub(in crate::keyring) fn has_expired(&self, now: Timestamp) -> bool {
        self.expires.is_some_and(|expires| expires <= now)
    }
}
