use super::*;
use crate::names::BAD_PREFIX;
use crate::vault::Damage;

fn long(fill: u8, len: usize) -> Vec<u8> {
    vec![fill; len]
}

#[test]
fn long_names_live_beside_their_companions() {
    let mut t = TestVault::new();
    let v = t.vault.clone();
    let (name, other) = (long(0xff, 255), long(b'x', 161));
    let attr = v.mknod(Ino::ROOT, &name, 0o100_644, 0, &me()).unwrap();
    v.mkdir(Ino::ROOT, &other, 0o755, &me()).unwrap();
    assert_eq!(lower(&t.tree()).len(), 4);
    t.reopen();
    let v = t.vault.clone();
    assert_eq!(list(&v, Ino::ROOT), [other.clone(), name.clone()]);
    assert_eq!(v.lookup(Ino::ROOT, &name).unwrap().ino, attr.ino);
    assert!(matches!(v.mknod(Ino::ROOT, &name, 0o100_644, 0, &me()), Err(Error::Exists)));
    // Long to long, long to short, short to long, over each other.
    let third = long(b'y', 200);
    v.rename((Ino::ROOT, &name), (Ino::ROOT, &third), PLAIN).unwrap();
    assert_eq!(lower(&t.tree()).len(), 4);
    v.rename((Ino::ROOT, &third), (Ino::ROOT, b"short"), PLAIN).unwrap();
    assert_eq!(lower(&t.tree()).len(), 3);
    v.rename((Ino::ROOT, b"short"), (Ino::ROOT, &name), PLAIN).unwrap();
    v.mknod(Ino::ROOT, &third, 0o100_644, 0, &me()).unwrap();
    v.rename((Ino::ROOT, &third), (Ino::ROOT, &name), PLAIN).unwrap();
    assert_eq!(list(&v, Ino::ROOT), [other.clone(), name.clone()]);
    // A long directory's children hang on its entry's name, and move with it.
    let dir = v.lookup(Ino::ROOT, &other).unwrap().ino;
    v.mknod(dir, b"child", 0o100_644, 0, &me()).unwrap();
    v.rename((Ino::ROOT, &other), (Ino::ROOT, &third), PLAIN).unwrap();
    t.reopen();
    let v = &t.vault;
    let dir = v.lookup(Ino::ROOT, &third).unwrap().ino;
    v.unlink(dir, b"child").unwrap();
    v.rmdir(Ino::ROOT, &third).unwrap();
    v.unlink(Ino::ROOT, &name).unwrap();
    assert_eq!(lower(&t.tree()), [""; 0], "nothing is left of them");
}

#[test]
fn a_damaged_companion_hides_its_entry_but_keeps_it() {
    let t = TestVault::new();
    let v = &t.vault;
    let name = long(b'n', 255);
    let ino = v.mkdir(Ino::ROOT, &name, 0o755, &me()).unwrap().ino;
    let companion = lower(&t.tree()).into_iter().find(|n| n.ends_with(".name")).unwrap();
    std::fs::write(t.tree().join(&companion), b"something else").unwrap();
    assert_eq!(list(v, Ino::ROOT), [b""; 0]);
    assert_eq!(v.lookup(Ino::ROOT, &name).unwrap().ino, ino, "a lookup reads no companion");
    std::fs::remove_file(t.tree().join(&companion)).unwrap();
    assert_eq!(list(v, Ino::ROOT), [b""; 0]);
    v.rmdir(Ino::ROOT, &name).unwrap();
}

#[test]
fn names_that_cannot_be() {
    let t = TestVault::new();
    let v = &t.vault;
    let make = |name: &[u8]| v.mkdir(Ino::ROOT, name, 0o755, &me());
    assert!(matches!(make(&long(b'a', 256)), Err(Error::NameTooLong)));
    for name in [&b""[..], b".", b"..", b"a/b", b"a\0b", b".rekeyfs-bad.x"] {
        assert!(matches!(make(name), Err(Error::Invalid(_))), "{name:?}");
    }
    assert!(matches!(v.lookup(Ino::ROOT, &long(b'a', 256)), Err(Error::NameTooLong)));
    assert_eq!(lower(&t.tree()), [""; 0]);
}

#[test]
fn what_cannot_be_decrypted_is_shown_and_can_be_cleared_away() {
    let t = TestVault::new();
    let v = &t.vault;
    std::fs::write(t.tree().join("foreign"), b"").unwrap();
    std::fs::create_dir(t.tree().join("foreign-dir")).unwrap();
    write(v, "good", b"good");
    let bad = [BAD_PREFIX, b"foreign"].concat();
    let bad_dir = [BAD_PREFIX, b"foreign-dir"].concat();
    assert_eq!(list(v, Ino::ROOT), [bad.clone(), bad_dir.clone(), b"good".to_vec()]);
    let dir = v.lookup(Ino::ROOT, &bad_dir).unwrap().ino;
    v.mkdir(dir, b"inside", 0o755, &me()).unwrap();
    // Only as what they are shown.
    let good = lower(&t.tree()).into_iter().find(|n| !n.starts_with("foreign")).unwrap();
    for lower in [good.as_bytes(), b".dir", b"foreign/x", b"", b"none"] {
        let name = [BAD_PREFIX, lower].concat();
        assert!(matches!(v.lookup(Ino::ROOT, &name), Err(Error::NotFound)), "{lower:?}");
    }
    let onto = |name: &[u8], flags| v.rename((Ino::ROOT, b"good"), (Ino::ROOT, name), flags);
    assert!(matches!(onto(&bad, PLAIN), Err(Error::Invalid(_))));
    assert!(matches!(onto(&bad, RenameFlags::EXCHANGE), Err(Error::Invalid(_))));
    assert!(matches!(onto(b".rekeyfs-bad.new", PLAIN), Err(Error::Invalid(_))));
    v.rename((Ino::ROOT, &bad_dir), (Ino::ROOT, b"saved"), PLAIN).unwrap();
    assert_eq!(list(v, find(v, "saved").unwrap()), [b"inside"]);
    v.unlink(Ino::ROOT, &bad).unwrap();
    assert_eq!(list(v, Ino::ROOT), [b"good".to_vec(), b"saved".to_vec()]);
}

