//! What decides of a file's key where it has none yet, or the keyring isn't the one that it was wrapped with.
use super::*;
use crate::ids::{AliasName, PlainOffset};
use crate::kms::Call;
use crate::storage::RenameFlags;
use crate::vault::testing::{READ_WRITE, TestVault, me};
use crate::vault::{Privileges, SetAttr, XattrMode};

const ALIAS: &[u8] = b"user.rekeyfs.alias";

/// A vault with `home`, under the default alias, and `other`, under another one.
fn two_directories() -> (TestVault, Ino, Ino, KeyId) {
    let test = TestVault::new();
    let other: AliasName = "alias/other".parse().unwrap();
    let key = test.keys().create_key_for_test(other.clone());
    let dirs = [b"home".as_slice(), b"other"]
        .map(|name| test.vault.mkdir(Ino::ROOT, name, 0o755, &me()).unwrap().ino);
    test.vault.setxattr(dirs[1], ALIAS, other.as_str().as_bytes(), XattrMode::Set).unwrap();
    (test, dirs[0], dirs[1], key)
}

fn write(test: &TestVault, ino: Ino) -> KeyId {
    let handle = test.vault.open(ino, READ_WRITE, &me()).unwrap();
    test.vault.write(ino, PlainOffset(0), b"again", Privileges::Keep).unwrap();
    test.vault.release(ino, handle).unwrap();
    test.vault.file_header_info(ino).unwrap().unwrap().backing.key
}

fn truncate(test: &TestVault, ino: Ino) {
    let set = SetAttr { size: Some(0), ..SetAttr::default() };
    test.vault.setattr(ino, &set, &me()).unwrap();
}

#[test]
fn an_emptied_file_takes_the_alias_of_its_last_header_wherever_it_lies() {
    let (mut test, home, other, others_key) = two_directories();
    let default = test.default_key();
    let file = test.written_in(home, b"f");
    truncate(&test, file);
    test.vault.rename((home, b"f"), (other, b"f"), RenameFlags::empty()).unwrap();
    assert_eq!(test.vault.getxattr(file, ALIAS).unwrap(), b"alias/default");
    // The kernel may forget it meanwhile.
    test.vault.forget(file, 1);
    let file = test.vault.lookup(other, b"f").unwrap().ino;
    assert_eq!(write(&test, file), default);
    // So does one whose alias was pointed elsewhere meanwhile: it goes there.
    truncate(&test, file);
    let call =
        Call::UpdateAlias { alias_name: "alias/default".to_owned(), target_key_id: others_key.to_string() };
    test.keys().call(&call).unwrap();
    assert_eq!(write(&test, file), others_key);
    let call =
        Call::UpdateAlias { alias_name: "alias/default".to_owned(), target_key_id: default.to_string() };
    test.keys().call(&call).unwrap();
    // And one that was pinned is pinned again.
    test.vault.rewrap_to(file, &Destination::Key(default)).unwrap();
    truncate(&test, file);
    assert!(matches!(test.vault.getxattr(file, ALIAS), Err(Error::NoData)));
    assert_eq!(write(&test, file), default);
    assert_eq!(test.vault.file_header_info(file).unwrap().unwrap().belonging, Belonging::Pinned);
    // A mount that was not there when it was truncated can't know.
    truncate(&test, file);
    test.reopen();
    let other = test.vault.lookup(Ino::ROOT, b"other").unwrap().ino;
    let file = test.vault.lookup(other, b"f").unwrap().ino;
    assert_eq!(write(&test, file), others_key);
}

