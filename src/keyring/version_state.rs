//! What a key version means for the files that it wraps: the one answer that `inspect`, `status` and `fsck` show.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::error::{KeyError, Unusable};
use super::format::model::{Key, KeyState};
use super::key_table::Table;
use super::keys::Keys;
use crate::ids::{BackingKeyId, Timestamp};

/// The state of a key version.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "kebab-case")]
pub enum VersionState {
    /// It opens files, and wraps new ones.
    Current,
    /// It opens files; another one wraps new ones.
    Old,
    /// It is known, and opens nothing now.
    Unusable {
        /// Why.
        why: UnusableReason,
    },
    /// The keyring doesn't know the key.
    UnknownKey,
    /// The keyring doesn't know the version.
    UnknownVersion,
    /// It was in a newer keyring that isn't there any more.
    Lost,
}

/// Why a known version opens nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum UnusableReason {
    /// The key is disabled.
    Disabled,
    /// The key is pending deletion.
    PendingDeletion,
    /// The key waits for material of another version.
    PendingImport,
    /// The version is retired.
    Retired,
    /// The version is retired and its material deleted: only an older keyring may have it.
    Trimmed,
    /// The version's material was deleted, or is still to be imported.
    NoMaterial,
    /// The version's imported material has expired.
    Expired,
}

impl VersionState {
    /// Whether files of this version can't be opened only because the keyring lacks it: another keyring may have it.
    pub fn is_missing(self) -> bool {
        match self {
            Self::UnknownKey | Self::UnknownVersion | Self::Lost => true,
            Self::Current | Self::Old | Self::Unusable { .. } => false,
        }
    }

    /// As the state of a file whose alias resolves to another backing key now (`stale`), or doesn't.
    #[must_use]
    pub fn of_file(self, stale: bool) -> Self {
        if stale && self == Self::Current { Self::Old } else { self }
    }
}

impl fmt::Display for VersionState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Current => f.write_str("current"),
            Self::Old => f.write_str("old"),
            Self::Unusable { why } => write!(f, "unusable ({why})"),
            Self::UnknownKey => f.write_str("unknown key"),
            Self::UnknownVersion => f.write_str("unknown version"),
            Self::Lost => f.write_str("lost"),
        }
    }
}

impl fmt::Display for UnusableReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Disabled => "disabled",
            Self::PendingDeletion => "pending deletion",
            Self::PendingImport => "pending import",
            Self::Retired => "retired",
            Self::Trimmed => "trimmed",
            Self::NoMaterial => "missing material",
            Self::Expired => "expired",
        })
    }
}

impl Table {
    /// The state of a backing key: what opening a file of it meets.
    pub(super) fn state(&self, id: BackingKeyId, now: Timestamp) -> VersionState {
        let unusable = |why| VersionState::Unusable { why };
        match self.wrapping(id) {
            Ok(_) if self.current(id.key).is_ok_and(|current| current == id) => VersionState::Current,
            Ok(_) => VersionState::Old,
            Err(KeyError::LostVersion(_)) => VersionState::Lost,
            Err(KeyError::UnknownVersion(_)) => VersionState::UnknownVersion,
            Err(KeyError::UnknownKey(_) | KeyError::UnknownAlias(_) | KeyError::Auth) => {
                VersionState::UnknownKey
            }
            Err(KeyError::NotUsable { state, .. }) => unusable(match state {
                Unusable::State(KeyState::PendingImport) => self.awaited(id, now),
                Unusable::State(KeyState::PendingDeletion) => UnusableReason::PendingDeletion,
                Unusable::State(KeyState::Disabled | KeyState::Enabled) => UnusableReason::Disabled,
                Unusable::Retired(_) if self.is_trimmed(id) => UnusableReason::Trimmed,
                Unusable::Retired(_) => UnusableReason::Retired,
                Unusable::NoMaterial(_) => UnusableReason::NoMaterial,
                Unusable::Expired(_) => UnusableReason::Expired,
            }),
        }
    }

    /// Whether a version is retired and its material deleted.
    pub(super) fn is_trimmed(&self, id: BackingKeyId) -> bool {
        self.key(id.key).is_some_and(|key| {
            id.version < key.min_decryption && key.version(id.version).is_some_and(|v| v.material.is_none())
        })
    }

    /// What a version of a key that waits for material lacks itself.
    fn awaited(&self, id: BackingKeyId, now: Timestamp) -> UnusableReason {
        let version = |key: &Key| key.version(id.version).map(|v| (v.material.is_some(), v.has_expired(now)));
        match self.key(id.key).and_then(version) {
            Some((_, true)) => UnusableReason::Expired,
            Some((false, false)) => UnusableReason::NoMaterial,
            Some((true, false)) | None => UnusableReason::PendingImport,
        }
    }
}

impl Keys {
    /// The state of a backing key: what opening a file of it meets.
    pub fn state_of(&self, backing: BackingKeyId) -> VersionState {
        self.table.read().state(backing, self.clock.now())
    }
}
