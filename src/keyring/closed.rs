//! A vault's keyring that was read and isn't opened: what can be told, and refused, before a secret is asked for.
//!
//! The directory is opened once, and stays the one that is worked on whatever lies at its path later. The file is read and
//! parsed once. Only if another process has saved it since, it is read again.

use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;

use super::error::KeyringError;
use super::format::header::{Header, Parts};
use super::open::{KeyringFile, OpenOptions, Opened, event_log, open_state};
use super::store;
use super::store::seen_generations::SeenGenerations;
use super::store::vault_dir::{Fingerprint, VaultDir};
use crate::events::{Event, record_failed_unlock};
use crate::ids::SlotId;
use crate::storage::{RoCompat, Writable};
use crate::unlock::{Secret, SecretKind};

/// The directory of a vault, opened to read and open the keyring in it.
pub struct KeyringDir(VaultDir);

/// A keyring that was read and parsed. Nothing of it is authenticated.
pub struct ClosedKeyring {
    header: Header,
    bytes: Vec<u8>,
    /// Bytes before the sealed body.
    aad: usize,
}

impl KeyringDir {
    /// Opens the directory at `path`. A symlink of another user isn't followed.
    ///
    /// # Errors
    /// It can't be opened.
    pub fn open(path: &Path) -> Result<Self, KeyringError> {
        VaultDir::open(path).map(Self)
    }

    /// Its canonical path.
    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// A descriptor of its own for someone else.
    ///
    /// # Errors
    /// There are too many.
    pub fn descriptor(&self) -> Result<OwnedFd, KeyringError> {
        self.0.descriptor()
    }

    /// Reads the keyring.
    ///
    /// # Errors
    /// There is none, or it can't be parsed.
    pub fn read(&self) -> Result<ClosedKeyring, KeyringError> {
        let bytes = self.0.read()?;
        let Parts { header, aad, .. } = store::parse(&self.0, &bytes)?;
        let aad = aad.len();
        Ok(ClosedKeyring { header, bytes, aad })
    }

    /// Records that a custodian refused to unwrap what a slot of this header has.
    pub fn record_refusal(&self, header: &Header, slot: SlotId) {
        if let Ok(writable) = header.writable() {
            record_failed_unlock(self.0.fd(), writable, SecretKind::Custodian.name(), Some(slot));
        }
    }

    /// The permission to write the vault, as far as what was read decides it. Without a keyring, or with one that can't be
    /// parsed, nothing forbids it: `key-backup import` makes a new one.
    ///
    /// # Errors
    /// [`KeyringError::MayOnlyRead`], [`KeyringError::NewerFormat`].
    pub fn writable(&self, read: &Result<ClosedKeyring, KeyringError>) -> Result<Writable, KeyringError> {
        match read {
            Ok(closed) => self.0.writable(&closed.header),
            Err(KeyringError::NewerFormat { vault, what }) => {
                Err(KeyringError::NewerFormat { vault: vault.clone(), what: what.clone() })
            }
            Err(_) => RoCompat::default()
                .writable()
                .map_err(|features| KeyringError::MayOnlyRead { vault: self.path().to_owned(), features }),
        }
    }
}

impl ClosedKeyring {
    /// What is known without a secret.
    pub fn into_header(self) -> Header {
        self.header
    }

    /// This, or what another process has saved since.
    ///
    /// # Errors
    /// As [`KeyringDir::read`].
    pub fn refreshed(self, dir: &KeyringDir) -> Result<Self, KeyringError> {
        let current = dir.0.is_current(&Fingerprint::of(&self.bytes, self.aad))?;
        if current { Ok(self) } else { dir.read() }
    }

    /// What is known of it without a secret.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// Whether this host remembers the vault's root key, so that a custodian may open it unattended.
    pub fn is_known(&self, dir: &KeyringDir) -> bool {
        SeenGenerations::of_this_user().knows_root(self.header.vault, dir.path())
    }

    /// Opens it. Takes as long as the slot's Argon2id takes.
    ///
    /// # Errors
    /// [`KeyringError`], which tells a wrong secret from a missing, damaged, newer, rolled back or forked
    /// keyring.
    pub fn open(
        self,
        dir: &KeyringDir,
        secret: &Secret,
        options: &OpenOptions,
    ) -> Result<Opened, KeyringError> {
        // A person may have taken long over a passphrase.
        let Self { header, mut bytes, aad } = self.refreshed(dir)?;
        let dir = &dir.0;
        let (root, slot) = header.slots.unlock(header.vault, secret, options.limit).map_err(|source| {
            if source.is_wrong_secret()
                && let Some(writable) = options.writable(&header)
            {
                record_failed_unlock(
                    dir.fd(),
                    writable,
                    secret.kind().name(),
                    header.slots.tried_with(secret),
                );
            }
            KeyringError::Unlock { vault: dir.path().to_owned(), source }
        })?;
        let root = Arc::new(root);
        let (aad, sealed) = bytes.split_at(aad);
        let mut state = store::open_parts(dir, &bytes, Parts { header, aad, sealed }, Arc::clone(&root))?;
        loop {
            let (found, anchor, log) = (
                state.body.generation,
                state.body.event_anchor,
                event_log(dir, &state, options.writable(&state.header))?,
            );
            let refused = match open_state(dir.again()?, state, slot, options) {
                Err(refused) if refused.is_rollback() => refused,
                done => return done,
            };
            // Deriving the root key takes a second. If another process saved meanwhile, the bytes read before look like
            // a rollback, so read them again.
            let now = dir.read()?;
            if now == bytes {
                // Only with the log's own event key: another root key has another, and it may have been replaced since.
                if !matches!(refused, KeyringError::OtherRootKey { .. }) && !log.changes_after(anchor).more {
                    log.record_durably(&Event::RollbackNoticed(found));
                }
                return Err(refused);
            }
            bytes = now;
            state = store::open(dir, &bytes, Arc::clone(&root))?;
        }
    }
}

impl KeyringFile {
    /// What is known of a vault without a secret. Not authenticated.
    ///
    /// # Errors
    /// As [`KeyringDir::read`].
    pub fn read_header(dir: &Path) -> Result<Header, KeyringError> {
        KeyringDir::open(dir)?.read().map(ClosedKeyring::into_header)
    }

    /// The permission to write the vault in this directory, as far as it can be decided without a secret.
    ///
    /// # Errors
    /// As [`KeyringDir::writable`]; the directory can't be opened.
    pub fn writable(dir: &Path) -> Result<Writable, KeyringError> {
        let dir = KeyringDir::open(dir)?;
        dir.writable(&dir.read())
    }

    /// Opens a vault's keyring.
    ///
    /// # Errors
    /// As [`KeyringDir::read`] and [`ClosedKeyring::open`].
    pub fn open(dir: &Path, secret: &Secret, options: &OpenOptions) -> Result<Opened, KeyringError> {
        let dir = KeyringDir::open(dir)?;
        dir.read()?.open(&dir, secret, options)
    }
}
