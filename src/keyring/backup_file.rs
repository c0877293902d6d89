//! The file of a key backup: what seals it, what opens it, its bytes (docs/format.md, "Key backups"). It has a root key of its
//! own, and a slot for a passphrase or for age recipients.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::error::KeyringError;
use super::format::header::{Header, Kind};
use super::format::{body, header, model};
use super::store;
use super::store::{sealed, vault_dir};
use crate::crypto::keys::RootKey;
use crate::crypto::password::KdfParams;
use crate::ids::{SlotId, Timestamp, VaultId};
use crate::unlock::{AgeOpened, AgeSlot, CostLimit, Secret, Slot, Slots, UnlockError};

type Result<T> = std::result::Result<T, KeyringError>;

/// What a new backup is sealed under: a root key of its own, and the slot that opens it.
pub struct BackupSeal {
    pub(super) root: RootKey,
    pub(super) slots: Slots,
}

impl BackupSeal {
    /// Under a passphrase.
    ///
    /// # Errors
    /// Argon2id can't be run.
    pub fn under_passphrase(vault: VaultId, secret: &Secret, kdf: KdfParams, now: Timestamp) -> Result<Self> {
        let (root, mut slots) = (RootKey::generate(), Slots::default());
        slots.push(Slot::seal(vault, &root, secret, kdf, now)?);
        Ok(Self { root, slots })
    }

    /// For age recipients: `encrypt` makes the age file of what it is given.
    ///
    /// # Errors
    /// Those of `encrypt`; none in it if the age file is too long.
    pub fn for_age<E>(
        vault: VaultId,
        now: Timestamp,
        encrypt: impl FnOnce(&[u8]) -> std::result::Result<Vec<u8>, E>,
    ) -> std::result::Result<Self, Option<E>> {
        let (root, mut slots, id) = (RootKey::generate(), Slots::default(), SlotId::random());
        let sealed = encrypt(&*AgeSlot::payload(vault, id, &root)).map_err(Some)?;
        slots.push_age(AgeSlot::new(id, now, sealed).ok_or(None)?);
        Ok(Self { root, slots })
    }
}

/// What opens a backup.
#[derive(Clone, Copy)]
pub enum BackupOpener<'a> {
    /// A secret of its own: a passphrase, or what opens a slot of a keyring that is read like a backup.
    Secret(&'a Secret),
    /// What an age identity yielded from its age file.
    Age(&'a AgeOpened),
}

impl BackupOpener<'_> {
    pub(super) fn unlock(
        self,
        slots: &Slots,
        vault: VaultId,
        limit: CostLimit,
    ) -> std::result::Result<(RootKey, SlotId), UnlockError> {
        match self {
            Self::Secret(secret) => slots.unlock(vault, secret, limit),
            Self::Age(opened) => slots.unlock_age(vault, opened),
        }
    }
}

/// The body of a backup: that of the keyring, without the keys of backups that are kept.
pub(super) fn body_of(keyring: &model::KeyringBody) -> model::KeyringBody {
    let mut body = keyring.clone();
    body.stop_keeping(|_| true);
    body
}

/// A whole backup of a body that [`body_of`] made.
pub(super) fn seal(
    keyring: &Header,
    body: &model::KeyringBody,
    slots: &Slots,
    root: &RootKey,
) -> Result<Vec<u8>> {
    let mut head = Header::new(keyring.vault, keyring.suite);
    // A keyring that is made from the backup needs a program that knows the same features.
    head.ro_compat = keyring.ro_compat;
    head.incompat = store::features_of(keyring, body);
    head.slots = slots.clone();
    let encoded = body::encode(body).map_err(|e| KeyringError::Full(e.to_string()))?;
    sealed(&head, Kind::Backup, root, &encoded)
}

/// Reads to the end what is to be a keyring or a key backup.
pub(super) fn read_bounded(name: &Path, from: impl Read) -> Result<Vec<u8>> {
    let (mut bytes, longest) = (Vec::new(), vault_dir::MAX_FILE_LEN);
    from.take(longest + 1).read_to_end(&mut bytes).map_err(|e| failed(name, "can't be read", &e))?;
    if bytes.len() as u64 > longest {
        return Err(KeyringError::Backup { path: name.to_owned(), what: "is no key backup".to_owned() });
    }
    Ok(bytes)
}

/// A key backup that was read, and is still sealed.
pub struct SealedBackup {
    file: PathBuf,
    bytes: Vec<u8>,
}

impl SealedBackup {
    /// Reads a backup from a file.
    ///
    /// # Errors
    /// [`KeyringError::Backup`], if it can't be read.
    pub fn read(file: &Path) -> Result<Self> {
        let meta = fs::metadata(file).map_err(|e| failed(file, "can't be read", &e))?;
        let opened = if meta.is_file() { File::open(file) } else { Err(io::ErrorKind::InvalidInput.into()) };
        Self::read_from(file, opened.map_err(|e| failed(file, "is no key backup", &e))?)
    }

    /// Reads a backup to its end; `name` is for messages.
    ///
    /// # Errors
    /// [`KeyringError::Backup`], if it can't be read.
    pub fn read_from(name: &Path, from: impl Read) -> Result<Self> {
        read_bounded(name, from).map(|bytes| Self { file: name.to_owned(), bytes })
    }

    /// As it was read.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Its file, for messages.
    pub(super) fn file(&self) -> &Path {
        &self.file
    }

    /// What is to be decrypted by age, if the backup is for age recipients.
    pub fn age_files(&self) -> Vec<Vec<u8>> {
        let parts = header::parse(&self.bytes, Kind::Backup).ok();
        parts.map_or(Vec::new(), |parts| {
            parts.header.slots.age_slots().map(|slot| slot.sealed().to_vec()).collect()
        })
    }

    /// Opens it.
    pub(super) fn open(
        &self,
        opener: BackupOpener<'_>,
        limit: CostLimit,
    ) -> Result<(Header, model::KeyringBody)> {
        open(&self.file, &self.bytes, opener, limit)
    }
}

/// Opens a backup, whose path is for messages.
pub(super) fn open(
    file: &Path,
    bytes: &[u8],
    opener: BackupOpener<'_>,
    limit: CostLimit,
) -> Result<(Header, model::KeyringBody)> {
    let damaged = |what: String| KeyringError::Backup { path: file.to_owned(), what };
    let parts = header::parse(bytes, Kind::Backup).map_err(|e| damaged(format!("is no key backup: {e}")))?;
    let vault = parts.header.vault;
    let unlocked = opener.unlock(&parts.header.slots, vault, limit);
    let (root, _) = unlocked.map_err(|source| KeyringError::Unlock { vault: file.to_owned(), source })?;
    let opened = root
        .open_keyring(vault, parts.aad, parts.sealed)
        .map_err(|_| damaged("is damaged: bytes of it have changed; use another copy".to_owned()))?;
    let body = body::decode(&opened).map_err(|e| damaged(format!("is damaged: {e}")))?;
    Ok((parts.header, body))
}

pub(super) fn failed(path: &Path, what: &str, error: &io::Error) -> KeyringError {
    KeyringError::Backup { path: path.to_owned(), what: format!("{what}: {error}") }
}
