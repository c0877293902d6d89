use std::os::unix::fs::{MetadataExt, PermissionsExt};

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::place::{self, Place};
use super::writer::{KeptInfo, KeyBackupInfo, Lag};
use crate::ids::{AliasName, KeyVersion, Timestamp, VaultId};
use crate::keyring::error::KeyringError;
use crate::keyring::format::body;
use crate::keyring::format::header::{self, Kind};
use crate::keyring::format::key_backups::Kept;
use crate::keyring::keys::Keys;
use crate::keyring::rules::key_refs::KeyRef;
use crate::keyring::testing::{Fixture, KDF, key_file, passphrase, replacing, seal_under};
use crate::keyring::{BackupOpener, BackupSeal, KeyringFile, Opened, Replace, SealedBackup};
use crate::storage::Errno;
use crate::storage::fault::{After, Faults, Plan};

fn seal(keys: &Keys) -> BackupSeal {
    BackupSeal::under_passphrase(keys.vault_id(), &passphrase("backup"), KDF, keys.now()).unwrap()
}

fn keep(opened: &Opened, to: &Path) -> Result<KeptInfo, KeyringError> {
    opened.keys.keep_backup(&opened.proof, to, seal(&opened.keys))
}

fn rotate(keys: &Keys) -> KeyVersion {
    keys.rotate(&KeyRef::Alias(AliasName::default_alias())).unwrap().new
}

fn lag(versions: u64, generations: u64) -> Option<Lag> {
    Some(Lag { versions, generations })
}

/// The newest version of the default key in the backup, which opens with its passphrase alone.
fn held_in(f: &Fixture, backup: &Path) -> KeyVersion {
    let pass = passphrase("backup");
    let looked = KeyringFile::look(backup).unwrap().open(BackupOpener::Secret(&pass), &f.options()).unwrap();
    looked.keys.current(&AliasName::default_alias()).unwrap().version
}

#[test]
fn a_kept_backup_has_each_change_and_opens_with_its_passphrase_alone() {
    let f = Fixture::new();
    let opened = f.create(&[&key_file(1)]);
    let to = f.dir.path().join("kept");
    let info = keep(&opened, &to).unwrap();
    assert_eq!((info.problem, info.lag, info.age), (None, lag(0, 0), false));
    assert_eq!(std::fs::metadata(&to).unwrap().permissions().mode() & 0o777, 0o600);
    // Held, so that no other file gets its inode number.
    let before = std::fs::File::open(&to).unwrap();
    let slots = KeyringFile::read_header(&f.vault()).unwrap().slots.list();
    for _ in 0..3 {
        let version = rotate(&opened.keys);
        assert_eq!(held_in(&f, &to), version);
    }
    opened.keys.create_key_for_test("alias/new".parse().unwrap());
    assert_eq!(opened.keys.key_backup().unwrap().lag(), lag(0, 0));
    let (now, before) = (std::fs::metadata(&to).unwrap(), before.metadata().unwrap());
    assert_ne!(now.ino(), before.ino(), "in a new file each time");
    // A vault that has lost its keyring gets it back, and keeps nothing by itself.
    let newest = opened.keys.generation();
    std::fs::remove_file(f.vault().join("keyring")).unwrap();
    let imported = f.import_backup(&to, "backup", &key_file(7), replacing(Replace::IfDamaged)).unwrap();
    assert_eq!((imported.backup.generation, imported.lost), (newest, 0));
    let again = f.open(&key_file(7)).unwrap();
    assert_eq!(again.keys.keys().len(), 3);
    assert_eq!(again.keys.key_backup().unwrap().kept, []);
    assert_eq!(slots.len(), 1, "the backup has none of the vault's slots");
}

