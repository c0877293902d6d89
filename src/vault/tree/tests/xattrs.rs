use std::os::fd::AsFd;

use super::*;
use crate::ids::AliasName;
use crate::vault::{Damage, SetAttr, XattrMode};

const SET: XattrMode = XattrMode::Set;

/// Lower attributes of the only lower entry.
fn lower_xattrs(t: &TestVault) -> Vec<Vec<u8>> {
    let path = t.tree().join(&lower(&t.tree())[0]);
    let mut buf = vec![0; 1 << 16];
    let n = rustix::fs::listxattr(&path, &mut buf[..]).unwrap();
    buf[..n].split(|b| *b == 0).filter(|name| !name.is_empty()).map(<[u8]>::to_vec).collect()
}

#[test]
fn names_and_values_are_hidden() {
    let mut t = TestVault::new();
    let ino = write(&t.vault, "f", b"x");
    let names: [&[u8]; 3] = [b"user.comment", b"trusted.t", b"security.capability"];
    for name in names {
        t.vault.setxattr(ino, name, b"the value", SET).unwrap();
    }
    for name in lower_xattrs(&t) {
        assert!(name.starts_with(b"user.rkf."), "{name:?}");
    }
    t.reopen();
    let v = &t.vault;
    let ino = find(v, "f").unwrap();
    let mut listed = v.listxattr(ino).unwrap();
    listed.sort();
    let mut expected = names.map(<[u8]>::to_vec);
    expected.sort();
    assert_eq!(listed, expected);
    for name in names {
        assert_eq!(v.getxattr(ino, name).unwrap(), b"the value");
        assert!(matches!(v.setxattr(ino, name, b"", XattrMode::Create), Err(Error::Lower(_))));
        v.setxattr(ino, name, b"", XattrMode::Replace).unwrap();
        assert_eq!(v.getxattr(ino, name).unwrap(), b"");
        v.removexattr(ino, name).unwrap();
        assert!(matches!(v.getxattr(ino, name), Err(Error::NoData)));
        assert!(matches!(v.removexattr(ino, name), Err(Error::NoData)));
    }
    assert_eq!(lower_xattrs(&t), [b""; 0]);
    let long = [b"user.".to_vec(), vec![b'n'; 250]].concat();
    assert!(matches!(v.setxattr(ino, &long, b"", SET), Err(Error::Range)));
    assert!(matches!(v.getxattr(ino, &long), Err(Error::NoData)));
    for name in [&b"system.other"[..], b"nonsense", b"user."] {
        assert!(matches!(v.setxattr(ino, name, b"", SET), Err(Error::NotSupported(_))), "{name:?}");
        assert!(matches!(v.getxattr(ino, name), Err(Error::NotSupported(_))), "{name:?}");
    }
}

#[test]
fn a_changed_value_does_not_pass() {
    let t = TestVault::new();
    let v = &t.vault;
    let ino = write(v, "f", b"x");
    v.setxattr(ino, b"user.a", b"value", SET).unwrap();
    let path = t.tree().join(&lower(&t.tree())[0]);
    let name = lower_xattrs(&t).remove(0);
    let mut buf = [0; 100];
    let n = rustix::fs::getxattr(&path, &name[..], &mut buf[..]).unwrap();
    let put = |name: &[u8], value: &[u8]| {
        rustix::fs::setxattr(&path, name, value, rustix::fs::XattrFlags::empty()).unwrap();
    };
    for at in 0..n {
        let mut bad = buf[..n].to_vec();
        bad[at] ^= 0x80;
        put(&name, &bad);
        let got = v.getxattr(ino, b"user.a");
        assert!(matches!(got, Err(Error::Corrupt(Damage::Xattr) | Error::Newer(_))), "byte {at}");
    }
    put(&name, &buf[..n]);
    put(b"user.rkf.AAAA", b"foreign");
    put(b"user.plain", b"foreign");
    assert_eq!(v.getxattr(ino, b"user.a").unwrap(), b"value");
    assert_eq!(v.listxattr(ino).unwrap(), [b"user.a"]);
}

