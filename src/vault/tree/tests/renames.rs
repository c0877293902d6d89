use super::*;
use crate::vault::FileKind;

#[test]
fn a_moved_directory_keeps_its_children() {
    let mut t = TestVault::new();
    let v = t.vault.clone();
    mkdir(&v, "a");
    mkdir(&v, "a/b");
    write(&v, "a/b/f", b"deep");
    write(&v, "a/g", b"shallow");
    rename(&v, "a", "c", PLAIN).unwrap();
    assert_eq!(read(&v, "c/b/f").unwrap(), b"deep");
    // A new one of the old name is another directory.
    mkdir(&v, "a");
    assert!(matches!(find(&v, "a/g"), Err(Error::NotFound)));
    rename(&v, "c/b", "a/moved", PLAIN).unwrap();
    t.reopen();
    let v = &t.vault;
    assert_eq!(read(v, "c/g").unwrap(), b"shallow");
    assert_eq!(read(v, "a/moved/f").unwrap(), b"deep");
    assert!(matches!(find(v, "c/b"), Err(Error::NotFound)));
    assert_eq!(list(v, Ino::ROOT), [b"a", b"c"]);
}

#[test]
fn a_directory_is_one_lower_call_until_it_moves() {
    let t = TestVault::new();
    mkdir(&t.vault, "a");
    let lower_a = only_dir(&t.tree());
    assert_eq!(lower(&lower_a), [""; 0]);
    let before = std::fs::metadata(&lower_a).unwrap().modified().unwrap();
    std::thread::sleep(std::time::Duration::from_millis(20));
    rename(&t.vault, "a", "b", PLAIN).unwrap();
    let lower_b = only_dir(&t.tree());
    assert_eq!(lower(&lower_b), [".dir"]);
    assert_eq!(std::fs::metadata(&lower_b).unwrap().modified().unwrap(), before, "its times stay");
    let record = std::fs::read(lower_b.join(".dir")).unwrap();
    rename(&t.vault, "b", "c", PLAIN).unwrap();
    assert_eq!(std::fs::read(only_dir(&t.tree()).join(".dir")).unwrap(), record, "stored once");
}

#[test]
fn exchange_moves_both_sides() {
    let mut t = TestVault::new();
    let v = t.vault.clone();
    mkdir(&v, "a");
    mkdir(&v, "b");
    mkdir(&v, "b/d");
    write(&v, "a/f", b"in a");
    write(&v, "b/d/g", b"in b/d");
    write(&v, "file", b"file");
    rename(&v, "a", "b/d", RenameFlags::EXCHANGE).unwrap();
    rename(&v, "file", "b", RenameFlags::EXCHANGE).unwrap();
    for _ in 0..2 {
        let v = &t.vault;
        assert_eq!(read(v, "a/g").unwrap(), b"in b/d");
        assert_eq!(read(v, "file/d/f").unwrap(), b"in a");
        assert_eq!(read(v, "b").unwrap(), b"file");
        t.reopen();
    }
    let missing = rename(&t.vault, "a", "none", RenameFlags::EXCHANGE);
    assert!(matches!(missing, Err(Error::NotFound)));
}

#[test]
fn flags_that_are_not_for_us_are_refused() {
    let t = TestVault::new();
    write(&t.vault, "a", b"a");
    write(&t.vault, "b", b"b");
    let exchange = RenameFlags::EXCHANGE;
    for flags in [RenameFlags::WHITEOUT | exchange, RenameFlags::NOREPLACE | exchange] {
        assert!(matches!(rename(&t.vault, "a", "b", flags), Err(Error::Invalid(_))));
    }
    assert!(matches!(rename(&t.vault, "a", "b", RenameFlags::NOREPLACE), Err(Error::Exists)));
    rename(&t.vault, "a", "c", RenameFlags::NOREPLACE).unwrap();
    assert_eq!(list(&t.vault, Ino::ROOT), [b"b", b"c"]);
}

