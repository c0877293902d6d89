//! Reading a keyring at any place, without use: it is opened to find out what its keys open, and nothing is written: no
//! event, no record of a wrong secret, no memory of its generation; expired material isn't deleted. So copies can be read,
//! also on read-only media. An old keyring is reported, and not refused.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::backup_file::{self, BackupOpener};
use super::error::KeyringError;
use super::format::header::{self, Header, Kind};
use super::format::slot_labels::SlotLabel;
use super::keys::Keys;
use super::open::{KeyringFile, OpenOptions, event_log};
use super::store::vault_dir::{FILE_NAME, VaultDir};
use super::store::{self, Store};
use crate::crypto::keys::RootKey;
use crate::ids::{BackingKeyId, Generation, SlotId, VaultId};
use crate::unlock::SlotInfo;

/// A keyring that is only read.
pub struct Looked {
    /// Its keys. Nothing may be changed through them.
    pub keys: Arc<Keys>,
    /// The refusal of opening it for use, where this host has seen a newer one.
    pub behind: Option<KeyringError>,
}

impl Looked {
    /// The labels of its slots.
    pub fn slot_labels(&self) -> Vec<(SlotId, SlotLabel)> {
        self.keys.store.lock().state().body.slot_labels()
    }
}

/// How the keyring of a copy compares with the one by which the copy was checked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Beside {
    /// There is none.
    Missing,
    /// It is damaged, of another vault, or sealed under another root key: what it holds is unknown.
    Closed,
    /// It opens, and has this generation.
    Open(Generation),
}

/// A keyring or key backup that was read, and is still sealed.
pub struct Sealed {
    dir: VaultDir,
    file: PathBuf,
    bytes: Vec<u8>,
    kind: Kind,
}

impl KeyringFile {
    /// Reads the keyring or key backup in `file`.
    ///
    /// # Errors
    /// [`KeyringError`], if it isn't there or can't be taken apart: no secret opens it then.
    pub fn look(file: &Path) -> Result<Sealed, KeyringError> {
        let parent = file.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let name = file.file_name().and_then(|name| name.to_str()).unwrap_or(".");
        let dir = VaultDir::open(parent)?;
        let bytes = if name == FILE_NAME { dir.read() } else { dir.read_named(name) };
        let bytes = bytes.map_err(|error| named(file, error))?;
        let kind = if bytes.starts_with(Kind::Backup.magic()) { Kind::Backup } else { Kind::Keyring };
        store::parse_as(&dir, &bytes, kind).map_err(|error| named(file, error))?;
        Ok(Sealed { dir, file: file.to_owned(), bytes, kind })
    }
}

impl KeyringFile {
    /// As [`KeyringFile::look`], of a keyring or key backup of the vault in `dir` that is read to its end; `name` is for
    /// messages.
    ///
    /// # Errors
    /// As [`KeyringFile::look`]; it can't be read.
    pub fn look_at(dir: &Path, name: &Path, from: impl Read) -> Result<Sealed, KeyringError> {
        let (dir, bytes) = (VaultDir::open(dir)?, backup_file::read_bounded(name, from)?);
        let kind = if bytes.starts_with(Kind::Backup.magic()) { Kind::Backup } else { Kind::Keyring };
        store::parse_as(&dir, &bytes, kind).map_err(|error| named(name, error))?;
        Ok(Sealed { dir, file: name.to_owned(), bytes, kind })
    }
}

impl Sealed {
    /// The vault that it is of and its slots, as its header says: nothing of that is authenticated.
    ///
    /// # Errors
    /// [`KeyringError`], if it can't be taken apart.
    pub fn vault_and_slots(&self) -> Result<(VaultId, Vec<SlotInfo>), KeyringError> {
        let header = self.header()?;
        Ok((header.vault, header.slots.list()))
    }

    /// What is known of it without a secret.
    ///
    /// # Errors
    /// As [`Sealed::vault_and_slots`].
    pub fn header(&self) -> Result<Header, KeyringError> {
        Ok(store::parse_as(&self.dir, &self.bytes, self.kind)?.header)
    }

    /// Whether this host remembers the root key of the vault of this header.
    pub fn is_known(&self, header: &Header, options: &OpenOptions) -> bool {
        options.host.knows_root(header.vault, self.dir.path())
    }

