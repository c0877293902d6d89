//! A key's policy against each way of getting at its files.
use serde_json::json;

use crate::ids::{AliasName, Handle, Ino, PlainOffset};
use crate::kms::Call;
use crate::vault::testing::{READ_WRITE, TestVault, me};
use crate::vault::{Caller, Error, OpenFlags, Privileges, Result, SetAttr};

const READ: OpenFlags = OpenFlags { read: true, write: false, truncate: false };
const WRITE: OpenFlags = OpenFlags { read: false, write: true, truncate: false };
const WITH_TRUNC: OpenFlags = OpenFlags { read: false, write: true, truncate: true };
const TRUNCATE_BY_NAME: SetAttr = SetAttr {
    mode: None,
    uid: None,
    gid: None,
    size: Some(1),
    atime: None,
    mtime: None,
    ctime: None,
    handle: None,
};

fn user(uid: u32) -> Caller {
    Caller { uid, ..me() }
}

/// Lets everybody do all, but denies `who` these actions.
fn deny(test: &TestVault, who: &[u32], actions: &[&str]) {
    let names: Vec<String> = who.iter().map(|uid| format!("uid:{uid}")).collect();
    let policy = json!({ "Version": "2012-10-17", "Statement": [
        { "Effect": "Allow", "Principal": "*", "Action": "kms:*", "Resource": "*" },
        { "Effect": "Deny", "Principal": { "AWS": names }, "Action": actions, "Resource": "*" },
    ]});
    let key = test.keys().current(&AliasName::default_alias()).unwrap().key;
    let put = Call::PutKeyPolicy {
        key_id: key.to_string(),
        policy_name: None,
        policy: policy.to_string(),
        bypass_policy_lockout_safety_check: true,
    };
    test.keys().call(&put).unwrap();
}

fn is_denied<T>(result: Result<T>) -> bool {
    match result {
        Ok(_) => false,
        Err(Error::Denied) => true,
        Err(e) => panic!("{e}"),
    }
}

fn file(test: &TestVault, name: &str, content: &[u8]) -> Ino {
    let ino = test.make(name);
    if !content.is_empty() {
        test.vault.write(ino, PlainOffset(0), content, Privileges::Keep).unwrap();
    }
    ino
}

/// Which of: opening to read, to write, with O_TRUNC; truncating by name; creating to write, to read and write; mknod.
fn denied(test: &TestVault, ino: Ino, uid: u32) -> [bool; 7] {
    let (vault, caller) = (&test.vault, user(uid));
    let open = |flags| {
        let opened = vault.open(ino, flags, &caller);
        if let Ok(handle) = opened {
            vault.release(ino, handle).unwrap();
        }
        is_denied(opened)
    };
    let create = |flags| {
        let created = vault.create(Ino::ROOT, b"new", 0o666, flags, &me_as(uid));
        if let Ok((attr, handle)) = &created {
            vault.release(attr.ino, *handle).unwrap();
            vault.unlink(Ino::ROOT, b"new").unwrap();
        }
        is_denied(created)
    };
    let made = vault.mknod(Ino::ROOT, b"new", 0o100_666, 0, &me_as(uid));
    if made.is_ok() {
        vault.unlink(Ino::ROOT, b"new").unwrap();
    }
    let truncated = is_denied(vault.setattr(ino, &TRUNCATE_BY_NAME, &caller));
    [open(READ), open(WRITE), open(WITH_TRUNC), truncated, create(WRITE), create(READ_WRITE), is_denied(made)]
}

/// Who asks is somebody else, in whose name nothing is made below when the tests don't run as root.
fn me_as(uid: u32) -> Caller {
    user(uid)
}

#[test]
fn each_way_to_a_file_asks_its_keys_policy() {
    let test = TestVault::in_memory();
    std::fs::set_permissions(test.tree(), std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
    let ino = file(&test, "file", b"content");
    let empty = file(&test, "empty", b"");
    let mine = me().uid;
    let all = [true; 7];
    assert_eq!(denied(&test, ino, mine), [false; 7], "the default");
    for empty_too in [ino, empty] {
        test.vault.write(ino, PlainOffset(0), b"content", Privileges::Keep).unwrap();
        deny(&test, &[mine], &["kms:*"]);
        assert_eq!(denied(&test, empty_too, mine), all, "root is no exception");
        deny(&test, &[mine], &["kms:Decrypt"]);
        assert_eq!(denied(&test, empty_too, mine), [true, true, true, false, false, true, false]);
        deny(&test, &[mine], &["kms:Encrypt"]);
        assert_eq!(denied(&test, empty_too, mine), [false, true, true, true, true, true, true]);
        deny(&test, &[mine.wrapping_add(1)], &["kms:*"]);
        assert_eq!(denied(&test, ino, mine), [false; 7], "another user");
    }
}

#[test]
fn handles_and_the_mount_itself_are_asked_once_or_never() {
    let test = TestVault::in_memory();
    let ino = file(&test, "file", b"content");
    let handle: Handle = test.vault.open(ino, READ_WRITE, &me()).unwrap();
    let reading = test.vault.open(ino, READ, &me()).unwrap();
    deny(&test, &[me().uid], &["kms:*"]);
    test.vault.write(ino, PlainOffset(0), b"CONTENT", Privileges::Keep).unwrap();
    let mut content = [0; 7];
    test.vault.read(ino, PlainOffset(0), &mut content).unwrap();
    assert_eq!(content, *b"CONTENT");
    let through = |handle| SetAttr { handle: Some(handle), ..TRUNCATE_BY_NAME };
    test.vault.setattr(ino, &through(handle), &me()).unwrap();
    assert!(is_denied(test.vault.setattr(ino, &through(reading), &me())), "not opened for writing");
    assert!(is_denied(test.vault.setattr(ino, &through(Handle(1 << 40)), &me())), "no handle at all");
    let mode = SetAttr { mode: Some(0o600), ..SetAttr::default() };
    test.vault.setattr(ino, &mode, &me()).unwrap();

    let target = crate::keyring::KeyRef::Alias(AliasName::default_alias());
    test.keys().rotate(&target).unwrap();
    assert_eq!(test.vault.rewrap_batch(&[ino]).rewrapped, 1);
    test.vault.release(ino, handle).unwrap();
    test.vault.release(ino, reading).unwrap();
}
