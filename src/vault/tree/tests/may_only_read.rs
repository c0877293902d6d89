//! A vault whose keyring names a feature that this program doesn't know: it is read, and no call changes anything.

use super::*;
use crate::keyring::KeyRef;
use crate::keyring::testing::everything;
use crate::monitor::Monitor;
use crate::storage::fault::{Faults, Op};
use crate::vault::testing::READ_WRITE;
use crate::vault::{Destination, FallocMode, Privileges, SetAttr, SyncScope, Whence, XattrMode};

/// With stale files, attributes, a long name, a moved directory, a symlink, hard links.
fn filled() -> TestVault {
    let mut t = TestVault::new();
    let v = &t.vault;
    mkdir(v, "d");
    mkdir(v, "d/below");
    let f = write(v, "d/f", &[7; 10_000]);
    v.setxattr(f, b"user.a", b"value", XattrMode::Set).unwrap();
    write(v, &"long".repeat(60), b"x");
    v.symlink(Ino::ROOT, b"s", b"target", &me()).unwrap();
    let (dir, _) = split(v, "d/f");
    v.link(f, dir, b"second").unwrap();
    rename(v, "d", "moved", PLAIN).unwrap();
    t.make("empty");
    t.keys().rotate(&KeyRef::Alias(crate::ids::AliasName::default_alias())).unwrap();
    t.keys().set_ro_compat_for_test(1 << 31);
    t.reopen();
    t
}

/// Every operation that changes something, on a file, a directory or a name.
fn changes(v: &Vault) -> Vec<(&'static str, Result<()>)> {
    let (dir, f) = (find(v, "moved").unwrap(), find(v, "moved/f").unwrap());
    let empty = find(v, "empty").unwrap();
    let at = PlainOffset(0);
    let mode = |keep_size, punch_hole| FallocMode { keep_size, punch_hole, zero_range: false };
    let new_size = SetAttr { size: Some(5), ..SetAttr::default() };
    let chmod = SetAttr { mode: Some(0o600), ..SetAttr::default() };
    let truncate = OpenFlags { read: false, write: false, truncate: true };
    let key = v.keys().current(&crate::ids::AliasName::default_alias()).unwrap().key;
    vec![
        ("open to write", v.open(f, READ_WRITE, &me()).map(drop)),
        ("open with O_TRUNC", v.open(f, truncate, &me()).map(drop)),
        ("create", v.create(dir, b"n", 0o644, READ_WRITE, &me()).map(drop)),
        ("mknod", v.mknod(dir, b"n", 0o010_644, 0, &me()).map(drop)),
        ("mkdir", v.mkdir(dir, b"n", 0o755, &me()).map(drop)),
        ("symlink", v.symlink(dir, b"n", b"t", &me()).map(drop)),
        ("link", v.link(f, dir, b"n").map(drop)),
        ("unlink", v.unlink(dir, b"f")),
        ("rmdir", v.rmdir(dir, b"below")),
        ("rename", v.rename((dir, b"below"), (Ino::ROOT, b"below"), PLAIN)),
        ("exchange", v.rename((dir, b"f"), (Ino::ROOT, b"empty"), RenameFlags::EXCHANGE)),
        ("write", v.write(f, at, b"w", Privileges::Clear).map(drop)),
        ("write an empty file", v.write(empty, at, b"w", Privileges::Keep).map(drop)),
        ("write back", v.write_back(f, at, b"w", Privileges::Keep).map(drop)),
        ("truncate", v.setattr(f, &new_size, &me()).map(drop)),
        ("grow", v.setattr(empty, &new_size, &me()).map(drop)),
        ("chmod", v.setattr(dir, &chmod, &me()).map(drop)),
        ("fallocate", v.fallocate(empty, at, 9000, mode(false, false), Privileges::Keep)),
        ("reserve", v.fallocate(f, at, 90_000, mode(true, false), Privileges::Keep)),
        ("punch", v.fallocate(f, at, 9000, mode(true, true), Privileges::Keep)),
        ("setxattr", v.setxattr(f, b"user.b", b"", XattrMode::Set)),
        ("setxattr of an alias", v.setxattr(dir, b"user.rekeyfs.alias", b"alias/default", XattrMode::Set)),
        ("removexattr", v.removexattr(f, b"user.a")),
        ("re-wrap to a key", v.rewrap_to(f, &Destination::Key(key))),
        ("reencrypt", v.reencrypt(f, &mut Monitor::unattended()).map(drop)),
    ]
}

