//! Keyrings in directories of their own, and changes of keyrings, that the tests here and of higher layers need.

use super::store::Saves;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use zeroize::Zeroizing;

use super::backup::{BackupInfo, ImportOrder, Imported, Maker, Replace};
use super::backup_file::{BackupOpener, BackupSeal, SealedBackup};
use super::error::KeyringError;
use super::format::model::{Alias, Key, Manager};
use super::keys::{Keys, known};
use super::open::{KeyringFile, OpenOptions, Opened};
use super::rules::key_refs::KeyRef;
use super::rules::state::Clock;
use super::store::seen_generations::SeenGenerations;
use super::store::vault_dir::FILE_NAME;
use crate::crypto::keys::Dek;
use crate::crypto::password::KdfParams;
use crate::crypto::suite::Suite;
use crate::events::Event;
use crate::ids::{AliasName, FileId, KeyId, KeyVersion, Timestamp};
use crate::storage::RoCompat;
use crate::unlock::Secret;

pub(crate) const KDF: KdfParams = KdfParams { memory_kib: 8 << 10, passes: 1, lanes: 1 };

/// A clock that tests move by hand, in milliseconds.
pub(crate) struct TestClock(pub(crate) AtomicI64);

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.load(Ordering::Relaxed))
    }
}

pub(crate) struct Fixture {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) clock: Arc<TestClock>,
}

impl Fixture {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("vault")).unwrap();
        Self { dir, clock: Arc::new(TestClock(AtomicI64::new(1_000_000))) }
    }

    /// In memory where the system has such a place: for tests that make very many changes.
    pub(crate) fn in_memory() -> Self {
        let memory = std::path::Path::new("/dev/shm");
        let dir = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.unwrap();
        std::fs::create_dir(dir.path().join("vault")).unwrap();
        Self { dir, clock: Arc::new(TestClock(AtomicI64::new(1_000_000))) }
    }

    pub(crate) fn names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.vault()).unwrap();
        entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect()
    }

    pub(crate) fn vault(&self) -> PathBuf {
        self.dir.path().join("vault")
    }

    pub(crate) fn options(&self) -> OpenOptions {
        OpenOptions {
            limit: crate::unlock::CostLimit::Usual,
            accept_rollback: false,
            next_version: None,
            first_use: false,
            written_elsewhere: false,
            host: SeenGenerations::at(self.dir.path().join("state")),
            clock: Arc::clone(&self.clock) as Arc<dyn Clock>,
        }
    }

    pub(crate) fn create(&self, secrets: &[&Secret]) -> Opened {
        KeyringFile::create(&self.vault(), Suite::Aes256Gcm, secrets, KDF, &self.options()).unwrap()
    }

    /// With a keyring that a key file opens: its keys, and the file's bytes as it was made.
    pub(crate) fn with_keyring(self) -> (Self, Arc<Keys>, Vec<u8>) {
        let keys = self.create(&[&key_file(1)]).keys;
        let made = self.read(FILE_NAME);
        (self, keys, made)
    }

    pub(crate) fn open(&self, secret: &Secret) -> Result<Opened, KeyringError> {
        KeyringFile::open(&self.vault(), secret, &self.options())
    }

    /// Imports a key backup that a passphrase opens. `new` is the secret of the keyring that this makes.
    pub(crate) fn import_backup(
        &self,
        file: &Path,
        pass: &str,
        new: &Secret,
        order: ImportOrder,
    ) -> Result<Imported, KeyringError> {
        import_backup_at(&self.vault(), file, pass, new, order, &self.options())
    }

    pub(crate) fn read(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.vault().join(name)).unwrap()
    }

    pub(crate) fn write(&self, name: &str, bytes: &[u8]) {
        std::fs::write(self.vault().join(name), bytes).unwrap();
    }
}

pub(crate) fn key_file(byte: u8) -> Secret {
    Secret::KeyFile(Zeroizing::new([byte; 32]))
}

pub(crate) fn passphrase(text: &str) -> Secret {
    Secret::Passphrase(Zeroizing::new(text.as_bytes().to_vec()))
}

pub(crate) fn default_alias() -> KeyRef {
    KeyRef::Alias(AliasName::default_alias())
}

/// Gives the default alias's key a version; returns its number.
pub(crate) fn rotate(keys: &Keys) -> u32 {
    keys.rotate(&default_alias()).unwrap().new.0
}

pub(crate) fn rotate_times(keys: &Keys, times: u32) {
    for _ in 0..times {
        rotate(keys);
    }
}