#[test]
fn a_whiteout_stays_under_the_old_name() {
    let mut t = TestVault::new();
    let v = t.vault.clone();
    let long = "L".repeat(240);
    mkdir(&v, "d");
    for name in ["a", "d/g", &long] {
        write(&v, name, name.as_bytes());
    }
    rename(&v, "a", "b", RenameFlags::WHITEOUT).unwrap();
    rename(&v, &long, "c", RenameFlags::WHITEOUT | RenameFlags::NOREPLACE).unwrap();
    rename(&v, "d", "moved", RenameFlags::WHITEOUT).unwrap();
    for _ in 0..2 {
        let v = &t.vault;
        for (name, content) in [("b", "a"), ("c", &*long), ("moved/g", "d/g")] {
            assert_eq!(read(v, name).unwrap(), content.as_bytes());
        }
        for name in ["a", "d", &long] {
            let attr = v.lookup(Ino::ROOT, name.as_bytes()).unwrap();
            assert_eq!((attr.kind, attr.rdev), (FileKind::CharDevice, 0), "{name}");
        }
        assert_eq!(list(v, Ino::ROOT).len(), 6);
        t.reopen();
    }
}

#[test]
fn what_can_replace_what() {
    let t = TestVault::new();
    let v = &t.vault;
    mkdir(v, "dir");
    mkdir(v, "full");
    write(v, "full/f", b"f");
    write(v, "file", b"file");
    write(v, "other", b"other");
    assert!(matches!(rename(v, "file", "dir", PLAIN), Err(Error::IsADirectory)));
    assert!(matches!(rename(v, "dir", "file", PLAIN), Err(Error::NotADirectory)));
    assert!(matches!(rename(v, "dir", "full", PLAIN), Err(Error::NotEmpty)));
    assert!(matches!(rename(v, "none", "file", PLAIN), Err(Error::NotFound)));
    assert!(rename(v, "full", "full/x", PLAIN).is_err());
    rename(v, "other", "file", PLAIN).unwrap();
    assert_eq!(read(v, "file").unwrap(), b"other");
    rename(v, "full", "dir", PLAIN).unwrap();
    assert_eq!(read(v, "dir/f").unwrap(), b"f");
    assert_eq!(list(v, Ino::ROOT), [b"dir".to_vec(), b"file".to_vec()]);
}

#[test]
fn a_directory_replaces_one_that_holds_only_leftovers() {
    let mut t = TestVault::new();
    let v = t.vault.clone();
    mkdir(&v, "victim");
    // Give it a record, an orphaned companion and a temporary file.
    rename(&v, "victim", "v", PLAIN).unwrap();
    let lower_victim = only_dir(&t.tree());
    std::fs::write(lower_victim.join(format!(".long.{}.name", "A".repeat(43))), b"x").unwrap();
    std::fs::write(lower_victim.join(".tmp.abc"), b"x").unwrap();
    mkdir(&v, "d");
    write(&v, "d/f", b"content");
    rename(&v, "d", "v", PLAIN).unwrap();
    t.reopen();
    assert_eq!(read(&t.vault, "v/f").unwrap(), b"content");
    assert_eq!(list(&t.vault, Ino::ROOT), [b"v"]);
}

#[test]
fn two_names_of_one_file_both_stay() {
    let t = TestVault::new();
    let v = &t.vault;
    let ino = write(v, "a", b"one");
    v.link(ino, Ino::ROOT, b"b").unwrap();
    rename(v, "a", "b", PLAIN).unwrap();
    assert_eq!(list(v, Ino::ROOT), [b"a", b"b"]);
    assert!(matches!(rename(v, "a", "b", RenameFlags::NOREPLACE), Err(Error::Exists)));
    rename(v, "a", "a", PLAIN).unwrap();
    assert_eq!(v.getattr(ino).unwrap().nlink, 2);
}

#[test]
fn open_directories_and_inodes_follow_a_move() {
    let t = TestVault::new();
    let v = &t.vault;
    mkdir(v, "a");
    let b = mkdir(v, "a/b");
    let f = write(v, "a/b/f", b"x");
    mkdir(v, "c");
    rename(v, "a", "c/a", PLAIN).unwrap();
    for _ in 0..2 {
        assert_eq!(v.getattr(f).unwrap().ino, f);
        assert_eq!(v.lookup(b, b"f").unwrap().ino, f);
        assert_eq!(list(v, b), [b"f"]);
        // And the same with every directory closed.
        for _ in 0..8 {
            v.tree.dirs.shrink();
        }
    }
    rename(v, "c/a/b/f", "f", PLAIN).unwrap();
    assert_eq!(v.getattr(f).unwrap().ino, f);
    assert_eq!(read(v, "f").unwrap(), b"x");
}

