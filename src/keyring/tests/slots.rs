//! Slots come and go; the last one stays; a new root key shuts the old ones out.
use super::*;
use crate::ids::SlotId;

#[test]
fn slots_are_added_changed_and_removed() {
    let f = Fixture::new();
    let Opened { keys, proof } = f.create(&[&key_file(1)]);
    let added = keys.add_slot(&proof, &NewSlot::of(&passphrase("second"), KDF)).unwrap();
    assert!(f.open(&passphrase("second")).is_ok());
    let changed = keys.change_slot(&proof, added, &NewSlot::of(&passphrase("third"), KDF)).unwrap();
    assert!(f.open(&passphrase("second")).err().unwrap().is_wrong_secret());
    assert!(f.open(&passphrase("third")).is_ok());
    keys.remove_slot(&proof, proof.slot()).unwrap();
    assert!(f.open(&key_file(1)).is_err());
    assert!(matches!(keys.remove_slot(&proof, changed), Err(KeyringError::LastSlot(_))));
    assert!(matches!(keys.remove_slot(&proof, added), Err(KeyringError::UnknownSlot(_))));
    assert!(matches!(
        keys.change_slot(&proof, added, &NewSlot::of(&key_file(3), KDF)),
        Err(KeyringError::UnknownSlot(_))
    ));
    assert_eq!(keys.slots().unwrap().len(), 1);
    // Rotation continues under the same root key.
    keys.rotate(&default_alias()).unwrap();
    assert!(f.open(&passphrase("third")).is_ok());
}

#[test]
fn a_removed_slot_is_not_in_the_previous_keyring_either() {
    let f = Fixture::new();
    let Opened { keys, proof } = f.create(&[&key_file(1), &key_file(2)]);
    let second = keys.prove(&key_file(2)).unwrap().slot();
    keys.rotate(&default_alias()).unwrap();
    let holds = |name| String::from_utf8_lossy(&f.read(name)).contains(&second.to_string());
    assert!(holds(FILE_NAME) && holds(PREV_NAME));
    keys.remove_slot(&proof, second).unwrap();
    assert!(!holds(FILE_NAME) && !holds(PREV_NAME));
}

#[test]
fn changing_slots_takes_a_right_secret() {
    let f = Fixture::new();
    let keys = f.create(&[&key_file(1)]).keys;
    assert!(keys.prove(&key_file(2)).err().unwrap().is_wrong_secret());
    assert!(keys.prove(&key_file(1)).is_ok());
}

#[test]
fn a_passphrase_that_is_kept_at_a_new_root_key_costs_no_less_than_before() {
    let f = Fixture::new();
    let Opened { keys, proof } = f.create(&[&key_file(1)]);
    let dear = KdfParams { memory_kib: KDF.memory_kib * 2, passes: KDF.passes + 1, lanes: 1 };
    keys.add_slot(&proof, &NewSlot::of(&passphrase("kept"), dear)).unwrap();
    let revoked =
        keys.revoke(&proof, &[&passphrase("kept")], &[NewSlot::of(&passphrase("new"), KDF)], KDF).unwrap();
    let costs: Vec<_> = revoked.slots.iter().map(|slot| slot.kdf).collect();
    assert_eq!(costs, [Some(dear), Some(KDF), None]);
    let dearer = KdfParams { memory_kib: KDF.memory_kib * 4, ..KDF };
    let kept = f.open(&passphrase("kept")).unwrap();
    let revoked = kept.keys.revoke(&kept.proof, &[&passphrase("kept")], &[], dearer).unwrap();
    assert_eq!(revoked.slots[0].kdf, Some(dearer.at_least(dear)));
}

