//! Changes of keyrings that the tests of higher layers need.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::format::model::{Alias, Key, Manager};
use super::keys::{Keys, known};
use crate::events::Event;
use crate::ids::{AliasName, KeyId, KeyVersion};
use crate::storage::RoCompat;

impl Keys {
    /// Makes another customer's key and points a new alias at it.
    pub(crate) fn create_key_for_test(&self, alias: AliasName) -> KeyId {
        let now = self.clock.now();
        self.change(false, |draft| {
            let key = Key::create(Manager::Customer, "For a test", now);
            let id = key.id;
            draft.body.keys.push(key);
            draft.body.aliases.push(Alias { name: alias, key: id, created: now, updated: now });
            draft.note(Event::KeyOperation { key: id, operation: "CreateKey" });
            Ok(id)
        })
        .unwrap()
    }

    /// Leaves the keyring as one that a newer program has written with these ro_compat bits.
    pub(crate) fn set_ro_compat_for_test(&self, bits: u32) {
        self.change(false, |draft| {
            draft.header.ro_compat = RoCompat::from_bits(bits);
            Ok(())
        })
        .unwrap();
    }

    /// Leaves the keyring as one that a rollback took a key's last version from. Returns that version.
    pub(crate) fn lose_last_version_for_test(&self, key: KeyId) -> KeyVersion {
        self.change(false, |draft| {
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
pub(crate) struct Seen {
    pub(crate) path: PathBuf,
    pub(crate) bytes: Vec<u8>,
    mode: u32,
    ino: u64,
    changed: (i64, i64),
}

/// Everything below a directory, and itself.
pub(crate) fn everything(dir: &Path) -> Vec<Seen> {
    let seen = |path: &Path| {
        let meta = path.symlink_metadata().unwrap();
        let bytes = if meta.is_file() { std::fs::read(path).unwrap() } else { Vec::new() };
        let changed = (meta.ctime(), meta.ctime_nsec());
        Seen { path: path.to_owned(), bytes, mode: meta.mode(), ino: meta.ino(), changed }
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
