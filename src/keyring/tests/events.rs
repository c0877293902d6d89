//! The audit log follows the keyring: nothing changes without its event, and a crash between the two shows.
use serde_json::Value;

use super::*;
use crate::storage::Errno;
use crate::storage::fault::{After, Faults, Op, Plan};

impl Fixture {
    fn events(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(self.vault().join(crate::events::FILE_NAME)).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    fn types(&self) -> Vec<String> {
        self.events().iter().map(|event| event["detail-type"].as_str().unwrap().to_owned()).collect()
    }
}

fn anchor(keys: &Keys) -> Anchor {
    keys.store.lock().state().body.event_anchor
}

#[test]
fn a_change_is_in_the_log_under_its_generation_and_the_anchor_covers_it() {
    let f = Fixture::new();
    let keys = f.create(&[&key_file(1)]).keys;
    keys.rotate(&default_alias()).unwrap();
    let last = f.events().pop().unwrap();
    assert_eq!(last["detail-type"], "KMS CMK Rotation");
    assert_eq!(last["detail"]["generation"], keys.generation().0);
    assert_eq!(last["detail"]["uid"], rustix::process::geteuid().as_raw());
    assert_eq!(last["detail"]["pid"], std::process::id());
    assert_eq!(anchor(&keys).count, last["sequence"].as_u64().unwrap());

    // Cut by that one event, the log is seen to be cut.
    let text = String::from_utf8(f.read("events.jsonl")).unwrap();
    let kept: Vec<&str> = text.lines().collect();
    f.write("events.jsonl", format!("{}\n", kept[..kept.len() - 1].join("\n")).as_bytes());
    let opened = f.open(&key_file(1)).unwrap().keys;
    assert!(opened.verify_events().unwrap().cut);
}

#[test]
fn each_change_of_slots_is_in_the_log_done_or_refused() {
    let f = Fixture::new();
    let Opened { keys, proof } = f.create(&[&key_file(1)]);
    assert!(keys.remove_slot(&proof, proof.slot()).is_err());
    let slot = keys.add_slot(&proof, &NewSlot::of(&key_file(2), KDF)).unwrap();
    keys.remove_slot(&proof, slot).unwrap();
    keys.revoke(&proof, &[&key_file(1)], &[], KDF).unwrap();
    assert!(keys.prove(&key_file(9)).is_err());
    let types = f.types();
    let expected = [
        "KMS Key Operation",
        "Unlock Slot Added",
        "Unlock Slot Removed",
        "Root Key Replaced",
        "KMS CMK Rotation",
        "KMS CMK Rotation",
        "Event Key Replaced",
        "Event Key In Use",
        "Unlock Failed",
    ];
    assert_eq!(types[types.len() - expected.len()..], expected);
    assert!(keys.verify_events().unwrap().is_good());
}

#[test]
fn whatever_fails_or_stops_a_change_leaves_a_log_that_fits_its_keyring() {
    for point in 0..200 {
        for after in [After::Recover, After::Stop] {
            let f = Fixture::new();
            let keys = f.create(&[&key_file(1)]).keys;
            keys.rotate(&default_alias()).unwrap();
            let plan = Plan { skip: point, only: None, errno: Errno::IO, after };
            let faults = Faults::new(plan);
            let scope = faults.on_this_thread();
            let rotated = keys.rotate(&default_alias());
            drop(scope);
            if !faults.fired() {
                assert!(rotated.is_ok() && point > 5, "{point}");
                return;
            }
            let found = f.open(&key_file(1)).unwrap().keys;
            assert!(found.verify_events().unwrap().is_good(), "{point} {after:?}");
            // The next change is made, and reports what it found missing.
            found.rotate(&default_alias()).unwrap();
            let verified = found.verify_events().unwrap();
            assert!(verified.is_good() && !verified.torn_end, "{point} {after:?}");
            let versions = found.current(&AliasName::default_alias()).unwrap().version.0;
            let logged = f.types().iter().filter(|kind| *kind == "KMS CMK Rotation").count();
            let said = f
                .types()
                .iter()
                .any(|kind| ["Keyring Changes Lost", "Keyring Change Failed"].contains(&kind.as_str()));
            // Each version but the first has its event, unless the log itself couldn't be written.
            assert!(logged + 1 >= versions as usize || rotated.is_ok(), "{point} {after:?}");
            assert!(logged < versions as usize || said, "{point} {after:?}: {:?}", f.types());
        }
    }
    panic!("a rotation has fewer steps");
}

#[test]
fn no_change_is_made_without_its_event() {
    let f = Fixture::new();
    let keys = f.create(&[&key_file(1)]).keys;
    let (log, aside) = (f.vault().join("events.jsonl"), f.vault().join("aside"));
    std::fs::rename(&log, &aside).unwrap();
    std::fs::create_dir(&log).unwrap();
    let before = (keys.generation(), f.read(FILE_NAME));
    let error = keys.rotate(&default_alias()).unwrap_err().to_string();
    assert!(error.contains("events.jsonl: can't record the change, which was not made: "), "{error}");
    assert_eq!((keys.generation(), f.read(FILE_NAME)), before);
    assert_eq!(keys.current(&AliasName::default_alias()).unwrap().version, KeyVersion(1));
    std::fs::remove_dir(&log).unwrap();
    std::fs::rename(&aside, &log).unwrap();
    keys.rotate(&default_alias()).unwrap();
    assert_eq!(f.types().iter().filter(|kind| *kind == "KMS CMK Rotation").count(), 1);
    assert!(keys.verify_events().unwrap().is_good());
}

/// A kernel may take pages for clean after a sync that failed, though they never reached the disk.
#[test]
fn events_whose_sync_failed_are_written_again_before_the_next_one() {
    let f = Fixture::new();
    let keys = f.create(&[&key_file(1)]).keys;
    let once = Plan { skip: 0, only: Some(Op::Fdatasync), errno: Errno::IO, after: After::Recover };
    let faults = Faults::new(once);
    {
        let _scope = faults.on_this_thread();
        keys.rotate(&default_alias()).unwrap();
    }
    let log = faults.log();
    let failed = log.iter().position(|call| *call == Op::Fdatasync).unwrap();
    assert_eq!(log[failed..failed + 3], [Op::Fdatasync, Op::Pwrite, Op::Fdatasync]);
    assert_eq!(anchor(&keys).count, f.events().len() as u64);
    assert!(keys.verify_events().unwrap().is_good());
}

#[test]
fn a_keyring_that_was_put_back_is_noted_when_refused_and_when_accepted() {
    let (f, keys, old) = Fixture::new().with_keyring();
    keys.rotate(&default_alias()).unwrap();
    f.write(FILE_NAME, &old);
    assert!(matches!(f.open(&key_file(1)), Err(KeyringError::RolledBack { .. })));
    assert_eq!(f.types().pop().unwrap(), "Keyring Rollback Noticed");
    let options = OpenOptions { accept_rollback: true, ..f.options() };
    let opened = KeyringFile::open(&f.vault(), &key_file(1), &options).unwrap();
    assert_eq!(f.types().pop().unwrap(), "Keyring Rollback Accepted");
    // Also on a host that never saw the newer one, the log knows it.
    opened.keys.rotate(&default_alias()).unwrap();
    let lost = f.events().into_iter().find(|event| event["detail-type"] == "Keyring Changes Lost").unwrap();
    assert_eq!(
        (&lost["detail"]["logged-generation"], &lost["detail"]["found-generation"]),
        (&2.into(), &1.into())
    );
    opened.keys.rotate(&default_alias()).unwrap();
    assert_eq!(f.types().iter().filter(|kind| *kind == "Keyring Changes Lost").count(), 1);
    assert!(opened.keys.verify_events().unwrap().is_good());
}

#[test]
fn wrong_secrets_are_told_of_by_the_next_right_one() {
    let f = Fixture::new();
    drop(f.create(&[&key_file(1)]));
    for wrong in [2, 3, 4] {
        assert!(f.open(&key_file(wrong)).is_err());
    }
    assert!(!f.types().contains(&"Unlock Failed".to_owned()), "it takes the vault's keys to write the log");
    f.open(&key_file(1)).unwrap();
    let event = f.events().pop().unwrap();
    assert_eq!((&event["detail-type"], &event["detail"]["attempts"]), (&"Unlock Failed".into(), &3.into()));
    assert_eq!(event["detail"]["last-attempt"]["pid"], std::process::id());
    assert_eq!(event["detail"]["secret-kind"], "keyfile");
    let slot = f.open(&key_file(1)).unwrap().proof.slot();
    assert_eq!(event["detail"]["slot-id"], slot.to_string(), "there is but one of this kind");
    f.open(&key_file(1)).unwrap();
    assert_eq!(f.types().iter().filter(|kind| *kind == "Unlock Failed").count(), 1);
    // A note that isn't one counts as one attempt.
    f.write("unlock-failures", &[0xff; 4096]);
    f.open(&key_file(1)).unwrap();
    assert_eq!(f.events().pop().unwrap()["detail"]["attempts"], 1);
    // An older program's says no kind, and what is no kind is none.
    for (note, attempts) in [("7 0 1 2\n", 7), ("7 0 1 2 a\u{1b}b\n", 1), ("7 0 1 2 keyfile x\n", 1)] {
        f.write("unlock-failures", note.as_bytes());
        f.open(&key_file(1)).unwrap();
        let detail = f.events().pop().unwrap()["detail"].clone();
        assert_eq!(
            (&detail["attempts"], &detail["secret-kind"]),
            (&attempts.into(), &serde_json::Value::Null)
        );
    }
}
