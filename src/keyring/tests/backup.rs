//! Key backups: a lost keyring isn't a lost vault, and a good one isn't replaced unasked.
use super::*;
use crate::crypto::keys::TreeKey;
use crate::keyring::backup_file;
use crate::names::NameCipher;
use crate::unlock::Slots;

impl Fixture {
    fn import(&self, file: &Path, pass: &str, replace: Replace) -> Result<Imported, KeyringError> {
        self.import_backup(file, pass, &key_file(7), replacing(replace))
    }

    fn export(&self, opened: &Opened, name: &str) -> PathBuf {
        let file = self.dir.path().join(name);
        opened.export_for_test("backup", &file).unwrap();
        file
    }
}

/// Names in the root directory of the vault's tree, under a tree key.
fn add_names(f: &Fixture, key: &TreeKey, names: std::ops::Range<u32>) {
    std::fs::create_dir_all(f.vault().join("tree")).unwrap();
    for number in names {
        let lower = NameCipher::new(key).encrypt(key.root_dir_id(), format!("file {number}").as_bytes());
        f.write(&format!("tree/{}", std::str::from_utf8(lower.entry()).unwrap()), b"");
    }
}

fn last_event(f: &Fixture) -> serde_json::Value {
    let text = String::from_utf8(f.read("events.jsonl")).unwrap();
    serde_json::from_str(text.lines().last().unwrap()).unwrap()
}

#[test]
fn a_lost_or_damaged_keyring_comes_back_with_new_slots() {
    for damage in [None, Some(&b"garbage"[..])] {
        let f = Fixture::new();
        let opened = f.create(&[&key_file(1)]);
        opened.keys.rotate(&default_alias()).unwrap();
        let backing = opened.keys.current(&AliasName::default_alias()).unwrap();
        let (file, suite, dek) = (FileId::from_bytes([3; 16]), Suite::Aes256Gcm, Dek::generate());
        let wrapped = opened.keys.begin_wrap(&AliasName::default_alias()).unwrap().wrap(file, suite, &dek);
        let backup = f.export(&opened, "backup");
        let prev = f.read(PREV_NAME);
        match damage {
            None => std::fs::remove_file(f.vault().join(FILE_NAME)).unwrap(),
            Some(bytes) => f.write(FILE_NAME, bytes),
        }
        let imported = f.import(&backup, "backup", Replace::IfDamaged).unwrap();
        assert_eq!((imported.backup.keys, imported.backup.generation), (2, opened.keys.generation()));
        assert_eq!(imported.known, Some(opened.keys.generation()));
        assert_eq!(last_event(&f)["detail-type"], "Key Backup Imported");
        assert_eq!(imported.replaced.is_some(), damage.is_some());
        if let (Some(name), Some(bytes)) = (&imported.replaced, damage) {
            assert_eq!(f.read(name), bytes);
        }
        // It doesn't open under the new root key, so it can't stand in for the new keyring.
        let aside = format!("{PREV_NAME}.replaced-by-{}", imported.generation.0);
        assert!(!f.vault().join(PREV_NAME).exists());
        assert_eq!(f.read(&aside), prev, "kept for recovery by hand");
        assert!(super::super::is_set_aside(aside.as_bytes()));
        assert!(imported.replaced.is_none_or(|name| super::super::is_set_aside(name.as_bytes())));

        assert!(f.open(&key_file(1)).err().unwrap().is_wrong_secret());
        let recovery = Secret::Recovery(RecoveryKey::parse(imported.recovery.as_bytes()).unwrap());
        assert!(f.open(&recovery).is_ok());
        let keys = f.open(&key_file(7)).unwrap().keys;
        assert_eq!(keys.generation(), imported.generation);
        assert!(keys.unwrap(backing, file, suite, Format::CURRENT, &wrapped).is_ok());
        assert!(keys.verify_events().unwrap().is_good());
        keys.rotate(&default_alias()).unwrap();
    }
}