#[test]
fn nothing_else_is_overwritten() {
    let f = Fixture::new();
    let opened = f.create(&[&key_file(1)]);
    let at = |name: &str| f.dir.path().join(name);
    let foreign = Fixture::new();
    let theirs = foreign.create(&[&key_file(1)]);
    let other_vault = at("other-vault");
    theirs.export_for_test("b", &other_vault).unwrap();
    let own_export = at("own-export");
    opened.export_for_test("b", &own_export).unwrap();
    std::fs::write(at("letter"), b"dear diary").unwrap();
    std::os::unix::fs::symlink(at("letter"), at("link")).unwrap();
    std::os::unix::fs::symlink(at("none"), at("dangling")).unwrap();
    let generation = opened.keys.generation();
    // At the beginning.
    for name in ["letter", "link", "dangling", "other-vault", "own-export", "nowhere/kept"] {
        let error = keep(&opened, &at(name)).unwrap_err();
        assert!(matches!(error, KeyringError::Backup { .. }), "{name}: {error}");
    }
    assert!(keep(&opened, &f.vault().join("kept")).unwrap_err().to_string().contains("lost with it"));
    assert_eq!(opened.keys.generation(), generation, "nothing was changed");
    assert!(!at("none").exists());
    // And later.
    std::fs::write(at("kept"), b"").unwrap();
    assert_eq!(keep(&opened, &at("kept")).unwrap().problem, None, "an empty file is none");
    for name in ["letter", "link", "dangling", "other-vault", "own-export"] {
        std::fs::rename(at("kept"), at("aside")).unwrap();
        match at(name).read_link() {
            Ok(target) => std::os::unix::fs::symlink(target, at("kept")).unwrap(),
            Err(_) => drop(std::fs::copy(at(name), at("kept")).unwrap()),
        }
        let there = std::fs::read(at("kept")).ok();
        rotate(&opened.keys);
        let kept = &opened.keys.key_backup().unwrap().kept[0];
        assert!(kept.problem.is_some() && kept.lag.is_none(), "{name}: {kept:?}");
        assert_eq!(std::fs::read(at("kept")).ok(), there, "{name}");
        assert!(!at("none").exists());
        std::fs::remove_file(at("kept")).unwrap();
        std::fs::rename(at("aside"), at("kept")).unwrap();
        rotate(&opened.keys);
        assert_eq!(opened.keys.key_backup().unwrap().kept[0].problem, None, "{name}");
    }
    let damaged = [&std::fs::read(at("kept")).unwrap()[..], b"x"].concat();
    std::fs::write(at("kept"), damaged).unwrap();
    rotate(&opened.keys);
    assert!(opened.keys.key_backup().unwrap().kept[0].problem.as_ref().unwrap().contains("damaged"));
}

#[test]
fn a_disk_that_is_gone_stops_no_change_and_is_caught_up_with() {
    let f = Fixture::new();
    let opened = f.create(&[&key_file(1)]);
    let (disk, away) = (f.dir.path().join("disk"), f.dir.path().join("away"));
    std::fs::create_dir(&disk).unwrap();
    keep(&opened, &disk.join("kept")).unwrap();
    std::fs::rename(&disk, &away).unwrap();
    for _ in 0..2 {
        rotate(&opened.keys);
    }
    let known = opened.keys.key_backup().unwrap();
    assert_eq!(known.lag(), lag(2, 2), "what it held is remembered");
    assert!(known.kept[0].problem.as_ref().unwrap().contains("is its disk mounted?"));
    // Another process has no memory of it.
    let again = f.open(&key_file(1)).unwrap().keys;
    assert_eq!(again.key_backup().unwrap().lag(), None);
    // A symlink in the place of the directory leads nowhere else.
    std::os::unix::fs::symlink(&away, &disk).unwrap();
    again.write_kept_backups();
    assert!(again.key_backup().unwrap().kept[0].problem.as_ref().unwrap().contains("symlink"));
    std::fs::remove_file(&disk).unwrap();
    std::fs::rename(&away, &disk).unwrap();
    again.write_kept_backups();
    assert_eq!(
        (again.key_backup().unwrap().lag(), held_in(&f, &disk.join("kept"))),
        (lag(0, 0), KeyVersion(3))
    );
}

#[test]
fn a_place_whose_mount_point_is_no_mount_is_not_written() {
    let f = Fixture::new();
    let opened = f.create(&[&key_file(1)]);
    let to = f.dir.path().join("kept");
    let (path, mount) = place::resolve(&to).unwrap();
    assert!(path.starts_with("/") && mount > 0, "it lies under some mount");
    let whole = Kept {
        root: Arc::new(crate::crypto::keys::RootKey::generate()),
        begun: Timestamp(0),
        mount: f.dir.path().as_os_str().len(),
        to: path,
        slots: Default::default(),
    };
    let error = Place::open(opened.keys.vault_id(), &whole).err().unwrap();
    assert!(error.contains("nothing is mounted at"), "{error}");
    assert!(Place::open(opened.keys.vault_id(), &Kept { mount, ..whole }).is_ok());
}

