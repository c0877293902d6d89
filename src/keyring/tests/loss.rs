//! An older keyring takes a newer one's place: no number is given out again, and what is found is merged.
use super::super::retire::{RetireOrder, Retirement};
use super::*;
use crate::crypto::keys::KeyMaterial;
use crate::header::{OtherSlot, SlotKeys};
use crate::ids::BackingKeyId;
use crate::keyring::format::model::Key;
use crate::keyring::rules::import::ImportType;
use crate::storage::Errno;
use crate::storage::fault::{After, Faults, Plan};

const DAY: i64 = 86_400_000;

impl Fixture {
    pub(super) fn accept(&self) -> Opened {
        self.accept_from(None)
    }

    fn accept_from(&self, next_version: Option<u32>) -> Opened {
        let next_version = next_version.map(KeyVersion);
        let options = OpenOptions { accept_rollback: true, next_version, ..self.options() };
        KeyringFile::open(&self.vault(), &key_file(1), &options).unwrap()
    }

    /// The keyring that is there now, as a file that is found again.
    pub(super) fn save_as(&self, name: &str) -> PathBuf {
        let file = self.dir.path().join(name);
        std::fs::write(&file, self.read(FILE_NAME)).unwrap();
        file
    }

    pub(super) fn found(&self, file: &Path) -> Looked {
        KeyringFile::look(file).unwrap().open(BackupOpener::Secret(&key_file(1)), &self.options()).unwrap()
    }

    /// Has the host remember another keyring than this vault has ever had.
    fn have_seen(&self, keys: &Keys, generation: Generation) {
        let (vault, path) = (keys.vault_id(), self.vault().canonicalize().unwrap());
        let head = line::Head { generation, hash: [9; 32] };
        let store = keys.store.lock();
        let root = store.state().root.commitment(vault);
        let found =
            store::seen_generations::Sighting { vault, path: &path, head, root, body: &store.state().body };
        self.options().host.accept(&found);
    }

    fn forget_host(&self) {
        std::fs::remove_dir_all(self.dir.path().join("state")).unwrap();
    }
}

fn lost(keys: &Keys) -> Vec<(u32, u32)> {
    keys.keys()[0].lost.iter().map(|range| (range.first.0, range.last.0)).collect()
}

fn state(keys: &Keys, version: u32) -> VersionState {
    keys.state_of(BackingKeyId { key: keys.keys()[0].id, version: KeyVersion(version) })
}

#[test]
fn an_accepted_rollback_never_gives_a_number_out_again() {
    let (f, keys, old) = Fixture::new().with_keyring();
    rotate_times(&keys, 3);
    f.write(FILE_NAME, &old);
    let opened = f.accept().keys;
    assert_eq!(lost(&opened), [(2, 4)]);
    assert_eq!((state(&opened, 1), state(&opened, 4)), (VersionState::Current, VersionState::Lost));
    assert_eq!(state(&opened, 5), VersionState::UnknownVersion);
    // It is saved already: the flag isn't needed again, and an old copy of it is one again.
    let again = f.open(&key_file(1)).unwrap().keys;
    assert_eq!((lost(&again), again.generation()), (vec![(2, 4)], Generation(5)));
    assert_eq!(rotate(&again), 5);
    assert!(matches!(opened.rotate(&default_alias()), Ok(rotation) if rotation.new == KeyVersion(6)));
    f.write(FILE_NAME, &old);
    assert!(matches!(f.open(&key_file(1)), Err(KeyringError::RolledBack { .. })));
    let types = std::fs::read_to_string(f.vault().join("events.jsonl")).unwrap();
    assert!(types.contains("Key Versions Lost") && types.contains("Keyring Rollback Accepted"));
    assert!(again.verify_events().unwrap().is_good());
}

