//! The unlocked keyring in use: wraps and unwraps DEKs, and changes.
//!
//! Lock order: the store (one change at a time), then the creation gate, then the table. A look-up takes the table alone; a
//! file that is created takes the gate, shared, and the table.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

use parking_lot::{Mutex, MutexGuard, RwLock, RwLockReadGuard};

use super::error::{KeyError, KeyringError, Unusable};
use super::format::model::{Key, KeyringBody};
use super::kept::writer::KeptBackups;
use super::key_table::{Backing, Table};
use super::observer::{KeyObserver, Observer};
use super::rules::follow::{Followed, KeyringView, follow};
use super::rules::policy::KeyUse;
use super::rules::state::{Clock, Switch};
use super::store::vault_dir::TREE_NAME;
use super::store::{Draft, Saves, Store};
use super::unsettled::Unsettled;
use crate::crypto::keys::{Dek, NewFile, TreeKey, WrapContext, Wrapped};
use crate::crypto::suite::Suite;
use crate::events::{Event, EventLog};
use crate::header::{AliasTag, SlotKeys};
use crate::ids::{
    AliasId, AliasName, BackingKeyId, FileId, Format, Generation, KeyId, MemberId, SlotId, Timestamp, VaultId,
};
use crate::storage;
use crate::unlock::CostLimit;

/// The keys of an unlocked vault. Shared by all threads; look-ups take a read lock for some nanoseconds and
/// allocate nothing.
pub struct Keys {
    vault: VaultId,
    suite: Suite,
    tree: Arc<TreeKey>,
    unlocked_by: SlotId,
    /// The most memory and time that trying unlock slots may take.
    pub(super) limit: CostLimit,
    path: PathBuf,
    pub(super) store: Mutex<Store>,
    /// The creation gate: held shared from choosing the current version until the header that names it is written, and
    /// exclusively while another version becomes the current one. So when `rotate` returns, no more files are created under
    /// the old one.
    pub(super) creation_gate: RwLock<()>,
    pub(super) table: RwLock<Table>,
    pub(super) log: Arc<EventLog>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) observer: Observer,
    pub(super) unsettled: Unsettled,
    pub(super) kept: KeptBackups,
    /// This mount among those that share the vault.
    pub(super) member: Mutex<Option<MemberId>>,
    /// Whether any key's policy denies anything that files need. Read before the table, so that vaults without policies don't lock it.
    pub(super) restricted: AtomicBool,
}

/// The right to wrap under the current version of one key. Rotations wait while it is held, so hold it from choosing the
/// version until the header that names it is written, and no longer. A thread that holds one must not take a second one,
/// nor change or read the keyring file (`rotate`, `disable_key`, slots): with a rotation that waits in between it would
/// deadlock. Look-ups are allowed.
pub struct WrapGuard<'a> {
    _gate: RwLockReadGuard<'a, ()>,
    vault: VaultId,
    backing: BackingKeyId,
    key: Arc<Backing>,
    alias: Option<AliasId>,
    generation: Generation,
}