/// Its first write may come here long after the program's: others may have taken it elsewhere meanwhile.
#[test]
fn a_new_file_takes_the_alias_of_where_it_was_made_or_found_as_long_as_it_is_open() {
    let (test, home, other, others_key) = two_directories();
    let (v, default) = (&test.vault, test.default_key());
    let key = |ino| v.file_header_info(ino).unwrap().unwrap().backing.key;
    let write = |ino, handle| {
        v.write(ino, PlainOffset(0), b"first", Privileges::Keep).unwrap();
        v.release(ino, handle).unwrap();
    };
    let create = |dir, name| {
        let (attr, handle) = v.create(dir, name, 0o644, READ_WRITE, &me()).unwrap();
        (attr.ino, handle)
    };
    let (file, handle) = create(home, b"moved");
    v.rename((home, b"moved"), (other, b"moved"), RenameFlags::empty()).unwrap();
    assert_eq!(v.getxattr(file, ALIAS).unwrap(), b"alias/default");
    write(file, handle);
    assert_eq!(key(file), default);
    // The last name is gone: as a temporary file.
    let (file, handle) = create(other, b"unlinked");
    v.unlink(other, b"unlinked").unwrap();
    v.write(file, PlainOffset(0), b"first", Privileges::Keep).unwrap();
    assert_eq!(key(file), others_key);
    v.release(file, handle).unwrap();
    // Found empty: while it is open, it is of where it was opened; closed, of where it lies.
    let (file, handle) = create(home, b"found");
    v.release(file, handle).unwrap();
    v.rename((home, b"found"), (other, b"found"), RenameFlags::empty()).unwrap();
    assert_eq!(v.getxattr(file, ALIAS).unwrap(), b"alias/other");
    let handle = v.open(file, READ_WRITE, &me()).unwrap();
    v.rename((other, b"found"), (home, b"found"), RenameFlags::empty()).unwrap();
    write(file, handle);
    assert_eq!(key(file), others_key);
}

/// Nothing is kept of files that are written again, or gone; nor is a number that comes again another file's.
#[test]
fn what_is_kept_of_emptied_files_ends_with_them() {
    let (test, home, other, others_key) = two_directories();
    for round in 0..3 {
        let file = test.written_in(home, b"f");
        truncate(&test, file);
        if round == 0 {
            write(&test, file);
            assert_eq!(test.vault.emptied.last(file), None);
            truncate(&test, file);
        }
        let handle = (round == 2).then(|| test.vault.open(file, READ_WRITE, &me()).unwrap());
        assert!(test.vault.emptied.last(file).is_some());
        test.vault.unlink(home, b"f").unwrap();
        if let Some(handle) = handle {
            // Open, it can be written on, and be emptied again.
            test.vault.write(file, PlainOffset(0), b"nameless", Privileges::Keep).unwrap();
            let set = SetAttr { size: Some(0), handle: Some(handle), ..SetAttr::default() };
            test.vault.setattr(file, &set, &me()).unwrap();
            assert!(test.vault.emptied.last(file).is_some());
            test.vault.release(file, handle).unwrap();
        }
        assert_eq!(test.vault.emptied.last(file), None, "round {round}");
        test.vault.forget(file, 1);
        let next = test.written_in(other, format!("{round}").as_bytes());
        assert_eq!(test.vault.file_header_info(next).unwrap().unwrap().backing.key, others_key);
    }
}

#[test]
fn a_file_that_is_newer_than_the_keyring_is_an_event_and_stays() {
    let (mut test, _, other, others_key) = two_directories();
    let default = test.default_key();
    let call = |key: KeyId| Call::UpdateAlias {
        alias_name: "alias/other".to_owned(),
        target_key_id: key.to_string(),
    };
    test.keys().call(&call(default)).unwrap();
    let keyring = test.tree().join("../keyring");
    let older = std::fs::read(&keyring).unwrap();
    test.keys().call(&call(others_key)).unwrap();
    for name in [b"f".as_slice(), b"g"] {
        test.written_in(other, name);
    }
    // On a host that remembers nothing.
    std::fs::write(&keyring, older).unwrap();
    std::fs::remove_dir_all(test.tree().join("../../state")).unwrap();
    test.reopen_keyring();
    let v = test.vault.clone();
    let other = v.lookup(Ino::ROOT, b"other").unwrap().ino;
    for name in [b"f".as_slice(), b"g", b"f"] {
        let ino = v.lookup(other, name).unwrap().ino;
        let handle = v.open(ino, READ_WRITE, &me()).unwrap();
        v.release(ino, handle).unwrap();
        assert_eq!(v.rewrap_batch(&[ino]).moved, []);
        let info = v.file_header_info(ino).unwrap().unwrap();
        assert_eq!((info.backing.key, info.belonging), (others_key, Belonging::NewerThanKeyring));
        assert!(!info.stale);
    }
    assert_eq!(v.census_of_belonging(), (0, Staying { newer: 2, ..Staying::default() }));
    let log = std::fs::read_to_string(test.tree().join("../events.jsonl")).unwrap();
    let events: Vec<&str> = log.lines().filter(|line| line.contains("File Newer Than Keyring")).collect();
    assert_eq!(events.len(), 1, "{events:?}");
    assert!(events[0].contains("written-generation") && events[0].contains(&others_key.to_string()));
}
