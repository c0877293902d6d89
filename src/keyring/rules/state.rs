//! The life cycle of a key, as in AWS KMS: a state machine over [`Key`]. No I/O; the time is a parameter.

use std::sync::Arc;

use super::error::{Quantity, RuleError};
use crate::crypto::keys::KeyMaterial;
use crate::crypto::random;
use crate::ids::{KeyId, KeyVersion, Timestamp};
use crate::keyring::error::{KeyError, KeyringError, Unusable};
use crate::keyring::format::model::{
    Cause, DEFAULT_ROTATION_DAYS, Key, KeyState, Manager, Origin, RotationSchedule, SERVICE_ROTATION_DAYS,
    Usage, Version,
};

const DAY_MS: i64 = 86_400_000;

/// The periods, in days, that automatic rotation takes.
const ROTATION_PERIODS: std::ops::RangeInclusive<u16> = 90..=2560;
/// The windows, in days, that a deletion takes.
const DELETION_WINDOWS: std::ops::RangeInclusive<u16> = 7..=30;
/// The window of a deletion that names none.
const DEFAULT_DELETION_WINDOW: u16 = 30;
/// Rotations on demand in the life of a key.
const ON_DEMAND_LIMIT: u32 = 25;

/// The version until now, and the one from now on.
pub(in crate::keyring) type Change = (KeyVersion, KeyVersion);

/// The user's switch of a key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::keyring) enum Switch {
    Enable,
    Disable,
}

impl Switch {
    /// The state in which it leaves the key.
    pub(in crate::keyring) fn state(self) -> KeyState {
        match self {
            Self::Enable => KeyState::Enabled,
            Self::Disable => KeyState::Disabled,
        }
    }

    /// AWS KMS' name for it.
    pub(in crate::keyring) fn operation(self) -> &'static str {
        match self {
            Self::Enable => "EnableKey",
            Self::Disable => "DisableKey",
        }
    }
}

/// A point in time some days later. Days have 24 hours here, as in KMS: months and leap days don't matter.
fn days_after(now: Timestamp, days: u16) -> Timestamp {
    Timestamp(now.0.saturating_add(i64::from(days) * DAY_MS))
}