#[test]
fn a_lost_version_is_capped_and_next_version_says_more_where_nothing_is_known() {
    let (f, keys, old) = Fixture::new().with_keyring();
    f.have_seen(&keys, Generation(1_000_000));
    f.write(FILE_NAME, &old);
    let opened = f.accept_from(Some(3)).keys;
    assert_eq!((lost(&opened), opened.generation()), (vec![(2, 4097)], Generation(1_000_001)));
    // A fork: how far the other one went, nothing tells.
    for (next, last) in [(None, 65), (Some(1000), 999), (Some(2), 0)] {
        let f = Fixture::new();
        let keys = f.create(&[&key_file(1)]).keys;
        f.forget_host();
        f.have_seen(&keys, Generation(1));
        assert!(matches!(f.open(&key_file(1)), Err(KeyringError::Forked { .. })));
        let wanted = if last == 0 { vec![] } else { vec![(2, last)] };
        assert_eq!(lost(&f.accept_from(next).keys), wanted, "{next:?}");
        assert!(f.open(&key_file(1)).is_ok());
    }
}

#[test]
fn the_log_is_evidence_only_where_its_macs_are_the_vaults() {
    let (f, keys, old) = Fixture::new().with_keyring();
    rotate_times(&keys, 70);
    f.forget_host();
    f.write(FILE_NAME, &old);
    // Nobody has to accept anything here, and the log knows.
    let opened = f.open(&key_file(1)).unwrap().keys;
    assert_eq!(lost(&opened), [(2, 71)]);
    assert_eq!(f.read(FILE_NAME), old, "nothing is saved by opening");
    assert_eq!(rotate(&opened), 72);
    assert_eq!(opened.generation(), Generation(72));
    assert_eq!(lost(&f.open(&key_file(1)).unwrap().keys), [(2, 71)]);

    // A line that someone else made proves nothing, and a copied one no more than it did.
    let log = String::from_utf8(f.read("events.jsonl")).unwrap();
    let last = log.lines().last().unwrap();
    let forged = last.replace("\"generation\":72", "\"generation\":4000000");
    assert_ne!(forged, last);
    for tail in [forged.clone(), format!("{last}\n{forged}")] {
        f.write("events.jsonl", format!("{log}{tail}\n").as_bytes());
        assert_eq!(lost(&f.open(&key_file(1)).unwrap().keys), [(2, 71)]);
    }
}

#[test]
fn opening_an_old_keyring_without_saving_it_leaves_a_host_that_knows_nothing_as_it_is() {
    let (f, keys, old) = Fixture::new().with_keyring();
    rotate_times(&keys, 3);
    f.forget_host();
    f.write(FILE_NAME, &old);
    // The log may have been copied earlier than the files: 64 at least, each time until it is saved.
    for _ in 0..2 {
        assert_eq!(lost(&f.open(&key_file(1)).unwrap().keys), [(2, 65)]);
    }
    let opened = f.open(&key_file(1)).unwrap().keys;
    assert_eq!(rotate(&opened), 66);
    assert_eq!(lost(&f.open(&key_file(1)).unwrap().keys), [(2, 65)]);
}

#[test]
fn whatever_stops_an_accepted_rollback_leaves_the_evidence() {
    for point in 0..300 {
        for after in [After::Recover, After::Stop] {
            let (f, keys, old) = Fixture::new().with_keyring();
            rotate_times(&keys, 3);
            drop(keys);
            f.write(FILE_NAME, &old);
            let faults = Faults::new(Plan { skip: point, only: None, errno: Errno::IO, after });
            let options = OpenOptions { accept_rollback: true, ..f.options() };
            let scope = faults.on_this_thread();
            let opened = KeyringFile::open(&f.vault(), &key_file(1), &options);
            if after == After::Recover
                && let Ok(opened) = &opened
            {
                assert!(opened.keys.rotate(&default_alias()).is_err() || rotate(&opened.keys) > 5, "{point}");
            }
            drop((opened, scope));
            if !faults.fired() {
                assert!(point > 5, "{point}");
                return;
            }
            let opened = f.accept().keys;
            let first = lost(&opened)[0];
            assert!(first.0 == 2 && first.1 >= 4, "{point} {after:?}: {first:?}");
            assert!(rotate(&opened) > 4, "{point} {after:?}");
        }
    }
    panic!("an opening has fewer steps");
}

