//! The unlocked keyring in use: what wraps and unwraps DEKs, and rotates.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::{Mutex, RwLock, RwLockReadGuard};

use super::error::{KeyError, KeyringError, Unusable};
use super::follow::{Followed, follow};
use super::model::{Body, Key, KeyState};
use super::renew::resolve;
use super::state::Clock;
use super::store::{Draft, Store};
use super::table::{Backing, Table};
use super::watch::Watch;
use crate::crypto::keys::{Dek, TreeKey, WrapContext, Wrapped};
use crate::crypto::suite::Suite;
use crate::events::{Event, EventLog};
use crate::header::{AliasTag, SlotKeys};
use crate::ids::{
    AliasId, AliasName, BackingKeyId, FileId, Format, Generation, KeyId, KeyVersion, SlotId, VaultId,
};
use crate::unlock::CostLimit;

/// The keys of an unlocked vault. Shared by all threads; look-ups take a read lock for some nanoseconds and
/// allocate nothing.
pub struct Keys {
    vault: VaultId,
    suite: Suite,
    tree: Arc<TreeKey>,
    unlocked_by: SlotId,
    /// What may be spent on trying unlock slots.
    pub(super) limit: CostLimit,
    path: PathBuf,
    pub(super) store: Mutex<Store>,
    /// The creation gate: held shared from choosing the current version until its header is written, and
    /// exclusively while another version becomes the current one. So when `rotate` returns, nothing more is
    /// created under the old one.
    pub(super) gate: RwLock<()>,
    pub(super) table: RwLock<Table>,
    pub(super) log: Arc<EventLog>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) watch: Watch,
    /// Whether any key's policy keeps anybody from anything: looked at before the table is.
    pub(super) restricted: AtomicBool,
}

/// Which key to rotate.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum RotateTarget {
    /// The key that an alias points at.
    Alias(AliasName),
    /// A key.
    Key(KeyId),
}

/// A rotation that has taken effect.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Rotation {
    /// The alias that was asked for, or the key's first one; none if it has none.
    pub alias: Option<AliasName>,
    /// The key.
    pub key: KeyId,
    /// The version until now.
    pub old: KeyVersion,
    /// The version from now on.
    pub new: KeyVersion,
}

/// The right to wrap under the current version of one key; rotations wait while it is held, so it is held
/// from choosing the version until the header that bears it is written, and no longer. A thread that holds
/// one must not ask for a second one, nor change or read the keyring file (`rotate`, `set_enabled`, slots):
/// a rotation that waits in between would stop both. Look-ups are fine.
pub struct WrapGuard<'a> {
    _gate: RwLockReadGuard<'a, ()>,
    vault: VaultId,
    backing: BackingKeyId,
    key: Arc<Backing>,
    alias: Option<AliasId>,
    generation: Generation,
}

impl WrapGuard<'_> {
    /// The backing key: what the header is to name.
    pub fn backing(&self) -> BackingKeyId {
        self.backing
    }

    /// The tag of a file that follows the alias of which the gate was passed, or, if that was a key's, is pinned.
    pub fn tag(&self) -> AliasTag {
        self.tag_following(self.alias)
    }

    /// The tag of a file that is wrapped now and follows this alias, or none.
    pub fn tag_following(&self, follows: Option<AliasId>) -> AliasTag {
        AliasTag { follows, generation: self.generation }
    }

    /// Wraps a DEK under it, for a header of the current format.
    pub fn wrap(&self, file: FileId, suite: Suite, dek: &Dek) -> Wrapped {
        self.key.key().wrap_dek(&context(self.vault, self.backing, file, suite, Format::CURRENT), dek)
    }
}

fn context(vault: VaultId, backing: BackingKeyId, file: FileId, suite: Suite, format: Format) -> WrapContext {
    WrapContext { vault, file, backing, suite: suite.number(), format }
}

