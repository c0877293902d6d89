//! Who may keep the keyring from being saved: the holder of its lock file, which is the owner's alone, and nobody who
//! can but read the directory.
use std::fs::File;

use rustix::fs::{FlockOperation, flock};

use super::*;

fn rotated(keys: &Keys) -> Result<(), KeyringError> {
    keys.rotate(&KeyRef::Alias(AliasName::default_alias())).map(drop)
}

#[test]
fn a_lock_on_the_directory_keeps_nobody_from_saving() {
    let fixture = Fixture::new();
    let keys = fixture.create(&[&Secret::KeyFile(Zeroizing::new([7; 32]))]).keys;
    let dir = File::open(fixture.vault()).unwrap();
    flock(&dir, FlockOperation::LockShared).unwrap();
    rotated(&keys).unwrap();
}

#[test]
fn the_lock_file_does_and_is_there_from_the_beginning() {
    let fixture = Fixture::new();
    let keys = fixture.create(&[&Secret::KeyFile(Zeroizing::new([7; 32]))]).keys;
    let lock = File::open(fixture.vault().join(LOCK_NAME)).unwrap();
    flock(&lock, FlockOperation::LockExclusive).unwrap();
    assert!(matches!(rotated(&keys), Err(KeyringError::Busy(_))));
    drop(lock);
    rotated(&keys).unwrap();
}