#[test]
fn a_save_that_never_took_place_is_no_loss() {
    let f = Fixture::new();
    let keys = f.create(&[&key_file(1)]).keys;
    let plan = Plan {
        skip: 0,
        only: Some(crate::storage::fault::Op::Pwrite),
        errno: Errno::IO,
        after: After::Recover,
    };
    for skip in 1..4 {
        let faults = Faults::new(Plan { skip, ..plan });
        let scope = faults.on_this_thread();
        let failed = keys.rotate(&default_alias()).is_err();
        drop(scope);
        if failed {
            assert_eq!(lost(&f.open(&key_file(1)).unwrap().keys), [], "{skip}");
        }
    }
    rotate(&keys);
    assert_eq!(lost(&f.open(&key_file(1)).unwrap().keys), []);
}

/// A change that deletes something is saved twice. If only the second save fails, the first one is there, and was used.
#[test]
fn a_change_whose_second_save_failed_counts_as_one_that_took_place() {
    let mut second = 0;
    for skip in 0..200 {
        let f = Fixture::new();
        let Opened { keys, proof } = f.create(&[&key_file(1), &key_file(2)]);
        let slot = keys.prove(&key_file(2)).unwrap().slot();
        let anchor = keys.store.lock().state().body.event_anchor;
        let faults = Faults::new(Plan { skip, only: None, errno: Errno::IO, after: After::Recover });
        let scope = faults.on_this_thread();
        let failed = keys.remove_slot(&proof, slot).is_err();
        drop((keys, scope));
        if !faults.fired() {
            assert!(second > 3, "{second}");
            return;
        }
        let opened = f.open(&key_file(1)).unwrap().keys;
        if failed && opened.generation() > Generation(1) {
            second += 1;
            let proven = opened.events().changes_after(anchor).newest;
            assert!(proven >= Some(Generation(2)), "{skip}: {proven:?}");
        }
    }
    panic!("a change has fewer steps");
}

#[test]
fn an_import_of_an_older_backup_marks_what_may_be_lost() {
    for (host, next, last) in [(true, None, 4), (true, Some(3), 4), (false, None, 65), (false, Some(100), 99)]
    {
        let f = Fixture::new();
        let opened = f.create(&[&key_file(1)]);
        let backup = f.dir.path().join("backup");
        opened.export_for_test("backup", &backup).unwrap();
        rotate_times(&opened.keys, 3);
        if !host {
            f.forget_host();
        }
        let options = OpenOptions { next_version: next.map(KeyVersion), ..f.options() };
        let (new, order) = (key_file(1), replacing(Replace::Always));
        let imported = import_backup_at(&f.vault(), &backup, "backup", &new, order, &options).unwrap();
        assert_eq!(imported.lost, last - 1);
        let keys = f.open(&key_file(1)).unwrap().keys;
        assert_eq!((lost(&keys), rotate(&keys)), (vec![(2, last)], last + 1));
    }
    // A host that knows the backup to be the newest one has lost nothing.
    let f = Fixture::new();
    let opened = f.create(&[&key_file(1)]);
    let backup = f.dir.path().join("backup");
    opened.export_for_test("backup", &backup).unwrap();
    f.import_backup(&backup, "backup", &key_file(1), replacing(Replace::Always)).unwrap();
    let keys = f.open(&key_file(1)).unwrap().keys;
    assert_eq!((lost(&keys), rotate(&keys)), (vec![], 2));
}