/// What a DEK is told apart by.
pub(crate) fn print_of(dek: &Dek) -> [u8; 32] {
    dek.header_mac_key(FileId::from_bytes([0; 16])).mac(b"")
}

/// An import of a backup whose keys the vault's names don't disprove.
pub(crate) fn replacing(replace: Replace) -> ImportOrder {
    ImportOrder { replace, maker: Maker::Proven }
}

/// [`Fixture::import_backup`] at any place.
pub(crate) fn import_backup_at(
    vault: &Path,
    file: &Path,
    pass: &str,
    new: &Secret,
    order: ImportOrder,
    options: &OpenOptions,
) -> Result<Imported, KeyringError> {
    let (sealed, pass) = (SealedBackup::read(file)?, passphrase(pass));
    KeyringFile::import_backup(vault, &sealed, BackupOpener::Secret(&pass), &[new], KDF, order, options)
}

/// What seals a key backup of a vault under a passphrase.
pub(crate) fn seal_under(opened: &Opened, text: &str) -> BackupSeal {
    BackupSeal::under_passphrase(opened.keys.vault_id(), &passphrase(text), KDF, opened.keys.clock.now())
        .unwrap()
}

impl Opened {
    /// Exports a key backup under a passphrase.
    pub(crate) fn export_for_test(&self, text: &str, file: &Path) -> Result<BackupInfo, KeyringError> {
        self.keys.export_backup(&self.proof, &seal_under(self, text), Some(&passphrase(text)), file)
    }
}

impl Keys {
    /// Schedules a deletion as a program does that knows nothing of data.
    pub(crate) fn schedule_deletion_for_test(&self, key: KeyId) {
        let now = self.clock.now();
        self.change(Saves::Once, |draft| {
            known(&mut draft.body, key)?.schedule_deletion(None, now)?;
            draft.record(Event::KeyOperation { key, operation: "ScheduleKeyDeletion" });
            Ok(())
        })
        .unwrap();
    }

    /// Makes another customer's key and points a new alias at it.
    pub(crate) fn create_key_for_test(&self, alias: AliasName) -> KeyId {
        let now = self.clock.now();
        self.change(Saves::Once, |draft| {
            let key = Key::create(Manager::Customer, "For a test", now);
            let id = key.id;
            draft.body.keys.push(key);
            draft.body.aliases.push(Alias { name: alias, key: id, created: now, updated: now });
            draft.record(Event::KeyOperation { key: id, operation: "CreateKey" });
            Ok(id)
        })
        .unwrap()
    }

    /// Makes a customer's key of this id.
    pub(crate) fn create_key_with_id_for_test(&self, id: KeyId) {
        let key = Key { id, ..Key::create(Manager::Customer, "For a test", self.clock.now()) };
        self.change(Saves::Once, |draft| {
            draft.body.keys.push(key);
            Ok(())
        })
        .unwrap();
    }

    /// Leaves the keyring as one that a newer program has written with these ro_compat bits.
    pub(crate) fn set_ro_compat_for_test(&self, bits: u32) {
        self.change(Saves::Once, |draft| {
            draft.header.ro_compat = RoCompat::from_bits(bits);
            Ok(())
        })
        .unwrap();
    }

    /// Leaves the keyring as one that a rollback took a key's last version from. Returns that version.
    pub(crate) fn lose_last_version_for_test(&self, key: KeyId) -> KeyVersion {
        self.change(Saves::Once, |draft| {
            let key = known(&mut draft.body, key)?;
            let lost = key.versions.pop().unwrap().number;
            key.current = key.versions.last().unwrap().number;
            key.lose_up_to(lost);
            Ok(lost)
        })
        .unwrap()
    }
}

/// Something in a directory, with all that a change of any kind shows in.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct FileSnapshot {
    pub(crate) path: PathBuf,
    pub(crate) bytes: Vec<u8>,
    mode: u32,
    ino: u64,
    changed: (i64, i64),
}

/// Everything below a directory, and itself.
pub(crate) fn everything(dir: &Path) -> Vec<FileSnapshot> {
    let seen = |path: &Path| {
        let meta = path.symlink_metadata().unwrap();
        let bytes = if meta.is_file() { std::fs::read(path).unwrap() } else { Vec::new() };
        let changed = (meta.ctime(), meta.ctime_nsec());
        FileSnapshot { path: path.to_owned(), bytes, mode: meta.mode(), ino: meta.ino(), changed }
    };
    let mut all = vec![seen(dir)];
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.symlink_metadata().unwrap().is_dir() {
            all.extend(everything(&path));
        } else {
            all.push(seen(&path));
        }
    }
    all.sort();
    all
}