#[test]
fn what_is_said_of_a_file_s_key() {
    let t = TestVault::new();
    let v = &t.vault;
    let ino = write(v, "f", b"x");
    let key = t.keys().current(&AliasName::default_alias()).unwrap();
    assert_eq!(v.getxattr(ino, b"user.rekeyfs.key-id").unwrap(), key.key.to_string().as_bytes());
    assert_eq!(v.getxattr(ino, b"user.rekeyfs.key-version").unwrap(), b"1");
    assert_eq!(v.getxattr(ino, b"user.rekeyfs.alias").unwrap(), b"alias/default");
    assert!(!v.getxattr(ino, b"user.rekeyfs.suite").unwrap().is_empty());
    assert!(matches!(v.getxattr(ino, b"user.rekeyfs.other"), Err(Error::NoData)));
    assert_eq!(v.listxattr(ino).unwrap(), [b""; 0], "not listed");
    for name in [&b"user.rekeyfs.key-id"[..], b"user.rekeyfs.alias", b"user.rekeyfs.other"] {
        assert!(matches!(v.setxattr(ino, name, b"x", SET), Err(Error::NotPermitted(_))));
        assert!(matches!(v.removexattr(ino, name), Err(Error::NotPermitted(_))));
    }
    let empty = t.make("empty");
    assert!(matches!(v.getxattr(empty, b"user.rekeyfs.key-id"), Err(Error::NoData)));
}

#[test]
fn directories_hand_their_alias_down() {
    let mut t = TestVault::new();
    let v = t.vault.clone();
    let alias = b"user.rekeyfs.alias";
    let a = mkdir(&v, "a");
    mkdir(&v, "a/b");
    mkdir(&v, "c");
    let of = |v: &Vault, path: &str| {
        let ino = find(v, path).unwrap();
        String::from_utf8(v.getxattr(ino, alias).unwrap()).unwrap()
    };
    let file = write(&v, "a/b/f", b"f");
    // Empty files will take what their directory says; one that has a header follows its own.
    for (dir, name) in [("a/b", "e"), ("c", "h")] {
        v.mknod(find(&v, dir).unwrap(), name.as_bytes(), 0o100_644, 0, &me()).unwrap();
    }
    // There is one alias that files can use here; that it is the directory's own shows when it is asked.
    assert!(matches!(v.getxattr(a, alias), Err(Error::NoData)));
    assert!(matches!(v.setxattr(a, alias, b"alias/none", SET), Err(Error::KeyNotUsable(_))));
    assert!(matches!(v.setxattr(a, alias, b"default", SET), Err(Error::Invalid(_))));
    assert!(matches!(v.setxattr(a, alias, b"alias/rekeyfs/tree", SET), Err(Error::NotPermitted(_))));
    assert!(matches!(v.setxattr(a, alias, b"alias/default", XattrMode::Replace), Err(Error::NoData)));
    v.setxattr(a, alias, b"alias/default", XattrMode::Create).unwrap();
    assert!(matches!(v.setxattr(a, alias, b"alias/default", XattrMode::Create), Err(Error::Exists)));
    assert_eq!(of(&v, "a"), "alias/default");
    // One that has no key by now, as after delete-alias: what is inherited is seen, and can't be used.
    let gone: AliasName = "alias/gone".parse().unwrap();
    v.tree.set_own_alias(a, Some(gone), SET).unwrap();
    assert_eq!(of(&v, "a/b/e"), "alias/gone");
    assert_eq!(of(&v, "a/b/f"), "alias/default");
    assert_eq!(of(&v, "c/h"), "alias/default");
    let b = find(&v, "a/b").unwrap();
    let refused = v.mknod(b, b"new", 0o100_644, 0, &me());
    assert!(matches!(refused, Err(Error::KeyNotUsable(_))));
    assert!(matches!(find(&v, "a/b/new"), Err(Error::NotFound)));
    assert_eq!(read(&v, "a/b/f").unwrap(), b"f");
    t.reopen();
    let v = t.vault.clone();
    assert_eq!(of(&v, "a/b/e"), "alias/gone");
    // Moved out and in again.
    rename(&v, "a/b", "c/b", PLAIN).unwrap();
    assert_eq!(of(&v, "c/b/e"), "alias/default");
    rename(&v, "c", "a/c", PLAIN).unwrap();
    assert_eq!(of(&v, "a/c/b/e"), "alias/gone");
    assert_eq!(of(&v, "a/c/h"), "alias/gone");
    v.removexattr(find(&v, "a").unwrap(), alias).unwrap();
    assert_eq!(of(&v, "a/c/b/e"), "alias/default");
    assert!(matches!(v.removexattr(find(&v, "a").unwrap(), alias), Err(Error::NoData)));
    // The root can have one.
    v.setxattr(Ino::ROOT, alias, b"alias/default", SET).unwrap();
    t.reopen();
    assert_eq!(t.vault.getxattr(Ino::ROOT, alias).unwrap(), b"alias/default");
    // Listed where it was set, so that copies keep it.
    assert_eq!(t.vault.listxattr(Ino::ROOT).unwrap(), [alias]);
    assert_eq!(t.vault.listxattr(find(&t.vault, "a").unwrap()).unwrap(), [b""; 0]);
    assert_eq!(t.vault.listxattr(find(&t.vault, "a/c/b/f").unwrap()).unwrap(), [b""; 0]);
    t.vault.setxattr(find(&t.vault, "a").unwrap(), alias, b"alias/default", SET).unwrap();
    assert_eq!(t.vault.listxattr(find(&t.vault, "a").unwrap()).unwrap(), [alias]);
    let removed = mkdir(&t.vault, "removed");
    rmdir(&t.vault, "removed").unwrap();
    assert_eq!(t.vault.listxattr(removed).unwrap(), [b""; 0]);
    assert_eq!(read(&t.vault, "a/c/b/f").unwrap(), b"f");
    assert_eq!(find(&t.vault, "a/c/b/f").unwrap(), file);
}