#[test]
fn the_backup_that_a_keyring_was_made_from_is_known_as_one_of_all_its_keys() {
    let f = Fixture::new();
    let opened = f.create(&[&key_file(1)]);
    let exported = f.export(&opened, "backup");
    let at = opened.keys.key_backup().unwrap().exported.unwrap().at;
    // As a kept backup has it, or one of a program that recorded nothing: no record of itself.
    let (vault, root) = (opened.keys.vault_id(), RootKey::generate());
    let mut slots = Slots::default();
    slots.push(Slot::seal(vault, &root, &passphrase("backup"), KDF, Timestamp(0)).unwrap());
    let body = first_body(vault, Timestamp(0)).unwrap();
    let silent = f.dir.path().join("silent");
    let header = Header::new(vault, Suite::Aes256Gcm);
    std::fs::write(&silent, backup_file::seal(&header, &body, &slots, &root).unwrap()).unwrap();
    opened.keys.rotate(&default_alias()).unwrap();
    let now = Timestamp(f.clock.0.fetch_add(86_400_000, Ordering::Relaxed) + 86_400_000);
    assert!(at < now);
    for (file, at) in [(&exported, at), (&silent, now)] {
        let imported = f.import(file, "backup", Replace::Always).unwrap();
        let keys = f.open(&key_file(7)).unwrap().keys;
        let known = keys.key_backup().unwrap();
        assert_eq!(imported.key_backup, known);
        let recorded = known.exported.expect("a backup is known of");
        assert_eq!(recorded.lag, Lag::default());
        assert_eq!(recorded.generation, imported.generation);
        assert_eq!(recorded.at, at, "when it was exported, if it says so");
        keys.rotate(&default_alias()).unwrap();
        let lag = keys.key_backup().unwrap().lag().unwrap();
        assert_eq!((lag.versions, lag.generations), (1, 1), "what is made later isn't in it");
    }
}

#[test]
fn a_backup_whose_keys_open_no_names_of_the_vault_is_refused_whoever_made_it() {
    let f = Fixture::new();
    let opened = f.create(&[&key_file(1)]);
    let backup = f.export(&opened, "backup");
    add_names(&f, &opened.keys.tree_key(), 0..3);
    // What hides or isn't a name says nothing.
    f.write("tree/.dir", b"");
    f.write("tree/.tmp.x", b"");
    // Who knows the id and whom the backup is for, as of an age backup, makes one with keys of their own.
    let (vault, root) = (opened.keys.vault_id(), RootKey::generate());
    let mut slots = Slots::default();
    slots.push(Slot::seal(vault, &root, &passphrase("backup"), KDF, Timestamp(0)).unwrap());
    let body = first_body(vault, Timestamp(0)).unwrap();
    let header = Header::new(vault, Suite::Aes256Gcm);
    let forged = f.dir.path().join("forged");
    std::fs::write(&forged, backup_file::seal(&header, &body, &slots, &root).unwrap()).unwrap();
    // Another vault's, where no keyring says which vault this is.
    let other = Fixture::new();
    let others = other.export(&other.create(&[&key_file(1)]), "backup");
    std::fs::remove_file(f.vault().join(FILE_NAME)).unwrap();
    let before = f.names();
    for wrong in [&forged, &others] {
        let refused = f.import(wrong, "backup", Replace::IfDamaged).err().unwrap();
        assert!(matches!(refused, KeyringError::Backup { .. }), "{refused}");
        for word in ["other keys", "3 of 3 names", "--unproven"] {
            assert!(refused.to_string().contains(word), "{refused}");
        }
        assert_eq!(f.names(), before, "nothing is made or set aside");
    }
    let imported = f.import(&backup, "backup", Replace::IfDamaged).unwrap();
    assert_eq!(imported.names, NamesOpened { opened: 3, strange: 0 });
    // Some damaged names don't keep a vault from its keys.
    f.write("tree/Thumbs", b"");
    add_names(&f, &TreeKey::generate(), 10..12);
    let imported = f.import(&backup, "backup", Replace::Always).unwrap();
    assert_eq!(imported.names, NamesOpened { opened: 3, strange: 3 });
    f.write("tree/and-one-more", b"");
    assert!(f.import(&backup, "backup", Replace::Always).is_err());
    let order = ImportOrder { replace: Replace::Always, maker: Maker::Any };
    f.import_backup(&backup, "backup", &key_file(7), order).unwrap();
}

