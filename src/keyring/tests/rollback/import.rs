//! What hosts remember of a vault whose keyring was imported from a key backup.
use super::*;

/// A vault with a rotation after the backup.
struct Lost {
    f: Fixture,
    backup: PathBuf,
    /// The keyring of the line before the import, and its root key.
    old: Vec<u8>,
    old_root: Arc<RootKey>,
}

impl Lost {
    fn new() -> Self {
        let f = Fixture::new();
        let opened = f.create(&[&key_file(1)]);
        let backup = f.beside("backup");
        opened.export_for_test("backup", &backup).unwrap();
        rotate(&opened.keys);
        let old = f.read(FILE_NAME);
        let old_root = root_of(&old, &key_file(1));
        Self { f, backup, old, old_root }
    }

    fn import(&self, vault: &Path) -> Imported {
        let (new, order) = (key_file(1), replacing(Replace::Always));
        import_backup_at(vault, &self.backup, "backup", &new, order, &self.f.options()).unwrap()
    }

    /// The keyring of before and what its secret makes of it, of generations below and above those of the import.
    fn keyrings_of_before(&self) -> Vec<Vec<u8>> {
        let forged = [3, 1000].map(|n| self.f.forged(&self.old, &self.old_root, Generation(n)));
        forged.into_iter().chain([self.old.clone()]).collect()
    }

    fn assert_refused_at(&self, vault: &Path, keyrings: &[Vec<u8>]) {
        let good = std::fs::read(vault.join(FILE_NAME)).unwrap();
        for keyring in keyrings {
            std::fs::write(vault.join(FILE_NAME), keyring).unwrap();
            let refused = self.f.open_at(vault, false).err().unwrap();
            assert!(refused.is_rollback(), "{refused}");
        }
        std::fs::write(vault.join(FILE_NAME), good).unwrap();
        self.f.open_at(vault, false).unwrap();
    }
}

#[test]
fn an_imported_keyring_is_the_vaults_wherever_that_is_moved_or_copied() {
    let lost = Lost::new();
    let f = &lost.f;
    let imported = lost.import(&f.vault());
    assert_eq!(imported.copy_of, None);
    let of_before = lost.keyrings_of_before();
    lost.assert_refused_at(&f.vault(), &of_before);
    // Made after the import: as a copy of any vault, it is read and not changed.
    let copy = f.copy("copy");
    let read = f.open_at(&copy, false).unwrap();
    assert!(matches!(read.keys.rotate(&default_alias()), Err(KeyringError::Copy { .. })));
    lost.assert_refused_at(&copy, &of_before);
    std::fs::remove_dir_all(&copy).unwrap();
    let moved = f.beside("moved");
    std::fs::rename(f.vault(), &moved).unwrap();
    rotate(&f.open_at(&moved, false).unwrap().keys);
    let at_moved: Vec<_> =
        of_before.iter().cloned().chain([std::fs::read(moved.join(PREV_NAME)).unwrap()]).collect();
    lost.assert_refused_at(&moved, &at_moved);
    // The recovery key that the import made replaces the passphrase there, and at the next place too.
    let recovery = Secret::Recovery(RecoveryKey::parse(imported.recovery.as_bytes()).unwrap());
    let by_recovery = KeyringFile::open(&moved, &recovery, &f.options()).unwrap();
    by_recovery.keys.add_slot(&by_recovery.proof, &NewSlot::of(&key_file(5), KDF)).unwrap();
    drop(by_recovery);
    std::fs::rename(&moved, f.vault()).unwrap();
    rotate(&KeyringFile::open(&f.vault(), &key_file(5), &f.options()).unwrap().keys);
}

#[test]
fn a_vault_that_was_moved_before_an_import_is_known_by_what_was_imported() {
    let lost = Lost::new();
    let f = &lost.f;
    let moved = f.beside("moved");
    std::fs::rename(f.vault(), &moved).unwrap();
    std::fs::remove_file(moved.join(FILE_NAME)).unwrap();
    assert_eq!(lost.import(&moved).copy_of, None);
    std::fs::rename(&moved, f.vault()).unwrap();
    rotate(&f.open(&key_file(1)).unwrap().keys);
    lost.assert_refused_at(&f.vault(), &lost.keyrings_of_before());
}