impl Keys {
    /// Takes an opened keyring into use.
    ///
    /// # Errors
    /// If its tree key can't be unwrapped.
    pub(super) fn new(
        store: Store,
        log: Arc<EventLog>,
        clock: Arc<dyn Clock>,
        unlocked_by: SlotId,
        limit: CostLimit,
    ) -> Result<Self, KeyringError> {
        let state = store.state();
        let (vault, suite) = (state.header.vault, state.header.suite);
        let tree = unwrap_tree_key(vault, &state.body)
            .ok_or_else(|| store.dir().damaged("its tree key can't be unwrapped".to_owned()))?;
        let table = Table::new(vault, &tree, &state.body, None, clock.now());
        let restricted = AtomicBool::new(table.restricts());
        Ok(Self {
            vault,
            suite,
            tree: Arc::new(tree),
            unlocked_by,
            limit,
            path: store.dir().path().to_owned(),
            store: Mutex::new(store),
            gate: RwLock::new(()),
            table: RwLock::new(table),
            log,
            clock,
            watch: Watch::default(),
            restricted,
        })
    }

    /// The vault's id.
    pub fn vault_id(&self) -> VaultId {
        self.vault
    }

    /// The vault directory, canonical.
    pub fn vault_path(&self) -> &Path {
        &self.path
    }

    /// The suite of new files.
    pub fn suite(&self) -> Suite {
        self.suite
    }

    /// The tree key in use.
    pub fn tree_key(&self) -> Arc<TreeKey> {
        Arc::clone(&self.tree)
    }

    /// The slot that opened the vault.
    pub fn unlocked_by(&self) -> SlotId {
        self.unlocked_by
    }

    /// The generation of the keyring in use.
    pub fn generation(&self) -> Generation {
        self.table.read().body.generation
    }

    /// The vault's audit log.
    pub fn events(&self) -> &Arc<EventLog> {
        &self.log
    }

    /// What an alias resolves to now. Says nothing of whether it is usable.
    ///
    /// # Errors
    /// [`KeyError::UnknownAlias`].
    pub fn current(&self, alias: &AliasName) -> Result<BackingKeyId, KeyError> {
        let table = self.table.read();
        table.current(table.alias(alias)?.key)
    }

    /// A key's current version. Says nothing of whether it is usable.
    ///
    /// # Errors
    /// [`KeyError::UnknownKey`].
    pub fn current_of(&self, key: KeyId) -> Result<BackingKeyId, KeyError> {
        self.table.read().current(key)
    }

    /// Whether a backing key unwraps now.
    ///
    /// # Errors
    /// [`KeyError::NotUsable`] with the reason, or [`KeyError::UnknownKey`].
    pub fn usable(&self, backing: BackingKeyId) -> Result<(), KeyError> {
        self.table.read().wrapping(backing).map(|_| ())
    }