#[test]
fn privileges_are_cleared() {
    let t = TestVault::new();
    let v = &t.vault;
    let ino = write(v, "f", b"x");
    let chmod = |mode| v.setattr(ino, &SetAttr { mode: Some(mode), ..Default::default() }, &me()).unwrap();
    let inode = v.tree.inodes.get(ino).unwrap();
    let kill = || v.tree.with_fd(&inode, |fd| v.tree.clear_privileges(&inode, fd.as_fd())).unwrap();
    for (before, after) in [(0o6755, 0o755), (0o2744, 0o2744), (0o4644, 0o644), (0o644, 0o644)] {
        chmod(before);
        v.setxattr(ino, b"security.capability", b"caps", SET).unwrap();
        kill();
        assert_eq!(v.getattr(ino).unwrap().perm, after);
        assert!(matches!(v.getxattr(ino, b"security.capability"), Err(Error::NoData)));
    }
    // It is noticed when one is set after it was known that there was none.
    v.setxattr(ino, b"security.capability", b"caps", SET).unwrap();
    assert_eq!(v.getxattr(ino, b"security.capability").unwrap(), b"caps");
    let set = SetAttr { uid: Some(me().uid), gid: Some(me().gid), ..Default::default() };
    v.setattr(ino, &set, &me()).unwrap();
    assert!(matches!(v.getxattr(ino, b"security.capability"), Err(Error::NoData)));
}

/// Opening a lower file may widen its mode for a moment: no chmod may come in between, nor another opening.
#[test]
fn a_header_is_looked_at_under_the_file_slot() {
    let t = TestVault::new();
    let ino = write(&t.vault, "f", b"content");
    let inode = t.vault.inode(ino).unwrap();
    std::thread::scope(|scope| {
        let slot = inode.file.lock();
        let asked = scope.spawn(|| t.vault.file_header_info(ino).unwrap().is_some());
        std::thread::sleep(std::time::Duration::from_millis(100));
        assert!(!asked.is_finished());
        drop(slot);
        assert!(asked.join().unwrap());
    });
}