fn reads(v: &Vault) {
    assert_eq!(read(v, "moved/f").unwrap(), [7; 10_000]);
    assert_eq!(read(v, &"long".repeat(60)).unwrap(), b"x");
    let f = find(v, "moved/f").unwrap();
    assert_eq!(v.getxattr(f, b"user.a").unwrap(), b"value");
    assert_eq!(v.listxattr(f).unwrap().len(), 1);
    assert_eq!(v.readlink(find(v, "s").unwrap()).unwrap(), b"target");
    assert_eq!(v.lseek(f, PlainOffset(0), Whence::Data).unwrap(), PlainOffset(0));
    assert!(v.file_header_info(f).unwrap().unwrap().stale && v.count_file(f).unwrap().is_some());
    v.fsync(f, SyncScope::All).unwrap();
    v.fsyncdir(find(v, "moved").unwrap(), SyncScope::All).unwrap();
    let handle = v.opendir(Ino::ROOT).unwrap();
    let mut names = 0;
    v.readdir(Ino::ROOT, handle, 0, &mut |_| {
        names += 1;
        true
    })
    .unwrap();
    assert_eq!(names, 6);
    v.releasedir(Ino::ROOT, handle).unwrap();
    assert_eq!(v.count_key_references(&mut Monitor::unattended()).unwrap().files, 4);
    v.make_durable().unwrap();
    assert!(!v.files_lie_elsewhere().unwrap());
}

#[test]
fn every_change_is_refused_and_no_call_changes_anything() {
    let t = filled();
    let vault_dir = t.tree().parent().unwrap().to_owned();
    let before = everything(&vault_dir);
    let recorded = Faults::record();
    {
        let _scope = recorded.on_this_thread();
        let v = &t.vault;
        assert!(v.read_only());
        for (what, refused) in changes(v) {
            assert!(matches!(refused, Err(Error::ReadOnly)), "{what}: {refused:?}");
        }
        reads(v);
        assert_eq!(v.stale_waiting(), 0, "nothing is queued for re-wrap");
        let stale = find(v, "moved/f").unwrap();
        let swept = v.rewrap_batch(&[stale]);
        assert_eq!((swept.rewrapped, swept.moved.len()), (0, 0));
        v.forget(stale, 1);
        v.close_queues();
    }
    let syncs = [Op::Fsync, Op::Fdatasync, Op::Syncfs];
    let changing: Vec<Op> = recorded.log().into_iter().filter(|op| !syncs.contains(op)).collect();
    assert_eq!(changing, []);
    drop(t.vault.clone());
    assert!(before == everything(&vault_dir), "something was written");
}

/// A file whose mode keeps its owner from it is opened by widening that for a moment, but not here.
#[test]
fn no_mode_is_widened_to_read_a_file() {
    use std::os::unix::fs::PermissionsExt;
    let t = filled();
    let entries = std::fs::read_dir(t.tree()).unwrap().map(|entry| entry.unwrap().path());
    let path = entries.into_iter().find(|path| path.symlink_metadata().unwrap().is_file()).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o000)).unwrap();
    let before = everything(&t.tree());
    let fd = std::fs::File::from(
        rustix::fs::open(&path, rustix::fs::OFlags::PATH, rustix::fs::Mode::empty()).unwrap(),
    );
    let opened = t.vault.tree.open_widened(std::os::fd::AsFd::as_fd(&fd), crate::storage::Access::ReadOnly);
    assert!(matches!(opened, Err(Error::Lower(crate::storage::Errno::ACCESS))));
    assert!(before == everything(&t.tree()));
}
