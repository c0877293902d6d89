//! A tree that one vault changes while another one, open on the same directory, has it in use.

use super::*;
use crate::ids::NodeGeneration;
use crate::vault::Attr;

fn look(vault: &Vault, dir: Ino, name: &str) -> Result<Attr> {
    vault.lookup(dir, name.as_bytes())
}

fn names(vault: &Vault, dir: Ino) -> Vec<String> {
    let handle = vault.opendir(dir).unwrap();
    let mut names = Vec::new();
    vault
        .readdir(dir, handle, 0, &mut |entry| {
            names.push(String::from_utf8(entry.name.to_vec()).unwrap());
            true
        })
        .unwrap();
    vault.releasedir(dir, handle).unwrap();
    names.retain(|name| name != "." && name != "..");
    names.sort();
    names
}

#[test]
fn names_are_what_they_are_now() {
    let test = TestVault::shared();
    let (vault, reader) = (&test.vault, test.reader());
    assert!(matches!(find(&reader, "a"), Err(Error::NotFound)));
    mkdir(vault, "a");
    write(vault, "a/f", b"one");
    assert_eq!(read(&reader, "a/f").unwrap(), b"one");
    write(vault, "a/g", b"two");
    rename(vault, "a/g", "a/f", PLAIN).unwrap();
    assert_eq!(read(&reader, "a/f").unwrap(), b"two");
    assert_eq!(names(&reader, find(&reader, "a").unwrap()), ["f"]);
    let long = "l".repeat(200);
    for n in 0..3 {
        write(vault, &format!("a/{long}{n}"), b"long");
    }
    rename(vault, &format!("a/{long}1"), &format!("a/{long}7"), PLAIN).unwrap();
    let listed = names(&reader, find(&reader, "a").unwrap());
    assert_eq!(listed, ["f".to_owned(), format!("{long}0"), format!("{long}2"), format!("{long}7")]);
    assert_eq!(read(&reader, &format!("a/{long}7")).unwrap(), b"long");
}

#[test]
fn a_directory_that_is_moved_goes_on_for_who_is_in_it_and_is_found_where_it_is() {
    let test = TestVault::shared();
    let (vault, reader) = (&test.vault, test.reader());
    for dir in ["a", "a/b", "c"] {
        mkdir(vault, dir);
    }
    write(vault, "a/b/f", b"in b");
    let (b, handle) = {
        let b = find(&reader, "a/b").unwrap();
        (b, reader.opendir(b).unwrap())
    };
    assert!(look(&reader, b, "f").is_ok());
    rename(vault, "a/b", "c/moved", PLAIN).unwrap();
    write(vault, "c/moved/g", b"in it now");
    // As a program whose working directory it is.
    assert!(look(&reader, b, "f").is_ok() && look(&reader, b, "g").is_ok());
    assert_eq!(names(&reader, b), ["f", "g"]);
    assert_eq!(find(&reader, "c/moved").unwrap(), b);
    assert_eq!(read(&reader, "c/moved/g").unwrap(), b"in it now");
    assert!(matches!(find(&reader, "a/b"), Err(Error::NotFound)));
    // Another one of the name that it had.
    mkdir(vault, "a/b");
    write(vault, "a/b/f", b"another b");
    assert_eq!(read(&reader, "a/b/f").unwrap(), b"another b");
    assert_ne!(find(&reader, "a/b").unwrap(), b);
    reader.releasedir(b, handle).unwrap();
}

#[test]
fn a_directory_that_is_removed_is_empty_for_who_is_in_it() {
    let test = TestVault::shared();
    let (vault, reader) = (&test.vault, test.reader());
    mkdir(vault, "d");
    write(vault, "d/f", b"content");
    let d = find(&reader, "d").unwrap();
    let handle = reader.opendir(d).unwrap();
    assert!(look(&reader, d, "f").is_ok());
    vault.unlink(find(vault, "d").unwrap(), b"f").unwrap();
    vault.rmdir(Ino::ROOT, b"d").unwrap();
    assert!(matches!(look(&reader, d, "f"), Err(Error::NotFound | Error::Stale)));
    let mut listed = 0;
    let done = reader.readdir(d, handle, 0, &mut |entry| {
        listed += usize::from(!entry.name.starts_with(b"."));
        true
    });
    assert!(done.is_ok() && listed == 0, "{done:?}, {listed}");
    reader.releasedir(d, handle).unwrap();
    mkdir(vault, "d");
    write(vault, "d/f", b"another");
    assert_eq!(read(&reader, "d/f").unwrap(), b"another");
}