/// Each call that writes at the backup's place fails once, or is the last: the change of the keyring is made, the backup is
/// the old one or the new one, and the next try makes it the new one.
#[test]
fn whatever_call_fails_the_backup_is_whole_and_the_change_is_made() {
    let calls = {
        let f = Fixture::new();
        let opened = f.create(&[&key_file(1)]);
        keep(&opened, &f.dir.path().join("kept")).unwrap();
        opened.keys.keep_backups_in_background(Box::new(|| {}));
        rotate(&opened.keys);
        let faults = Faults::record();
        let scope = faults.on_this_thread();
        opened.keys.write_kept_backups();
        drop(scope);
        faults.calls()
    };
    assert!(calls >= 5, "{calls}: create, write, sync, rename, sync");
    for (errno, after) in [(Errno::NOSPC, After::Recover), (Errno::IO, After::Stop)] {
        for skip in 0..calls {
            let f = Fixture::new();
            let opened = f.create(&[&key_file(1)]);
            let to = f.dir.path().join("kept");
            keep(&opened, &to).unwrap();
            // The writer is called by hand.
            opened.keys.keep_backups_in_background(Box::new(|| {}));
            let (old, new) = (held_in(&f, &to), rotate(&opened.keys));
            let faults = Faults::new(Plan { skip, only: None, errno, after });
            let scope = faults.on_this_thread();
            opened.keys.write_kept_backups();
            drop(scope);
            let at = format!("{errno:?} {after:?} {skip}");
            assert!(faults.fired(), "{at}");
            assert!([old, new].contains(&held_in(&f, &to)), "{at}");
            // The next process, or this one.
            let keys = if skip % 2 == 0 { f.open(&key_file(1)).unwrap().keys } else { opened.keys };
            keys.write_kept_backups();
            assert_eq!((held_in(&f, &to), keys.key_backup().unwrap().lag()), (new, lag(0, 0)), "{at}");
        }
    }
}

#[test]
fn what_a_killed_writer_left_is_removed_once_it_is_old_and_only_its_own() {
    let f = Fixture::new();
    let opened = f.create(&[&key_file(1)]);
    let disk = f.dir.path().join("disk");
    std::fs::create_dir(&disk).unwrap();
    keep(&opened, &disk.join("kept")).unwrap();
    let faults = Faults::new(Plan { skip: 2, only: None, errno: Errno::IO, after: After::Stop });
    opened.keys.keep_backups_in_background(Box::new(|| {}));
    rotate(&opened.keys);
    let scope = faults.on_this_thread();
    opened.keys.write_kept_backups();
    drop(scope);
    let names = || {
        let entries = std::fs::read_dir(&disk).unwrap().map(|e| e.unwrap().path());
        entries.filter(|path| !path.ends_with("kept")).collect::<Vec<_>>()
    };
    let left = names();
    assert_eq!(left.len(), 1, "{left:?}");
    std::fs::write(disk.join(".rekeyfs-0011223344556677-x"), b"another vault's").unwrap();
    let long_ago = std::time::SystemTime::now() - Duration::from_secs(3600);
    for path in names() {
        std::fs::File::options().append(true).open(path).unwrap().set_modified(long_ago).unwrap();
    }
    opened.keys.write_kept_backups();
    assert_eq!(names(), [disk.join(".rekeyfs-0011223344556677-x")]);
}

#[test]
fn two_vaults_keep_theirs_in_one_directory() {
    let (f, g) = (Fixture::new(), Fixture::new());
    let (one, two) = (f.create(&[&key_file(1)]), g.create(&[&key_file(1)]));
    let at = |name: &str| f.dir.path().join(name);
    keep(&one, &at("one")).unwrap();
    keep(&two, &at("two")).unwrap();
    assert!(keep(&two, &at("one")).is_err());
    rotate(&one.keys);
    rotate(&two.keys);
    rotate(&one.keys);
    assert_eq!((held_in(&f, &at("one")), held_in(&g, &at("two"))), (KeyVersion(3), KeyVersion(2)));
    let vault = |name: &str| {
        let bytes = std::fs::read(at(name)).unwrap();
        header::parse(&bytes, Kind::Backup).map(|parts| parts.header.vault).ok()
    };
    let ids: [Option<VaultId>; 2] = [vault("one"), vault("two")];
    assert_eq!(ids, [Some(one.keys.vault_id()), Some(two.keys.vault_id())]);
}

