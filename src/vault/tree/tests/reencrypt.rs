//! Re-encrypting: the same file under another DEK, whatever is in it and on it, wherever it is interrupted, and
//! whoever uses it meanwhile.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Instant;

use super::*;
use crate::ids::{AliasName, BackingKeyId, Time, TimeChange};
use crate::keyring::KeyRef;
use crate::monitor::{Cancellation, Monitor};
use crate::storage::fault::{Faults, Op};
use crate::sys::testing::PATIENCE;
use crate::vault::testing::READ_WRITE;
use crate::vault::{FallocMode, Privileges, Reencrypted, SetAttr, XattrMode};

fn reencrypt(v: &Vault, path: &str) -> Result<Reencrypted> {
    v.reencrypt(find(v, path)?, &mut Monitor::unattended())
}

fn renewed(v: &Vault, path: &str) -> Ino {
    match reencrypt(v, path).unwrap() {
        Reencrypted::Done(ino) => ino,
        other => panic!("{other:?}"),
    }
}

/// Bytes 16..32 of a lower file: its file id.
fn file_id(t: &TestVault) -> Vec<u8> {
    let files: Vec<_> = std::fs::read_dir(t.tree()).unwrap().map(|e| e.unwrap().path()).collect();
    assert_eq!(files.len(), 1, "{files:?}");
    std::fs::read(&files[0]).unwrap()[16..32].to_vec()
}

fn current(t: &TestVault) -> BackingKeyId {
    t.keys().current(&AliasName::default_alias()).unwrap()
}

fn bytes(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i % 251) as u8 | 1).collect()
}

#[test]
fn content_of_every_size_is_kept_under_another_key() {
    for size in [1, 3043, 3044, 3045, 7112, 7113, 65_000, 32 * 4068 + 3044 + 1] {
        let mut t = TestVault::new();
        let content = bytes(size);
        let old = write(&t.vault, "f", &content);
        let id = file_id(&t);
        t.keys().rotate(&KeyRef::Alias(AliasName::default_alias())).unwrap();
        let new = renewed(&t.vault, "f");
        assert_ne!(new, old);
        assert_ne!(file_id(&t), id);
        for _ in 0..2 {
            let ino = find(&t.vault, "f").unwrap();
            let mut got = vec![0; size + 1];
            let handle = t.vault.open(ino, READ, &me()).unwrap();
            assert_eq!(t.vault.read(ino, PlainOffset(0), &mut got).unwrap(), size);
            assert!(got[..size] == content, "{size}");
            t.vault.release(ino, handle).unwrap();
            assert_eq!(t.vault.file_header_info(ino).unwrap().unwrap().backing, current(&t));
            t.reopen();
        }
    }
}

#[test]
fn holes_and_what_was_cut_stay_what_they_are() {
    let t = TestVault::new();
    let v = &t.vault;
    let ino = write(v, "f", &bytes(20_000));
    let set = |size| SetAttr { size: Some(size), ..SetAttr::default() };
    // The last block holds bytes past the end now.
    v.setattr(ino, &set(10_000), &me()).unwrap();
    let small = write(v, "g", &bytes(10_000));
    let big = 40 << 20;
    v.setattr(ino, &set(big), &me()).unwrap();
    v.write(ino, PlainOffset(30 << 20), b"far", Privileges::Keep).unwrap();
    let punch = FallocMode { keep_size: true, punch_hole: true, ..FallocMode::default() };
    v.fallocate(ino, PlainOffset(3044), 4068, punch, Privileges::Keep).unwrap();
    v.setattr(small, &set(9_000), &me()).unwrap();
    let blocks = v.getattr(ino).unwrap().blocks;
    let new = renewed(v, "f");
    let attr = v.lookup(Ino::ROOT, b"f").unwrap();
    assert_eq!((attr.ino, attr.size), (new, big));
    assert!(attr.blocks <= blocks + 16, "{} blocks, were {blocks}", attr.blocks);
    let mut want = bytes(10_000);
    want[3044..7112].fill(0);
    want.resize(12_000, 0);
    let mut got = vec![0; 12_000];
    v.read(new, PlainOffset(0), &mut got).unwrap();
    assert!(got == want);
    v.read(new, PlainOffset((30 << 20) - 2), &mut got[..7]).unwrap();
    assert_eq!(&got[..7], b"\0\0far\0\0");
    assert_eq!(v.lseek(new, PlainOffset(3044), crate::vault::Whence::Data).unwrap().0, 7112);
    renewed(v, "g");
    let small = find(v, "g").unwrap();
    v.setattr(small, &set(10_000), &me()).unwrap();
    v.read(small, PlainOffset(0), &mut got[..10_000]).unwrap();
    assert!(got[..9_000] == bytes(9_000) && got[9_000..10_000].iter().all(|b| *b == 0));
}

