//! What users are refused is in the log, with who, what and why, and never by a plain name.
use std::os::unix::fs::FileExt;

use crate::events::Actor;
use crate::ids::AliasName;
use crate::ids::{Ino, KeyVersion, PlainOffset};
use crate::keyring::KeyRef;
use crate::vault::testing::{READ_WRITE, TestVault, me};
use crate::vault::{OpenFlags, Privileges, SetAttr};

fn events(vault: &TestVault) -> Vec<serde_json::Value> {
    let text = std::fs::read_to_string(vault.tree().parent().unwrap().join("events.jsonl")).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn refusals_by_key_state_name_caller_key_file_and_lower_path() {
    let vault = TestVault::new();
    let dir = vault.vault.mkdir(Ino::ROOT, b"plans", 0o755, &me()).unwrap().ino;
    let (attr, handle) = vault.vault.create(dir, b"attack.txt", 0o644, READ_WRITE, &me()).unwrap();
    vault.vault.write(attr.ino, PlainOffset(0), b"at dawn", Privileges::Keep).unwrap();
    vault.vault.release(attr.ino, handle).unwrap();
    let keys = vault.keys();
    keys.rotate(&KeyRef::Alias(AliasName::default_alias())).unwrap();
    let key = keys.current(&AliasName::default_alias()).unwrap().key;
    keys.disable_key(key).unwrap();

    let acting = Actor::of(4711, 42).act();
    let read = OpenFlags { read: true, write: false, truncate: false };
    assert!(vault.vault.open(attr.ino, read, &me()).is_err());
    let new_size = SetAttr { size: Some(3), ..SetAttr::default() };
    assert!(vault.vault.setattr(attr.ino, &new_size, &me()).is_err());
    assert!(vault.vault.create(dir, b"new", 0o644, READ_WRITE, &me()).is_err());
    drop(acting);

    let events = events(&vault);
    let entry = |path: &std::path::Path| {
        std::fs::read_dir(path).unwrap().next().unwrap().unwrap().file_name().into_string().unwrap()
    };
    let lower_dir = entry(&vault.tree());
    let lower = format!("tree/{lower_dir}/{}", entry(&vault.tree().join(&lower_dir)));
    let expected = [("open", &lower, KeyVersion(1)), ("truncate", &lower, KeyVersion(1))];
    let last = &events[events.len() - 3..];
    for (event, (operation, path, version)) in last.iter().zip(expected) {
        let detail = &event["detail"];
        assert_eq!(event["detail-type"], "File Access Refused");
        assert_eq!((&detail["uid"], &detail["pid"]), (&4711.into(), &42.into()));
        assert_eq!((&detail["event-name"], &detail["reason"]), (&operation.into(), &"key-state".into()));
        assert_eq!((&detail["key-id"], &detail["version"]), (&key.to_string().into(), &version.0.into()));
        assert_eq!((&detail["lower-path"], &detail["outcome"]), (&path.as_str().into(), &"refused".into()));
        assert!(detail["file-id"].is_string());
    }
    let create = &last[2]["detail"];
    assert_eq!((&create["event-name"], &create["inode"]), (&"create".into(), &dir.0.into()));
    assert_eq!((&create["version"], &create["lower-path"]), (&2.into(), &format!("tree/{lower_dir}").into()));
    let text = serde_json::to_string(&events).unwrap();
    assert!(!text.contains("plans") && !text.contains("attack"));
}

#[test]
fn a_damaged_header_is_a_refusal_too() {
    let mut vault = TestVault::new();
    let ino = vault.written("file");
    let lower = std::fs::read_dir(vault.tree()).unwrap().next().unwrap().unwrap().path();
    let file = std::fs::OpenOptions::new().write(true).open(lower).unwrap();
    file.write_all_at(&[1; 48], 88).unwrap();
    vault.reopen();
    assert_eq!(vault.vault.lookup(Ino::ROOT, b"file").unwrap().ino, ino);
    let read = OpenFlags { read: true, write: false, truncate: false };
    assert!(vault.vault.open(ino, read, &me()).is_err());
    let last = events(&vault).pop().unwrap();
    assert_eq!(
        (&last["detail-type"], &last["detail"]["reason"]),
        (&"File Access Refused".into(), &"authentication".into())
    );
}

#[test]
fn a_storm_of_refusals_fills_no_disk_and_holds_nobody_up() {
    let vault = TestVault::in_memory();
    let ino = vault.written("file");
    let key = vault.keys().current(&AliasName::default_alias()).unwrap().key;
    vault.keys().disable_key(key).unwrap();
    let before = events(&vault).len();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                (0..5_000).for_each(|_| assert!(vault.vault.open(ino, READ_WRITE, &me()).is_err()))
            });
        }
    });
    vault.keys().events().catch_up();
    let after = events(&vault);
    let new = &after[before..];
    assert!(new.len() < 200, "{}", new.len());
    let held: u64 = new.iter().filter_map(|event| event["events-held-back"].as_u64()).sum();
    let written = new.iter().filter(|event| event["detail-type"] == "File Access Refused").count();
    assert_eq!(written as u64 + held, 20_000, "each one is written or counted");
}
