use super::*;
use crate::ids::{NodeGeneration, Time, TimeChange};
use crate::storage::fault::{Faults, Op};
use crate::vault::{FileKind, SetAttr};

#[test]
fn a_file_is_found_by_whichever_name_is_left() {
    let t = TestVault::new();
    let v = &t.vault;
    mkdir(v, "d");
    let ino = write(v, "a", b"x");
    v.link(ino, find(v, "d").unwrap(), b"b").unwrap();
    unlink(v, "a").unwrap();
    assert_eq!(v.getattr(ino).unwrap().nlink, 1);
    assert_eq!(read(v, "d/b").unwrap(), b"x");
    let dir = find(v, "d").unwrap();
    assert!(matches!(v.link(dir, Ino::ROOT, b"e"), Err(Error::NotPermitted(_))));
    assert!(matches!(v.link(ino, dir, b"b"), Err(Error::Lower(_) | Error::Exists)));
}

#[test]
fn a_name_that_was_never_looked_up_is_no_way_to_a_file() {
    let mut t = TestVault::new();
    let ino = write(&t.vault, "a", b"x");
    t.vault.link(ino, Ino::ROOT, b"b").unwrap();
    t.reopen();
    let v = &t.vault;
    assert_eq!(find(v, "a").unwrap(), ino);
    unlink(v, "a").unwrap();
    // The kernel may still have it in use: it is pinned, though "b" is left.
    assert_eq!(v.getattr(ino).unwrap().nlink, 1);
    let handle = v.open(ino, READ, &me()).unwrap();
    v.release(ino, handle).unwrap();
    // Looked up again, it needs the pin no more.
    assert_eq!(v.link(ino, Ino::ROOT, b"c").unwrap().nlink, 2);
    assert!(v.tree.inodes.get(ino).unwrap().pin().fd().is_none());
    assert_eq!(read(v, "b").unwrap(), b"x");
}

#[test]
fn the_number_of_a_removed_file_is_not_used_again_before_it_is_forgotten() {
    let t = TestVault::new();
    let v = &t.vault;
    let old = write(v, "f", b"old");
    unlink(v, "f").unwrap();
    assert_eq!(v.getattr(old).unwrap().nlink, 0);
    for i in 0..50 {
        assert_ne!(write(v, &format!("g{i}"), b"new"), old);
    }
    v.forget(old, 1);
    assert!(matches!(v.getattr(old), Err(Error::Stale)));
    let dir = mkdir(v, "d");
    rmdir(v, "d").unwrap();
    assert_eq!(v.getattr(dir).unwrap().kind, FileKind::Directory);
    assert!(matches!(v.lookup(dir, b"x"), Err(Error::Stale)));
    for i in 0..50 {
        assert_ne!(mkdir(v, &format!("d{i}")), dir);
    }
    v.forget(dir, 1);
}

#[test]
fn what_was_swapped_behind_our_back_is_stale() {
    let t = TestVault::new();
    let v = &t.vault;
    let a = write(v, "a", b"a");
    let at_a = t.tree().join(&lower(&t.tree())[0]);
    let dir = mkdir(v, "d");
    write(v, "d/f", b"f");
    std::fs::rename(&at_a, t.tree().join("away")).unwrap();
    assert!(matches!(v.getattr(a), Err(Error::Stale)));
    std::fs::write(&at_a, b"").unwrap();
    assert!(matches!(v.getattr(a), Err(Error::Stale)));
    assert!(matches!(v.open(a, READ, &me()), Err(Error::Stale)));
    // The number of another inode leads to that one.
    assert_ne!(find(v, "a").unwrap(), a);
    let at_d = only_dir(&t.tree());
    std::fs::rename(&at_d, t.tree().join("away-d")).unwrap();
    std::fs::create_dir(&at_d).unwrap();
    for _ in 0..8 {
        v.tree.dirs.shrink();
    }
    assert!(matches!(v.lookup(dir, b"f"), Err(Error::Stale)));
}

#[test]
fn deep_paths_are_walked_without_recursion_and_with_few_descriptors() {
    let mut t = TestVault::new();
    let v = t.vault.clone();
    let mut dir = Ino::ROOT;
    for i in 0..1000 {
        dir = v.mkdir(dir, format!("level {i}").as_bytes(), 0o755, &me()).unwrap().ino;
    }
    v.mknod(dir, b"bottom", 0o100_644, 0, &me()).unwrap();
    for _ in 0..12 {
        v.tree.dirs.shrink();
    }
    assert_eq!(list(&v, dir), [b"bottom"]);
    rename(&v, "level 0", "moved", PLAIN).unwrap();
    t.reopen();
    let v = &t.vault;
    let mut dirs = vec![find(v, "moved").unwrap()];
    for i in 1..1000 {
        dirs.push(v.lookup(dirs[i - 1], format!("level {i}").as_bytes()).unwrap().ino);
    }
    let bottom = v.lookup(dirs[999], b"bottom").unwrap().ino;
    // The kernel may forget directories before what is in them.
    for dir in &dirs {
        v.forget(*dir, 1);
    }
    for _ in 0..12 {
        v.tree.dirs.shrink();
    }
    assert_eq!(v.getattr(bottom).unwrap().ino, bottom);
    v.forget(bottom, 1);
    assert_eq!(v.tree.inodes.len(), 1);
}

