//! Keyrings on a real directory: life cycle, gate, slots, damage, rollback.
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use zeroize::Zeroizing;

use super::format::{body, header, line};
use super::key_table;
use super::open::first_body;
use super::store::{Saves, vault_dir};
use super::testing::*;
use super::*;
use crate::crypto::keys::{Dek, EventKey, RootKey, TreeKey};
use crate::crypto::password::KdfParams;
use crate::crypto::suite::Suite;
use crate::events::{Anchor, Event, EventLog};
use crate::ids::{
    AliasName, BackingKeyId, FileId, Format, Generation, KeyId, KeyVersion, Timestamp, TreeKeyId, VaultId,
};
use crate::unlock::{CostLimit, RecoveryKey, Secret, Slot, UnlockError};

mod backup;
mod blobs;
mod closed;
mod custodians;
mod damage;
mod events;
mod import;
mod lacking;
mod layout;
mod lifecycle;
mod locked;
mod look;
mod loss;
mod loss_model;
mod observer;
mod reserve;
mod rollback;
mod scale;
mod sharing;
mod slots;
mod version_states;

#[test]
fn a_new_vault_opens_with_each_of_its_secrets() {
    let f = Fixture::new();
    let recovery = RecoveryKey::generate();
    let text = recovery.to_text();
    let secrets = [passphrase("correct"), key_file(7), Secret::Recovery(recovery)];
    let keys = f.create(&secrets.iter().collect::<Vec<_>>()).keys;
    let again = Secret::Recovery(RecoveryKey::parse(text.as_bytes()).unwrap());
    for secret in secrets.iter().chain([&again]) {
        let opened = f.open(secret).unwrap();
        assert_eq!(opened.keys.vault_id(), keys.vault_id());
        assert_eq!(opened.keys.tree_key().expose(), keys.tree_key().expose());
        assert_eq!(opened.proof.slot(), opened.keys.unlocked_by());
    }
    let header = KeyringFile::read_header(&f.vault()).unwrap();
    assert_eq!((header.vault, header.suite, header.slots.usable()), (keys.vault_id(), Suite::Aes256Gcm, 3));
    let names: Vec<_> = keys.aliases().into_iter().map(|a| a.name.to_string()).collect();
    assert_eq!(names, ["alias/default", "alias/rekeyfs/tree"]);
}

#[test]
fn wrong_secrets_and_wrong_places_are_told_apart() {
    let f = Fixture::new();
    assert!(matches!(f.open(&key_file(1)), Err(KeyringError::Missing { left: Left::Nothing, .. })));
    assert!(matches!(
        KeyringFile::create(&f.vault(), Suite::Aes256Gcm, &[], KDF, &f.options()),
        Err(KeyringError::NoSecret)
    ));
    f.create(&[&passphrase("right")]);
    let wrong = f.open(&passphrase("wrong")).err().unwrap();
    assert!(wrong.is_wrong_secret());
    assert!(wrong.to_string().ends_with("wrong passphrase"), "{wrong}");
    assert!(matches!(
        f.open(&key_file(1)),
        Err(KeyringError::Unlock { source: UnlockError::NoSuchSlot(_), .. })
    ));
    assert!(matches!(
        KeyringFile::create(&f.vault(), Suite::Aes256Gcm, &[&key_file(1)], KDF, &f.options()),
        Err(KeyringError::Exists(_))
    ));
}