/// These can't have `user.` attributes below.
#[test]
fn symlinks_fifos_and_devices_keep_trusted_attributes() {
    let mut t = TestVault::new();
    let v = &t.vault;
    let link = v.symlink(Ino::ROOT, b"link", b"target", &me()).unwrap().ino;
    let fifo = v.mknod(Ino::ROOT, b"fifo", 0o010_644, 0, &me()).unwrap().ino;
    let name = b"security.selinux";
    let done = v.setxattr(link, name, b"label", SET);
    if !rustix::process::geteuid().is_root() {
        return assert!(matches!(done, Err(Error::Lower(_))));
    }
    done.unwrap();
    for (ino, name) in [(fifo, &name[..]), (fifo, b"trusted.t")] {
        v.setxattr(ino, name, b"label", SET).unwrap();
    }
    assert!(matches!(
        v.setxattr(fifo, b"trusted.t", b"x", XattrMode::Create),
        Err(Error::Lower(_) | Error::Exists)
    ));
    t.reopen();
    let v = &t.vault;
    let (link, fifo) = (find(v, "link").unwrap(), find(v, "fifo").unwrap());
    assert_eq!(v.getxattr(link, name).unwrap(), b"label");
    assert_eq!(v.listxattr(link).unwrap(), [name]);
    assert_eq!(v.listxattr(fifo).unwrap().len(), 2);
    assert_eq!(v.readlink(link).unwrap(), b"target");
    v.removexattr(fifo, b"trusted.t").unwrap();
    assert!(matches!(v.getxattr(fifo, b"trusted.t"), Err(Error::NoData)));
    assert_eq!(v.listxattr(fifo).unwrap(), [name]);
}

#[test]
fn an_acl_set_from_outside_the_group_clears_setgid() {
    const ACL: &[u8] = b"system.posix_acl_access";
    let t = TestVault::new();
    let v = &t.vault;
    let ino = write(v, "f", b"x");
    // user::rwx, group::r-x, other::r-x.
    let acl = [
        2, 0, 0, 0, 1, 0, 7, 0, 255, 255, 255, 255, 4, 0, 5, 0, 255, 255, 255, 255, 32, 0, 5, 0, 255, 255,
        255, 255,
    ];
    let set = |caller: &crate::vault::Caller| {
        let mode = SetAttr { mode: Some(0o2755), ..SetAttr::default() };
        v.setattr(ino, &mode, &me()).unwrap();
        match v.setxattr_as(ino, ACL, &acl, SET, caller) {
            Err(Error::Lower(_)) => None,
            done => done.map(|()| Some(v.getattr(ino).unwrap().perm)).unwrap(),
        }
    };
    let outside = crate::vault::Caller { uid: 4711, gid: 4711, umask: 0, pid: 0 };
    let Some(perm) = set(&outside) else { return };
    assert_eq!(perm, 0o755);
    assert_eq!(set(&crate::vault::Caller { gid: v.getattr(ino).unwrap().gid, ..outside }), Some(0o2755));
    v.setxattr_as(ino, b"user.a", b"x", SET, &outside).unwrap();
    assert_eq!(v.getattr(ino).unwrap().perm, 0o2755, "nothing else does");
}

/// What nobody could ask for without a call below.
fn lower_put(t: &TestVault, name: &[u8], value: &[u8]) {
    let path = t.tree().join(&lower(&t.tree())[0]);
    rustix::fs::setxattr(&path, name, value, rustix::fs::XattrFlags::empty()).unwrap();
}

