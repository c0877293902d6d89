//! The keyring in use, laid out for the data path: what an alias points at, which version wraps, and the
//! wrapping key of each version, derived once.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::error::{KeyError, Unusable};
use super::kms::{KeyUse, Policy};
use super::model::{Body, KeyState};
use crate::crypto::keys::WrappingKey;
use crate::ids::{AliasName, BackingKeyId, KeyId, KeyVersion, Timestamp, VaultId};

/// A snapshot of the keys; a change makes a new one that shares the wrapping keys.
pub(super) struct Table {
    /// What it was made of; its clone shares the secrets.
    pub(super) body: Body,
    aliases: HashMap<AliasName, KeyId>,
    keys: HashMap<KeyId, Entry>,
}

struct Entry {
    state: KeyState,
    current: KeyVersion,
    min_decryption: KeyVersion,
    /// By version - 1; none where there is no material, or it can't be used.
    wrapping: Vec<Option<Arc<WrappingKey>>>,
    /// How often the current version was asked for to wrap with, since the keyring was opened.
    wraps: Arc<AtomicU64>,
    /// None if everybody may do everything.
    policy: Option<Policy>,
}

impl Table {
    /// Lays a body out. Material that has expired by `now` isn't used any more, though it is still there.
    pub(super) fn new(vault: VaultId, body: &Body, before: Option<&Self>, now: Timestamp) -> Self {
        let entry = |key: &super::model::Key| {
            let known = before.and_then(|t| t.keys.get(&key.id));
            let wrapping = key.versions.iter().enumerate().map(|(i, version)| {
                // Of a key that can't be used none stays in memory.
                let usable = key.state == KeyState::Enabled && version.number >= key.min_decryption;
                let usable = usable && !version.is_expired(now);
                let material = version.material.as_ref().filter(|_| usable)?;
                let cached = known.and_then(|e| e.wrapping.get(i)?.clone());
                let id = BackingKeyId { key: key.id, version: version.number };
                Some(cached.unwrap_or_else(|| Arc::new(material.wrapping_key(vault, id))))
            });
            Entry {
                state: key.state,
                current: key.current,
                min_decryption: key.min_decryption,
                wrapping: wrapping.collect(),
                wraps: known.map(|e| Arc::clone(&e.wraps)).unwrap_or_default(),
                policy: Policy::stored(&key.policy, key.id),
            }
        };
        Self {
            body: body.clone(),
            aliases: body.aliases.iter().map(|a| (a.name.clone(), a.key)).collect(),
            keys: body.keys.iter().map(|k| (k.id, entry(k))).collect(),
        }
    }

    pub(super) fn key_of(&self, alias: &AliasName) -> Result<KeyId, KeyError> {
        self.aliases.get(alias).copied().ok_or_else(|| KeyError::UnknownAlias(alias.clone()))
    }

    /// The version that wraps now.
    pub(super) fn current(&self, key: KeyId) -> Result<BackingKeyId, KeyError> {
        let entry = self.entry(key)?;
        Ok(BackingKeyId { key, version: entry.current })
    }

    /// The wrapping key of a backing key that may be used.
    pub(super) fn wrapping(&self, id: BackingKeyId) -> Result<&Arc<WrappingKey>, KeyError> {
        let entry = self.entry(id.key)?;
        let unusable = |state| KeyError::NotUsable { key: id.key, state };
        if entry.state != KeyState::Enabled {
            return Err(unusable(Unusable::State(entry.state)));
        }
        let index = id.version.0.checked_sub(1).ok_or(KeyError::UnknownKey(id.key))?;
        let wrapping = entry.wrapping.get(index as usize).ok_or(KeyError::UnknownKey(id.key))?;
        if id.version < entry.min_decryption {
            return Err(unusable(Unusable::Retired(id)));
        }
        wrapping.as_ref().ok_or_else(|| unusable(Unusable::NoMaterial(id)))
    }

    /// Notes that a key's current version is about to wrap.
    pub(super) fn count_wrap(&self, key: KeyId) {
        if let Ok(entry) = self.entry(key) {
            entry.wraps.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// How often that was noted.
    pub(super) fn wraps(&self, key: KeyId) -> Result<u64, KeyError> {
        Ok(self.entry(key)?.wraps.load(Ordering::Relaxed))
    }

    /// Whether any policy keeps anybody from anything.
    pub(super) fn restricts(&self) -> bool {
        self.keys.values().any(|entry| entry.policy.is_some())
    }

    /// Whether the key's policy lets this user do all of this; a key that isn't there has none.
    pub(super) fn permits(&self, key: KeyId, uid: u32, uses: &[KeyUse]) -> bool {
        let policy = self.keys.get(&key).and_then(|entry| entry.policy.as_ref());
        policy.is_none_or(|policy| uses.iter().all(|used_for| policy.allows(uid, *used_for)))
    }

    /// The backing keys that may be used now and may not in `new`.
    pub(super) fn lost(&self, new: &Self) -> Vec<BackingKeyId> {
        let ids = |(key, entry): (&KeyId, &Entry)| {
            let key = *key;
            (1..=entry.wrapping.len() as u32).map(move |n| BackingKeyId { key, version: KeyVersion(n) })
        };
        let lost = |id: &BackingKeyId| self.wrapping(*id).is_ok() && new.wrapping(*id).is_err();
        self.keys.iter().flat_map(ids).filter(lost).collect()
    }

    fn entry(&self, key: KeyId) -> Result<&Entry, KeyError> {
        self.keys.get(&key).ok_or(KeyError::UnknownKey(key))
    }
}