/// A removal that fails takes the record away for a moment: an id that was derived then is not that of the directory.
#[test]
fn an_id_that_was_derived_while_the_record_was_gone_is_put_right() {
    let test = TestVault::shared();
    let (vault, reader) = (&test.vault, test.reader());
    mkdir(vault, "a");
    mkdir(vault, "b");
    rename(vault, "a", "b/moved", PLAIN).unwrap();
    write(vault, "b/moved/f", b"content");
    let mut found = Vec::new();
    for entry in walk(&test.tree()) {
        if entry.file_name().is_some_and(|name| name == ".dir") {
            found.push(entry);
        }
    }
    let [record] = &found[..] else { panic!("{found:?}") };
    let aside = test.tree().parent().unwrap().join("aside");
    for listed_first in [false, true] {
        let reader = if listed_first { &test.reader() } else { &reader };
        std::fs::rename(record, &aside).unwrap();
        let moved = find(reader, "b/moved").unwrap();
        assert!(matches!(look(reader, moved, "f"), Err(Error::NotFound)));
        std::fs::rename(&aside, record).unwrap();
        if listed_first {
            assert_eq!(names(reader, moved), ["f"]);
        }
        assert!(look(reader, moved, "f").is_ok());
        assert_eq!(read(reader, "b/moved/f").unwrap(), b"content");
    }
}

fn walk(dir: &std::path::Path) -> Vec<std::path::PathBuf> {
    let entries: Vec<_> = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    let below: Vec<_> = entries.iter().filter(|path| path.is_dir()).flat_map(|path| walk(path)).collect();
    entries.into_iter().chain(below).collect()
}

/// Of a number that is used again: the kernel takes what has another generation for another inode.
#[test]
fn an_inode_that_was_made_again_under_the_same_number_is_another_one() {
    let test = TestVault::shared();
    let (vault, reader) = (&test.vault, test.reader());
    let mut seen: std::collections::HashMap<Ino, (NodeGeneration, String)> = Default::default();
    for n in 0..300 {
        let name = format!("f{n}");
        if n % 2 == 0 {
            write(vault, &name, name.as_bytes());
        } else {
            mkdir(vault, &name);
            write(vault, &format!("{name}/f"), name.as_bytes());
        }
        let attr = look(&reader, Ino::ROOT, &name).unwrap();
        let path = if n % 2 == 0 { name.clone() } else { format!("{name}/f") };
        assert_eq!(read(&reader, &path).unwrap(), name.as_bytes());
        if let Some((generation, before)) = seen.insert(attr.ino, (attr.generation, name.clone())) {
            assert_ne!(generation, attr.generation, "{before} and {name}");
        }
        if n % 2 == 0 {
            vault.unlink(Ino::ROOT, name.as_bytes()).unwrap();
        } else {
            let dir = find(vault, &name).unwrap();
            vault.unlink(dir, b"f").unwrap();
            vault.rmdir(Ino::ROOT, name.as_bytes()).unwrap();
            vault.forget(dir, 2);
        }
    }
}

#[test]
fn a_name_that_moves_often_is_known_once() {
    let test = TestVault::shared();
    let (vault, reader) = (&test.vault, test.reader());
    write(vault, "f0", b"content");
    let ino = find(&reader, "f0").unwrap();
    for n in 1..50 {
        rename(vault, &format!("f{}", n - 1), &format!("f{n}"), PLAIN).unwrap();
        assert_eq!(find(&reader, &format!("f{n}")).unwrap(), ino);
    }
    assert_eq!(reader.known_name(ino), Some((Ino::ROOT, b"f49".to_vec())));
    reader.forget(ino, 50);
    assert!(matches!(reader.getattr(ino), Err(Error::Stale)));
}

#[test]
fn attributes_that_were_missing_are_seen_once_they_are_set() {
    let test = TestVault::shared();
    let (vault, reader) = (&test.vault, test.reader());
    let ino = write(vault, "f", b"content");
    assert_eq!(find(&reader, "f").unwrap(), ino);
    for _ in 0..3 {
        assert!(matches!(reader.getxattr(ino, b"user.tag"), Err(Error::NoData)));
        assert!(reader.listxattr(ino).unwrap().iter().all(|name| name != b"user.tag"));
    }
    vault.setxattr(ino, b"user.tag", b"value", crate::vault::XattrMode::Set).unwrap();
    assert_eq!(reader.getxattr(ino, b"user.tag").unwrap(), b"value");
    assert!(reader.listxattr(ino).unwrap().iter().any(|name| name == b"user.tag"));
    assert!(matches!(
        reader.setxattr(ino, b"user.tag", b"other", crate::vault::XattrMode::Set),
        Err(Error::ReadOnly)
    ));
}