#[test]
fn that_a_file_has_none_is_known_until_one_is_set() {
    const NAME: &[u8] = b"user.a";
    let t = TestVault::new();
    let v = &t.vault;
    let ino = write(v, "f", b"x");
    let open = v.open(ino, READ, &me()).unwrap();
    v.release(ino, open).unwrap();
    v.setxattr(ino, NAME, b"value", SET).unwrap();
    let (name, mut sealed) = (lower_xattrs(&t).remove(0), vec![0; 100]);
    let n = rustix::fs::getxattr(t.tree().join(&lower(&t.tree())[0]), &name[..], &mut sealed[..]).unwrap();
    let unseen = || lower_put(&t, &name, &sealed[..n]);
    v.removexattr(ino, NAME).unwrap();
    // The first answer says that the lower filesystem keeps attributes, the second one that this file has none.
    for _ in 0..2 {
        assert!(matches!(v.getxattr(ino, NAME), Err(Error::NoData)));
    }
    unseen();
    assert!(matches!(v.getxattr(ino, NAME), Err(Error::NoData)), "not looked for below");
    assert!(matches!(v.getxattr(ino, b"user.other"), Err(Error::NoData)));
    assert_eq!(v.listxattr(ino).unwrap(), [b""; 0]);
    // Whatever its name.
    v.link(ino, Ino::ROOT, b"g").unwrap();
    rename(v, "f", "h", PLAIN).unwrap();
    unlink(v, "g").unwrap();
    assert!(matches!(v.getxattr(ino, NAME), Err(Error::NoData)));
    // Any change, also of another one, and one that fails, has it looked for again.
    v.setxattr(ino, b"user.other", b"", SET).unwrap();
    assert_eq!(v.getxattr(ino, NAME).unwrap(), b"value");
    v.removexattr(ino, b"user.other").unwrap();
    v.removexattr(ino, NAME).unwrap();
    assert_eq!(v.listxattr(ino).unwrap(), [b""; 0]);
    unseen();
    assert_eq!(v.listxattr(ino).unwrap(), [b""; 0]);
    assert!(matches!(v.removexattr(ino, b"user.none"), Err(Error::NoData)));
    assert_eq!(v.listxattr(ino).unwrap(), [NAME]);
    assert!(matches!(v.getxattr(ino, b"user.none"), Err(Error::NoData)));
    // It goes with the inode.
    v.removexattr(ino, NAME).unwrap();
    assert_eq!(v.listxattr(ino).unwrap(), [b""; 0]);
    unseen();
    v.forget(ino, 100);
    assert_eq!(v.getxattr(find(v, "h").unwrap(), NAME).unwrap(), b"value");
}

#[test]
fn an_attribute_that_was_set_is_seen_by_whoever_asks_next() {
    let t = TestVault::in_memory();
    let v = &*t.vault;
    let (f, d) = (write(v, "f", b"x"), mkdir(v, "d"));
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        for ino in [f, d] {
            let done = &done;
            // These learn, over and over, that there is none.
            scope.spawn(move || {
                while !done.load(std::sync::atomic::Ordering::Relaxed) {
                    let _ = v.getxattr(ino, b"user.none");
                    v.listxattr(ino).unwrap();
                }
            });
        }
        for round in 0..500_u32 {
            for ino in [f, d] {
                v.setxattr(ino, b"user.a", &round.to_le_bytes(), SET).unwrap();
                assert_eq!(v.getxattr(ino, b"user.a").unwrap(), round.to_le_bytes());
                assert_eq!(v.listxattr(ino).unwrap(), [b"user.a"]);
                v.removexattr(ino, b"user.a").unwrap();
                assert!(matches!(v.getxattr(ino, b"user.a"), Err(Error::NoData)));
            }
        }
        done.store(true, std::sync::atomic::Ordering::Relaxed);
    });
}