#[test]
fn old_versions_unwrap_after_rotations_and_a_reopening() {
    let f = Fixture::new();
    let keys = f.create(&[&key_file(1)]).keys;
    let mut wrapped = Vec::new();
    for round in 1..=21 {
        let (file, dek) = (FileId::random(), Dek::generate());
        let guard = keys.begin_wrap(&AliasName::default_alias()).unwrap();
        assert_eq!(guard.backing().version, KeyVersion(round));
        wrapped.push((guard.backing(), file, print_of(&dek), guard.wrap(file, Suite::Aes256Gcm, &dek)));
        drop(guard);
        f.clock.0.fetch_add(1000, Ordering::Relaxed);
        let rotation = keys.rotate(&default_alias()).unwrap();
        assert_eq!((rotation.old, rotation.new), (KeyVersion(round), KeyVersion(round + 1)));
        assert_eq!(rotation.alias, Some(AliasName::default_alias()));
    }
    for keys in [&keys, &f.open(&key_file(1)).unwrap().keys] {
        for (backing, file, print, wrapped) in &wrapped {
            let dek = keys.unwrap(*backing, *file, Suite::Aes256Gcm, Format::CURRENT, wrapped).unwrap();
            assert_eq!(print_of(&dek), *print);
            let other = keys.unwrap(*backing, FileId::random(), Suite::Aes256Gcm, Format::CURRENT, wrapped);
            assert_eq!(other.err(), Some(KeyError::Auth));
        }
        assert_eq!(keys.current(&AliasName::default_alias()).unwrap().version, KeyVersion(22));
        assert_eq!(keys.keys()[0].versions[21].created, Timestamp(1_021_000));
    }
}

#[test]
fn rotation_refuses_what_is_not_the_users() {
    let f = Fixture::new();
    let keys = f.create(&[&key_file(1)]).keys;
    let generation = keys.generation();
    let tree = KeyRef::Alias(AliasName::tree());
    assert!(matches!(keys.rotate(&tree), Err(KeyringError::ServiceManaged(_))));
    let unknown = KeyRef::Alias("alias/none".parse().unwrap());
    assert!(matches!(keys.rotate(&unknown), Err(KeyringError::Key(KeyError::UnknownAlias(_)))));
    let unknown = KeyRef::Key(KeyId::random());
    assert!(matches!(keys.rotate(&unknown), Err(KeyringError::Key(KeyError::UnknownKey(_)))));
    assert_eq!(keys.generation(), generation);
    assert_eq!(f.open(&key_file(1)).unwrap().keys.generation(), generation);
}

#[test]
fn a_disabled_key_is_not_usable_until_it_is_enabled() {
    let f = Fixture::new();
    let keys = f.create(&[&key_file(1)]).keys;
    let backing = keys.current(&AliasName::default_alias()).unwrap();
    keys.disable_key(backing.key).unwrap();
    let disabled = KeyError::NotUsable { key: backing.key, state: Unusable::State(KeyState::Disabled) };
    assert_eq!(keys.usable(backing), Err(disabled.clone()));
    assert_eq!(keys.begin_wrap(&AliasName::default_alias()).err(), Some(disabled.clone()));
    assert_eq!(keys.begin_wrap_key(backing.key).err(), Some(disabled.clone()));
    // Rows 8 and 18 of the key semantics: not rotated, and still resolved.
    assert!(matches!(keys.rotate(&default_alias()), Err(KeyringError::Key(e)) if e == disabled));
    assert_eq!(keys.current(&AliasName::default_alias()), Ok(backing));
    assert!(f.open(&key_file(1)).unwrap().keys.usable(backing).is_err());
    keys.enable_key(backing.key).unwrap();
    assert_eq!(keys.usable(backing), Ok(()));
    let unknown = BackingKeyId { version: KeyVersion(2), ..backing };
    assert_eq!(keys.usable(unknown), Err(KeyError::UnknownVersion(unknown)));
    let none = BackingKeyId { version: KeyVersion(0), ..backing };
    assert_eq!(keys.usable(none), Err(KeyError::UnknownVersion(none)));
    let service = keys.current(&AliasName::tree()).unwrap().key;
    assert!(matches!(keys.disable_key(service), Err(KeyringError::ServiceManaged(_))));
}

