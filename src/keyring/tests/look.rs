//! Keyrings that are only looked at: in copies, of any age, and without a trace.

use super::*;
use crate::ids::BackingKeyId;
use crate::keyring::testing::everything;
use crate::keyring::{Beside, Looked};

fn look(f: &Fixture, file: &std::path::Path, secret: &Secret) -> Result<Looked, KeyringError> {
    KeyringFile::look(file)?.open(BackupOpener::Secret(secret), &f.options())
}

#[test]
fn looking_at_a_keyring_leaves_no_trace() {
    let f = Fixture::new();
    let keys = f.create(&[&key_file(1)]).keys;
    let first = f.read(FILE_NAME);
    keys.rotate(&default_alias()).unwrap();
    f.write(FILE_NAME, &first);
    let before = everything(f.dir.path());
    assert!(matches!(look(&f, &f.vault().join(FILE_NAME), &key_file(2)), Err(KeyringError::Unlock { .. })));
    let looked = look(&f, &f.vault().join(FILE_NAME), &key_file(1)).unwrap();
    assert!(matches!(looked.behind, Some(KeyringError::RolledBack { .. })));
    assert_eq!(looked.keys.generation(), Generation(1));
    assert!(before == everything(f.dir.path()), "something was written");
    // Opened for use, it is refused and both are noted.
    assert!(f.open(&key_file(1)).is_err());
    assert!(before != everything(f.dir.path()));
}

#[test]
fn the_current_keyring_and_a_key_backup_are_looked_at_by_any_name() {
    let f = Fixture::new();
    let opened = f.create(&[&key_file(1)]);
    opened.keys.rotate(&default_alias()).unwrap();
    let copy = f.dir.path().join("a copy");
    std::fs::copy(f.vault().join(FILE_NAME), &copy).unwrap();
    let looked = look(&f, &copy, &key_file(1)).unwrap();
    assert!(looked.behind.is_none());
    assert_eq!(looked.keys.current(&AliasName::default_alias()).unwrap().version, KeyVersion(2));
    let backup = f.dir.path().join("backup");
    opened.export_for_test("paper", &backup).unwrap();
    let looked = look(&f, &backup, &passphrase("paper")).unwrap();
    assert!(looked.behind.is_none());
    assert_eq!(looked.keys.current(&AliasName::default_alias()).unwrap().version, KeyVersion(2));
    std::fs::write(&copy, b"something else").unwrap();
    let refused = KeyringFile::look(&copy).err().unwrap().to_string();
    assert!(refused.contains("a copy can't be used"), "{refused}");
    assert!(matches!(KeyringFile::look(&f.dir.path().join("none")), Err(KeyringError::Io { .. })));
}

#[test]
fn the_keyring_of_a_copy_is_held_against_what_its_files_need() {
    let f = Fixture::new();
    let keys = f.create(&[&key_file(1)]).keys;
    let copy = f.dir.path().join("copy");
    std::fs::create_dir(&copy).unwrap();
    let now = keys.current(&AliasName::default_alias()).unwrap();
    let later = BackingKeyId { version: KeyVersion(2), ..now };
    let compare = |needed: &[BackingKeyId]| {
        let mut lacks = Vec::new();
        let beside = keys.compare_copy(&copy, needed, &mut lacks);
        (beside, lacks)
    };
    assert_eq!(compare(&[now]), (Beside::Missing, vec![]));
    std::fs::write(copy.join(FILE_NAME), f.read(FILE_NAME)).unwrap();
    keys.rotate(&default_alias()).unwrap();
    assert_eq!(compare(&[now]), (Beside::Open(Generation(1)), vec![]));
    assert_eq!(compare(&[now, later]), (Beside::Open(Generation(1)), vec![later]));
    std::fs::write(copy.join(FILE_NAME), f.read(FILE_NAME)).unwrap();
    assert_eq!(compare(&[now, later]), (Beside::Open(Generation(2)), vec![]));
    std::fs::write(copy.join(FILE_NAME), b"damaged").unwrap();
    assert_eq!(compare(&[now]), (Beside::Closed, vec![]));
}