#[test]
fn a_good_keyring_and_another_vaults_are_not_replaced() {
    let f = Fixture::new();
    let opened = f.create(&[&key_file(1)]);
    let backup = f.export(&opened, "backup");
    let before = f.read(FILE_NAME);
    let refused = f.import(&backup, "backup", Replace::IfDamaged).err().unwrap();
    assert!(matches!(refused, KeyringError::KeyringThere(_)));
    assert!(!refused.to_string().contains("  "), "one line, as one sentence: {refused}");
    assert!(f.import(&backup, "wrong", Replace::Always).err().unwrap().is_wrong_secret());
    let other = Fixture::new();
    let others = other.export(&other.create(&[&key_file(1)]), "backup");
    assert!(matches!(f.import(&others, "backup", Replace::Always), Err(KeyringError::Backup { .. })));
    assert_eq!(f.read(FILE_NAME), before);
    // An existing file is never overwritten by an export.
    let again = opened.export_for_test("x", &backup);
    assert!(matches!(again, Err(KeyringError::Backup { .. })));
    assert!(f.import(&backup, "backup", Replace::Always).is_ok());
    assert!(f.open(&key_file(7)).is_ok());
}

#[test]
fn an_older_backup_is_said_to_be_one_and_the_keyring_is_newer_than_what_was_seen() {
    let f = Fixture::new();
    let opened = f.create(&[&key_file(1)]);
    let backup = f.export(&opened, "backup");
    for _ in 0..3 {
        opened.keys.rotate(&default_alias()).unwrap();
    }
    let newest = opened.keys.generation();
    std::fs::remove_file(f.vault().join(FILE_NAME)).unwrap();
    // Also on a host that saw none of it: the log tells.
    std::fs::remove_dir_all(f.dir.path().join("state")).unwrap();
    let imported = f.import(&backup, "backup", Replace::IfDamaged).unwrap();
    assert_eq!((imported.known, imported.backup.generation), (Some(newest), Generation(2)));
    assert!(imported.generation > newest);
    let event = last_event(&f);
    assert_eq!(
        (&event["detail"]["backup-generation"], &event["detail"]["known-generation"]),
        (&2.into(), &newest.0.into())
    );
    assert!(f.open(&key_file(7)).is_ok(), "no rollback");
}

#[test]
fn every_flipped_byte_of_a_backup_is_refused_and_it_is_no_keyring() {
    let f = Fixture::new();
    let opened = f.create(&[&key_file(1)]);
    let backup = f.export(&opened, "backup");
    let good = std::fs::read(&backup).unwrap();
    std::fs::remove_file(f.vault().join(FILE_NAME)).unwrap();
    for at in (0..good.len()).step_by(23) {
        let mut bad = good.clone();
        bad[at] ^= 1;
        std::fs::write(&backup, bad).unwrap();
        assert!(f.import(&backup, "backup", Replace::IfDamaged).is_err(), "byte {at}");
    }
    std::fs::write(&backup, &good).unwrap();
    assert!(!f.vault().join(FILE_NAME).exists());
    f.write(FILE_NAME, &good);
    assert!(matches!(f.open(&passphrase("backup")), Err(KeyringError::Damaged { .. })));
}

#[test]
fn the_committed_backup_opens() {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let expected = std::fs::read_to_string(golden.join("key-backup.json")).unwrap();
    let expected: serde_json::Value = serde_json::from_str(&expected).unwrap();
    let f = Fixture::new();
    let pass = expected["passphrase"].as_str().unwrap();
    let imported = f.import(&golden.join("key-backup.bin"), pass, Replace::IfDamaged).unwrap();
    assert_eq!(expected["vault_id"], imported.backup.vault.to_string());
    assert_eq!(expected["generation"], imported.backup.generation.0);
    let keys = f.open(&key_file(7)).unwrap().keys.keys();
    let found: Vec<_> = keys.iter().map(|key| (key.id.to_string(), key.versions.len())).collect();
    let of = |key: &serde_json::Value| {
        (key["id"].as_str().unwrap().to_owned(), key["materials"].as_array().unwrap().len())
    };
    let wanted: Vec<_> = expected["keys"].as_array().unwrap().iter().map(of).collect();
    assert_eq!(found, wanted);
}
