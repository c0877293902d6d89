//! The life cycle of a key, as in AWS KMS: a state machine over [`Key`] with the time handed in. Pure.

use std::sync::Arc;

use super::error::{KeyError, KeyringError, Unusable};
use super::model::{
    Cause, DEFAULT_ROTATION_DAYS, Key, KeyState, Manager, Origin, RotationSchedule, SERVICE_ROTATION_DAYS,
    Usage, Version,
};
use crate::crypto::keys::KeyMaterial;
use crate::crypto::random;
use crate::ids::{KeyId, KeyVersion, Timestamp};

const DAY_MS: i64 = 86_400_000;

/// Where the time comes from, so that tests can move it.
pub trait Clock: Send + Sync {
    /// The present.
    fn now(&self) -> Timestamp;
}

/// The system's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }
}

impl Key {
    /// A new enabled key with its first version. Rotation is off for a customer's key; a service-managed one
    /// rotates every three years.
    pub(super) fn create(manager: Manager, description: &str, now: Timestamp) -> Self {
        let service = manager == Manager::Service;
        let period_days = if service { SERVICE_ROTATION_DAYS } else { DEFAULT_ROTATION_DAYS };
        Self {
            id: KeyId::random(),
            manager,
            origin: Origin::Local,
            usage: Usage::EncryptDecrypt,
            description: description.to_owned(),
            created: now,
            state: KeyState::Enabled,
            deletion_date: None,
            rotation: RotationSchedule {
                enabled: service,
                period_days,
                next: service.then(|| Timestamp(now.0 + i64::from(period_days) * DAY_MS)),
                on_demand_count: 0,
                on_demand_started: None,
            },
            policy: String::new(),
            tags: Vec::new(),
            versions: vec![Version::new(KeyVersion(1), Cause::Creation, now)],
            current: KeyVersion(1),
            min_decryption: KeyVersion(1),
        }
    }

    /// Adds a version and makes it the current one. All prior ones stay; the schedule isn't touched.
    /// Returns the version until now and the one from now on.
    ///
    /// # Errors
    /// If the key is service-managed, imported, or not enabled.
    pub(super) fn rotate(&mut self, now: Timestamp) -> Result<(KeyVersion, KeyVersion), KeyringError> {
        if self.manager == Manager::Service {
            return Err(KeyringError::ServiceManaged(self.id));
        }
        self.usable()?;
        if self.origin == Origin::External {
            return Err(KeyringError::Imported(self.id));
        }
        let old = self.current;
        let last = self.versions.last().map_or(0, |v| v.number.0);
        let number = last.checked_add(1).ok_or_else(|| {
            KeyringError::Full(format!("key {} has {last} versions; no more are possible", self.id))
        })?;
        let mut version = Version::new(KeyVersion(number), Cause::Manual, now);
        version.rotated = Some(now);
        self.versions.push(version);
        self.current = KeyVersion(number);
        Ok((old, self.current))
    }

    /// Enables or disables the key; setting what it is already changes nothing (as in KMS). Returns whether
    /// anything changed.
    ///
    /// # Errors
    /// If the key is service-managed, pending deletion or pending import.
    pub(super) fn set_enabled(&mut self, enabled: bool) -> Result<bool, KeyringError> {
        if self.manager == Manager::Service {
            return Err(KeyringError::ServiceManaged(self.id));
        }
        let state = match self.state {
            KeyState::Enabled | KeyState::Disabled if enabled => KeyState::Enabled,
            KeyState::Enabled | KeyState::Disabled => KeyState::Disabled,
            KeyState::PendingDeletion | KeyState::PendingImport => {
                return Err(self.unusable(Unusable::State(self.state)).into());
            }
        };
        Ok(std::mem::replace(&mut self.state, state) != state)
    }

    fn usable(&self) -> Result<(), KeyError> {
        match self.state {
            KeyState::Enabled => Ok(()),
            state => Err(self.unusable(Unusable::State(state))),
        }
    }

    fn unusable(&self, state: Unusable) -> KeyError {
        KeyError::NotUsable { key: self.id, state }
    }
}

impl Version {
    fn new(number: KeyVersion, cause: Cause, now: Timestamp) -> Self {
        Self {
            number,
            material_id: random::array(),
            material: Some(Arc::new(KeyMaterial::generate())),
            created: now,
            rotated: None,
            cause,
            expires: None,
        }
    }
}