#[test]
fn nodes_of_every_kind() {
    let t = TestVault::new();
    let v = &t.vault;
    let fifo = v.mknod(Ino::ROOT, b"fifo", 0o010_640, 0, &me()).unwrap();
    assert_eq!((fifo.kind, fifo.perm), (FileKind::Fifo, 0o640));
    let socket = v.mknod(Ino::ROOT, b"socket", 0o140_755, 0, &me()).unwrap();
    assert_eq!(socket.kind, FileKind::Socket);
    let file = v.mknod(Ino::ROOT, b"file", 0o100_600, 0, &me()).unwrap();
    assert_eq!((file.kind, file.size, file.blocks), (FileKind::Regular, 0, 0));
    for (ino, mode) in [(fifo.ino, 0o600), (file.ino, 0o640)] {
        let set = crate::vault::SetAttr { mode: Some(mode), ..Default::default() };
        assert_eq!(v.setattr(ino, &set, &me()).unwrap().perm, mode as u16);
    }
    unlink(v, "fifo").unwrap();
    unlink(v, "socket").unwrap();
    assert_eq!(v.getattr(fifo.ino).unwrap().kind, FileKind::Fifo);
}

#[test]
fn times_of_anything_but_the_file_behind_a_symlink() {
    use crate::storage::{Time, TimeChange};
    let t = TestVault::new();
    let v = &t.vault;
    let file = write(v, "f", b"f");
    let link = v.symlink(Ino::ROOT, b"l", b"f", &me()).unwrap().ino;
    let dir = mkdir(v, "d");
    let fifo = v.mknod(Ino::ROOT, b"p", 0o010_644, 0, &me()).unwrap().ino;
    let before = v.getattr(file).unwrap();
    for (ino, secs) in [(link, 1), (dir, -2), (fifo, 3), (Ino::ROOT, 4)] {
        let at = Time { secs, nanos: 123_456_789 };
        let set = crate::vault::SetAttr { mtime: Some(TimeChange::At(at)), ..Default::default() };
        let attr = v.setattr(ino, &set, &me()).unwrap();
        assert_eq!((attr.ino, attr.mtime), (ino, at));
    }
    assert_eq!(v.getattr(file).unwrap().mtime, before.mtime);
    // Through the pin, too.
    unlink(v, "l").unwrap();
    let at = Time { secs: 9, nanos: 9 };
    let set = crate::vault::SetAttr { mtime: Some(TimeChange::At(at)), ..Default::default() };
    assert_eq!(v.setattr(link, &set, &me()).unwrap().mtime, at);
    assert_eq!(v.readlink(link).unwrap(), b"f");
}

/// The kernel sends a file's times once more when its last name goes: nobody can come to see them.
#[test]
fn the_times_of_a_file_that_is_gone_are_not_written() {
    let t = TestVault::new();
    let v = &t.vault;
    let mtime = SetAttr { mtime: Some(TimeChange::At(Time { secs: 5, nanos: 0 })), ..SetAttr::default() };
    let written = |ino| {
        let faults = Faults::record();
        let scope = faults.on_this_thread();
        v.setattr(ino, &mtime, &me()).unwrap();
        drop(scope);
        faults.log().contains(&Op::SetTimes)
    };
    let gone = write(v, "gone", b"x");
    assert!(written(gone));
    unlink(v, "gone").unwrap();
    assert!(!written(gone));

    let linked = write(v, "a", b"x");
    v.link(linked, Ino::ROOT, b"b").unwrap();
    unlink(v, "a").unwrap();
    assert!(written(linked), "by its other name");
    assert_eq!(v.getattr(linked).unwrap().mtime.secs, 5);

    let open = write(v, "open", b"x");
    let handle = v.open(open, READ, &me()).unwrap();
    unlink(v, "open").unwrap();
    assert!(written(open));
    assert_eq!(v.getattr(open).unwrap().mtime.secs, 5);
    v.release(open, handle).unwrap();
}

/// Looks an entry up as the kernel does that has forgotten it.
fn fresh(v: &Vault, name: &str) -> (Ino, NodeGeneration) {
    let attr = v.lookup(Ino::ROOT, name.as_bytes()).unwrap();
    v.forget(attr.ino, 1);
    (attr.ino, attr.generation)
}