#[test]
fn a_replaced_file_that_is_open_stays_readable() {
    let t = TestVault::new();
    let v = &t.vault;
    let old = write(v, "f", b"old");
    let handle = v.open(old, READ, &me()).unwrap();
    write(v, "new", b"new");
    rename(v, "new", "f", PLAIN).unwrap();
    let mut buf = [0; 3];
    v.read(old, PlainOffset(0), &mut buf).unwrap();
    assert_eq!(&buf, b"old");
    v.release(old, handle).unwrap();
    // Still known, without a name or a handle.
    assert_eq!(v.getattr(old).unwrap().nlink, 0);
    v.forget(old, 100);
    assert!(matches!(v.getattr(old), Err(Error::Stale)));
}

/// The kernel counts its links down by itself, and is to ask again.
#[test]
fn a_replaced_file_that_has_other_names_is_told() {
    let t = TestVault::new();
    let v = &t.vault;
    let old = write(v, "a", b"old");
    v.link(old, Ino::ROOT, b"b").unwrap();
    let over = |name: &[u8]| {
        write(v, "new", b"new");
        v.rename_over_one_of((Ino::ROOT, b"new"), (Ino::ROOT, name), PLAIN).unwrap()
    };
    assert_eq!((over(b"a"), v.getattr(old).unwrap().nlink), (Some(old), 1));
    assert_eq!((over(b"b"), v.getattr(old).unwrap().nlink), (None, 0), "none is left");
    assert_eq!(over(b"c"), None, "nothing was there");
    v.link(find(v, "a").unwrap(), Ino::ROOT, b"d").unwrap();
    let exchanged = v.rename_over_one_of((Ino::ROOT, b"a"), (Ino::ROOT, b"b"), RenameFlags::EXCHANGE);
    assert_eq!(exchanged.unwrap(), None, "both stay");
}

/// A file is renamed under the locks of its parents alone; a name that leads to a directory by the time that they are
/// held has that locked too, and the other way round.
#[test]
fn a_name_that_turns_from_a_file_into_a_directory_is_renamed_as_what_it_is() {
    let mut t = TestVault::new();
    let v = t.vault.clone();
    for name in ["p", "q"] {
        mkdir(&v, name);
    }
    write(&v, "p/a", b"file");
    mkdir(&v, "p/b");
    write(&v, "p/b/f", b"in the directory");
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let (v, done) = (&*v, &done);
        scope.spawn(move || {
            let p = find(v, "p").unwrap();
            let mut exchanged = 0;
            while exchanged < 200 {
                match v.rename((p, b"a"), (p, b"b"), RenameFlags::EXCHANGE) {
                    Ok(()) => exchanged += 1,
                    // It is in the other directory.
                    Err(Error::NotFound) => std::thread::yield_now(),
                    Err(e) => panic!("{e}"),
                }
            }
            done.store(true, std::sync::atomic::Ordering::Relaxed);
        });
        scope.spawn(move || {
            // The parents are found by their numbers: only what they hold changes.
            let (p, q) = (find(v, "p").unwrap(), find(v, "q").unwrap());
            while !done.load(std::sync::atomic::Ordering::Relaxed) {
                match v.rename((p, b"a"), (q, b"a"), PLAIN) {
                    Ok(()) => v.rename((q, b"a"), (p, b"a"), RenameFlags::NOREPLACE).unwrap(),
                    Err(Error::NotFound | Error::Stale) => {}
                    Err(e) => panic!("{e}"),
                }
            }
        });
    });
    drop(v);
    for _ in 0..2 {
        let v = &t.vault;
        let (file, dir) = if read(v, "p/a").is_ok() { ("p/a", "p/b") } else { ("p/b", "p/a") };
        assert_eq!(read(v, file).unwrap(), b"file");
        assert_eq!(read(v, &format!("{dir}/f")).unwrap(), b"in the directory");
        t.reopen();
    }
}