#[test]
fn rotation_waits_for_creations_in_flight() {
    let f = Fixture::new();
    let keys = f.create(&[&key_file(1)]).keys;
    let guard = keys.begin_wrap(&AliasName::default_alias()).unwrap();
    let done = Arc::new(AtomicBool::new(false));
    let rotating = std::thread::spawn({
        let (keys, done) = (Arc::clone(&keys), Arc::clone(&done));
        move || {
            keys.rotate(&default_alias()).unwrap();
            done.store(true, Ordering::SeqCst);
        }
    });
    // Durable on disk, but not in use: look-ups continue, and rotate hasn't returned.
    while f.open(&key_file(1)).unwrap().keys.generation() == keys.generation() {
        std::thread::sleep(Duration::from_millis(1));
    }
    std::thread::sleep(Duration::from_millis(20));
    assert!(!done.load(Ordering::SeqCst));
    assert_eq!(keys.current(&AliasName::default_alias()), Ok(guard.backing()));
    assert_eq!(keys.usable(guard.backing()), Ok(()));
    drop(guard);
    rotating.join().unwrap();
    assert_eq!(keys.begin_wrap(&AliasName::default_alias()).unwrap().backing().version, KeyVersion(2));
}

#[test]
fn two_openings_of_one_vault_take_up_each_others_changes() {
    let f = Fixture::new();
    let first = f.create(&[&key_file(1)]).keys;
    let second = f.open(&key_file(1)).unwrap().keys;
    for round in 0..3 {
        assert_eq!(first.rotate(&default_alias()).unwrap().new, KeyVersion(2 + 2 * round));
        assert_eq!(second.rotate(&default_alias()).unwrap().new, KeyVersion(3 + 2 * round));
    }
    let verified = second.events().verify(Anchor::default()).unwrap();
    assert_eq!((verified.good, verified.breaks, verified.torn), (7, 0, 0));
}

#[test]
fn what_is_created_after_a_rotation_bears_its_version() {
    let f = Fixture::new();
    let keys = f.create(&[&key_file(1)]).keys;
    // The version of the last rotation that has returned.
    let returned = AtomicI64::new(1);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !done.load(Ordering::SeqCst) {
                    let at_least = returned.load(Ordering::SeqCst);
                    let guard = keys.begin_wrap(&AliasName::default_alias()).unwrap();
                    let version = guard.backing().version;
                    assert!(i64::from(version.0) >= at_least);
                    // As long as it is held, nothing newer comes into use.
                    std::thread::yield_now();
                    assert_eq!(keys.current(&AliasName::default_alias()).unwrap().version, version);
                }
            });
        }
        for _ in 0..20 {
            let rotation = keys.rotate(&default_alias()).unwrap();
            returned.store(i64::from(rotation.new.0), Ordering::SeqCst);
        }
        done.store(true, Ordering::SeqCst);
    });
}

#[test]
fn an_opening_beside_changes_is_no_rollback() {
    let f = Fixture::new();
    let keys = f.create(&[&key_file(1)]).keys;
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            (0..100).for_each(|_| drop(keys.rotate(&default_alias()).unwrap()));
            done.store(true, Ordering::SeqCst);
        });
        while !done.load(Ordering::SeqCst) {
            f.open(&key_file(1)).unwrap();
        }
    });
}

#[test]
fn two_openings_may_change_a_vault_at_the_same_time() {
    let f = Fixture::new();
    let first = f.create(&[&key_file(1)]).keys;
    let second = f.open(&key_file(1)).unwrap().keys;
    std::thread::scope(|scope| {
        for keys in [&first, &second] {
            scope.spawn(|| (0..10).for_each(|_| drop(keys.rotate(&default_alias()).unwrap())));
        }
    });
    let opened = f.open(&key_file(1)).unwrap().keys;
    assert_eq!((opened.keys()[0].versions.len(), opened.generation()), (21, Generation(21)));
    let mode = std::fs::metadata(f.vault().join(FILE_NAME)).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "the keyring is its owner's alone");
}

#[test]
fn keys_can_be_shared_by_threads() {
    fn shared<T: Send + Sync + 'static>() {}
    shared::<Keys>();
    shared::<KeyringError>();
}
