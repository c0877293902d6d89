//! Keyrings that someone who can write the ciphertext puts in another's place: older ones, those of another line, those
//! under another root key; at the path where the vault was in use and at others. And copies that nobody meant ill with.
use super::*;
use crate::events::Anchor;
use crate::storage::RoCompat;
use crate::unlock::CostLimit;

mod import;

impl Fixture {
    fn open_at(&self, path: &Path, accept_rollback: bool) -> Result<Opened, KeyringError> {
        KeyringFile::open(path, &key_file(1), &OpenOptions { accept_rollback, ..self.options() })
    }

    fn beside(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A second vault directory with the same keyring and log.
    fn copy(&self, name: &str) -> PathBuf {
        let copy = self.beside(name);
        std::fs::create_dir(&copy).unwrap();
        for file in [FILE_NAME, "events.jsonl"] {
            std::fs::copy(self.vault().join(file), copy.join(file)).unwrap();
        }
        copy
    }

    /// What a copy of this vault, of that keyring, becomes on another host.
    fn changed_elsewhere(&self, start: &[u8], times: u32) -> Vec<u8> {
        let there = tempfile::tempdir_in(self.dir.path()).unwrap();
        std::fs::write(there.path().join(FILE_NAME), start).unwrap();
        let options = OpenOptions { host: SeenGenerations::at(there.path().join("host")), ..self.options() };
        let keys = KeyringFile::open(there.path(), &key_file(1), &options).unwrap().keys;
        rotate_times(&keys, times);
        std::fs::read(there.path().join(FILE_NAME)).unwrap()
    }

    /// What someone makes of a keyring file whose root key that person has, to follow the one that is there now: its
    /// bytes, and so its hash, can be read by anyone, and its generation can be guessed.
    fn forged(&self, from: &[u8], root: &Arc<RootKey>, generation: Generation) -> Vec<u8> {
        let dir = vault_dir::VaultDir::open(&self.vault()).unwrap();
        let mut state = store::open(&dir, from, Arc::clone(root)).unwrap();
        let now = self.read(FILE_NAME);
        let hash = crate::crypto::sha256(&now);
        state.body.generation = generation;
        state.body.continue_line(line::Head { generation, hash });
        state.body.generation.0 += 1;
        let body = body::encode(&state.body).unwrap();
        store::sealed(&state.header, header::Kind::Keyring, root, &body).unwrap()
    }
}

fn root_of(file: &[u8], secret: &Secret) -> Arc<RootKey> {
    let parts = header::parse(file, header::Kind::Keyring).unwrap();
    Arc::new(parts.header.slots.unlock(parts.header.vault, secret, CostLimit::Usual).unwrap().0)
}

#[test]
fn an_old_keyring_is_refused_wherever_the_vault_was_moved() {
    let (f, keys, old) = Fixture::new().with_keyring();
    rotate(&keys);
    drop(keys);
    let moved = f.beside("moved");
    std::fs::rename(f.vault(), &moved).unwrap();
    let newest = std::fs::read(moved.join(FILE_NAME)).unwrap();
    std::fs::write(moved.join(FILE_NAME), &old).unwrap();
    let refused = f.open_at(&moved, false).err().unwrap();
    assert!(matches!(refused, KeyringError::RolledBack { found: Generation(1), seen: Generation(2), .. }));
    let place = f.vault().canonicalize().unwrap_err();
    assert_eq!(place.kind(), std::io::ErrorKind::NotFound);
    assert!(refused.to_string().contains("/vault)"), "it says where the newer one was: {refused}");
    // The newer one is taken there, and may be changed: the vault was moved.
    std::fs::write(moved.join(FILE_NAME), &newest).unwrap();
    rotate(&f.open_at(&moved, false).unwrap().keys);
}

#[test]
fn a_fork_is_refused_however_long_ago_it_was() {
    let (f, keys, start) = Fixture::in_memory().with_keyring();
    rotate_times(&keys, 3);
    // The last is the longest line that still has generation 4: of 512 entries, the first.
    for times in [3, 4, 5, 515] {
        let theirs = f.changed_elsewhere(&start, times);
        f.write(FILE_NAME, &theirs);
        assert!(matches!(f.open(&key_file(1)), Err(KeyringError::Forked { .. })), "{times}");
        // The opening that was there doesn't continue with it either.
        assert!(matches!(keys.rotate(&default_alias()), Err(KeyringError::Forked { .. })), "{times}");
        let moved = f.beside("moved");
        std::fs::rename(f.vault(), &moved).unwrap();
        assert!(matches!(f.open_at(&moved, false), Err(KeyringError::Forked { .. })), "{times}");
        std::fs::rename(&moved, f.vault()).unwrap();
    }
}

#[test]
fn a_line_that_goes_no_further_back_is_taken_with_an_event() {
    let (f, keys, start) = Fixture::in_memory().with_keyring();
    rotate_times(&keys, 3);
    let (mine, theirs) = (f.read(FILE_NAME), f.changed_elsewhere(&start, 516));
    // By a mount that continues with it, too.
    let log = f.read("events.jsonl");
    let memory = f.beside("state").join(format!("{}.seen", keys.vault_id()));
    let seen = std::fs::read(&memory).unwrap();
    f.write(FILE_NAME, &theirs);
    rotate(&keys);
    let told = String::from_utf8(f.read("events.jsonl")).unwrap();
    assert_eq!(told.matches("Keyring Descent Unproven").count(), 1);
    drop(keys);
    for (name, bytes) in [(FILE_NAME, &mine), ("events.jsonl", &log)] {
        f.write(name, bytes);
    }
    std::fs::write(&memory, seen).unwrap();

    f.write(FILE_NAME, &theirs);
    let opened = f.open(&key_file(1)).unwrap();
    let log = String::from_utf8(f.read("events.jsonl")).unwrap();
    let told = log.lines().rfind(|line| line.contains("Keyring Descent Unproven")).unwrap();
    let detail = &serde_json::from_str::<serde_json::Value>(told).unwrap()["detail"];
    assert_eq!((&detail["seen-generation"], &detail["outcome"]), (&4.into(), &"failed".into()));
    // Once, and what it took the place of is another line then.
    f.open(&key_file(1)).unwrap();
    let log = String::from_utf8(f.read("events.jsonl")).unwrap();
    assert_eq!(log.matches("Keyring Descent Unproven").count(), 1);
    rotate(&opened.keys);
    f.write(FILE_NAME, &theirs);
    assert!(matches!(f.open(&key_file(1)), Err(KeyringError::RolledBack { .. })));
}

#[test]
fn a_copy_beside_its_original_is_changed_only_once_it_is_accepted() {
    let f = Fixture::new();
    let keys = f.create(&[&key_file(1)]).keys;
    let copy = f.copy("copy");
    let bytes = f.read(FILE_NAME);
    let opened = f.open_at(&copy, false).unwrap();
    let refused = opened.keys.rotate(&default_alias()).err().unwrap();
    assert!(matches!(&refused, KeyringError::Copy { .. }), "{refused}");
    for word in ["--accept-rollback", "copy of the vault in", "/vault,"] {
        assert!(refused.to_string().contains(word), "{refused}");
    }
    assert_eq!(std::fs::read(copy.join(FILE_NAME)).unwrap(), bytes);
    let accepted = f.open_at(&copy, true).unwrap().keys;
    rotate(&accepted);
    rotate(&accepted);
    let of_the_copy = std::fs::read(copy.join(FILE_NAME)).unwrap();
    // Each continues by itself, and neither passes for the other.
    rotate(&keys);
    rotate(&f.open(&key_file(1)).unwrap().keys);
    rotate(&f.open_at(&copy, false).unwrap().keys);
    f.write(FILE_NAME, &of_the_copy);
    assert!(matches!(f.open(&key_file(1)), Err(KeyringError::Forked { .. })));
    f.write(FILE_NAME, &bytes);
    assert!(matches!(f.open(&key_file(1)), Err(KeyringError::RolledBack { .. })));
    std::fs::write(copy.join(FILE_NAME), &of_the_copy).unwrap();
    assert!(matches!(f.open_at(&copy, false), Err(KeyringError::RolledBack { .. })));
}

#[test]
fn a_copy_whose_original_is_gone_is_the_vault() {
    let f = Fixture::new();
    f.create(&[&key_file(1)]);
    let copy = f.copy("copy");
    std::fs::remove_dir_all(f.vault()).unwrap();
    rotate(&f.open_at(&copy, false).unwrap().keys);
    // Should the original come back, it is the older of the two, and the message says where the other is.
    let original = f.beside("vault");
    std::fs::create_dir(&original).unwrap();
    std::fs::copy(copy.join(PREV_NAME), original.join(FILE_NAME)).unwrap();
    let refused = f.open_at(&original, false).err().unwrap();
    assert!(matches!(refused, KeyringError::RolledBack { .. }), "{refused}");
    assert!(refused.to_string().contains("/copy)"), "{refused}");
}

#[test]
fn the_original_is_protected_after_an_older_copy_was_accepted_elsewhere() {
    let f = Fixture::new();
    let keys = f.create(&[&key_file(1)]).keys;
    let copy = f.copy("copy");
    let old = f.read(FILE_NAME);
    rotate_times(&keys, 3);
    drop(keys);
    assert!(matches!(f.open_at(&copy, false), Err(KeyringError::RolledBack { .. })));
    let accepted = f.open_at(&copy, true).unwrap().keys;
    rotate_times(&accepted, 9);
    let newest = f.read(FILE_NAME);
    for bytes in [old, std::fs::read(copy.join(FILE_NAME)).unwrap()] {
        f.write(FILE_NAME, &bytes);
        assert!(f.open(&key_file(1)).err().unwrap().is_rollback());
        let moved = f.beside("moved");
        std::fs::rename(f.vault(), &moved).unwrap();
        assert!(f.open_at(&moved, false).err().unwrap().is_rollback());
        std::fs::rename(&moved, f.vault()).unwrap();
    }
    f.write(FILE_NAME, &newest);
    rotate(&f.open(&key_file(1)).unwrap().keys);
    // The copy is accepted where it is, and nowhere else.
    f.open_at(&copy, false).unwrap();
    std::fs::rename(&copy, f.beside("moved")).unwrap();
    assert!(matches!(f.open_at(&f.beside("moved"), false), Err(KeyringError::Forked { .. })));
}

#[test]
fn what_was_given_up_at_a_path_does_not_come_back_there() {
    let (f, keys, old) = Fixture::new().with_keyring();
    rotate_times(&keys, 3);
    let given_up = f.read(FILE_NAME);
    f.write(FILE_NAME, &old);
    f.accept();
    let accepted = f.read(FILE_NAME);
    for bytes in [&given_up, &old] {
        f.write(FILE_NAME, bytes);
        assert!(f.open(&key_file(1)).err().unwrap().is_rollback());
    }
    f.write(FILE_NAME, &accepted);
    f.open(&key_file(1)).unwrap();
}

#[test]
fn a_keyring_under_another_root_key_is_refused() {
    let f = Fixture::new();
    let keys = f.create(&[&key_file(1)]).keys;
    rotate(&keys);
    // One who knows the key file makes a keyring of their own for the vault's id, and names the hash of what is there.
    let bytes = f.read(FILE_NAME);
    let dir = vault_dir::VaultDir::open(&f.vault()).unwrap();
    let state = store::open(&dir, &bytes, root_of(&bytes, &key_file(1))).unwrap();
    let root = Arc::new(RootKey::generate());
    let mut theirs = Header::new(keys.vault_id(), Suite::Aes256Gcm);
    theirs.slots.push(Slot::seal(keys.vault_id(), &root, &key_file(1), KDF, Timestamp(0)).unwrap());
    let mut body = first_body(keys.vault_id(), Timestamp(0)).unwrap();
    body.generation = state.body.generation;
    body.continue_line(line::Head { generation: state.body.generation, hash: crate::crypto::sha256(&bytes) });
    body.generation.0 += 1;
    let file = store::sealed(&theirs, header::Kind::Keyring, &root, &body::encode(&body).unwrap()).unwrap();
    f.write(FILE_NAME, &file);
    let refused = f.open(&key_file(1)).err().unwrap();
    assert!(matches!(refused, KeyringError::OtherRootKey { .. }), "{refused}");
    assert!(refused.to_string().contains("--accept-rollback"), "{refused}");
    f.write(FILE_NAME, &bytes);
    f.open(&key_file(1)).unwrap();
}

#[test]
fn after_a_revocation_the_old_keyring_and_its_secret_are_good_for_nothing_new() {
    let f = Fixture::new();
    let opened = f.create(&[&key_file(1)]);
    let keys = &opened.keys;
    let made = keys.create_key_for_test("alias/made".parse().unwrap());
    keys.disable_key(made).unwrap();
    let old = f.read(FILE_NAME);
    let old_root = root_of(&old, &key_file(1));
    let (tree, before) = (keys.current(&AliasName::tree()).unwrap(), keys.keys());
    let other = OpenOptions { host: SeenGenerations::at(f.beside("another host")), ..f.options() };
    KeyringFile::open(&f.vault(), &key_file(1), &other).unwrap();

    keys.revoke(&opened.proof, &[&key_file(1)], &[], KDF).unwrap();
    // Every key has a new version, in whatever state it is, and the tree key is wrapped under one.
    for (was, is) in before.iter().zip(keys.keys()) {
        assert_eq!((is.id, is.state, is.current.0), (was.id, was.state, was.current.0 + 1));
    }
    let dir = vault_dir::VaultDir::open(&f.vault()).unwrap();
    let bytes = f.read(FILE_NAME);
    let state = store::open(&dir, &bytes, root_of(&bytes, &key_file(1))).unwrap();
    assert_eq!(state.body.tree_keys[0].version, KeyVersion(tree.version.0 + 1));
    let was = store::open(&dir, &old, Arc::clone(&old_root)).unwrap();
    assert_ne!(state.body.event_key.expose(), was.body.event_key.expose());
    // A host that has seen the old root key takes the new one.
    KeyringFile::open(&f.vault(), &key_file(1), &other).unwrap();
    // The old file, and whatever its secret makes of it, is refused.
    let newest = state.body.generation.0;
    let forged = [newest - 1, newest, newest + 50].map(|n| f.forged(&old, &old_root, Generation(n)));
    for forged in forged.into_iter().chain([old.clone()]) {
        f.write(FILE_NAME, &forged);
        for host in [&f.options(), &other] {
            let refused = KeyringFile::open(&f.vault(), &key_file(1), host).err().unwrap();
            assert!(refused.is_rollback(), "{refused}");
        }
    }
    f.write(FILE_NAME, &bytes);
    assert!(f.open(&key_file(1)).unwrap().keys.verify_events().unwrap().is_good());
}

#[test]
fn the_log_is_checked_across_revocations_and_old_event_keys_make_no_lines() {
    let f = Fixture::new();
    let mut opened = f.create(&[&key_file(1)]);
    let mut old_keys = Vec::new();
    for _ in 0..3 {
        rotate(&opened.keys);
        let key = Arc::clone(&opened.keys.store.lock().state().body.event_key);
        opened.keys.revoke(&opened.proof, &[&key_file(1)], &[], KDF).unwrap();
        old_keys.push((key, opened.keys.events().durable()));
        rotate(&opened.keys);
        assert!(opened.keys.verify_events().unwrap().is_good());
        opened = f.open(&key_file(1)).unwrap();
        assert!(opened.keys.verify_events().unwrap().is_good());
    }
    let good = String::from_utf8(f.read("events.jsonl")).unwrap();
    let found = opened.keys.verify_events().unwrap();
    assert_eq!(found.good, good.lines().count() as u64);
    let lines: Vec<&str> = good.lines().collect();
    let first_of_the_last = lines.iter().rposition(|line| line.contains("\"Event Key In Use\"")).unwrap();
    assert!(lines[first_of_the_last - 1].contains("\"Event Key Replaced\""));
    // Each line changed, in turn, is found, also before the revocations.
    for at in 0..lines.len() {
        let mut changed = lines.clone();
        let line = changed[at].replacen("\"uid\":", "\"uid\": ", 1);
        changed[at] = &line;
        f.write("events.jsonl", (changed.join("\n") + "\n").as_bytes());
        assert_eq!(opened.keys.verify_events().unwrap().first_break, Some(at as u64 + 1));
    }
    // Who has an old event key writes what comes after the last line that it made, or what was before that.
    for (key, _) in &old_keys {
        for keep in [first_of_the_last, lines.len()] {
            f.write("events.jsonl", (lines[..keep].join("\n") + "\n").as_bytes());
            let last: serde_json::Value = serde_json::from_str(lines[keep - 1]).unwrap();
            let mac = data_encoding::HEXLOWER.decode(last["mac"].as_str().unwrap().as_bytes()).unwrap();
            let place = Anchor { count: keep as u64, mac: mac.try_into().unwrap() };
            let forger =
                EventLog::new(dir_of(&f), Arc::clone(key), place, RoCompat::default().writable().ok());
            forger.record(&Event::Unmounted(crate::events::UnmountReason::Umount));
            drop(forger);
            let found = opened.keys.verify_events().unwrap();
            assert!(found.breaks > 0 || found.good == keep as u64, "{found:?}");
            assert_eq!(found.good, keep as u64, "none of its lines counts");
        }
    }
    f.write("events.jsonl", good.as_bytes());
    assert!(opened.keys.verify_events().unwrap().is_good());
}

fn dir_of(f: &Fixture) -> std::os::fd::OwnedFd {
    std::fs::File::open(f.vault()).unwrap().into()
}

#[test]
fn who_had_the_vault_open_before_a_revocation_writes_no_more_into_its_log() {
    let f = Fixture::new();
    let opened = f.create(&[&key_file(1)]);
    let stale = f.open(&key_file(1)).unwrap();
    opened.keys.revoke(&opened.proof, &[&key_file(1)], &[], KDF).unwrap();
    assert!(matches!(
        stale.keys.add_slot(&stale.proof, &NewSlot::of(&key_file(5), KDF)),
        Err(KeyringError::RootKeyReplaced(_))
    ));
    drop(stale);
    rotate(&opened.keys);
    assert!(opened.keys.verify_events().unwrap().is_good());
}

#[test]
fn a_revocation_that_fails_anywhere_leaves_a_log_that_verifies() {
    use crate::storage::Errno;
    use crate::storage::fault::{After, Faults, Plan};
    for point in 0..400 {
        for after in [After::Recover, After::Stop] {
            let f = Fixture::new();
            let opened = f.create(&[&key_file(1)]);
            rotate(&opened.keys);
            let faults = Faults::new(Plan { skip: point, only: None, errno: Errno::IO, after });
            let scope = faults.on_this_thread();
            let done = opened.keys.revoke(&opened.proof, &[&key_file(1)], &[], KDF).is_ok();
            drop(opened);
            drop(scope);
            let again = f.open(&key_file(1)).unwrap();
            let verified = again.keys.verify_events().unwrap();
            assert!(verified.is_good(), "{point} {after:?} {done}: {verified:?}");
            rotate(&again.keys);
            assert!(again.keys.verify_events().unwrap().is_good(), "{point} {after:?}");
            if !faults.fired() {
                assert!(done && point > 5, "{point}");
                return;
            }
        }
    }
    panic!("a revocation has fewer steps");
}

#[test]
fn an_old_keyring_that_is_accepted_knows_that_a_revocation_hid_what_followed() {
    let f = Fixture::new();
    let opened = f.create(&[&key_file(1)]);
    let old = f.read(FILE_NAME);
    let memory = f.beside("state").join(format!("{}.seen", opened.keys.vault_id()));
    let seen = std::fs::read(&memory).unwrap();
    rotate(&opened.keys);
    opened.keys.revoke(&opened.proof, &[&key_file(1)], &[], KDF).unwrap();
    rotate_times(&opened.keys, 3);
    drop(opened);
    // A host that has seen the first keyring only: the log proves two more, and that these aren't all.
    std::fs::write(&memory, seen).unwrap();
    f.write(FILE_NAME, &old);
    let keys = f.open(&key_file(1)).unwrap().keys;
    let lost = keys.keys()[0].lost.last().copied().unwrap();
    assert_eq!((lost.first.0, lost.last.0), (2, 65));
}