/// The floor is that of the new file's own pages: a zeroed page is noticed.
#[test]
fn pages_of_the_new_file_can_not_be_zeroed_unnoticed() {
    let mut t = TestVault::new();
    write(&t.vault, "f", &bytes(300_000));
    renewed(&t.vault, "f");
    let lower = std::fs::read_dir(t.tree()).unwrap().next().unwrap().unwrap().path();
    let mut raw = std::fs::read(&lower).unwrap();
    assert_eq!(raw[..512], raw[512..1024]);
    raw[40 * 4096..41 * 4096].fill(0);
    std::fs::write(&lower, raw).unwrap();
    t.reopen();
    let ino = find(&t.vault, "f").unwrap();
    let mut got = vec![0; 4096];
    assert!(matches!(t.vault.read(ino, PlainOffset(40 * 4068), &mut got), Err(Error::Corrupt(_))));
}

#[test]
fn owner_mode_times_and_attributes_are_kept() {
    let mut t = TestVault::new();
    let v = t.vault.clone();
    let dir = mkdir(&v, "d");
    // What is created here would get an ACL of its own.
    let acl = |group: u8| {
        let mut acl = vec![2, 0, 0, 0];
        for (tag, perm) in [(1u8, 7u8), (4, group), (0x20, 5)] {
            acl.extend([tag, 0, perm, 0, 255, 255, 255, 255]);
        }
        acl
    };
    v.setxattr(dir, b"system.posix_acl_default", &acl(7), XattrMode::Set).unwrap();
    let ino = write(&v, "d/f", &bytes(5000));
    let _ = v.removexattr(ino, b"system.posix_acl_access");
    let long = vec![b'v'; 300];
    v.setxattr(ino, b"user.note", b"value", XattrMode::Set).unwrap();
    v.setxattr(ino, b"user.long", &long, XattrMode::Set).unwrap();
    v.setxattr(ino, b"security.capability", b"\x01\x00\x00\x02-caps-", XattrMode::Set).unwrap();
    let at = |secs| Some(TimeChange::At(Time { secs, nanos: 123_456_789 }));
    let set =
        SetAttr { mode: Some(0o6754), atime: at(1_000_000), mtime: at(2_000_000), ..SetAttr::default() };
    let before = v.setattr(ino, &set, &me()).unwrap();
    let parent = v.getattr(dir).unwrap();
    let new = renewed(&v, "d/f");
    for v in [v, {
        t.reopen();
        t.vault.clone()
    }] {
        let ino = find(&v, "d/f").unwrap();
        assert_eq!(ino, new);
        let mut after = v.getattr(ino).unwrap();
        (after.ino, after.ctime, after.blocks) = (before.ino, before.ctime, before.blocks);
        after.generation = before.generation;
        assert_eq!(after, before);
        assert_eq!(v.getxattr(ino, b"user.note").unwrap(), b"value");
        assert_eq!(v.getxattr(ino, b"user.long").unwrap(), long);
        assert_eq!(v.getxattr(ino, b"security.capability").unwrap(), b"\x01\x00\x00\x02-caps-");
        assert!(matches!(v.getxattr(ino, b"system.posix_acl_access"), Err(Error::NoData)));
        assert_eq!(v.listxattr(ino).unwrap().len(), 3);
        let dir = v.getattr(find(&v, "d").unwrap()).unwrap();
        assert_eq!((dir.mtime, dir.atime), (parent.mtime, parent.atime));
    }
}

