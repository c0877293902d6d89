//! What a keyring holds. The order and types of these fields are the format of the sealed body (body.rs):
//! changing them takes a new format number or an incompat bit.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::encoding::{id16, raw, secret};
use super::extensions::Extensions;
use super::ranges::{Gap, LostGenerations};
use crate::crypto::keys::{EventKey, KeyMaterial, Wrapped};
use crate::events::{Anchor, LogKeys};
use crate::ids::{AliasName, Generation, KeyId, KeyVersion, Timestamp, TreeKeyId};

/// The days between automatic rotations unless a key says otherwise.
pub(in crate::keyring) const DEFAULT_ROTATION_DAYS: u16 = 365;
/// The days between rotations of a service-managed key: three years.
pub(in crate::keyring) const SERVICE_ROTATION_DAYS: u16 = 1095;

/// The sealed part of a keyring. A clone shares the secrets.
#[derive(Clone, Serialize, Deserialize)]
pub(in crate::keyring) struct KeyringBody {
    /// One more with each save.
    pub(in crate::keyring) generation: Generation,
    /// SHA-256 of the keyring file before this one; zeros in the first.
    #[serde(with = "raw")]
    pub(in crate::keyring) previous: [u8; 32],
    /// The keys, in the order of their creation.
    pub(in crate::keyring) keys: Vec<Key>,
    /// The aliases, in the order of their creation.
    pub(in crate::keyring) aliases: Vec<Alias>,
    /// The tree keys.
    pub(in crate::keyring) tree_keys: Vec<WrappedTreeKey>,
    /// The tree key in use.
    #[serde(with = "id16")]
    pub(in crate::keyring) current_tree_key: TreeKeyId,
    /// The key of the event log's chain.
    #[serde(with = "secret")]
    pub(in crate::keyring) event_key: Arc<EventKey>,
    /// The event log's end when this was saved.
    pub(in crate::keyring) event_anchor: Anchor,
    /// What later versions of the format add without changing what is above. Unknown ones are kept.
    pub(in crate::keyring) extensions: Extensions,
    /// Of an extension (gaps.rs): what this keyring doesn't know since an older one took a newer one's place.
    #[serde(skip)]
    pub(in crate::keyring) lost_generations: Option<LostGenerations>,
}

/// A key.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Key {
    /// Its id.
    #[serde(with = "id16")]
    pub(crate) id: KeyId,
    /// Who manages it.
    pub(crate) manager: Manager,
    /// Where its material comes from.
    pub(crate) origin: Origin,
    /// What it may be used for.
    pub(crate) usage: Usage,
    /// Its description; may be empty.
    pub(crate) description: String,
    /// When it was made.
    pub(crate) created: Timestamp,
    /// Its state.
    pub(crate) state: KeyState,
    /// When it will be deleted, while that is pending.
    pub(crate) deletion_date: Option<Timestamp>,
    /// Its rotation schedule.
    pub(crate) rotation: RotationSchedule,
    /// Its policy as JSON text; empty for the default one, by which everyone may use it.
    pub(crate) policy: String,
    /// Its tags.
    pub(crate) tags: Vec<Tag>,
    /// Its versions, by number. A number that isn't here is in a gap.
    pub(crate) versions: Vec<Version>,
    /// The version that wraps.
    pub(crate) current: KeyVersion,
    /// Versions below this one are retired: they unwrap nothing.
    pub(crate) min_decryption: KeyVersion,
    /// Of an extension (gaps.rs): numbers without a version, ascending.
    #[serde(skip)]
    pub(in crate::keyring) gaps: Vec<Gap>,
}

/// Who manages a key (KMS: `KeyManager`).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Manager {
    /// The vault's owner.
    Customer,
    /// rekeyfs itself (KMS: `AWS`).
    Service,
}

/// Where a key's material comes from (KMS: `Origin`).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) enum Origin {
    /// Made here (KMS: `AWS_KMS`).
    Local,
    /// Imported (KMS: `EXTERNAL`).
    External,
}

/// What a key is for (KMS: `KeyUsage`).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) enum Usage {
    /// KMS: `ENCRYPT_DECRYPT`.
    EncryptDecrypt,
}

/// A key's state (KMS: `KeyState`).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum KeyState {
    /// It wraps and unwraps.
    Enabled,
    /// It does neither until it is enabled again.
    Disabled,
    /// It will be deleted, unless that is cancelled.
    PendingDeletion,
    /// It waits for material to be imported.
    PendingImport,
}

impl KeyState {
    /// As KMS spells it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Enabled => "Enabled",
            Self::Disabled => "Disabled",
            Self::PendingDeletion => "PendingDeletion",
            Self::PendingImport => "PendingImport",
        }
    }
}

impl fmt::Display for KeyState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Enabled => "enabled",
            Self::Disabled => "disabled",
            Self::PendingDeletion => "pending deletion",
            Self::PendingImport => "pending import",
        })
    }
}

/// When a key rotates by itself.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct RotationSchedule {
    /// Whether it does.
    pub(crate) enabled: bool,
    /// Days between rotations.
    pub(crate) period_days: u16,
    /// The date of the next one, when enabled.
    pub(crate) next: Option<Timestamp>,
    /// How often it was rotated on demand.
    pub(crate) on_demand_count: u32,
    /// When a rotation on demand under way began.
    pub(crate) on_demand_started: Option<Timestamp>,
}

