//! Names, records, symlinks, attributes, and what lies in the vault's directory.

use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

use super::*;
use crate::storage;
use crate::vault::Privileges;

fn long() -> String {
    "n".repeat(220)
}

#[test]
fn a_name_that_does_not_decrypt() {
    let f = Fixture::new();
    f.file("a", 10);
    std::fs::rename(f.lower("a"), f.t.tree().join("something")).unwrap();
    let found = f.only();
    assert_eq!(found.code, Code::NameDamaged);
    assert_eq!(found.path.as_path(), std::path::Path::new("/.rekeyfs-bad.something"));
    assert_eq!(found.lower.as_path(), std::path::Path::new("tree/something"));
}

#[test]
fn long_names_and_what_holds_them() {
    let f = Fixture::new();
    f.file(&long(), 10);
    let entry = f.lower(&long());
    let companion = entry.with_file_name(format!("{}.name", entry.file_name().unwrap().to_str().unwrap()));
    let full = std::fs::read(&companion).unwrap();
    std::fs::write(&companion, b"x").unwrap();
    assert_eq!(f.only_code(), Code::LongNameDamaged);
    std::fs::remove_file(&companion).unwrap();
    assert_eq!(f.only_code(), Code::LongNameLost);
    std::fs::write(&companion, full).unwrap();
    assert_eq!(f.check().0, []);
    std::fs::remove_file(&entry).unwrap();
    let found = f.only();
    assert_eq!((found.code, found.severity), (Code::LongNameOrphan, Severity::Leftover));
}

#[test]
fn records() {
    let f = Fixture::new();
    let v = &f.t.vault;
    let dir = v.mkdir(Ino::ROOT, b"old", 0o755, &me()).unwrap().ino;
    let (attr, handle) = v.create(dir, b"in it", 0o644, WRITE, &me()).unwrap();
    v.write(attr.ino, PlainOffset(0), b"content", Privileges::Keep).unwrap();
    f.close(attr.ino, handle);
    v.rename((Ino::ROOT, b"old"), (Ino::ROOT, b"new"), storage::RenameFlags::empty()).unwrap();
    assert_eq!(f.check().0, []);
    let record = f.lower("new").join(".dir");
    let good = std::fs::read(&record).unwrap();
    let mut bad = good.clone();
    bad[20] ^= 1;
    std::fs::write(&record, bad).unwrap();
    assert_eq!(f.only_code(), Code::DirRecordDamaged);
    assert_eq!(f.check().1.files, 1, "files below are checked all the same");
    std::fs::write(&record, [&[2], &good[1..]].concat()).unwrap();
    assert_eq!(f.only_code(), Code::Newer);
    std::fs::remove_file(&record).unwrap();
    assert_eq!(f.only_code(), Code::NameDamaged);
    symlink("x", &record).unwrap();
    assert_eq!(f.only_code(), Code::DirRecordDamaged);
}

#[test]
fn symlinks() {
    let f = Fixture::new();
    f.t.vault.symlink(Ino::ROOT, b"l", b"target", &me()).unwrap();
    let target = std::fs::read_link(f.lower("l")).unwrap().into_os_string().into_string().unwrap();
    std::fs::remove_file(f.lower("l")).unwrap();
    // One that isn't in the first four, which say the version.
    let other = if &target[8..9] == "A" { "B" } else { "A" };
    symlink(format!("{}{other}{}", &target[..8], &target[9..]), f.lower("l")).unwrap();
    assert_eq!(f.only_code(), Code::SymlinkDamaged);
}

#[test]
fn attributes() {
    let f = Fixture::new();
    let ino = f.file("a", 10);
    f.t.vault.setxattr(ino, b"user.x", b"value", XattrMode::Set).unwrap();
    let file = std::fs::File::open(f.lower("a")).unwrap();
    let name =
        storage::listxattr(file.as_fd()).unwrap().into_iter().find(|n| n.starts_with(b"user.rkf.")).unwrap();
    let value = storage::getxattr(file.as_fd(), &name).unwrap().unwrap();
    let mut bad = value.clone();
    bad[3] ^= 1;
    storage::setxattr(file.as_fd(), &name, &bad, XattrMode::Set).unwrap();
    assert_eq!(f.only_code(), Code::XattrDamaged);
    storage::setxattr(file.as_fd(), &name, &value, XattrMode::Set).unwrap();
    storage::setxattr(file.as_fd(), b"user.rkf.AAAA", &value, XattrMode::Set).unwrap();
    assert_eq!(f.only_code(), Code::XattrNameDamaged);
    storage::removexattr(file.as_fd(), b"user.rkf.AAAA").unwrap();
    storage::setxattr(file.as_fd(), b"user.of.others", b"x", XattrMode::Set).unwrap();
    assert_eq!(f.check().0, []);
}