    /// Passes the creation gate for the key that an alias points at.
    ///
    /// # Errors
    /// [`KeyError`], if there is no such alias or its key isn't usable.
    pub fn begin_wrap(&self, alias: &AliasName) -> Result<WrapGuard<'_>, KeyError> {
        self.pass_gate(|table| table.alias(alias).map(|named| (named.key, Some(named.id))))
    }

    /// As [`Keys::begin_wrap`], for a key.
    ///
    /// # Errors
    /// [`KeyError`], if there is no such key or it isn't usable.
    pub fn begin_wrap_key(&self, key: KeyId) -> Result<WrapGuard<'_>, KeyError> {
        self.pass_gate(|_| Ok((key, None)))
    }

    fn pass_gate(
        &self,
        key: impl FnOnce(&Table) -> Result<(KeyId, Option<AliasId>), KeyError>,
    ) -> Result<WrapGuard<'_>, KeyError> {
        let gate = self.gate.read();
        let table = self.table.read();
        let (key, alias) = key(&table)?;
        let backing = table.current(key)?;
        let key = Arc::clone(table.wrapping(backing)?);
        table.count_wrap(backing.key);
        let generation = table.body.generation;
        Ok(WrapGuard { _gate: gate, vault: self.vault, backing, key, alias, generation })
    }

    /// Where a file with these slots belongs.
    pub fn follow(&self, slots: &SlotKeys) -> Followed {
        follow(slots, &*self.table.read())
    }

    /// The name of the alias with this id, if it is there still.
    pub fn alias_name(&self, id: AliasId) -> Option<AliasName> {
        self.table.read().alias_name(id).cloned()
    }

    /// The id of an alias, and the key that it points at.
    ///
    /// # Errors
    /// [`KeyError::UnknownAlias`].
    pub fn alias_id(&self, alias: &AliasName) -> Result<(AliasId, KeyId), KeyError> {
        self.table.read().alias(alias).map(|named| (named.id, named.key))
    }

    /// Unwraps the DEK that a header bears.
    ///
    /// # Errors
    /// [`KeyError`]: the key isn't known, isn't usable, or the wrap fails authentication.
    pub fn unwrap(
        &self,
        backing: BackingKeyId,
        file: FileId,
        suite: Suite,
        format: Format,
        wrapped: &Wrapped,
    ) -> Result<Dek, KeyError> {
        let key = Arc::clone(self.table.read().wrapping(backing)?);
        key.key()
            .unwrap_dek(&context(self.vault, backing, file, suite, format), wrapped)
            .map_err(|_| KeyError::Auth)
    }

    /// Unwraps the DEK that a header bears though its key may not be used now: to tell which of a file's two
    /// slots counts, and for nothing else.
    ///
    /// # Errors
    /// [`KeyError`]: the key isn't known, has no material, or the wrap fails authentication.
    pub fn unwrap_to_count(
        &self,
        backing: BackingKeyId,
        file: FileId,
        suite: Suite,
        format: Format,
        wrapped: &Wrapped,
    ) -> Result<Dek, KeyError> {
        let key = {
            let table = self.table.read();
            let key = table.body.key(backing.key).ok_or(KeyError::UnknownKey(backing.key))?;
            let version = key.version(backing.version).ok_or_else(|| key.missing(backing.version))?;
            let none = KeyError::NotUsable { key: backing.key, state: Unusable::NoMaterial(backing) };
            version.material.as_ref().ok_or(none)?.wrapping_key(self.vault, backing)
        };
        key.unwrap_dek(&context(self.vault, backing, file, suite, format), wrapped)
            .map_err(|_| KeyError::Auth)
    }

    /// Adds a version to a key and makes it the current one. When this returns, the new version is durable
    /// and in use: every [`WrapGuard`] for the old one is gone, and none will be given out.
    ///
    /// # Errors
    /// [`KeyringError`]; the old version stays in use then.
    pub fn rotate(&self, target: &RotateTarget) -> Result<Rotation, KeyringError> {
        let now = self.clock.now();
        self.change(false, |draft| {
            let key = resolve(&draft.body, target)?;
            let asked = match target {
                RotateTarget::Alias(name) => Some(name.clone()),
                RotateTarget::Key(_) => None,
            };
            let alias =
                asked.or_else(|| draft.body.aliases.iter().find(|a| a.key == key).map(|a| a.name.clone()));
            let (old, new) = known(&mut draft.body, key)?.rotate(now)?;
            draft.note(Event::KeyRotated { key, old, new });
            Ok(Rotation { alias, key, old, new })
        })
    }

    /// Enables or disables a key. When this returns, it is durable and in effect for each look-up, and the
    /// watch ([`Keys::set_watch`]) has dealt with the files that are open.
    ///
    /// # Errors
    /// [`KeyringError`], if the key isn't there, isn't the user's, or is pending deletion or import.
    pub fn set_enabled(&self, key: KeyId, enabled: bool) -> Result<(), KeyringError> {
        let now = self.clock.now();
        if !enabled {
            self.going(&[key]);
        }
        self.change(false, |draft| {
            let known = known(&mut draft.body, key)?;
            let (changed, rotated) = (known.set_enabled(enabled)?, known.rotate_if_due(now)?);
            let operation = if enabled { "EnableKey" } else { "DisableKey" };
            draft.note(Event::KeyOperation { key, operation });
            if changed {
                let state = if enabled { KeyState::Enabled } else { KeyState::Disabled };
                draft.note(Event::KeyStateChanged { key, state: state.name() });
            }
            if let Some((old, new)) = rotated {
                draft.note(Event::KeyRotated { key, old, new });
            }
            Ok(())
        })
    }

    /// Rotates every key whose schedule says so, the service-managed one included: that re-wraps the tree
    /// keys. Saves nothing if none is due. Returns the rotations, which are durable and in use.
    ///
    /// # Errors
    /// [`KeyringError`]; the old versions stay in use then.
    pub fn rotate_due(&self) -> Result<Vec<Rotation>, KeyringError> {
        let now = self.clock.now();
        if !self.table.read().body.keys.iter().any(|key| key.is_due(now)) {
            return Ok(Vec::new());
        }
        self.change(false, |draft| {
            let mut rotations = Vec::new();
            for key in &mut draft.body.keys {
                if let Some((old, new)) = key.rotate_if_due(now)? {
                    rotations.push(Rotation { alias: None, key: key.id, old, new });
                }
            }
            for rotation in &mut rotations {
                rotation.alias =
                    draft.body.aliases.iter().find(|a| a.key == rotation.key).map(|a| a.name.clone());
            }
            rewrap_tree_keys(draft.header.vault, &mut draft.body)?;
            for Rotation { key, old, new, .. } in &rotations {
                draft.note(Event::KeyRotated { key: *key, old: *old, new: *new });
            }
            Ok(rotations)
        })
    }

    /// Saves a change of the keyring and takes it into use: durable first, then the swap under the gate, then
    /// the watch is told of the backing keys that went with it. A change that makes keys go is announced with
    /// [`Keys::going`] before.
    pub(super) fn change<T>(
        &self,
        twice: bool,
        change: impl FnOnce(&mut Draft) -> Result<T, KeyringError>,
    ) -> Result<T, KeyringError> {
        // Held until the swap, so that two changes are taken into use in the order in which they were saved.
        let mut store = self.store.lock();
        let out = store.change(&self.log, twice, change)?;
        let gate = self.gate.write();
        let mut table = self.table.write();
        let new = Table::new(self.vault, &self.tree, &store.state().body, Some(&table), self.clock.now());
        let (gone, back) = (table.lost(&new), !new.lost(&table).is_empty());
        self.restricted.store(new.restricts(), Ordering::Release);
        *table = new;
        drop((table, gate, store));
        self.tell(&gone, back);
        Ok(out)
    }

    /// Sees to it that the keyring can be saved on a full disk (docs/format.md, "Reserve"). For who has the
    /// vault to itself and may write; fails silently where there is no room now.
    pub fn keep_reserve(&self) {
        self.store.lock().keep_reserve();
    }
}