#[test]
fn a_new_root_key_shuts_out_old_files_and_dropped_secrets() {
    let f = Fixture::new();
    let Opened { keys, proof } = f.create(&[&key_file(1), &passphrase("kept"), &key_file(3)]);
    let other = f.open(&key_file(1)).unwrap();
    let old_file = f.read(FILE_NAME);
    assert!(keys.revoke(&proof, &[&key_file(9)], &[], KDF).err().unwrap().is_wrong_secret());
    assert_eq!(f.read(FILE_NAME), old_file);

    let revoked =
        keys.revoke(&proof, &[&passphrase("kept")], &[NewSlot::of(&key_file(4), KDF)], KDF).unwrap();
    assert_eq!(revoked.slots.len(), 3);
    let recovery = Secret::Recovery(RecoveryKey::parse(revoked.recovery.as_bytes()).unwrap());
    for secret in [passphrase("kept"), key_file(4), recovery] {
        assert!(f.open(&secret).is_ok());
    }
    for secret in [key_file(1), key_file(3)] {
        assert!(f.open(&secret).err().unwrap().is_wrong_secret());
    }
    // Neither the file nor the one before it opens under the old root key.
    let old_root = Arc::new({
        let parts = header::parse(&old_file, header::Kind::Keyring).unwrap();
        parts.header.slots.unlock(keys.vault_id(), &key_file(1), CostLimit::Usual).unwrap().0
    });
    let dir = vault_dir::VaultDir::open(&f.vault()).unwrap();
    for name in [FILE_NAME, PREV_NAME] {
        assert!(store::open(&dir, &f.read(name), Arc::clone(&old_root)).is_err(), "{name}");
    }
    // An opening under the old one gets an error that says so, and this one continues.
    assert!(matches!(other.keys.rotate(&default_alias()), Err(KeyringError::RootKeyReplaced(_))));
    assert!(matches!(
        other.keys.add_slot(&other.proof, &NewSlot::of(&key_file(5), KDF)),
        Err(KeyringError::RootKeyReplaced(_))
    ));
    keys.rotate(&default_alias()).unwrap();
    assert!(f.open(&key_file(4)).is_ok());
}

#[test]
fn slots_of_unknown_kinds_are_kept() {
    let f = Fixture::new();
    f.create(&[&key_file(1)]);
    // As a newer program would write it: sealed again with one more slot in the header.
    let bytes = f.read(FILE_NAME);
    let parts = header::parse(&bytes, header::Kind::Keyring).unwrap();
    let (root, _) = parts.header.slots.unlock(parts.header.vault, &key_file(1), CostLimit::Usual).unwrap();
    let body = root.open_keyring(parts.header.vault, parts.aad, parts.sealed).unwrap();
    let json = String::from_utf8(parts.aad[18..].to_vec()).unwrap();
    let json = json.replace("\"slots\":[", "\"slots\":[{\"type\":\"tpm2\",\"handle\":\"0x81\"},");
    let mut file = parts.aad[..14].to_vec();
    file.extend_from_slice(&u32::try_from(json.len()).unwrap().to_le_bytes());
    file.extend_from_slice(json.as_bytes());
    let sealed = root.seal_keyring(parts.header.vault, &file, &body);
    file.extend_from_slice(&sealed);
    std::fs::remove_dir_all(f.dir.path().join("state")).unwrap();
    f.write(FILE_NAME, &file);
    let opened = f.open(&key_file(1)).unwrap();
    opened.keys.rotate(&default_alias()).unwrap();
    assert!(matches!(
        opened.keys.remove_slot(&opened.proof, opened.proof.slot()),
        Err(KeyringError::LastSlot(_))
    ));
    let list = f.open(&key_file(1)).unwrap().keys.slots().unwrap();
    assert_eq!((list.len(), list[0].kind.as_str(), list[0].id), (2, "tpm2", None));
    assert!(String::from_utf8_lossy(&f.read(FILE_NAME)).contains("\"handle\":\"0x81\""));
}

/// A keyring that rekeyfs makes can be opened without a say-so.
#[test]
fn no_more_slots_are_made_than_are_tried() {
    let f = Fixture::new();
    let Opened { keys, proof } = f.create(&[&key_file(1)]);
    let mut last = None;
    for n in 1..crate::unlock::MAX_SLOTS {
        last = Some(keys.add_slot(&proof, &NewSlot::of(&key_file(n as u8 + 1), KDF)).unwrap());
    }
    let full = keys.add_slot(&proof, &NewSlot::of(&key_file(200), KDF));
    assert!(matches!(full, Err(KeyringError::NoRoomForSlot(_))));
    assert!(f.open(&key_file(1)).is_ok());
    // Replacing one takes no room.
    keys.change_slot(&proof, last.unwrap(), &NewSlot::of(&key_file(201), KDF)).unwrap();
    assert!(f.open(&key_file(201)).is_ok());
    assert!(matches!(
        keys.add_slot(&proof, &NewSlot::of(&key_file(200), KDF)),
        Err(KeyringError::NoRoomForSlot(_))
    ));
}