#[test]
fn unknown_names_of_ours_are_hidden_and_kept() {
    let t = TestVault::new();
    let v = &t.vault;
    mkdir(v, "d");
    let d = only_dir(&t.tree());
    std::fs::write(d.join(".future"), b"").unwrap();
    assert_eq!(list(v, find(v, "d").unwrap()), [b""; 0]);
    assert!(matches!(rmdir(v, "d"), Err(Error::NotEmpty)));
    assert!(d.join(".future").exists());
}

#[test]
fn rmdir_takes_leftovers_along_but_nothing_else() {
    let t = TestVault::new();
    let v = &t.vault;
    mkdir(v, "d");
    rename(v, "d", "e", PLAIN).unwrap();
    let e = only_dir(&t.tree());
    std::fs::write(e.join(".tmp.left"), b"").unwrap();
    write(v, "e/f", b"f");
    assert!(matches!(rmdir(v, "e"), Err(Error::NotEmpty)));
    assert_eq!(lower(&e).len(), 3, "nothing was cleared");
    assert_eq!(read(v, "e/f").unwrap(), b"f");
    unlink(v, "e/f").unwrap();
    assert!(matches!(unlink(v, "e"), Err(Error::IsADirectory)));
    rmdir(v, "e").unwrap();
    assert_eq!(lower(&t.tree()), [""; 0]);
    assert!(matches!(rmdir(v, "e"), Err(Error::NotFound)));
    write(v, "f", b"f");
    assert!(matches!(rmdir(v, "f"), Err(Error::NotADirectory)));
}

#[test]
fn no_changed_byte_of_a_record_passes() {
    let mut t = TestVault::new();
    let v = t.vault.clone();
    mkdir(&v, "d");
    write(&v, "d/f", b"f");
    rename(&v, "d", "e", PLAIN).unwrap();
    let record = only_dir(&t.tree()).join(".dir");
    let good = std::fs::read(&record).unwrap();
    let check = |t: &mut TestVault, what: &str| {
        t.reopen();
        let v = &t.vault;
        let e = v.lookup(Ino::ROOT, b"e").unwrap().ino;
        let inside = v.lookup(e, b"f").map(|_| ());
        assert!(
            matches!(inside, Err(Error::Corrupt(Damage::DirRecord) | Error::Newer(_))),
            "{what}: {inside:?}"
        );
        assert!(v.mkdir(e, b"new", 0o755, &me()).is_err(), "{what}");
        assert!(v.opendir(e).is_err(), "{what}");
        assert!(v.getattr(e).is_ok(), "{what}");
        assert!(rename(v, "e", "g", PLAIN).is_err(), "{what}");
        assert!(rmdir(v, "e").is_err(), "{what}");
    };
    for at in 0..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 1;
        std::fs::write(&record, &bad).unwrap();
        check(&mut t, &format!("byte {at}"));
    }
    for len in [0, 1, good.len() - 1, good.len() + 1, 1000] {
        let mut bad = good.clone();
        bad.resize(len, 0);
        std::fs::write(&record, &bad).unwrap();
        check(&mut t, &format!("length {len}"));
    }
    std::fs::remove_file(&record).unwrap();
    std::os::unix::fs::symlink("elsewhere", &record).unwrap();
    check(&mut t, "a symlink");
    std::fs::remove_file(&record).unwrap();
    std::fs::create_dir(&record).unwrap();
    check(&mut t, "a directory");
    std::fs::remove_dir(&record).unwrap();
    std::fs::write(&record, &good).unwrap();
    t.reopen();
    assert_eq!(read(&t.vault, "e/f").unwrap(), b"f");
}

#[test]
fn an_empty_directory_with_a_damaged_record_can_be_removed() {
    let mut t = TestVault::new();
    mkdir(&t.vault, "d");
    rename(&t.vault, "d", "e", PLAIN).unwrap();
    let record = only_dir(&t.tree()).join(".dir");
    std::fs::write(&record, [1, 0, 3]).unwrap();
    t.reopen();
    assert!(t.vault.opendir(find(&t.vault, "e").unwrap()).is_err());
    rmdir(&t.vault, "e").unwrap();
}

#[test]
fn symlinks_hide_their_targets() {
    let mut t = TestVault::new();
    let target = vec![b't'; 3030];
    let attr = t.vault.symlink(Ino::ROOT, b"l", &target, &me()).unwrap();
    assert_eq!(attr.size, 3030);
    assert!(matches!(t.vault.symlink(Ino::ROOT, b"m", &[b't'; 3031], &me()), Err(Error::NameTooLong)));
    t.reopen();
    let v = &t.vault;
    let ino = find(v, "l").unwrap();
    assert_eq!(v.readlink(ino).unwrap(), target);
    let path = t.tree().join(&lower(&t.tree())[0]);
    std::fs::remove_file(&path).unwrap();
    std::os::unix::fs::symlink("not-ours", &path).unwrap();
    assert!(matches!(
        v.readlink(find(v, "l").unwrap()),
        Err(Error::Corrupt(Damage::Symlink) | Error::Newer(_))
    ));
    let file = write(v, "f", b"");
    assert!(matches!(v.readlink(file), Err(Error::Invalid(_))));
}