/// A copy of a vault that went its own way has the same configuration; its keys don't replace those in the backup.
#[test]
fn an_older_or_diverged_keyring_does_not_overwrite_the_backup() {
    let f = Fixture::new();
    let opened = f.create(&[&key_file(1)]);
    let to = f.dir.path().join("kept");
    keep(&opened, &to).unwrap();
    let copy = Fixture::new();
    for name in ["keyring", "events.jsonl"] {
        std::fs::copy(f.vault().join(name), copy.vault().join(name)).unwrap();
    }
    let newest = rotate(&opened.keys);
    let theirs = copy.open(&key_file(1)).unwrap().keys;
    for versions in [2, 3] {
        // As old as the vault's, and another one; then newer.
        assert_eq!(rotate(&theirs), KeyVersion(versions));
        let problem = theirs.key_backup().unwrap().kept[0].problem.clone().unwrap();
        assert!(problem.contains("another or newer keyring"), "{problem}");
        assert_eq!(opened.keys.key_backup().unwrap().kept[0].problem, None);
    }
    assert_eq!(held_in(&f, &to), newest);
    rotate(&opened.keys);
    assert_eq!(opened.keys.key_backup().unwrap().lag(), lag(0, 0));
}

#[test]
fn an_export_is_recorded_and_told_how_far_it_is_behind() {
    let f = Fixture::new();
    let opened = f.create(&[&key_file(1)]);
    let keys = &opened.keys;
    assert_eq!(keys.key_backup().unwrap(), KeyBackupInfo::default());
    let file = f.dir.path().join("export");
    let info = opened.export_for_test("b", &file).unwrap();
    assert_eq!(info.generation, keys.generation(), "the file is of the keyring that records it");
    let exported = keys.key_backup().unwrap().exported.unwrap();
    assert_eq!(
        (exported.at, exported.generation, exported.lag),
        (keys.now(), info.generation, Lag::default())
    );
    rotate(keys);
    keys.disable_key(keys.current(&AliasName::default_alias()).unwrap().key).unwrap();
    keys.create_key_for_test("alias/new".parse().unwrap());
    assert_eq!(f.open(&key_file(1)).unwrap().keys.key_backup().unwrap().lag(), lag(2, 3));
    let mut out = Vec::new();
    keys.export_backup_to(&opened.proof, &seal_under(&opened, "b"), &mut out).unwrap();
    assert_eq!(keys.key_backup().unwrap().lag(), lag(0, 0));
    let sealed = SealedBackup::read_from(Path::new("standard input"), &out[..]).unwrap();
    assert_eq!(sealed.age_files().len(), 0);
    // What couldn't be written counts for nothing.
    keys.enable_key(keys.current(&AliasName::default_alias()).unwrap().key).unwrap();
    rotate(keys);
    struct Full;
    impl std::io::Write for Full {
        fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
            Err(std::io::ErrorKind::StorageFull.into())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    assert!(keys.export_backup_to(&opened.proof, &seal_under(&opened, "b"), &mut Full).is_err());
    assert_eq!(keys.key_backup().unwrap().lag().unwrap().versions, 1);
}

/// The first file of an export is whole before the keyring says that there is one.
#[test]
fn a_crash_in_an_export_leaves_no_record_without_its_file() {
    let whole = |skip: u64| {
        let f = Fixture::new();
        let opened = f.create(&[&key_file(1)]);
        let file = f.dir.path().join("export");
        let faults = Faults::new(Plan { skip, only: None, errno: Errno::IO, after: After::Stop });
        let scope = faults.on_this_thread();
        let _ = opened.export_for_test("backup", &file);
        drop(scope);
        let again = f.open(&key_file(1)).unwrap().keys;
        if again.key_backup().unwrap().exported.is_some() {
            assert_eq!(held_in(&f, &file), KeyVersion(1), "{skip}");
        }
        faults.fired()
    };
    assert!((0..200).any(|skip| !whole(skip)), "some call is the last one");
}

#[test]
fn a_revocation_keeps_no_backup_whose_key_the_old_keyring_has() {
    let f = Fixture::new();
    let opened = f.create(&[&key_file(1)]);
    let to = f.dir.path().join("kept");
    keep(&opened, &to).unwrap();
    let held = held_in(&f, &to);
    let done = opened.keys.revoke(&opened.proof, &[&key_file(1)], &[], KDF).unwrap();
    assert_eq!(done.no_longer_kept, std::slice::from_ref(&to));
    rotate(&opened.keys);
    assert_eq!(held_in(&f, &to), held, "what is new isn't in it");
    assert_eq!(opened.keys.key_backup().unwrap().kept, []);
}

#[test]
fn keeping_ends_when_it_is_stopped() {
    let f = Fixture::new();
    let opened = f.create(&[&key_file(1)]);
    let (one, two) = (f.dir.path().join("one"), f.dir.path().join("two"));
    assert!(opened.keys.stop_keeping(&opened.proof, None).is_err());
    keep(&opened, &one).unwrap();
    keep(&opened, &two).unwrap();
    assert!(opened.keys.stop_keeping(&opened.proof, Some(Path::new("/nowhere/three"))).is_err());
    assert_eq!(opened.keys.stop_keeping(&opened.proof, Some(&one)).unwrap(), std::slice::from_ref(&one));
    let newest = rotate(&opened.keys);
    assert_eq!((held_in(&f, &one), held_in(&f, &two)), (KeyVersion(1), newest));
    // What one backup holds opens no other.
    let bytes = std::fs::read(&two).unwrap();
    let parts = header::parse(&bytes, Kind::Backup).ok().unwrap();
    let state = opened.keys.store.lock().on_disk().unwrap();
    let root = &state.body.kept()[0].root;
    let body = root.open_keyring(parts.header.vault, parts.aad, parts.sealed).unwrap();
    assert_eq!(body::decode(&body).unwrap().kept().len(), 0);
    let events = std::fs::read_to_string(f.vault().join("events.jsonl")).unwrap();
    let count = |what: &str| events.matches(&format!(r#""detail-type":"{what}""#)).count();
    assert_eq!((count("Key Backup Kept"), count("Key Backup Keeping Stopped")), (2, 1));
}

#[test]
fn the_committed_kept_backups_open_as_their_keyring_says() {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let expected = std::fs::read_to_string(golden.join("kept-keyring.json")).unwrap();
    let expected: serde_json::Value = serde_json::from_str(&expected).unwrap();
    let f = Fixture::new();
    std::fs::copy(golden.join("kept-keyring.bin"), f.vault().join("keyring")).unwrap();
    let keys = f.open(&passphrase(expected["passphrase"].as_str().unwrap())).unwrap().keys;
    let state = keys.store.lock().on_disk().unwrap();
    let known = state.body.extensions.key_backups().unwrap();
    let exported = known.exported.unwrap();
    let numbers = [known.made, exported.at.0 as u64, exported.generation.0, exported.made];
    let of = |name: &str| expected[name].as_u64().unwrap();
    assert_eq!(numbers, ["made", "exported", "export_generation", "made_then"].map(of));
    for (kept, said) in known.kept.iter().zip(expected["kept"].as_array().unwrap()) {
        assert_eq!(
            (kept.to.to_str(), kept.mount_point().to_str()),
            (said["to"].as_str(), said["mount"].as_str())
        );
        let kind = &kept.slots.list()[0].kind;
        let bytes = std::fs::read(golden.join(format!("kept-{kind}.bin"))).unwrap();
        let parts = header::parse(&bytes, Kind::Backup).ok().unwrap();
        let body = kept.root.open_keyring(keys.vault_id(), parts.aad, parts.sealed).unwrap();
        assert_eq!(body::decode(&body).unwrap().keys.len(), expected["keys"].as_array().unwrap().len());
    }
    let pass = passphrase(expected["backup_passphrase"].as_str().unwrap());
    let sealed = KeyringFile::look(&golden.join("kept-passphrase.bin")).unwrap();
    assert!(sealed.open(BackupOpener::Secret(&pass), &f.options()).is_ok());
}