/// A tag.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct Tag {
    /// Its key.
    pub(crate) key: String,
    /// Its value.
    pub(crate) value: String,
}

/// One version of a key: a backing key.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Version {
    /// Its number, from 1 on.
    pub(crate) number: KeyVersion,
    /// KMS: `KeyMaterialId`.
    #[serde(with = "raw")]
    pub(crate) material_id: [u8; 32],
    /// The material; none once it is trimmed, deleted or expired.
    #[serde(with = "secret::optional")]
    pub(crate) material: Option<Arc<KeyMaterial>>,
    /// When it was made or imported.
    pub(crate) created: Timestamp,
    /// When it became the current version by a rotation; none for the first one.
    pub(crate) rotated: Option<Timestamp>,
    /// How it came about.
    pub(crate) cause: Cause,
    /// When imported material expires, if it does.
    pub(crate) expires: Option<Timestamp>,
}

/// How a version came about.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) enum Cause {
    /// With the key.
    Creation,
    /// By the schedule (KMS: `AUTOMATIC`).
    Schedule,
    /// By rotate-key-on-demand (KMS: `ON_DEMAND`), which is counted.
    OnDemand,
    /// By `rekeyfs rotate`, which isn't.
    Manual,
}

/// An alias.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct Alias {
    /// Its name.
    pub(crate) name: AliasName,
    /// The key it points at.
    #[serde(with = "id16")]
    pub(crate) key: KeyId,
    /// When it was made.
    pub(crate) created: Timestamp,
    /// When it was last pointed at another key.
    pub(crate) updated: Timestamp,
}

/// A tree key, wrapped by the service-managed key.
#[derive(Clone, Serialize, Deserialize)]
pub(in crate::keyring) struct WrappedTreeKey {
    /// Its id.
    #[serde(with = "id16")]
    pub(in crate::keyring) id: TreeKeyId,
    /// When it was made.
    pub(in crate::keyring) created: Timestamp,
    /// The key that wraps it.
    #[serde(with = "id16")]
    pub(in crate::keyring) key: KeyId,
    /// And the version of that key.
    pub(in crate::keyring) version: KeyVersion,
    /// nonce 24 ‖ ciphertext 32 ‖ tag 16.
    #[serde(with = "raw")]
    pub(in crate::keyring) wrapped: Wrapped,
}

impl KeyringBody {
    /// The key with that id.
    pub(in crate::keyring) fn key(&self, id: KeyId) -> Option<&Key> {
        self.keys.iter().find(|k| k.id == id)
    }

    /// The key with that id, to change it.
    pub(in crate::keyring) fn key_mut(&mut self, id: KeyId) -> Option<&mut Key> {
        self.keys.iter_mut().find(|k| k.id == id)
    }

    /// What the alias points at.
    pub(in crate::keyring) fn alias(&self, name: &AliasName) -> Option<&Alias> {
        self.aliases.iter().find(|a| a.name == *name)
    }

    /// The keys of the event log.
    pub(in crate::keyring) fn log_keys(&self) -> LogKeys {
        LogKeys::new(Arc::clone(&self.event_key), self.extensions.former_event_keys())
    }

    /// Whether everything that is referred to is there, and once only.
    ///
    /// # Errors
    /// What is wrong, in a few words.
    pub(in crate::keyring) fn check(&self) -> Result<(), &'static str> {
        let unique = |mut ids: Vec<&[u8]>| {
            ids.sort_unstable();
            ids.windows(2).all(|pair| pair[0] != pair[1])
        };
        if !unique(self.keys.iter().map(|k| k.id.as_bytes().as_slice()).collect()) {
            return Err("two keys with one id");
        }
        if !unique(self.aliases.iter().map(|a| a.name.as_str().as_bytes()).collect()) {
            return Err("two aliases with one name");
        }
        for key in &self.keys {
            if key.versions.is_empty() && key.state != KeyState::PendingImport {
                return Err("a key without versions");
            }
            key.check_numbers()?;
            if !key.versions.is_empty() && key.version(key.current).is_none() {
                return Err("a key whose current version isn't there");
            }
        }
        let known: HashSet<KeyId> = self.keys.iter().map(|key| key.id).collect();
        if self.aliases.iter().any(|alias| !known.contains(&alias.key)) {
            return Err("an alias to a key that isn't there");
        }
        if self.tree_keys.iter().all(|t| t.id != self.current_tree_key) {
            return Err("no tree key");
        }
        Ok(())
    }
}

impl Key {
    /// The version with that number.
    pub(crate) fn version(&self, number: KeyVersion) -> Option<&Version> {
        at_number(&self.versions, number, |version| version.number)
    }
}

/// The item with that number in a list that is ordered by number: at its own index, but for gaps before it.
pub(in crate::keyring) fn at_number<T>(
    list: &[T],
    number: KeyVersion,
    of: impl Fn(&T) -> KeyVersion,
) -> Option<&T> {
    let index = number.0.checked_sub(1)? as usize;
    match list.get(index) {
        Some(item) if of(item) == number => Some(item),
        _ => list.binary_search_by_key(&number, of).ok().map(|at| &list[at]),
    }
}
