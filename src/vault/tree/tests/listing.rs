use super::*;
use crate::vault::FileKind;

#[test]
fn a_listing_goes_on_where_it_was_cut_off() {
    let t = TestVault::new();
    let v = &t.vault;
    let dir = mkdir(v, "d");
    for i in 0..500 {
        v.mknod(dir, format!("file {i}").as_bytes(), 0o100_644, 0, &me()).unwrap();
    }
    let handle = v.opendir(dir).unwrap();
    for step in [1, 7, 100, 1000] {
        let (mut cookie, mut names) = (0, Vec::new());
        loop {
            let mut n = 0;
            let before = names.len();
            v.readdir(dir, handle, cookie, &mut |entry| {
                if n == step {
                    return false;
                }
                n += 1;
                cookie = entry.next_cookie;
                names.push(entry.name.to_vec());
                true
            })
            .unwrap();
            if names.len() == before {
                break;
            }
        }
        assert_eq!(names.len(), 502);
        names.sort();
        names.dedup();
        assert_eq!(names.len(), 502);
    }
    v.releasedir(dir, handle).unwrap();
    assert!(matches!(v.releasedir(dir, handle), Err(Error::BadHandle)));
    assert!(matches!(v.readdir(dir, handle, 0, &mut |_| true), Err(Error::BadHandle)));
}

#[test]
fn dots_lead_to_the_directory_and_its_parent() {
    let t = TestVault::new();
    let v = &t.vault;
    let dir = mkdir(v, "d");
    let inner = mkdir(v, "d/e");
    for (ino, parent) in [(Ino::ROOT, Ino::ROOT), (dir, Ino::ROOT), (inner, dir)] {
        let handle = v.opendir(ino).unwrap();
        let mut dots = Vec::new();
        v.readdir(ino, handle, 0, &mut |entry| {
            if entry.name == b"." || entry.name == b".." {
                dots.push((entry.name.to_vec(), entry.ino, entry.kind));
            }
            true
        })
        .unwrap();
        dots.sort_by_key(|(name, ..)| name.len());
        let expected =
            [(b".".to_vec(), ino, FileKind::Directory), (b"..".to_vec(), parent, FileKind::Directory)];
        assert_eq!(dots, expected);
    }
}

#[test]
fn only_accepted_entries_count_as_looked_up() {
    let mut t = TestVault::new();
    write(&t.vault, "a", b"1234567");
    t.vault.symlink(Ino::ROOT, b"l", b"target", &me()).unwrap();
    mkdir(&t.vault, "d");
    t.reopen();
    let v = &t.vault;
    let handle = v.opendir(Ino::ROOT).unwrap();
    let mut refused = 0;
    v.readdirplus(Ino::ROOT, handle, 0, &mut |attr, _, _| {
        refused += usize::from(attr.is_some());
        attr.is_none()
    })
    .unwrap();
    assert_eq!((refused, v.tree.inodes.len()), (1, 1));
    let mut seen = Vec::new();
    v.readdirplus(Ino::ROOT, handle, 0, &mut |attr, name, _| {
        seen.extend(attr.map(|attr| (name.to_vec(), attr.kind, attr.size, attr.ino)));
        true
    })
    .unwrap();
    seen.sort_by(|a, b| a.0.cmp(&b.0));
    assert_eq!(v.tree.inodes.len(), 4);
    assert_eq!((&seen[0].0[..], seen[0].1, seen[0].2), (&b"a"[..], FileKind::Regular, 7));
    assert_eq!((&seen[2].0[..], seen[2].1, seen[2].2), (&b"l"[..], FileKind::Symlink, 6));
    for (.., ino) in &seen {
        assert!(v.getattr(*ino).is_ok());
        v.forget(*ino, 1);
    }
    assert_eq!(v.tree.inodes.len(), 1);
}

#[test]
fn a_directory_removed_while_open_is_empty() {
    let t = TestVault::new();
    let v = &t.vault;
    let dir = mkdir(v, "d");
    let handle = v.opendir(dir).unwrap();
    rmdir(v, "d").unwrap();
    v.readdir(dir, handle, 0, &mut |_| panic!("no entries")).unwrap();
    v.releasedir(dir, handle).unwrap();
}

#[test]
fn entries_made_while_listing_neither_repeat_nor_hide_others() {
    let t = TestVault::new();
    let v = &t.vault;
    for i in 0..200 {
        v.mknod(Ino::ROOT, format!("old {i}").as_bytes(), 0o100_644, 0, &me()).unwrap();
    }
    let handle = v.opendir(Ino::ROOT).unwrap();
    let (mut cookie, mut old, mut made) = (0, Vec::new(), 0);
    loop {
        let mut got = 0;
        v.readdir(Ino::ROOT, handle, cookie, &mut |entry| {
            got += 1;
            cookie = entry.next_cookie;
            if entry.name.starts_with(b"old") {
                old.push(entry.name.to_vec());
            }
            got < 20
        })
        .unwrap();
        if got == 0 {
            break;
        }
        v.mknod(Ino::ROOT, format!("new {made}").as_bytes(), 0o100_644, 0, &me()).unwrap();
        made += 1;
    }
    let seen = old.len();
    old.sort();
    old.dedup();
    assert_eq!((seen, old.len()), (200, 200));
}

/// The lower filesystem gives entries out in advance.
#[test]
fn a_long_name_that_goes_while_it_is_listed_is_no_damage() {
    let t = TestVault::new();
    let v = &t.vault;
    let dir = mkdir(v, "d");
    let long = |i: usize| format!("{i}{}", "L".repeat(190));
    for i in 0..100 {
        v.mknod(dir, long(i).as_bytes(), 0o100_644, 0, &me()).unwrap();
    }
    let handle = v.opendir(dir).unwrap();
    let (mut cookie, mut given) = (0, 0);
    v.readdir(dir, handle, 0, &mut |entry| {
        let more = given < 3;
        if more {
            (cookie, given) = (entry.next_cookie, given + 1);
        }
        more
    })
    .unwrap();
    for i in 0..100 {
        let name = long(i);
        if i % 2 == 0 {
            v.unlink(dir, name.as_bytes()).unwrap();
        } else {
            v.rename((dir, name.as_bytes()), (Ino::ROOT, name.as_bytes()), PLAIN).unwrap();
        }
    }
    assert_eq!(v.tree.readdir(handle, cookie, &mut |_| true).unwrap(), None);
    v.releasedir(dir, handle).unwrap();
    // One whose name is really lost is told.
    v.mknod(dir, long(1).as_bytes(), 0o100_644, 0, &me()).unwrap();
    let below = only_dir(&t.tree());
    let mut entries = std::fs::read_dir(&below).unwrap().map(|e| e.unwrap().path());
    let companion = entries.find(|path| path.to_str().unwrap().ends_with(".name")).unwrap();
    std::fs::remove_file(companion).unwrap();
    let handle = v.opendir(dir).unwrap();
    let found = v.tree.readdir(handle, 0, &mut |_| true).unwrap();
    assert_eq!(found, Some(crate::vault::Damage::LongName));
    v.releasedir(dir, handle).unwrap();
}
