//! Creating a vault's keyring, and opening it: unlocks a slot, checks the file against what this host remembers (rollback),
//! marks what is lost, and deletes imported material that has expired.
//!
//! **A custodian doesn't tell whose a vault is.** Who knows the public key of one (of age, tang, RSA) can have it keep a KEK
//! of his own, and make a whole keyring under any vault's id. So a custodian's slot opens a vault only on a host that
//! remembers the vault's root key, by its commitment (store/seen_generations), and that root key, or one that it endorses. Who
//! opens a vault with a secret of his own knows whose it is, and makes the host remember it.

use super::store::Saves;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::error::{KeyError, KeyringError};
use super::format::extensions::Extensions;
use super::format::header::Header;
use super::format::model::{Alias, Key, KeyringBody, Manager, WrappedTreeKey};
use super::keys::{Keys, tree_context};
use super::rules::state::{Clock, SystemClock};
use super::slots::Proof;
use super::store::seen_generations::{RollbackCheck, SeenGenerations};
use super::store::vault_dir::VaultDir;
use super::store::{self, Store};
use crate::crypto::keys::{EventKey, RootKey, TreeKey};
use crate::crypto::password::KdfParams;
use crate::crypto::suite::Suite;
use crate::events::{Anchor, Event, EventLog, take_failed_unlocks};
use crate::ids::{AliasName, BackingKeyId, Generation, KeyVersion, SlotId, Timestamp, TreeKeyId, VaultId};
use crate::storage::Writable;
use crate::unlock::{CostLimit, Secret, SecretKind, Slot};

/// How to open a keyring.
#[derive(Clone)]
pub struct OpenOptions {
    /// Accept a keyring that is older than, or diverged from, the one this host has seen.
    pub accept_rollback: bool,
    /// For an older keyring that is accepted where nothing says how many key versions were made since: the number from
    /// which on new ones are safe.
    pub next_version: Option<KeyVersion>,
    /// Take a custodian's word for a vault of which this host remembers nothing.
    pub first_use: bool,
    /// Whether another host has the vault mounted to write it: nothing is written here, no event either, and what that host is
    /// about to save is no loss.
    pub written_elsewhere: bool,
    /// The most memory and time that trying unlock slots may take.
    pub limit: CostLimit,
    /// Where this host remembers what it has seen.
    pub host: SeenGenerations,
    /// Where the time comes from.
    pub clock: Arc<dyn Clock>,
}

impl Default for OpenOptions {
    /// No rollback is accepted; this user's memory; the system's clock.
    fn default() -> Self {
        let (host, clock) = (SeenGenerations::of_this_user(), Arc::new(SystemClock));
        let limit = CostLimit::Usual;
        Self {
            accept_rollback: false,
            next_version: None,
            first_use: false,
            written_elsewhere: false,
            limit,
            host,
            clock,
        }
    }
}

impl OpenOptions {
    /// The permission to write the vault beside its keyring.
    pub(super) fn writable(&self, header: &Header) -> Option<Writable> {
        header.writable().ok().filter(|_| !self.written_elsewhere)
    }
}

/// An opened keyring.
pub struct Opened {
    /// The keys.
    pub keys: Arc<Keys>,
    /// Proves that a secret was given, and says which slot it opened: changing slots takes it.
    pub proof: Proof,
}

/// The `keyring` file of a vault directory.
pub struct KeyringFile;

impl KeyringFile {
    /// Creates the keyring of a new vault in an existing directory: a slot for each secret (`kdf` is for
    /// passphrases), a customer's key behind `alias/default`, and a service-managed key behind
    /// `alias/rekeyfs/tree` that wraps the tree key. Durable when this returns.
    ///
    /// # Errors
    /// [`KeyringError::Exists`] if there is a keyring; [`KeyringError::NoSecret`] without secrets; I/O.
    pub fn create(
        dir: &Path,
        suite: Suite,
        secrets: &[&Secret],
        kdf: KdfParams,
        options: &OpenOptions,
    ) -> Result<Opened, KeyringError> {
        let dir = VaultDir::open(dir)?;
        Self::create_in(dir, suite, secrets, kdf, options)
    }

    /// As [`KeyringFile::create`], in the directory that `dir` stands for, found at `path` (absolute, no symlinks).
    ///
    /// # Errors
    /// As [`KeyringFile::create`].
    pub fn create_at(
        dir: OwnedFd,
        path: PathBuf,
        suite: Suite,
        secrets: &[&Secret],
        kdf: KdfParams,
        options: &OpenOptions,
    ) -> Result<Opened, KeyringError> {
        Self::create_in(VaultDir::at(dir, path), suite, secrets, kdf, options)
    }