impl WrapGuard<'_> {
    /// The backing key, which the header names.
    pub fn backing(&self) -> BackingKeyId {
        self.backing
    }

    /// The tag of a file that follows the alias for which the gate was passed; for a key, that of a pinned file.
    pub fn tag(&self) -> AliasTag {
        self.tag_following(self.alias)
    }

    /// The tag of a file that is wrapped now and follows this alias, or none.
    pub fn tag_following(&self, follows: Option<AliasId>) -> AliasTag {
        AliasTag { follows, generation: self.generation }
    }

    /// Wraps the DEK of a new file under it, for a header of the current format.
    pub fn wrap_new(&self, suite: Suite, new: NewFile) -> (Wrapped, Dek) {
        self.key.key().wrap_new(&context(self.vault, self.backing, new.id(), suite, Format::CURRENT), new)
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
            creation_gate: RwLock::new(()),
            table: RwLock::new(table),
            log,
            clock,
            observer: Observer::default(),
            unsettled: Unsettled::default(),
            kept: KeptBackups::default(),
            member: Mutex::new(None),
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

    /// The present, by the clock that the vault was opened with.
    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// The generation of the keyring in use.
    pub fn generation(&self) -> Generation {
        self.table.read().body.generation
    }

    /// The vault's audit log.
    pub fn events(&self) -> &Arc<EventLog> {
        &self.log
    }

    /// What an alias resolves to now, usable or not.
    ///
    /// # Errors
    /// [`KeyError::UnknownAlias`].
    pub fn current(&self, alias: &AliasName) -> Result<BackingKeyId, KeyError> {
        let table = self.table.read();
        table.current(table.alias(alias)?.key)
    }

    /// A key's current version, usable or not.
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
        let (guard, ()) =
            self.pass_gate(|table| table.alias(alias).map(|named| (named.key, Some(named.id), ())))?;
        Ok(guard)
    }

    /// As [`Keys::begin_wrap`], for a key.
    ///
    /// # Errors
    /// [`KeyError`], if there is no such key or it isn't usable.
    pub fn begin_wrap_key(&self, key: KeyId) -> Result<WrapGuard<'_>, KeyError> {
        let (guard, ()) = self.pass_gate(|_| Ok((key, None, ())))?;
        Ok(guard)
    }

    /// As [`Keys::begin_wrap`], for the key where a file with these slots belongs. Behind the gate: no alias is pointed
    /// elsewhere between the two.
    ///
    /// # Errors
    /// [`KeyError`], if it isn't usable.
    pub fn begin_wrap_following(&self, slots: &SlotKeys) -> Result<(WrapGuard<'_>, Followed), KeyError> {
        self.pass_gate(|table| {
            let followed = follow(slots, table);
            Ok((followed.target.key, None, followed))
        })
    }

    fn pass_gate<T>(
        &self,
        choose: impl FnOnce(&Table) -> Result<(KeyId, Option<AliasId>, T), KeyError>,
    ) -> Result<(WrapGuard<'_>, T), KeyError> {
        let gate = self.creation_gate.read();
        let table = self.table.read();
        let (key, alias, chosen) = choose(&table)?;
        let backing = table.current(key)?;
        let key = Arc::clone(table.wrapping(backing)?);
        table.count_wrap(backing.key);
        let generation = table.body.generation;
        Ok((WrapGuard { _gate: gate, vault: self.vault, backing, key, alias, generation }, chosen))
    }

    /// Where a file with these slots belongs.
    pub fn follow(&self, slots: &SlotKeys) -> Followed {
        follow(slots, &*self.table.read())
    }

    /// The name of the alias with this id, if it is there still.
    pub fn alias_name(&self, id: AliasId) -> Option<AliasName> {
        self.table.read().alias_name(id).cloned()
    }

    /// Whether an alias is there and points at this key.
    pub fn points_at(&self, alias: AliasId, key: KeyId) -> bool {
        self.table.read().key_of(alias) == Some(key)
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

    /// Unwraps the DEK that a header bears though its key may not be used now: only to decide which of a file's two slots
    /// counts.
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
            let key = table.key(backing.key).ok_or(KeyError::UnknownKey(backing.key))?;
            let version = key.version(backing.version).ok_or_else(|| key.missing(backing.version))?;
            let none = KeyError::NotUsable { key: backing.key, state: Unusable::NoMaterial(backing) };
            version.material.as_ref().ok_or(none)?.wrapping_key(self.vault, backing)
        };
        key.unwrap_dek(&context(self.vault, backing, file, suite, format), wrapped)
            .map_err(|_| KeyError::Auth)
    }

    /// Enables a key. When this returns, it is durable and in effect for each look-up.
    ///
    /// # Errors
    /// [`KeyringError`], if the key isn't there, isn't the user's, or is pending deletion or import.
    pub fn enable_key(&self, key: KeyId) -> Result<(), KeyringError> {
        self.switch_key(key, Switch::Enable)
    }

    /// Disables a key. When this returns, it is durable and in effect for each look-up, and the observer
    /// ([`Keys::set_observer`]) has dealt with the files that are open.
    ///
    /// # Errors
    /// As [`Keys::enable_key`].
    pub fn disable_key(&self, key: KeyId) -> Result<(), KeyringError> {
        self.announce_unusable(&[key]);
        self.switch_key(key, Switch::Disable)
    }

    fn switch_key(&self, key: KeyId, switch: Switch) -> Result<(), KeyringError> {
        let now = self.clock.now();
        self.change(Saves::Once, |draft| {
            let known = known(&mut draft.body, key)?;
            let (changed, rotated) = (known.switch(switch)?, known.rotate_if_due(now)?);
            draft.record(Event::KeyOperation { key, operation: switch.operation() });
            if changed {
                draft.record(Event::KeyStateChanged { key, state: switch.state().name() });
            }
            if let Some((old, new)) = rotated {
                draft.record(Event::KeyRotated { key, old, new });
            }
            Ok(())
        })
    }

    /// Saves a change of the keyring and takes it into use: durable first, then the swap under the gate, then
    /// the observer is notified of the backing keys that became unusable, then key backups are written (kept.rs), then
    /// other hosts that share the vault are waited for (sharing.rs). Such a change is announced with
    /// [`Keys::announce_unusable`] before.
    pub(super) fn change<T>(
        &self,
        saves: Saves,
        change: impl FnOnce(&mut Draft) -> Result<T, KeyringError>,
    ) -> Result<T, KeyringError> {
        // Held until the swap, so that two changes are taken into use in the order in which they were saved.
        let mut store = self.store.lock();
        let out = store.change(&self.log, saves, |draft| {
            let aliases = draft.body.aliases.clone();
            let versions = draft.body.count_versions();
            let out = change(draft)?;
            draft.body.record_departures(&aliases, &self.tree);
            if let Some(before) = versions {
                draft.body.count_made(&before);
            }
            Ok(out)
        })?;
        let announced = store.take_announced();
        self.take_into_use(store);
        self.keyring_changed();
        self.await_other_hosts(announced)?;
        Ok(out)
    }

    /// Takes the keyring that the store has loaded or saved into use: swaps the table, then notifies the observer.
    pub(super) fn take_into_use(&self, store: MutexGuard<'_, Store>) {
        let (unusable, usable) = self.swap_table(&store);
        drop(store);
        self.notify(&unusable, usable);
    }

    /// Notifies `observer` from now on, and no other.
    pub fn set_observer(&self, observer: Weak<dyn KeyObserver>) {
        self.observer.set(observer);
    }

    /// Announces a change that makes keys unusable; call it before [`Keys::change`], not within. That finds by itself which
    /// backing keys became unusable, and notifies the observer when the change is durable and in use.
    pub(super) fn announce_unusable(&self, keys: &[KeyId]) {
        let table = self.table.read();
        let usable = |key: &KeyId| table.current(*key).is_ok_and(|current| table.wrapping(current).is_ok());
        let keys: Vec<KeyId> = keys.iter().copied().filter(usable).collect();
        drop(table);
        if !keys.is_empty()
            && let Some(observer) = self.observer.get()
        {
            observer.before_unusable(&keys);
        }
    }

    /// The keys of which a version that is usable now isn't under this body.
    pub(super) fn keys_that_go(&self, body: &KeyringBody) -> Vec<KeyId> {
        let table = self.table.read();
        let new = Table::new(self.vault, &self.tree, body, Some(&table), self.clock.now());
        let mut keys: Vec<_> = table.no_longer_usable(&new).into_iter().map(|backing| backing.key).collect();
        keys.dedup();
        keys
    }

    /// Notifies the observer of what [`Keys::change`] found: which backing keys became unusable, and whether some became
    /// usable.
    pub(super) fn notify(&self, unusable: &[BackingKeyId], usable: bool) {
        let Some(observer) = self.observer.get() else { return };
        if !unusable.is_empty() {
            observer.after_unusable(unusable);
        }
        if usable {
            observer.usable_again();
        }
    }

    /// Whether any policy denies anything that files need. If not, [`Keys::permits`] need not be called for a file.
    pub fn restricts(&self) -> bool {
        self.restricted.load(Ordering::Acquire)
    }

    /// Whether the policy of a key allows a user, root included, to use it so. Doesn't check whether it is usable.
    pub fn permits(&self, key: KeyId, uid: u32, uses: &[KeyUse]) -> bool {
        self.table.read().permits(key, uid, uses)
    }

    /// The vault directory that this keyring was read from, whatever is at its path now.
    ///
    /// # Errors
    /// What `openat(2)` says.
    pub fn open_vault(&self) -> storage::Result<OwnedFd> {
        storage::open_dir(self.store.lock().dir().fd(), b".")
    }

    /// The directory of the ciphertext, in the vault directory whose keyring this is, and no symlink.
    ///
    /// # Errors
    /// What `openat(2)` says.
    pub fn open_tree(&self) -> storage::Result<OwnedFd> {
        storage::open_dir(self.store.lock().dir().fd(), TREE_NAME.as_bytes())
    }

    /// Keeps a record on this host, in this user's state directory, in the place of the one before of that name.
    pub fn keep_on_host(&self, name: &str, bytes: &[u8]) {
        let host = self.store.lock().host().clone();
        host.keep(self.vault, name, bytes);
    }

    /// The record of that name that was kept on this host last.
    pub fn kept_on_host(&self, name: &str) -> Option<Vec<u8>> {
        let host = self.store.lock().host().clone();
        host.kept(self.vault, name)
    }

    /// Creates missing reserve files, so that the keyring can be saved on a full disk (docs/format.md, "Reserve"). For a
    /// caller that has the vault to itself and may write. Only logs failures.
    pub fn replenish_reserve(&self) {
        self.store.lock().replenish_reserve();
    }
}

pub(super) fn known(body: &mut KeyringBody, key: KeyId) -> Result<&mut Key, KeyError> {
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

pub(super) fn unwrap_tree_key(vault: VaultId, body: &KeyringBody) -> Option<TreeKey> {
    let tree = body.tree_keys.iter().find(|t| t.id == body.current_tree_key)?;
    let backing = BackingKeyId { key: tree.key, version: tree.version };
    let material = body.key(tree.key)?.version(tree.version)?.material.as_ref()?;
    let key = material.wrapping_key(vault, backing);
    key.unwrap_tree(&tree_context(vault, tree.id, backing), &tree.wrapped).ok()
}