pub(super) fn known(body: &mut Body, key: KeyId) -> Result<&mut Key, KeyError> {
    body.key_mut(key).ok_or(KeyError::UnknownKey(key))
}

/// The wrap of a tree key: its id stands for the file's, and the suite is 0.
pub(super) fn tree_context(
    vault: VaultId,
    tree: crate::ids::TreeKeyId,
    backing: BackingKeyId,
) -> WrapContext {
    let file = FileId::from_bytes(*tree.as_bytes());
    WrapContext { vault, file, backing, suite: 0, format: Format::CURRENT }
}

/// Wraps each tree key under the current version of its key, where another one wraps it. The tree keys
/// themselves stay.
pub(super) fn rewrap_tree_keys(vault: VaultId, body: &mut Body) -> Result<(), KeyringError> {
    let wrapping = |body: &Body, id: BackingKeyId| {
        let material = body.key(id.key)?.version(id.version)?.material.as_ref()?;
        Some(material.wrapping_key(vault, id))
    };
    for index in 0..body.tree_keys.len() {
        let tree = &body.tree_keys[index];
        let old = BackingKeyId { key: tree.key, version: tree.version };
        let version = body.key(tree.key).ok_or(KeyError::UnknownKey(tree.key))?.current;
        let new = BackingKeyId { version, ..old };
        if new == old {
            continue;
        }
        let from = wrapping(body, old).ok_or(KeyError::UnknownKey(old.key))?;
        let to = wrapping(body, new).ok_or(KeyError::UnknownKey(new.key))?;
        let plain = from
            .unwrap_tree(&tree_context(vault, tree.id, old), &tree.wrapped)
            .map_err(|_| KeyringError::Key(KeyError::Auth))?;
        let wrapped = to.wrap_tree(&tree_context(vault, tree.id, new), &plain);
        let tree = &mut body.tree_keys[index];
        (tree.version, tree.wrapped) = (version, wrapped);
    }
    Ok(())
}

fn unwrap_tree_key(vault: VaultId, body: &Body) -> Option<TreeKey> {
    let tree = body.tree_keys.iter().find(|t| t.id == body.current_tree_key)?;
    let backing = BackingKeyId { key: tree.key, version: tree.version };
    let material = body.key(tree.key)?.version(tree.version)?.material.as_ref()?;
    let key = material.wrapping_key(vault, backing);
    key.unwrap_tree(&tree_context(vault, tree.id, backing), &tree.wrapped).ok()
}
