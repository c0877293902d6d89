//! The keyring in use, laid out for the data path: what an alias points at, which version wraps, and the wrapping key of
//! each version, derived when it is first needed. A change makes a new table, which shares all that didn't change.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use super::aliases::{Aliases, Named};
use super::error::{KeyError, KeyringError, Unusable};
use super::format::gaps;
use super::format::model::{Key, KeyState, KeyringBody, Version, at_number};
use super::format::ranges::Gap;
use super::format::untagged::Untagged;
use super::rules::follow::KeyringView;
use super::rules::key_refs::KeyRef;
use super::rules::policy::{KeyUse, Owner, Policy};
use crate::crypto::keys::{KeyMaterial, TreeKey, WrappingKey};
use crate::ids::{AliasId, AliasName, BackingKeyId, Generation, KeyId, KeyVersion, Timestamp, VaultId};

/// A snapshot of the keys.
pub(super) struct Table {
    /// What it was made from; a clone shares the secrets.
    pub(super) body: KeyringBody,
    aliases: Aliases,
    untagged: HashMap<KeyId, Untagged>,
    keys: HashMap<KeyId, Arc<KeyEntry>>,
    /// Where keys stand in the body.
    places: HashMap<KeyId, usize>,
}

struct KeyEntry {
    id: KeyId,
    state: KeyState,
    current: KeyVersion,
    min_decryption: KeyVersion,
    /// The versions, by number.
    backings: Vec<Slot>,
    gaps: Vec<Gap>,
    /// How often a wrap under the current version began since the keyring was opened.
    wraps: Arc<AtomicU64>,
    policy_text: String,
    /// What it says; none if everybody may do everything.
    policy: Option<Policy>,
}

struct Slot {
    version: KeyVersion,
    /// None where there is no material, or it can't be used.
    backing: Option<Arc<Backing>>,
    /// Whether that is because its material has expired.
    expired: bool,
}

/// One version that may be used.
pub(super) struct Backing {
    vault: VaultId,
    id: BackingKeyId,
    material: Arc<KeyMaterial>,
    derived: OnceLock<WrappingKey>,
}

impl Backing {
    pub(super) fn id(&self) -> BackingKeyId {
        self.id
    }

    pub(super) fn material(&self) -> &KeyMaterial {
        &self.material
    }

    /// Its wrapping key. Deriving one takes microseconds: too long to do it for each of many thousands that
    /// are never used.
    pub(super) fn key(&self) -> &WrappingKey {
        self.derived.get_or_init(|| self.material.wrapping_key(self.vault, self.id))
    }
}

/// The vault's owner: the user as whom it is open, even if root makes the call. A mount without allow_other serves that
/// user alone.
pub(super) fn owner() -> Owner {
    Owner(rustix::process::geteuid().as_raw())
}

/// The material of a version that may be used. The table keeps none of a key that can't be used.
fn usable<'a>(key: &Key, version: &'a Version, now: Timestamp) -> Option<&'a Arc<KeyMaterial>> {
    let usable = key.state == KeyState::Enabled && version.number >= key.min_decryption;
    let usable = usable && !version.is_expired(now);
    version.material.as_ref().filter(|_| usable)
}

impl KeyEntry {
    fn new(vault: VaultId, key: &Key, known: Option<&Arc<Self>>, now: Timestamp) -> Arc<Self> {
        if let Some(known) = known.filter(|known| known.is_of(key, now)) {
            return Arc::clone(known);
        }
        let backing = |version: &Version| {
            let material = usable(key, version, now)?;
            let before = known.and_then(|entry| entry.slot(version.number)?.backing.as_ref());
            if let Some(before) = before.filter(|before| Arc::ptr_eq(&before.material, material)) {
                return Some(Arc::clone(before));
            }
            let id = BackingKeyId { key: key.id, version: version.number };
            let material = Arc::clone(material);
            Some(Arc::new(Backing { vault, id, material, derived: OnceLock::new() }))
        };
        let slot = |version: &Version| Slot {
            version: version.number,
            backing: backing(version),
            expired: version.has_expired(now),
        };
        Arc::new(Self {
            id: key.id,
            state: key.state,
            current: key.current,
            min_decryption: key.min_decryption,
            backings: key.versions.iter().map(slot).collect(),
            gaps: key.gaps.clone(),
            wraps: known.map(|entry| Arc::clone(&entry.wraps)).unwrap_or_default(),
            policy_text: key.policy.clone(),
            policy: Policy::stored(&key.policy, key.id, owner()),
        })
    }

    /// Whether it is what this key would give.
    fn is_of(&self, key: &Key, now: Timestamp) -> bool {
        let same = |(slot, version): (&Slot, &Version)| match (&slot.backing, usable(key, version, now)) {
            (Some(backing), Some(material)) => Arc::ptr_eq(&backing.material, material),
            (None, None) => slot.expired == version.has_expired(now),
            _ => false,
        } && slot.version == version.number;
        (self.state, self.current, self.min_decryption) == (key.state, key.current, key.min_decryption)
            && self.policy_text == key.policy
            && self.gaps == key.gaps
            && self.backings.len() == key.versions.len()
            && self.backings.iter().zip(&key.versions).all(same)
    }

    /// The version with that number, if it may be used.
    fn backing(&self, version: KeyVersion) -> Result<&Arc<Backing>, KeyError> {
        let id = BackingKeyId { key: self.id, version };
        let unusable = |state| KeyError::NotUsable { key: self.id, state };
        if self.state != KeyState::Enabled {
            return Err(unusable(Unusable::State(self.state)));
        }
        let Some(slot) = self.slot(version) else {
            return Err(gaps::missing(self.id, &self.gaps, version));
        };
        if version < self.min_decryption {
            return Err(unusable(Unusable::Retired(id)));
        }
        slot.backing.as_ref().ok_or_else(|| {
            unusable(if slot.expired { Unusable::Expired(id) } else { Unusable::NoMaterial(id) })
        })
    }