#[test]
fn a_merge_fills_what_was_lost_and_nothing_that_was_given_up() {
    let (f, keys, old) = Fixture::new().with_keyring();
    rotate_times(&keys, 3);
    let made = keys.create_key_for_test("alias/made".parse().unwrap());
    let newest = f.save_as("newest");
    f.write(FILE_NAME, &old);
    let keys = f.accept().keys;
    let key = keys.keys()[0].id;
    assert_eq!(lost(&keys), [(2, 5)], "a key was made in one generation");
    assert_eq!(rotate(&keys), 6);
    keys.retire(&RetireOrder { key, below: KeyVersion(3), what: Retirement::Trim }, None).unwrap();
    let merged = keys.merge(&f.found(&newest).keys).unwrap();
    let versions: Vec<_> = merged.versions.iter().filter(|id| id.key == key).map(|id| id.version.0).collect();
    assert_eq!((versions, merged.keys.clone()), (vec![3, 4], vec![made]));
    assert_eq!(lost(&keys), [(5, 5)]);
    let states = [1, 2, 3, 4, 5, 6].map(|version| state(&keys, version).to_string());
    let retired = "unusable (missing material)";
    assert_eq!(states, [states[0].as_str(), retired, "old", "old", "lost", "current"]);
    assert_eq!(keys.current(&"alias/made".parse().unwrap()).unwrap().key, made);
    // Once more there is nothing to do, and nothing is saved.
    let before = f.read(FILE_NAME);
    let again = keys.merge(&f.found(&newest).keys).unwrap();
    assert!(again.versions.is_empty() && again.keys.is_empty());
    assert_eq!(f.read(FILE_NAME), before);
    // A key that was deleted here doesn't come back.
    keys.schedule_deletion(made, Some(7), None).unwrap();
    f.clock.0.fetch_add(8 * DAY, Ordering::Relaxed);
    keys.delete_due(&keys.pending_deletions()[0]).unwrap();
    let again = keys.merge(&f.found(&newest).keys).unwrap();
    assert_eq!((again.keys, again.left_out), (vec![], vec![made]));
    let opened = f.open(&key_file(1)).unwrap().keys;
    assert_eq!(opened.keys().len(), 2);
    assert!(opened.verify_events().unwrap().is_good());
}

/// What the found keyring had recorded of a key's untagged files comes with the key: its dated alias has come to it later.
#[test]
fn a_key_that_a_merge_brings_back_has_its_record_of_untagged_files() {
    let f = Fixture::new();
    let keys = f.create(&[&key_file(1)]).keys;
    let (old, alias) = (f.read(FILE_NAME), "alias/made".parse::<AliasName>().unwrap());
    let made = keys.create_key_for_test(alias.clone());
    let new = keys.replace_key(&alias).unwrap().new;
    let newest = f.save_as("newest");
    f.write(FILE_NAME, &old);
    f.accept().keys.merge(&f.found(&newest).keys).unwrap();
    let keys = f.open(&key_file(1)).unwrap().keys;
    let backing = BackingKeyId { key: made, version: KeyVersion(1) };
    let untagged = SlotKeys { backing, other: OtherSlot::Empty, tag: None };
    let followed = keys.follow(&untagged);
    assert_eq!(followed.belonging, Belonging::Adopted(keys.alias_id(&alias).unwrap().0));
    assert_eq!(followed.target.key, new);
}

#[test]
fn a_merge_without_a_rotation_in_between_brings_the_current_version_back() {
    let (f, keys, old) = Fixture::new().with_keyring();
    rotate_times(&keys, 2);
    let newest = f.save_as("newest");
    f.write(FILE_NAME, &old);
    let keys = f.accept().keys;
    let merged = keys.merge(&f.found(&newest).keys).unwrap();
    assert_eq!((state(&keys, 3), merged.still_lost), (VersionState::Current, 0));
    assert_eq!(rotate(&keys), 4);
    // With no gap left, a program that knows none can open it.
    assert_eq!(f.read(FILE_NAME)[6..10], [0; 4]);
}

/// Files can have been written under them since, which nobody has counted.
#[test]
fn a_merge_retires_nothing_and_says_what_was_retired() {
    let f = Fixture::new();
    let keys = f.create(&[&key_file(1)]).keys;
    rotate(&keys);
    let old = f.read(FILE_NAME);
    rotate(&keys);
    let key = keys.keys()[0].id;
    keys.retire(&RetireOrder { key, below: KeyVersion(3), what: Retirement::Trim }, None).unwrap();
    let newest = f.save_as("newest");
    f.write(FILE_NAME, &old);
    let keys = f.accept().keys;
    let wrapped_since = BackingKeyId { key, version: KeyVersion(2) };
    let retired = [BackingKeyId { key, version: KeyVersion(3) }];
    let merged = keys.merge(&f.found(&newest).keys).unwrap();
    assert_eq!((merged.retired_there, keys.keys()[0].min_decryption), (retired.to_vec(), KeyVersion(1)));
    assert_eq!((keys.usable(wrapped_since), state(&keys, 3)), (Ok(()), VersionState::Current));
    // Told also where there is nothing to merge; done here as well, it is no difference any more.
    assert_eq!(keys.merge(&f.found(&newest).keys).unwrap().retired_there, retired);
    keys.retire(&RetireOrder { key, below: KeyVersion(3), what: Retirement::Retire }, None).unwrap();
    assert_eq!(keys.merge(&f.found(&newest).keys).unwrap().retired_there, []);
    // Nor does it open what is retired here alone.
    f.write("old", &old);
    keys.merge(&f.found(&f.vault().join("old")).keys).unwrap();
    assert_eq!(keys.keys()[0].min_decryption, KeyVersion(3));
}