    /// What is to be decrypted by age, if it is a backup for age recipients.
    pub fn age_files(&self) -> Vec<Vec<u8>> {
        let parts = header::parse(&self.bytes, self.kind).ok();
        parts.map_or(Vec::new(), |parts| {
            parts.header.slots.age_slots().map(|slot| slot.sealed().to_vec()).collect()
        })
    }

    /// Opens it.
    ///
    /// # Errors
    /// As [`KeyringFile::open`], but for those of an old or diverged keyring.
    pub fn open(self, opener: BackupOpener<'_>, options: &OpenOptions) -> Result<Looked, KeyringError> {
        let Self { dir, file, bytes, kind } = self;
        let header = store::parse_as(&dir, &bytes, kind)?.header;
        let unlocked = opener.unlock(&header.slots, header.vault, options.limit);
        let (root, slot) = unlocked.map_err(|source| KeyringError::Unlock { vault: file.clone(), source })?;
        let sealed = Self { dir, file, bytes, kind };
        sealed.open_with(Arc::new(root), slot, options)
    }

    /// Opens it with the root key of another keyring of the vault, if that is its own too: an older or newer one of it
    /// is sealed under the same.
    pub fn open_beside(&self, keys: &Keys, options: &OpenOptions) -> Option<Looked> {
        let root = Arc::clone(&keys.store.lock().state().root);
        let dir = VaultDir::open(self.dir.path()).ok()?;
        let sealed = Self { dir, file: self.file.clone(), bytes: self.bytes.clone(), kind: self.kind };
        sealed.open_with(root, keys.unlocked_by(), options).ok()
    }

    fn open_with(
        self,
        root: Arc<RootKey>,
        slot: SlotId,
        options: &OpenOptions,
    ) -> Result<Looked, KeyringError> {
        let Self { dir, file, bytes, kind } = self;
        let state = store::open_as(&dir, &bytes, kind, root).map_err(|error| named(&file, error))?;
        let log = Arc::new(event_log(&dir, &state, None)?);
        let mut store = Store::new(dir, state, options.host.clone());
        // A key backup is none of the keyrings that a host remembers.
        let behind = if kind == Kind::Keyring { store.behind() } else { None };
        if kind == Kind::Keyring && file.file_name().is_some_and(|name| name == FILE_NAME) {
            store.mark_loss_of_copy(&log);
        }
        let keys = Keys::new(store, log, Arc::clone(&options.clock), slot, options.limit)?;
        Ok(Looked { keys: Arc::new(keys), behind })
    }
}

/// Errors name the keyring of a vault's directory. For a file of another name they name that.
fn named(file: &Path, error: KeyringError) -> KeyringError {
    match error {
        KeyringError::Damaged { what, .. } if !file.ends_with(FILE_NAME) => {
            KeyringError::Backup { path: file.to_owned(), what: format!("can't be used: {what}") }
        }
        error => error,
    }
}

impl Keys {
    /// Whether a version is retired and its material deleted.
    pub fn is_trimmed(&self, backing: BackingKeyId) -> bool {
        self.table.read().is_trimmed(backing)
    }

    /// Whether there is such a version of such a key, usable or not.
    pub fn has_version(&self, backing: BackingKeyId) -> bool {
        let table = self.table.read();
        table.key(backing.key).is_some_and(|key| key.version(backing.version).is_some())
    }

    /// Reads the keyring in the directory of a copy of this vault, and adds to `lacks` those of `needed` whose material it
    /// doesn't have.
    pub fn compare_copy(
        &self,
        copy: &Path,
        needed: &[BackingKeyId],
        lacks: &mut Vec<BackingKeyId>,
    ) -> Beside {
        let Ok(dir) = VaultDir::open(copy) else { return Beside::Missing };
        let bytes = match dir.read() {
            Ok(bytes) => bytes,
            Err(KeyringError::Missing { .. }) => return Beside::Missing,
            Err(_) => return Beside::Closed,
        };
        let root = Arc::clone(&self.store.lock().state().root);
        let Ok(state) = store::open(&dir, &bytes, root) else { return Beside::Closed };
        let held = |backing: &BackingKeyId| {
            let version = state.body.key(backing.key).and_then(|key| key.version(backing.version));
            version.is_some_and(|version| version.material.is_some())
        };
        lacks.extend(needed.iter().filter(|backing| !held(backing)));
        Beside::Open(state.body.generation)
    }
}