    fn slot(&self, version: KeyVersion) -> Option<&Slot> {
        at_number(&self.backings, version, |slot| slot.version)
    }
}

impl Table {
    /// Makes the table of a body. Material that has expired by `now` isn't usable, though it is still in the body.
    pub(super) fn new(
        vault: VaultId,
        tree: &TreeKey,
        body: &KeyringBody,
        before: Option<&Self>,
        now: Timestamp,
    ) -> Self {
        let known = |key: &Key| before.and_then(|table| table.keys.get(&key.id));
        Self {
            body: body.clone(),
            aliases: Aliases::new(tree, &body.aliases, before.map(|table| &table.aliases)),
            untagged: body.untagged().collect(),
            keys: body.keys.iter().map(|key| (key.id, KeyEntry::new(vault, key, known(key), now))).collect(),
            places: body.keys.iter().enumerate().map(|(place, key)| (key.id, place)).collect(),
        }
    }

    /// The key with that id, as [`KeyringBody::key`] finds it among few.
    pub(super) fn key(&self, id: KeyId) -> Option<&Key> {
        self.places.get(&id).map(|place| &self.body.keys[*place])
    }

    /// As [`KeyRef::find`]. Only the beginning of an id is looked for among all keys.
    pub(super) fn find(&self, asked: &KeyRef) -> Result<KeyId, KeyringError> {
        match asked {
            KeyRef::Key(id) => Ok(self.entry(*id).map(|entry| entry.id)?),
            KeyRef::Alias(name) => Ok(self.alias(name)?.key),
            KeyRef::Prefix(_) => asked.find(&self.body),
        }
    }

    pub(super) fn alias(&self, alias: &AliasName) -> Result<Named, KeyError> {
        self.aliases.named(alias).ok_or_else(|| KeyError::UnknownAlias(alias.clone()))
    }

    /// The name of an alias.
    pub(super) fn alias_name(&self, id: AliasId) -> Option<&AliasName> {
        self.aliases.with_id(id).map(|(_, name)| name)
    }

    /// The version that wraps now.
    pub(super) fn current(&self, key: KeyId) -> Result<BackingKeyId, KeyError> {
        let entry = self.entry(key)?;
        Ok(BackingKeyId { key, version: entry.current })
    }

    /// A backing key that may be used.
    pub(super) fn wrapping(&self, id: BackingKeyId) -> Result<&Arc<Backing>, KeyError> {
        self.entry(id.key)?.backing(id.version)
    }

    /// Counts a wrap that is about to happen under a key's current version.
    pub(super) fn count_wrap(&self, key: KeyId) {
        if let Ok(entry) = self.entry(key) {
            entry.wraps.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// The count of [`Table::count_wrap`].
    pub(super) fn wraps(&self, key: KeyId) -> Result<u64, KeyError> {
        Ok(self.entry(key)?.wraps.load(Ordering::Relaxed))
    }

    /// Whether any policy denies anything that files need.
    pub(super) fn restricts(&self) -> bool {
        self.keys.values().any(|entry| entry.policy.as_ref().is_some_and(Policy::restricts_files))
    }

    /// Whether the key's policy lets this user do all of this; a key that isn't there has none.
    pub(super) fn permits(&self, key: KeyId, uid: u32, uses: &[KeyUse]) -> bool {
        let policy = self.keys.get(&key).and_then(|entry| entry.policy.as_ref());
        policy.is_none_or(|policy| uses.iter().all(|used_for| policy.allows(uid, *used_for)))
    }

    /// The backing keys that may be used now and may not in `new`.
    pub(super) fn no_longer_usable(&self, new: &Self) -> Vec<BackingKeyId> {
        let mut unusable = Vec::new();
        for (key, entry) in &self.keys {
            let next = new.keys.get(key);
            if next.is_some_and(|next| Arc::ptr_eq(next, entry)) {
                continue;
            }
            let versions = entry.backings.iter().map(|slot| slot.version);
            let gone = |version: &KeyVersion| {
                entry.backing(*version).is_ok() && next.is_none_or(|next| next.backing(*version).is_err())
            };
            unusable.extend(versions.filter(gone).map(|version| BackingKeyId { key: *key, version }));
        }
        unusable
    }

    fn entry(&self, key: KeyId) -> Result<&Arc<KeyEntry>, KeyError> {
        self.keys.get(&key).ok_or(KeyError::UnknownKey(key))
    }
}

impl KeyringView for Table {
    fn had(&self, generation: Generation) -> bool {
        if generation >= self.body.generation {
            return generation == self.body.generation;
        }
        // Only where some were lost, and no merge has brought them back.
        let Some(lost) = self.body.lost_generations.filter(|lost| generation > lost.after) else {
            return true;
        };
        let was_lost = || lost.known.is_some_and(|known| generation <= known);
        self.body.line_had(generation).unwrap_or_else(|| !was_lost())
    }

    fn key_of(&self, alias: AliasId) -> Option<KeyId> {
        self.aliases.with_id(alias).map(|(key, _)| *key)
    }

    fn untagged_of(&self, key: KeyId) -> Option<Untagged> {
        self.untagged.get(&key).copied()
    }

    fn only_alias_of(&self, key: KeyId) -> Option<AliasId> {
        self.aliases.only_one_of(key)
    }

    fn usable_current(&self, key: KeyId) -> Option<BackingKeyId> {
        self.current(key).ok().filter(|current| self.wrapping(*current).is_ok())
    }
}