    fn create_in(
        dir: VaultDir,
        suite: Suite,
        secrets: &[&Secret],
        kdf: KdfParams,
        options: &OpenOptions,
    ) -> Result<Opened, KeyringError> {
        let now = options.clock.now();
        let (vault, root) = (VaultId::random(), Arc::new(RootKey::generate()));
        let mut header = Header::new(vault, suite);
        let mut first = None;
        for secret in secrets {
            let slot = Slot::seal(vault, &root, secret, kdf, now)?;
            first = first.or(Some(slot.id()));
            header.slots.push(slot);
        }
        let first = first.ok_or(KeyringError::NoSecret)?;
        let draft = store::Draft::first(header, first_body(vault, now)?, root);
        let state = {
            let lock = dir.lock(dir.writable(&draft.header)?)?;
            store::create(&dir, &lock, draft)?
        };
        let opened = open_state(dir, state, first, options)?;
        opened.keys.events().record_durably(&Event::VaultCreated);
        Ok(opened)
    }
}

pub(super) fn open_state(
    dir: VaultDir,
    state: store::OpenedKeyring,
    slot: SlotId,
    options: &OpenOptions,
) -> Result<Opened, KeyringError> {
    if state.header.slots.kind_of(slot) == Some(SecretKind::Custodian)
        && !options.first_use
        && !options.host.knows_root(state.header.vault, dir.path())
    {
        return Err(KeyringError::FirstUse(dir.path().to_owned()));
    }
    let writable = options.writable(&state.header);
    let log = Arc::new(event_log(&dir, &state, writable)?);
    let failed_unlocks = writable.and_then(|writable| take_failed_unlocks(dir.fd(), writable));
    let generation = state.body.generation;
    let mut store = Store::new(dir, state, options.host.clone());
    if options.written_elsewhere {
        store = store.written_elsewhere();
    }
    if let Some(event) = failed_unlocks {
        log.record(&event);
    }
    let check = store.check();
    if let RollbackCheck::Unproven(seen) = &check {
        log.record_durably(&Event::DescentUnproven { found: generation, seen: seen.generation });
    }
    let behind = store.refusal(check);
    match behind {
        Some(refused) if !options.accept_rollback => return Err(refused),
        None if options.written_elsewhere => {}
        ref behind => store.mark_loss(&log, behind.as_ref(), options.next_version),
    }
    // A copy whose original still exists is accepted as well, so that it may be changed.
    if options.accept_rollback && (behind.is_some() || store.original().is_some()) {
        store.accept();
    }
    if behind.is_none() {
        store.remember();
    } else if let Err(error) = store.change(&log, Saves::Once, |draft| {
        draft.record(Event::RollbackAccepted(generation));
        Ok(())
    }) {
        // The next save has the marks; until then this host takes the keyring for an old one.
        log.record_durably(&Event::RollbackAccepted(generation));
        tracing::warn!("the older keyring is used, and can't be saved with what may be lost: {error}");
    }
    let keys = Keys::new(store, log, Arc::clone(&options.clock), slot, options.limit)?;
    // Expired material isn't used in any case, and a vault must open on a disk that is full or read-only.
    if !options.written_elsewhere
        && let Err(error) = keys.expire_due()
    {
        tracing::warn!("key material has expired and can't be deleted: {error}");
    }
    Ok(Opened { keys: Arc::new(keys), proof: Proof::of(slot) })
}

pub(super) fn event_log(
    dir: &VaultDir,
    state: &store::OpenedKeyring,
    writable: Option<Writable>,
) -> Result<EventLog, KeyringError> {
    Ok(EventLog::new(dir.descriptor()?, state.body.log_keys(), state.body.event_anchor, writable))
}

pub(super) fn first_body(vault: VaultId, now: Timestamp) -> Result<KeyringBody, KeyringError> {
    let data = Key::create(Manager::Customer, "Wraps the data keys of files", now);
    let service = Key::create(Manager::Service, "Wraps the tree keys", now);
    let alias = |name: AliasName, key: &Key| Alias { name, key: key.id, created: now, updated: now };
    let aliases = vec![alias(AliasName::default_alias(), &data), alias(AliasName::tree(), &service)];
    let (id, backing) = (TreeKeyId::random(), BackingKeyId { key: service.id, version: service.current });
    let material = service.version(backing.version).and_then(|v| v.material.as_ref());
    let material = material.ok_or(KeyError::UnknownKey(service.id))?;
    let context = tree_context(vault, id, backing);
    let wrapped = material.wrapping_key(vault, backing).wrap_tree(&context, &TreeKey::generate());
    let tree = WrappedTreeKey { id, created: now, key: backing.key, version: backing.version, wrapped };
    Ok(KeyringBody {
        generation: Generation(1),
        previous: [0; 32],
        keys: vec![data, service],
        aliases,
        tree_keys: vec![tree],
        current_tree_key: id,
        event_key: Arc::new(EventKey::generate()),
        event_anchor: Anchor::default(),
        extensions: Extensions::default(),
        lost_generations: None,
    })
}