/// Two keyrings are lost, one after the other. The second, found again, doesn't have what was lost with the first.
#[test]
fn a_merge_keeps_lost_what_the_found_keyring_lacks_too() {
    let (f, keys, old) = Fixture::new().with_keyring();
    rotate_times(&keys, 2);
    let first_made = keys.create_key_for_test("alias/first".parse().unwrap());
    let first = f.save_as("first");
    f.write(FILE_NAME, &old);
    let keys = f.accept().keys;
    let recovered = f.read(FILE_NAME);
    let second_made = keys.create_key_for_test("alias/second".parse().unwrap());
    let second = f.save_as("second");
    f.write(FILE_NAME, &recovered);
    let keys = f.accept().keys;
    assert_eq!(keys.merge(&f.found(&second).keys).unwrap().keys, [second_made]);
    assert_eq!(state(&keys, 3), VersionState::Lost);
    let merged = keys.merge(&f.found(&first).keys).unwrap();
    assert_eq!((merged.keys, merged.left_out), (vec![first_made], vec![]));
    assert_eq!(state(&keys, 3), VersionState::Current);
}

#[test]
fn a_number_with_two_materials_is_refused() {
    let (f, keys, old) = Fixture::new().with_keyring();
    rotate(&keys);
    let newest = f.save_as("newest");
    // As a program did that knew no lost versions.
    f.write(FILE_NAME, &old);
    f.forget_host();
    std::fs::remove_file(f.vault().join("events.jsonl")).unwrap();
    let keys = f.open(&key_file(1)).unwrap().keys;
    assert_eq!(rotate(&keys), 2);
    let before = f.read(FILE_NAME);
    let refused = keys.merge(&f.found(&newest).keys).unwrap_err();
    assert!(matches!(&refused, KeyringError::TwoMaterials(id) if id.version == KeyVersion(2)), "{refused}");
    assert_eq!(f.read(FILE_NAME), before);
    let other = Fixture::new();
    let others = other.create(&[&key_file(1)]).keys;
    assert!(matches!(keys.merge(&others), Err(KeyringError::OtherVault { .. })));
}

#[test]
fn imported_material_that_may_be_lost_gets_another_number() {
    let f = Fixture::new();
    let keys = f.create(&[&key_file(1)]).keys;
    let id = keys
        .change(Saves::Once, |draft| {
            let key = Key::external("", Timestamp(0));
            let id = key.id;
            draft.body.keys.push(key);
            Ok(id)
        })
        .unwrap();
    let old = f.read(FILE_NAME);
    let import = |keys: &Keys, byte| {
        keys.change(Saves::Once, |draft| {
            let key = draft.body.key_mut(id).unwrap();
            key.import(
                KeyMaterial::from_bytes(&[byte; 32]),
                Some(ImportType::Existing).filter(|_| false),
                None,
                Timestamp(0),
            )
        })
        .unwrap();
    };
    import(&keys, 1);
    let newest = f.save_as("newest");
    f.write(FILE_NAME, &old);
    let keys = f.accept().keys;
    let of = |keys: &Keys| keys.keys().into_iter().find(|key| key.id == id).unwrap();
    assert_eq!((of(&keys).current, of(&keys).lost[0].first), (KeyVersion(3), KeyVersion(1)));
    // Found again before anything else is imported, it is what it was.
    let merged = keys.merge(&f.found(&newest).keys).unwrap();
    assert_eq!((merged.versions.len(), of(&keys).current), (1, KeyVersion(1)));
    let usable = BackingKeyId { key: id, version: KeyVersion(1) };
    assert_eq!(keys.usable(usable), Ok(()));
    assert!(keys.of_key(&id.into(), |key| key.version(key.current).is_some()).unwrap());
}
