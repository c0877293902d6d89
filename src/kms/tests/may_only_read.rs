//! A keyring with a feature that this program doesn't know, with which it may read the vault and nothing else.

use super::*;

const UNKNOWN: u32 = 1 << 31;

/// A vault of a newer program, with more than one version, a slot, and a note of a failed unlock.
fn newer() -> (Fixture, KeyVersion) {
    let f = Fixture::new();
    let opened = f.create(&[&key_file(1), &key_file(2)]);
    opened.keys.rotate(&default_alias()).unwrap();
    opened.keys.set_ro_compat_for_test(UNKNOWN);
    let version = opened.keys.current(&AliasName::default_alias()).unwrap().version;
    drop(opened);
    f.write("unlock-failures", b"3 1000 0 1\n");
    // A save makes what is missing of these again.
    for name in RESERVE_NAMES.iter().chain([&LOCK_NAME]) {
        std::fs::remove_file(f.vault().join(name)).unwrap();
    }
    (f, version)
}

#[test]
fn no_change_is_made_and_nothing_is_written() {
    let (f, version) = newer();
    let before = everything(&f.vault());
    assert!(matches!(KeyringFile::writable(&f.vault()), Err(KeyringError::MayOnlyRead { .. })));
    assert!(f.open(&key_file(9)).err().unwrap().is_wrong_secret());
    let opened = f.open(&key_file(1)).unwrap();
    let keys = &opened.keys;
    assert_eq!(keys.current(&AliasName::default_alias()).unwrap().version, version, "it can be read");
    assert!(matches!(keys.writable(), Err(KeyringError::MayOnlyRead { .. })));

    let default = || AliasName::default_alias().to_string();
    let key = keys.current(&AliasName::default_alias()).unwrap().key;
    let new = NewKey::default();
    let tag = |key: &str| Tag { tag_key: key.into(), tag_value: "v".into() };
    let calls = [
        Call::CreateKey { key: new },
        Call::CreateAlias { alias_name: "alias/new".into(), target_key_id: key.to_string() },
        Call::EnableKeyRotation { key_id: default(), rotation_period_in_days: None },
        Call::RotateKeyOnDemand { key_id: default() },
        Call::TagResource { key_id: key.to_string(), tags: vec![tag("a")] },
        Call::UpdateKeyDescription { key_id: key.to_string(), description: "d".into() },
        Call::DisableKey { key_id: key.to_string() },
    ];
    for call in &calls {
        let refused = keys.call(call).unwrap_err();
        assert!(refused.to_string().contains("0x80000000"), "{call:?}: {refused}");
    }
    let slot = opened.proof.slot();
    let order = RetireOrder { key, below: version, what: Retirement::Retire };
    let refusals = [
        keys.rotate(&default_alias()).err(),
        keys.replace_key(&AliasName::default_alias()).err(),
        keys.retire(&order, None).err(),
        keys.add_slot(&opened.proof, &NewSlot::of(&key_file(3), KDF)).err(),
        keys.remove_slot(&opened.proof, slot).err(),
        keys.change_slot(&opened.proof, slot, &NewSlot::of(&key_file(3), KDF)).err(),
        keys.revoke(&opened.proof, &[], &[NewSlot::of(&key_file(3), KDF)], KDF).err(),
    ];
    for refused in refusals {
        let refused = refused.expect("refused");
        assert!(matches!(refused, KeyringError::MayOnlyRead { .. }), "{refused}");
        assert!(refused.to_string().contains("mount -o ro"), "{refused}");
    }
    keys.replenish_reserve();
    keys.events().record(&Event::SweepBegan);
    keys.events().record_durably(&Event::Unmounted(crate::events::UnmountReason::Umount));
    keys.events().catch_up();
    assert!(keys.with_saves_locked(|| ()).is_ok());
    assert!(keys.rotate_due().unwrap().is_empty() && keys.expire_due().unwrap().is_empty());
    drop(opened);
    assert!(before == everything(&f.vault()), "something was written");
}

#[test]
fn an_older_keyring_of_it_is_refused_and_accepted_without_a_trace() {
    let f = Fixture::new();
    let opened = f.create(&[&key_file(1)]);
    let first = f.read(FILE_NAME);
    opened.keys.set_ro_compat_for_test(UNKNOWN);
    drop(opened);
    let newer = f.read(FILE_NAME);
    let accept = OpenOptions { accept_rollback: true, ..f.options() };
    f.write(FILE_NAME, &first);
    let keys = KeyringFile::open(&f.vault(), &key_file(1), &accept).unwrap().keys;
    keys.rotate(&default_alias()).unwrap();
    drop(keys);
    f.write(FILE_NAME, &newer);
    let before = everything(&f.vault());
    let refused = f.open(&key_file(1)).err().unwrap();
    assert!(matches!(refused, KeyringError::RolledBack { .. } | KeyringError::Forked { .. }), "{refused}");
    KeyringFile::open(&f.vault(), &key_file(1), &accept).unwrap();
    assert!(before == everything(&f.vault()), "something was written");
}

#[test]
fn a_backup_of_it_keeps_the_feature_and_is_not_imported() {
    let (f, _) = newer();
    let opened = f.open(&key_file(1)).unwrap();
    let backup = f.dir.path().join("backup");
    opened.export_for_test("paper", &backup).unwrap();
    drop(opened);
    let import = || f.import_backup(&backup, "paper", &key_file(7), replacing(Replace::Always));
    let before = everything(&f.vault());
    assert!(matches!(import().err().unwrap(), KeyringError::MayOnlyRead { .. }));
    assert!(before == everything(&f.vault()), "something was written");
    std::fs::remove_file(f.vault().join(FILE_NAME)).unwrap();
    let refused = import().err().unwrap();
    assert!(matches!(refused, KeyringError::Backup { .. }), "{refused}");
    assert!(refused.to_string().contains("newer rekeyfs"), "{refused}");
    assert!(!f.vault().join(FILE_NAME).exists());
}

#[test]
fn a_feature_that_comes_while_it_is_open_stops_the_next_change() {
    let f = Fixture::new();
    let keys = f.create(&[&key_file(1)]).keys;
    f.open(&key_file(1)).unwrap().keys.set_ro_compat_for_test(UNKNOWN);
    let before = everything(&f.vault());
    assert!(matches!(keys.rotate(&default_alias()), Err(KeyringError::MayOnlyRead { .. })));
    let files =
        |all: Vec<FileSnapshot>| all.into_iter().map(|seen| (seen.path, seen.bytes)).collect::<Vec<_>>();
    assert!(files(before) == files(everything(&f.vault())), "something was written");
}

/// The bit is under the seal: nobody who can write the vault takes the leave, or gives it, unseen.
#[test]
fn a_forged_feature_opens_nothing() {
    for (bits, forged) in [(UNKNOWN, 0_u32), (0, UNKNOWN)] {
        let f = Fixture::new();
        f.create(&[&key_file(1)]).keys.set_ro_compat_for_test(bits);
        let mut bytes = f.read(FILE_NAME);
        bytes[10..14].copy_from_slice(&forged.to_le_bytes());
        f.write(FILE_NAME, &bytes);
        assert!(matches!(f.open(&key_file(1)), Err(KeyringError::Damaged { .. })));
    }
}