fn label(text: &str) -> SlotLabel {
    text.parse().unwrap()
}

#[test]
fn labels_stay_with_their_slots_and_go_with_them() {
    let f = Fixture::new();
    let Opened { keys, proof } = f.create(&[&key_file(1), &key_file(2)]);
    let (first, second) = (proof.slot(), keys.prove(&key_file(2)).unwrap().slot());
    keys.label_slot(&proof, first, Some(label("laptop"))).unwrap();
    keys.label_slot(&proof, second, Some(label("safe"))).unwrap();
    let (secret, kdf) = (&passphrase("third"), KDF);
    let third = keys.add_slot(&proof, &NewSlot { secret, kdf, label: Some(label("third")) }).unwrap();
    let unknown = SlotId::from_bytes([9; 16]);
    assert!(matches!(keys.label_slot(&proof, unknown, None), Err(KeyringError::UnknownSlot(_))));
    // A changed slot keeps its label, or gets a new one; a removed one leaves none behind.
    let changed = keys.change_slot(&proof, second, &NewSlot::of(&key_file(3), KDF)).unwrap();
    keys.remove_slot(&proof, third).unwrap();
    let again = f.open(&key_file(3)).unwrap();
    assert_eq!(again.keys.slot_labels().unwrap(), [(first, label("laptop")), (changed, label("safe"))]);
    let in_log = String::from_utf8(f.read("events.jsonl")).unwrap();
    assert!(in_log.contains("Unlock Slot Labelled"));
    assert!(!in_log.contains("laptop"), "the log lies beside the ciphertext");
    assert!(!String::from_utf8_lossy(&f.read(FILE_NAME)).contains("laptop"), "they are sealed");
    // All slots of a new root key are new.
    let new = NewSlot { secret: &key_file(4), kdf: KDF, label: Some(label("new")) };
    let revoked = again.keys.revoke(&again.proof, &[&key_file(1)], &[new], KDF).unwrap();
    let ids: Vec<SlotId> = revoked.slots.iter().filter_map(|slot| slot.id).collect();
    let expected = [(ids[0], label("laptop")), (ids[1], label("new"))];
    assert_eq!(f.open(&key_file(4)).unwrap().keys.slot_labels().unwrap(), expected);
}

#[test]
fn slots_are_replaced_in_one_change_and_the_old_ones_open_nothing_any_more() {
    let f = Fixture::new();
    let text = RecoveryKey::generate().to_text();
    let recovery = || Secret::Recovery(RecoveryKey::parse(text.as_bytes()).unwrap());
    drop(f.create(&[&passphrase("forgotten"), &recovery()]));
    let Opened { keys, proof } = f.open(&recovery()).unwrap();
    let slots: Vec<SlotId> = keys.slots().unwrap().iter().filter_map(|slot| slot.id).collect();
    let generation = keys.generation();
    let (new, new_recovery) = (passphrase("new"), key_file(6));
    let added = [NewSlot::of(&new, KDF), NewSlot::of(&new_recovery, KDF)];
    let unknown = SlotId::from_bytes([9; 16]);
    let refused = keys.replace_slots(&proof, &[slots[0], unknown], &added);
    assert!(matches!(refused, Err(KeyringError::UnknownSlot(slot)) if slot == unknown));
    assert_eq!(keys.generation(), generation, "nothing was changed");
    let made = keys.replace_slots(&proof, &slots, &added).unwrap();
    assert_eq!(keys.slots().unwrap().iter().filter_map(|slot| slot.id).collect::<Vec<_>>(), made);
    for old in [passphrase("forgotten"), recovery()] {
        assert!(matches!(f.open(&old), Err(KeyringError::Unlock { .. })));
    }
    assert!(f.open(&new).is_ok() && f.open(&new_recovery).is_ok());
    let holds = |name| String::from_utf8_lossy(&f.read(name)).contains(&slots[0].to_string());
    assert!(!holds(FILE_NAME) && !holds(PREV_NAME));
    let last = keys.replace_slots(&proof, &made, &[]);
    assert!(matches!(last, Err(KeyringError::LastSlot(_))), "a vault without a way in");
}