#[test]
fn a_number_that_is_used_again_has_another_generation() {
    let mut t = TestVault::new();
    let mut seen: Vec<(Ino, NodeGeneration)> = Vec::new();
    // ext4 and XFS use numbers again all the time (how often, others decide that write there too), Btrfs and tmpfs never.
    let reuses = matches!(&*t.vault.lower().fs_type, "ext4" | "xfs");
    let (mut again, mut i) = (0, 0);
    while i < 300 || reuses && again < 100 && i < 10_000 {
        let v = &t.vault;
        let name = format!("f{}", i % 3);
        let ino = match i % 4 {
            0 => write(v, &name, b"x"),
            1 => v.symlink(Ino::ROOT, name.as_bytes(), b"x", &me()).unwrap().ino,
            2 => v.mknod(Ino::ROOT, name.as_bytes(), 0o010_644, 0, &me()).unwrap().ino,
            _ => mkdir(v, &name),
        };
        let node = v.lookup(Ino::ROOT, name.as_bytes()).map(|attr| (attr.ino, attr.generation)).unwrap();
        again += usize::from(seen.iter().any(|(known, _)| *known == ino));
        assert!(!seen.contains(&node), "{i}: {node:?}");
        v.forget(ino, 2);
        assert_eq!(fresh(v, &name), node, "forgotten and looked up again");
        seen.push(node);
        match i % 8 {
            0 => {
                write(v, "over", b"y");
                rename(v, "over", &name, PLAIN).unwrap();
                let over = fresh(v, &name).0;
                v.forget(over, 1);
                seen.push(fresh(v, &name));
                unlink(v, &name).unwrap();
            }
            3 | 7 => rmdir(v, &name).unwrap(),
            _ => unlink(v, &name).unwrap(),
        }
        for known in [ino, seen.last().unwrap().0] {
            v.forget(known, 5);
        }
        i += 1;
    }
    assert!(again >= 100 || !reuses, "{again} numbers used again");
    write(&t.vault, "stays", b"x");
    let before = fresh(&t.vault, "stays");
    std::thread::sleep(std::time::Duration::from_millis(20));
    t.reopen();
    let handle = t.vault.opendir(Ino::ROOT).unwrap();
    let mut listed = None;
    let mut each = |attr: Option<&crate::vault::Attr>, name: &[u8], _| {
        listed = attr.filter(|_| name == b"stays").map(|attr| (attr.ino, attr.generation)).or(listed);
        true
    };
    t.vault.readdirplus(Ino::ROOT, handle, 0, &mut each).unwrap();
    t.vault.releasedir(Ino::ROOT, handle).unwrap();
    assert_eq!(listed, Some(before), "the same in the next mount, and in a listing");
}

/// More than may be pinned: what the kernel holds can be reached by no known name, but is the same file still.
#[test]
fn many_files_whose_last_known_name_is_gone_stay_themselves() {
    let mut t = TestVault::in_memory();
    let many = 5000;
    let dir = mkdir(&t.vault, "d");
    for i in 0..many {
        let ino = t.make(&format!("a{i}"));
        t.vault.link(ino, dir, format!("b{i}").as_bytes()).unwrap();
    }
    t.reopen();
    let v = &t.vault;
    // Held by an O_PATH descriptor, say.
    let held: Vec<Ino> = (0..many).map(|i| find(v, &format!("a{i}")).unwrap()).collect();
    for i in 0..many {
        v.unlink(Ino::ROOT, format!("a{i}").as_bytes()).unwrap();
    }
    if rustix::process::geteuid().is_root() {
        for &ino in &held {
            assert_eq!(v.getattr(ino).unwrap().nlink, 1);
        }
    }
    let dir = find(v, "d").unwrap();
    // Some by rename over them.
    for (i, held) in held.iter().enumerate() {
        let name = format!("b{i}");
        assert_eq!(v.lookup(dir, name.as_bytes()).unwrap().ino, *held);
        if i % 2 == 0 {
            v.unlink(dir, name.as_bytes()).unwrap();
        } else {
            t.make("over");
            v.rename((Ino::ROOT, b"over"), (dir, name.as_bytes()), PLAIN).unwrap();
        }
    }
    for i in 0..many {
        t.make(&format!("new{i}"));
    }
    for &ino in &held {
        let attr = v.getattr(ino).unwrap();
        assert_eq!((attr.ino, attr.nlink, attr.size), (ino, 0, 0), "its number is nobody else's");
    }
}

/// Two names in two directories, removed at once: the last one keeps the inode.
#[test]
fn names_removed_at_once_leave_the_inode_reachable() {
    let t = TestVault::in_memory();
    let v = &*t.vault;
    let (a, b) = (mkdir(v, "a"), mkdir(v, "b"));
    for round in 0..300 {
        let ino = write(v, "a/f", b"x");
        v.link(ino, b, b"f").unwrap();
        std::thread::scope(|scope| {
            scope.spawn(|| v.unlink(a, b"f").unwrap());
            scope.spawn(|| v.unlink(b, b"f").unwrap());
        });
        assert_eq!(v.getattr(ino).unwrap().nlink, 0, "round {round}");
        v.forget(ino, 2);
        assert!(v.tree.inodes.find(ino).is_none());
    }
}