#[test]
fn another_vault_where_this_one_was_does_not_make_it_a_copy() {
    let lost = Lost::new();
    let f = &lost.f;
    let moved = f.beside("moved");
    std::fs::rename(f.vault(), &moved).unwrap();
    std::fs::create_dir(f.vault()).unwrap();
    f.create(&[&key_file(2)]);
    assert_eq!(lost.import(&moved).copy_of, None);
}

#[test]
fn an_import_in_place_ends_what_was_accepted_there_before() {
    let lost = Lost::new();
    let f = &lost.f;
    // An older keyring was put back at the vault's path and accepted, and continued with.
    f.write(FILE_NAME, &f.read(PREV_NAME));
    rotate(&f.open_at(&f.vault(), true).unwrap().keys);
    let accepted = f.read(FILE_NAME);
    lost.import(&f.vault());
    let moved = f.beside("moved");
    std::fs::rename(f.vault(), &moved).unwrap();
    rotate(&f.open_at(&moved, false).unwrap().keys);
    std::fs::rename(&moved, f.vault()).unwrap();
    lost.assert_refused_at(&f.vault(), &[accepted, lost.old.clone()]);
}

#[test]
fn an_import_into_a_copy_leaves_the_vault_as_it_is() {
    let lost = Lost::new();
    let f = &lost.f;
    let copy = f.copy("copy");
    let there = f.vault().canonicalize().unwrap();
    assert_eq!(lost.import(&copy).copy_of, Some(there.clone()));
    rotate(&f.open_at(&copy, false).unwrap().keys);
    let of_the_copy = std::fs::read(copy.join(FILE_NAME)).unwrap();
    rotate(&f.open(&key_file(1)).unwrap().keys);
    lost.assert_refused_at(&f.vault(), &[of_the_copy, lost.old.clone()]);
    // The keyring of the vault is lost, and the backup tried on another copy first.
    let (second, good) = (f.copy("second"), f.read(FILE_NAME));
    std::fs::remove_file(f.vault().join(FILE_NAME)).unwrap();
    assert_eq!(lost.import(&second).copy_of, Some(there));
    f.write(FILE_NAME, &good);
    rotate(&f.open(&key_file(1)).unwrap().keys);
    // Then on the vault itself, which may be moved afterwards.
    assert_eq!(lost.import(&f.vault()).copy_of, None);
    std::fs::rename(f.vault(), f.beside("moved")).unwrap();
    rotate(&f.open_at(&f.beside("moved"), false).unwrap().keys);
}

#[test]
fn a_second_host_asks_once_at_each_path_for_what_was_imported_on_another() {
    let lost = Lost::new();
    let f = &lost.f;
    let other = OpenOptions { host: SeenGenerations::at(f.beside("another host")), ..f.options() };
    let accept = OpenOptions { accept_rollback: true, ..other.clone() };
    KeyringFile::open(&f.vault(), &key_file(1), &other).unwrap();
    lost.import(&f.vault());
    rotate(&f.open(&key_file(1)).unwrap().keys);
    for path in ["vault", "moved"].map(|name| f.beside(name)) {
        if !path.exists() {
            std::fs::rename(f.vault(), &path).unwrap();
        }
        let refused = KeyringFile::open(&path, &key_file(1), &other).err().unwrap();
        assert!(matches!(refused, KeyringError::OtherRootKey { .. }), "{refused}");
        KeyringFile::open(&path, &key_file(1), &accept).unwrap();
        rotate(&KeyringFile::open(&path, &key_file(1), &other).unwrap().keys);
        // The host that imported it takes it unasked.
        rotate(&f.open_at(&path, false).unwrap().keys);
    }
}