#[test]
fn an_acl_that_a_new_file_inherits_is_seen() {
    const ACCESS: &[u8] = b"system.posix_acl_access";
    const DEFAULT: &[u8] = b"system.posix_acl_default";
    let t = TestVault::new();
    let v = &t.vault;
    let d = mkdir(v, "d");
    let before = write(v, "d/before", b"x");
    // user::rwx, user:4711:rwx, group::r-x, mask::rwx, other::---.
    let entries: [(u16, u16, u32); 5] =
        [(1, 7, u32::MAX), (2, 7, 4711), (4, 5, u32::MAX), (0x10, 7, u32::MAX), (0x20, 0, u32::MAX)];
    let mut acl = 2_u32.to_le_bytes().to_vec();
    for (tag, permissions, id) in entries {
        acl.extend([&tag.to_le_bytes()[..], &permissions.to_le_bytes(), &id.to_le_bytes()].concat());
    }
    for ino in [before, d] {
        for name in [ACCESS, DEFAULT, ACCESS, DEFAULT] {
            match v.getxattr(ino, name) {
                // No ACLs there.
                Err(Error::Lower(_)) => return,
                got => assert!(matches!(got, Err(Error::NoData)), "{got:?}"),
            }
        }
    }
    v.setxattr(d, DEFAULT, &acl, SET).unwrap();
    assert_eq!(v.getxattr(d, DEFAULT).unwrap(), acl);
    assert!(matches!(v.getxattr(before, ACCESS), Err(Error::NoData)));
    let (file, dir) = (write(v, "d/f", b"x"), mkdir(v, "d/e"));
    assert!(v.getxattr(file, ACCESS).unwrap().len() >= acl.len());
    assert_eq!(v.getxattr(dir, DEFAULT).unwrap(), acl);
    assert_eq!(v.listxattr(file).unwrap(), [ACCESS]);
    // One that says no more than the mode is no attribute below.
    v.removexattr(file, ACCESS).unwrap();
    assert!(matches!(v.getxattr(file, ACCESS), Err(Error::NoData)));
    v.setxattr(before, ACCESS, &acl, SET).unwrap();
    assert_eq!(v.getxattr(before, ACCESS).unwrap(), acl);
}

#[test]
fn attributes_are_seen_after_reencryption_whatever_was_known_before() {
    let t = TestVault::new();
    let v = &t.vault;
    let reencrypted = |ino| match v.reencrypt(ino, &mut crate::monitor::Monitor::unattended()).unwrap() {
        crate::vault::Reencrypted::Done(_) => find(v, "f").unwrap(),
        other => panic!("{other:?}"),
    };
    let none = write(v, "f", b"content");
    for _ in 0..2 {
        assert!(matches!(v.getxattr(none, b"user.a"), Err(Error::NoData)));
    }
    let ino = reencrypted(none);
    assert!(matches!(v.getxattr(ino, b"user.a"), Err(Error::NoData)));
    assert!(matches!(v.getxattr(none, b"user.a"), Err(Error::Stale)));
    v.setxattr(ino, b"user.a", b"value", SET).unwrap();
    let ino = reencrypted(ino);
    assert_eq!(v.getxattr(ino, b"user.a").unwrap(), b"value");
    assert_eq!(v.listxattr(ino).unwrap(), [b"user.a"]);
}

#[test]
fn a_capability_set_after_it_was_known_that_there_is_none_is_cleared_by_a_write() {
    const CAPABILITY: &[u8] = b"security.capability";
    let t = TestVault::new();
    let ino = write(&t.vault, "f", b"content");
    t.vault.forget(ino, 100);
    let v = &t.vault;
    let ino = find(v, "f").unwrap();
    for _ in 0..2 {
        assert!(matches!(v.getxattr(ino, CAPABILITY), Err(Error::NoData)));
    }
    assert_eq!(v.listxattr(ino).unwrap(), [b""; 0]);
    v.setxattr(ino, CAPABILITY, b"caps", SET).unwrap();
    v.write(ino, PlainOffset(0), b"changed", Privileges::Clear).unwrap();
    assert!(matches!(v.getxattr(ino, CAPABILITY), Err(Error::NoData)));
    assert_eq!(lower_xattrs(&t), [b""; 0]);
}