/// A number of days from what was asked for.
fn days_in(asked: i64, allowed: &std::ops::RangeInclusive<u16>, what: Quantity) -> Result<u16, RuleError> {
    u16::try_from(asked).ok().filter(|days| allowed.contains(days)).ok_or_else(|| RuleError::OutOfRange {
        what,
        value: asked,
        least: i64::from(*allowed.start()),
        most: i64::from(*allowed.end()),
    })
}

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
    pub(in crate::keyring) fn create(manager: Manager, description: &str, now: Timestamp) -> Self {
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
                next: service.then(|| days_after(now, period_days)),
                on_demand_count: 0,
                on_demand_started: None,
            },
            policy: String::new(),
            tags: Vec::new(),
            versions: vec![Version::new(KeyVersion(1), Cause::Creation, now)],
            current: KeyVersion(1),
            min_decryption: KeyVersion(1),
            gaps: Vec::new(),
        }
    }

    /// Adds a version and makes it the current one. All prior ones stay; the schedule isn't touched.
    /// Returns the version until now and the one from now on.
    ///
    /// # Errors
    /// If the key is service-managed or not enabled, or if it is imported and no new material waits.
    pub(in crate::keyring) fn rotate(&mut self, now: Timestamp) -> Result<Change, KeyringError> {
        self.may_be_managed()?;
        self.usable()?;
        self.next_version(Cause::Manual, now)
    }

    /// As [`Key::rotate`], counted: a key takes 25 of them.
    ///
    /// # Errors
    /// As [`Key::rotate`], and [`RuleError::OnDemandLimit`].
    pub(in crate::keyring) fn rotate_on_demand(&mut self, now: Timestamp) -> Result<Change, KeyringError> {
        self.may_be_managed()?;
        self.usable()?;
        if self.rotation.on_demand_count >= ON_DEMAND_LIMIT {
            return Err(RuleError::OnDemandLimit { key: self.id, limit: ON_DEMAND_LIMIT }.into());
        }
        let change = self.next_version(Cause::OnDemand, now)?;
        self.rotation.on_demand_count += 1;
        Ok(change)
    }

    /// Adds a version, whatever the key's state: others may have the material of the former ones (revocation). None if the
    /// key's material is imported.
    ///
    /// # Errors
    /// If the key can't have more versions.
    pub(in crate::keyring) fn replace_material(
        &mut self,
        now: Timestamp,
    ) -> Result<Option<Change>, KeyringError> {
        match self.origin {
            Origin::Local => self.add_version(Cause::Manual, now).map(Some),
            Origin::External => Ok(None),
        }
    }

    /// Adds a version if the schedule says so: once, however much it is late. The next rotation is a period
    /// from now, not from when this one should have been. A clock that jumps back changes nothing.
    ///
    /// # Errors
    /// If the key can't have more versions.
    pub(in crate::keyring) fn rotate_if_due(
        &mut self,
        now: Timestamp,
    ) -> Result<Option<Change>, KeyringError> {
        if !self.is_due(now) {
            return Ok(None);
        }
        let change = self.add_version(Cause::Schedule, now)?;
        self.rotation.next = Some(days_after(now, self.rotation.period_days));
        Ok(Some(change))
    }

    /// Whether the schedule asks for a rotation now: never of a key that isn't enabled.
    pub(in crate::keyring) fn is_due(&self, now: Timestamp) -> bool {
        self.state == KeyState::Enabled
            && self.rotation.enabled
            && self.rotation.next.is_some_and(|next| next <= now)
    }

    /// Switches automatic rotation on. Doing it again restarts the period, and may change it.
    ///
    /// # Errors
    /// If the key is service-managed, imported or not enabled; [`RuleError::OutOfRange`] for a period that isn't in 90..=2560 days.
    pub(in crate::keyring) fn enable_rotation(
        &mut self,
        period_days: Option<i64>,
        now: Timestamp,
    ) -> Result<(), KeyringError> {
        let asked = period_days.unwrap_or_else(|| i64::from(DEFAULT_ROTATION_DAYS));
        let period_days = days_in(asked, &ROTATION_PERIODS, Quantity::RotationPeriod)?;
        self.may_rotate()?;
        let next = Some(days_after(now, period_days));
        self.rotation = RotationSchedule { enabled: true, period_days, next, ..self.rotation };
        Ok(())
    }

    /// Switches automatic rotation off. All versions stay.
    ///
    /// # Errors
    /// If the key is service-managed, imported or not enabled.
    pub(in crate::keyring) fn disable_rotation(&mut self) -> Result<(), KeyringError> {
        self.may_rotate()?;
        self.rotation = RotationSchedule { enabled: false, next: None, ..self.rotation };
        Ok(())
    }

    /// Whether automatic rotation is in effect: not while the key is pending deletion, which keeps the setting in case the
    /// deletion is cancelled.
    pub(crate) fn rotates(&self) -> bool {
        self.rotation.enabled && self.state != KeyState::PendingDeletion
    }

    /// Makes the key unusable until the deletion is cancelled. Returns the window in days and its end.
    ///
    /// # Errors
    /// If the key is service-managed or pending deletion already; [`RuleError::OutOfRange`] for a window that
    /// isn't in 7..=30 days.
    pub(in crate::keyring) fn schedule_deletion(
        &mut self,
        window_days: Option<i64>,
        now: Timestamp,
    ) -> Result<(u16, Timestamp), KeyringError> {
        let asked = window_days.unwrap_or_else(|| i64::from(DEFAULT_DELETION_WINDOW));
        let window = days_in(asked, &DELETION_WINDOWS, Quantity::DeletionWindow)?;
        self.may_be_managed()?;
        if self.state == KeyState::PendingDeletion {
            return Err(self.unusable(Unusable::State(self.state)).into());
        }
        let date = days_after(now, window);
        self.state = KeyState::PendingDeletion;
        self.deletion_date = Some(date);
        Ok((window, date))
    }

    /// Takes a scheduled deletion back. The key is disabled then, or waits for material if it has none.
    ///
    /// # Errors
    /// If no deletion is pending.
    pub(in crate::keyring) fn cancel_deletion(&mut self) -> Result<(), KeyringError> {
        if self.state != KeyState::PendingDeletion {
            return Err(RuleError::NotPendingDeletion(self.id).into());
        }
        self.state = if self.has_all_material() { KeyState::Disabled } else { KeyState::PendingImport };
        self.deletion_date = None;
        Ok(())
    }

    pub(in crate::keyring) fn may_be_managed(&self) -> Result<(), KeyringError> {
        if self.manager == Manager::Service { Err(KeyringError::ServiceManaged(self.id)) } else { Ok(()) }
    }

    fn may_rotate(&self) -> Result<(), KeyringError> {
        self.may_be_managed()?;
        self.usable()?;
        if self.origin == Origin::External { Err(KeyringError::Imported(self.id)) } else { Ok(()) }
    }

    /// A version with material made here, or the imported one that waits for this.
    fn next_version(&mut self, cause: Cause, now: Timestamp) -> Result<Change, KeyringError> {
        if self.origin == Origin::Local {
            return self.add_version(cause, now);
        }
        let old = self.current;
        let version = self.waiting_version()?;
        (version.rotated, version.cause) = (Some(now), cause);
        self.current = version.number;
        Ok((old, self.current))
    }

    fn add_version(&mut self, cause: Cause, now: Timestamp) -> Result<Change, KeyringError> {
        let old = self.current;
        let number = self.next_number()?;
        let mut version = Version::new(number, cause, now);
        version.rotated = Some(now);
        self.versions.push(version);
        self.current = number;
        Ok((old, self.current))
    }

    /// Enables or disables the key; setting what it is already changes nothing (as in KMS). Returns whether
    /// anything changed.
    ///
    /// # Errors
    /// If the key is service-managed, pending deletion or pending import.
    pub(in crate::keyring) fn switch(&mut self, switch: Switch) -> Result<bool, KeyringError> {
        self.may_be_managed()?;
        let state = match self.state {
            KeyState::Enabled | KeyState::Disabled => switch.state(),
            KeyState::PendingDeletion | KeyState::PendingImport => {
                return Err(self.unusable(Unusable::State(self.state)).into());
            }
        };
        Ok(std::mem::replace(&mut self.state, state) != state)
    }

    pub(in crate::keyring) fn usable(&self) -> Result<(), KeyError> {
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
