//! A keyring between its reading and its opening.

use super::*;
use crate::keyring::KeyringDir;

#[test]
fn a_slot_added_between_reading_and_opening_opens_the_keyring() {
    let f = Fixture::new();
    let opened = f.create(&[&key_file(1)]);
    let dir = KeyringDir::open(&f.vault()).unwrap();
    let closed = dir.read().unwrap();
    opened.keys.add_slot(&opened.proof, &NewSlot::of(&key_file(2), KDF)).unwrap();
    let again = closed.open(&dir, &key_file(2), &f.options()).unwrap();
    assert_eq!(again.keys.generation(), opened.keys.generation());
}

#[test]
fn the_directory_that_was_read_is_opened_whatever_lies_at_its_path_by_then() {
    let f = Fixture::new();
    let vault = f.create(&[&key_file(1)]).keys.vault_id();
    let dir = KeyringDir::open(&f.vault()).unwrap();
    let closed = dir.read().unwrap();
    std::fs::rename(f.vault(), f.dir.path().join("aside")).unwrap();
    std::fs::create_dir(f.vault()).unwrap();
    let other = f.create(&[&key_file(1)]).keys.vault_id();
    let opened = closed.open(&dir, &key_file(1), &f.options()).unwrap();
    assert!(opened.keys.vault_id() == vault && vault != other);
}