#[test]
fn what_has_no_key_several_names_or_a_handle_is_left() {
    let t = TestVault::new();
    let v = &t.vault;
    let ino = write(v, "f", b"content");
    t.make("empty");
    mkdir(v, "d");
    assert_eq!(reencrypt(v, "empty").unwrap(), Reencrypted::Empty);
    assert!(matches!(reencrypt(v, "d"), Err(Error::Invalid(_))));
    let handle = v.open(ino, READ, &me()).unwrap();
    assert_eq!(reencrypt(v, "f").unwrap(), Reencrypted::InUse);
    v.release(ino, handle).unwrap();
    v.link(ino, Ino::ROOT, b"g").unwrap();
    assert_eq!(reencrypt(v, "f").unwrap(), Reencrypted::Linked);
    unlink(v, "g").unwrap();
    // One that learns of it only by what is reported cancels it too: a client that hung up.
    let cancellation = Cancellation::default();
    let mut gone = |_| cancellation.cancel();
    let mut monitor = Monitor::new(&cancellation, &mut gone);
    assert_eq!(v.reencrypt(find(v, "f").unwrap(), &mut monitor).unwrap(), Reencrypted::Stopped);
    assert_eq!(lower(&t.tree()).iter().filter(|name| name.starts_with('.')).count(), 0);
    let id = t.keys().current(&AliasName::default_alias()).unwrap().key;
    t.keys().disable_key(id).unwrap();
    assert!(matches!(reencrypt(v, "f"), Err(Error::KeyNotUsable(_))));
    t.keys().enable_key(id).unwrap();
    assert!(matches!(reencrypt(v, "f").unwrap(), Reencrypted::Done(_)));
}

#[test]
fn a_damaged_file_is_left_as_it_is() {
    let mut t = TestVault::new();
    write(&t.vault, "f", &bytes(50_000));
    let path = std::fs::read_dir(t.tree()).unwrap().next().unwrap().unwrap().path();
    let mut raw = std::fs::read(&path).unwrap();
    raw[9 * 4096 + 77] ^= 1;
    std::fs::write(&path, &raw).unwrap();
    t.reopen();
    assert!(matches!(reencrypt(&t.vault, "f"), Err(Error::Corrupt(_))));
    assert_eq!(std::fs::read(&path).unwrap(), raw);
    assert_eq!(std::fs::read_dir(t.tree()).unwrap().count(), 1);
}

/// The kernel goes on using the number that it knows: it is told to look again, and the number isn't another
/// file's while it holds it.
#[test]
fn the_old_inode_is_stale_until_it_is_forgotten() {
    let t = TestVault::new();
    let v = &t.vault;
    let old = write(v, "f", b"content");
    let new = match v.reencrypt(old, &mut Monitor::unattended()).unwrap() {
        Reencrypted::Done(new) => new,
        other => panic!("{other:?}"),
    };
    assert!(matches!(v.open(old, READ_WRITE, &me()), Err(Error::Stale)));
    assert!(matches!(v.getattr(old), Err(Error::Stale)));
    assert!(matches!(v.link(old, Ino::ROOT, b"g"), Err(Error::Stale)));
    assert!(matches!(v.reencrypt(old, &mut Monitor::unattended()), Err(Error::Stale)));
    for i in 0..20 {
        assert_ne!(write(v, &format!("n{i}"), b"x"), old);
    }
    assert_eq!(v.lookup(Ino::ROOT, b"f").unwrap().ino, new);
    assert_eq!(v.census().iter().map(|(_, n)| n).sum::<u64>(), 21);
    v.forget(old, 1);
    assert_eq!(read(v, "f").unwrap(), b"content");
    unlink(v, "f").unwrap();
    assert_eq!(v.census().iter().map(|(_, n)| n).sum::<u64>(), 20);
}

#[test]
fn nothing_is_left_behind_by_the_next_try() {
    for n in 0..12 {
        let mut t = TestVault::new();
        write(&t.vault, "f", &bytes(9000));
        {
            let _scope = Faults::stop_after(n).on_this_thread();
            let _ = reencrypt(&t.vault, "f");
        }
        t.reopen();
        renewed(&t.vault, "f");
        assert_eq!(std::fs::read_dir(t.tree()).unwrap().count(), 1, "{n}");
    }
}

/// Retries as the kernel does when an inode is stale.
fn again<T>(v: &Vault, go: impl Fn(Ino) -> Result<T>) -> T {
    loop {
        match find(v, "f").and_then(&go) {
            Err(Error::Stale) => {}
            done => return done.unwrap(),
        }
    }
}