#[test]
fn what_a_wrong_secret_leaves_beside_the_keyring_is_no_stranger() {
    let f = Fixture::new();
    let dir = std::fs::File::open(f.vault_dir()).unwrap();
    let leave = crate::storage::RoCompat::default().writable().ok().unwrap();
    crate::events::record_failed_unlock(std::os::fd::AsFd::as_fd(&dir), leave, "passphrase", None);
    assert!(f.vault_dir().join("unlock-failures").exists());
    assert_eq!(f.check().0, []);
}

#[test]
fn leftovers_and_strangers() {
    let f = Fixture::new();
    for (name, code) in [
        (".tmp.AAAAAAAAAAAAAAAA", Code::Temporary),
        (".tmp.AAAAAAAAAAAAAAAA/", Code::UnknownEntry),
        (".later", Code::UnknownEntry),
    ] {
        let path = f.t.tree().join(name.trim_end_matches('/'));
        if name.ends_with('/') { std::fs::create_dir(&path) } else { std::fs::write(&path, b"") }.unwrap();
        assert_eq!(f.only_code(), code, "{name}");
        if name.ends_with('/') { std::fs::remove_dir(&path) } else { std::fs::remove_file(&path) }.unwrap();
    }
    std::fs::write(f.vault_dir().join("notes"), b"").unwrap();
    assert_eq!(f.only_code(), Code::UnknownEntry);
    std::fs::rename(f.vault_dir().join("notes"), f.vault_dir().join(".tmp.BBBB")).unwrap();
    assert_eq!(f.only_code(), Code::Temporary);
}

#[test]
fn links_outside_the_tree() {
    let f = Fixture::new();
    f.file("a", 10);
    std::fs::hard_link(f.lower("a"), f.vault_dir().parent().unwrap().join("elsewhere")).unwrap();
    let (found, summary) = f.check();
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!((found[0].code, summary.status()), (Code::LinkCount, 0));
    assert_eq!(std::fs::metadata(f.lower("a")).unwrap().nlink(), 2);
}

#[test]
fn the_keyring_before() {
    let f = Fixture::new();
    let alias = crate::ids::AliasName::default_alias();
    f.t.keys().rotate(&crate::keyring::KeyRef::Alias(alias)).unwrap();
    assert_eq!(f.check().0, []);
    let prev = f.vault_dir().join("keyring.prev");
    let mut bytes = std::fs::read(&prev).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&prev, bytes).unwrap();
    assert_eq!(f.only_code(), Code::KeyringPrevDamaged);
    std::fs::remove_file(&prev).unwrap();
    assert_eq!(f.check().0, []);
    std::fs::set_permissions(f.vault_dir().join("keyring"), PermissionsExt::from_mode(0o644)).unwrap();
    assert_eq!(f.only_code(), Code::KeyringExposed);
}

#[test]
fn the_event_log() {
    let f = Fixture::new();
    let log = f.vault_dir().join("events.jsonl");
    let alias = crate::ids::AliasName::default_alias();
    f.t.keys().rotate(&crate::keyring::KeyRef::Alias(alias.clone())).unwrap();
    f.t.keys().rotate(&crate::keyring::KeyRef::Alias(alias)).unwrap();
    let good = std::fs::read(&log).unwrap();
    assert_eq!(f.check().0, []);
    let text = String::from_utf8(good.clone()).unwrap().replacen("local", "lokal", 1);
    std::fs::write(&log, text).unwrap();
    assert_eq!(f.only_code(), Code::EventsBroken);
    std::fs::write(&log, [&good[..], b"{\"version\""].concat()).unwrap();
    assert_eq!(f.only_code(), Code::EventsTorn);
    std::fs::write(&log, b"").unwrap();
    assert_eq!(f.only_code(), Code::EventsCut);
}
