//! What is known of keys, versions and aliases, for people and for the layers above.

use super::format::model::{Cause, Key, KeyState, Manager};
use super::format::ranges::VersionRange;
use super::key_table::Table;
use super::keys::Keys;
use super::version_state::VersionState;
use crate::ids::{AliasName, BackingKeyId, KeyId, KeyVersion, Timestamp};

/// What is known of an alias.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AliasInfo {
    /// Its name.
    pub name: AliasName,
    /// The key it points at.
    pub key: KeyId,
    /// When it was made.
    pub created: Timestamp,
    /// When it was last pointed at another key.
    pub updated: Timestamp,
}

/// What is known of a key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KeyInfo {
    /// Its id.
    pub id: KeyId,
    /// Who manages it.
    pub manager: Manager,
    /// Its state.
    pub state: KeyState,
    /// Its description.
    pub description: String,
    /// Its tags: names and values.
    pub tags: Vec<(String, String)>,
    /// When it was made.
    pub created: Timestamp,
    /// The version that wraps.
    pub current: KeyVersion,
    /// Versions below this one are retired.
    pub min_decryption: KeyVersion,
    /// Days between automatic rotations, if it has them.
    pub rotation_days: Option<u16>,
    /// When it rotates next by itself.
    pub next_rotation: Option<Timestamp>,
    /// Its versions, from 1 on: when each was made, and whether its material is there.
    pub versions: Vec<VersionInfo>,
    /// Versions that were in a newer keyring that isn't there any more, as far as can be told.
    pub lost: Vec<VersionRange>,
}

/// What is known of a version.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct VersionInfo {
    /// Its number.
    pub number: KeyVersion,
    /// When it was made.
    pub created: Timestamp,
    /// Whether its material is there.
    pub has_material: bool,
    /// When imported material expires, if it does.
    pub expires: Option<Timestamp>,
    /// The rotation that brought it; none for the first one, and for one that waits for its rotation.
    pub rotation: Option<RotationInfo>,
    /// Whether it opens files, and why it doesn't.
    pub state: VersionState,
}

/// What is known of a rotation that was.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RotationInfo {
    /// When it was.
    pub at: Timestamp,
    /// Whether the key's schedule said so; else a person or a program did.
    pub automatic: bool,
}

impl Keys {
    /// The aliases in use, in the order of their creation.
    pub fn aliases(&self) -> Vec<AliasInfo> {
        let info = |a: &super::format::model::Alias| AliasInfo {
            name: a.name.clone(),
            key: a.key,
            created: a.created,
            updated: a.updated,
        };
        self.table.read().body.aliases.iter().map(info).collect()
    }

    /// The keys in use, in the order of their creation.
    pub fn keys(&self) -> Vec<KeyInfo> {
        let (table, now) = (self.table.read(), self.clock.now());
        table.body.keys.iter().map(|key| key_info(&table, key, now)).collect()
    }
}

fn key_info(table: &Table, key: &Key, now: Timestamp) -> KeyInfo {
    let version = |v: &super::format::model::Version| VersionInfo {
        number: v.number,
        created: v.created,
        has_material: v.material.is_some(),
        expires: v.expires,
        rotation: v.rotated.map(|at| RotationInfo { at, automatic: v.cause == Cause::Schedule }),
        state: table.state(BackingKeyId { key: key.id, version: v.number }, now),
    };
    KeyInfo {
        id: key.id,
        manager: key.manager,
        state: key.state,
        description: key.description.clone(),
        tags: key.tags.iter().map(|tag| (tag.key.clone(), tag.value.clone())).collect(),
        created: key.created,
        current: key.current,
        min_decryption: key.min_decryption,
        rotation_days: key.rotates().then_some(key.rotation.period_days),
        next_rotation: key.rotation.next.filter(|_| key.rotates()),
        versions: key.versions.iter().map(version).collect(),
        lost: key.lost_versions(),
    }
}