#[test]
fn no_write_is_lost_to_it() {
    let t = TestVault::in_memory();
    let v = &*t.vault;
    write(v, "f", &bytes(40_000));
    let stop = AtomicBool::new(false);
    let (renewals, began) = (AtomicU32::new(0), Instant::now());
    std::thread::scope(|scope| {
        // Another one that is at it all the time.
        scope.spawn(|| {
            while !stop.load(Ordering::SeqCst) {
                match reencrypt(v, "f") {
                    Ok(Reencrypted::Done(_) | Reencrypted::InUse) | Err(Error::Stale) => {}
                    other => panic!("{other:?}"),
                }
            }
        });
        let writer = scope.spawn(|| {
            for round in 0u32.. {
                // On a busy machine it may take longer until the file is found unused.
                if round >= 300 && (renewals.load(Ordering::SeqCst) > 0 || began.elapsed() > PATIENCE) {
                    break;
                }
                let data = round.to_le_bytes();
                let at = PlainOffset(u64::from(round) * 97 % 39_000);
                if round % 3 == 0 {
                    let value = round.to_string();
                    again(v, |ino| v.setxattr(ino, b"user.round", value.as_bytes(), XattrMode::Set));
                    assert_eq!(again(v, |ino| v.getxattr(ino, b"user.round")), value.as_bytes());
                    let set = SetAttr { mode: Some(0o600 + round % 64), ..SetAttr::default() };
                    again(v, |ino| v.setattr(ino, &set, &me()));
                    assert_eq!(u32::from(again(v, |ino| v.getattr(ino)).perm), 0o600 + round % 64);
                }
                let (ino, handle) = again(v, |ino| Ok((ino, v.open(ino, READ_WRITE, &me())?)));
                v.write(ino, at, &data, Privileges::Keep).unwrap();
                v.release(ino, handle).unwrap();
                let mut got = [0; 4];
                again(v, |ino| v.read(ino, at, &mut got.clone()).map(drop));
                let (ino, handle) = again(v, |ino| Ok((ino, v.open(ino, READ, &me())?)));
                v.read(ino, at, &mut got).unwrap();
                v.release(ino, handle).unwrap();
                assert_eq!(got, data, "round {round}");
                std::thread::sleep(std::time::Duration::from_millis(1 + u64::from(round % 5)));
            }
            stop.store(true, Ordering::SeqCst);
        });
        while !stop.load(Ordering::SeqCst) && !writer.is_finished() {
            match reencrypt(v, "f") {
                Ok(Reencrypted::Done(_)) => drop(renewals.fetch_add(1, Ordering::SeqCst)),
                Ok(Reencrypted::InUse) | Err(Error::Stale) => {}
                other => panic!("{other:?}"),
            }
        }
    });
    assert!(renewals.into_inner() > 0, "it never found the file unused");
}

/// Whoever has the old inode's number looks again: nobody is told that it has no link, nor what it was like.
#[test]
fn no_one_sees_the_file_without_a_name() {
    let t = TestVault::in_memory();
    let v = &*t.vault;
    write(v, "f", &bytes(3000));
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                while !stop.load(Ordering::SeqCst) {
                    let attr = v.lookup(Ino::ROOT, b"f").unwrap();
                    assert_eq!(attr.nlink, 1);
                    for _ in 0..50 {
                        match v.getattr(attr.ino) {
                            Ok(attr) => assert_eq!(attr.nlink, 1),
                            Err(Error::Stale) => break,
                            Err(e) => panic!("{e:?}"),
                        }
                    }
                    v.forget(attr.ino, 1);
                }
            });
        }
        for _ in 0..300 {
            match reencrypt(v, "f").unwrap() {
                Reencrypted::Done(_) => {}
                other => panic!("{other:?}"),
            }
        }
        stop.store(true, Ordering::SeqCst);
    });
}

/// What failed to be replaced is the file still.
#[test]
fn a_rename_that_fails_leaves_the_inode_as_it_was() {
    let t = TestVault::new();
    write(&t.vault, "g", b"content");
    let recorded = Faults::record();
    {
        let _scope = recorded.on_this_thread();
        renewed(&t.vault, "g");
    }
    let at = recorded.log().iter().position(|op| *op == Op::Rename).unwrap();
    let ino = write(&t.vault, "f", b"content");
    {
        let _scope = Faults::fail_once(at as u64, crate::storage::Errno::IO).on_this_thread();
        assert!(reencrypt(&t.vault, "f").is_err());
    }
    assert_eq!(t.vault.getattr(ino).unwrap().nlink, 1);
    assert!(t.vault.tree.inodes.get(ino).unwrap().pin().fd().is_none());
}
