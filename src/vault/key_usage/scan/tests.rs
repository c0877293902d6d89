//! The count of what files need: every file once, whatever its key's state, its name or its place.
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use super::*;
use crate::ids::{AliasName, KeyVersion};
use crate::keyring::KeyRef;
use crate::monitor::Cancellation;
use crate::vault::testing::{TestVault, me};

fn rotate(vault: &TestVault) {
    vault.keys().rotate(&KeyRef::Alias(AliasName::default_alias())).unwrap();
}

fn count(vault: &TestVault) -> KeyReferences {
    vault.vault.count_key_references(&mut Monitor::unattended()).unwrap()
}

/// `meanwhile` is called wherever the count reports its progress.
fn counted_while(
    vault: &TestVault,
    meanwhile: &mut dyn FnMut(Progress),
) -> std::result::Result<KeyReferences, CountError> {
    vault.vault.count_key_references(&mut Monitor::new(&Cancellation::default(), meanwhile))
}

fn versions(references: &KeyReferences) -> Vec<(u32, u64)> {
    let version = |backings: &Vec<BackingKeyId>| {
        assert_eq!(backings.len(), 1, "{references:?}");
        backings[0].version.0
    };
    references.by.iter().map(|(backings, files)| (version(backings), *files)).collect()
}

fn lower_file(vault: &TestVault) -> PathBuf {
    let mut entries = std::fs::read_dir(vault.tree()).unwrap();
    entries.find_map(|e| Some(e.unwrap().path()).filter(|p| p.is_file())).unwrap()
}

#[test]
fn files_of_every_version_and_state_are_counted_once() {
    let mut vault = TestVault::new();
    let ino = vault.written("old");
    vault.written(&"long".repeat(60));
    vault.make("empty");
    vault.vault.link(ino, Ino::ROOT, b"again").unwrap();
    vault.vault.symlink(Ino::ROOT, b"symlink", b"old", &me()).unwrap();
    rotate(&vault);
    let (ino, _open) = { (vault.written("new"), vault.open("new").unwrap()) };
    vault.vault.mkdir(Ino::ROOT, b"dir", 0o755, &me()).unwrap();
    vault
        .vault
        .rename(
            (Ino::ROOT, b"new"),
            (vault.vault.lookup(Ino::ROOT, b"dir").unwrap().ino, b"new"),
            storage::RenameFlags::empty(),
        )
        .unwrap();
    assert_eq!((versions(&count(&vault)), count(&vault).unreadable), (vec![(1, 2), (2, 1)], 0));
    let key = vault.keys().current(&AliasName::default_alias()).unwrap().key;
    vault.keys().disable_key(key).unwrap();
    assert_eq!(versions(&count(&vault)), [(1, 2), (2, 1)], "open files too");
    let _ = ino;
    vault.reopen();
    let references = count(&vault);
    assert_eq!(versions(&references), [(1, 2), (2, 1)], "its key is disabled");
    assert_eq!(references.files, 5, "two names of one file, one of it, the empty one, and the new one");
    assert_eq!(references.of(|backing| backing.version < KeyVersion(2)), 2);
}

/// A slot that bears an old version lets anyone with that version open the file, whatever the other one bears.
#[test]
fn both_slots_count_after_an_interrupted_re_wrap() {
    let mut vault = TestVault::new();
    let ino = vault.written("file");
    let path = lower_file(&vault);
    let mut old = [0; 512];
    std::fs::File::open(&path).unwrap().read_exact_at(&mut old, 0).unwrap();
    rotate(&vault);
    assert_eq!(vault.vault.rewrap_batch(&[ino]).rewrapped, 1);
    let lower = std::fs::OpenOptions::new().read(true).write(true).open(&path).unwrap();
    let mut new = [0; 512];
    lower.read_exact_at(&mut new, 512).unwrap();
    // As a power cut between the new slot and the old one leaves it.
    lower.write_all_at(&old, 0).unwrap();
    vault.reopen();
    let both = |references: &KeyReferences| {
        let [(backings, 1)] = references.by.iter().collect::<Vec<_>>()[..] else { panic!("{references:?}") };
        assert_eq!(references.of(|_| true), 1, "one file");
        backings.iter().map(|backing| backing.version.0).collect::<Vec<_>>()
    };
    assert_eq!(both(&count(&vault)), [1, 2]);
    let _open = vault.open("file").unwrap();
    assert_eq!(both(&count(&vault)), [1, 2], "of an open file too");
    vault.reopen();
    let key = vault.keys().current(&AliasName::default_alias()).unwrap().key;
    vault.keys().disable_key(key).unwrap();
    assert_eq!(both(&count(&vault)), [1, 2], "its key is disabled");
    vault.keys().enable_key(key).unwrap();
    // As one in the middle of the new slot does.
    lower.write_all_at(&[0xff; 16], 512 + 100).unwrap();
    assert_eq!(both(&count(&vault)), [1, 2]);
    // A slot of which nothing can be told.
    lower.write_all_at(&[0xff; 16], 512).unwrap();
    let references = count(&vault);
    assert_eq!((references.by.len(), references.unreadable), (0, 1));
    assert!(references.example.unwrap().contains("one slot of its header"));
    // Nothing opens it any more, and which key it needs can't be told.
    lower.write_all_at(&[0xff; 16], 100).unwrap();
    let references = count(&vault);
    assert_eq!((references.by.len(), references.unreadable), (0, 1));
    assert!(references.example.unwrap().contains("damaged"));
}

#[test]
fn a_file_that_no_name_leads_to_any_more_is_counted() {
    let mut vault = TestVault::new();
    vault.written(&"long".repeat(60));
    let tree = vault.tree();
    for entry in std::fs::read_dir(&tree).unwrap() {
        let path = entry.unwrap().path();
        if path.to_str().unwrap().ends_with(".name") {
            std::fs::remove_file(path).unwrap();
        }
    }
    vault.written("other");
    std::fs::rename(
        std::fs::read_dir(&tree)
            .unwrap()
            .map(|e| e.unwrap().path())
            .find(|p| !p.to_str().unwrap().contains(".long"))
            .unwrap(),
        tree.join("not base64url"),
    )
    .unwrap();
    std::fs::write(tree.join(".of-a-newer-program"), b"anything").unwrap();
    vault.reopen();
    let references = count(&vault);
    assert_eq!((versions(&references), references.unreadable), (vec![(1, 2)], 0));
}

#[test]
fn a_file_that_moves_while_it_is_counted_is_not_missed() {
    for (from, to) in [("a", "b"), ("b", "a")] {
        let vault = TestVault::new();
        for dir in ["a", "b"] {
            vault.vault.mkdir(Ino::ROOT, dir.as_bytes(), 0o755, &me()).unwrap();
        }
        let ino = |dir: &str| vault.vault.lookup(Ino::ROOT, dir.as_bytes()).unwrap().ino;
        vault.written("file");
        let mv =
            |a: Ino, b: Ino| vault.vault.rename((a, b"file"), (b, b"file"), storage::RenameFlags::empty());
        mv(Ino::ROOT, ino(from)).unwrap();
        let mut calls = 0;
        let mut receiver = |_| {
            calls += 1;
            // The root and one of the directories have been read.
            if calls == 3 {
                mv(ino(from), ino(to)).unwrap();
            }
        };
        let references = counted_while(&vault, &mut receiver);
        let references = references.unwrap();
        assert!(references.of(|_| true) >= 1, "{from} -> {to}");
    }
}

#[test]
fn a_directory_that_moves_restarts_the_count_but_not_for_ever() {
    let vault = TestVault::new();
    for dir in ["a", "b", "c"] {
        vault.vault.mkdir(Ino::ROOT, dir.as_bytes(), 0o755, &me()).unwrap();
    }
    let ino = |name: &str| vault.vault.lookup(Ino::ROOT, name.as_bytes()).unwrap().ino;
    vault.written("file");
    vault.vault.rename((Ino::ROOT, b"file"), (ino("c"), b"file"), storage::RenameFlags::empty()).unwrap();
    let swap = || {
        vault.vault.rename((Ino::ROOT, b"b"), (Ino::ROOT, b"c"), storage::RenameFlags::EXCHANGE).unwrap();
    };
    let mut calls = 0;
    let references = counted_while(&vault, &mut |_| {
        calls += 1;
        if calls == 3 {
            swap();
        }
    });
    assert_eq!(references.unwrap().of(|_| true), 1);
    assert!(calls > 4, "it was begun again");
    let always = counted_while(&vault, &mut |_| swap());
    assert!(matches!(always, Err(CountError::Moving)));
    let cancelled = Cancellation::default();
    cancelled.cancel();
    let stopped = vault.vault.count_key_references(&mut Monitor::silent(&cancelled));
    assert!(matches!(stopped, Err(CountError::Stopped)));
}

/// Someone who can write the ciphertext can make files that claim anything: they are named, some of each kind.
#[test]
fn forged_headers_are_named() {
    let vault = TestVault::new();
    vault.vault.mkdir(Ino::ROOT, b"d", 0o755, &me()).unwrap();
    let ino = vault.written("file");
    rotate(&vault);
    assert_eq!(vault.vault.rewrap_batch(&[ino]).rewrapped, 1);
    let real = std::fs::read(lower_file(&vault)).unwrap();
    let dir =
        std::fs::read_dir(vault.tree()).unwrap().map(|e| e.unwrap().path()).find(|p| p.is_dir()).unwrap();
    let forge = |name: &str, at: usize, bytes: &[u8]| {
        let mut file = real.clone();
        for slot in [0, 512] {
            file[slot + at..slot + at + bytes.len()].copy_from_slice(bytes);
        }
        std::fs::write(dir.join(name), file).unwrap();
    };
    let key = vault.keys().current(&AliasName::default_alias()).unwrap().key;
    let gone = |backing: BackingKeyId| backing.key == key && backing.version < KeyVersion(2);
    let named = || count(&vault).in_the_way_of(gone);
    assert_eq!(named(), []);
    // Of the current key's highest version, and of another key: neither is in the way.
    forge("AAAAhighest", 48, &u32::MAX.to_le_bytes());
    forge("AAAAother", 32, &[9; 16]);
    assert_eq!(named(), []);
    // The key itself can't go with the one, and the other is no file of it.
    let named = |gone: &dyn Fn(BackingKeyId) -> bool| count(&vault).in_the_way_of(gone);
    let of_key = named(&|backing: BackingKeyId| backing.key == key);
    assert!(of_key.iter().any(|file| file.lower.ends_with("AAAAhighest")), "{of_key:?}");
    assert!(!of_key.iter().any(|file| file.lower.ends_with("AAAAother")), "{of_key:?}");
    // However many of other keys there are, they crowd out none that counts.
    for n in 0..300u16 {
        forge(&format!("AAAAcrowd{n}"), 32, &[n.to_le_bytes(), [3; 2]].concat().repeat(4));
    }
    assert!(count(&vault).by.len() <= 2, "nobody fills the memory with keys that there aren't");
    // Of the version that is to go, without its material; and garbage.
    forge("AAAAold", 48, &1u32.to_le_bytes());
    forge("AAAAga\u{1b}[2Jrbage", 64, &[7; 72]);
    let mut found = named(&gone);
    found.sort_by(|a, b| a.lower.cmp(&b.lower));
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(
        found[0].lower.ends_with("AAAAga%1B[2Jrbage") && found[1].lower.ends_with("AAAAold"),
        "{found:?}"
    );
    assert!(found.iter().all(|file| file.why.contains("damaged") && file.inode.is_some()), "{found:?}");
    for n in 0..50 {
        forge(&format!("AAAA{n}"), 48, &1u32.to_le_bytes());
    }
    assert_eq!(named(&gone).len(), NAMED_FILES_MAX);
    // What has a name has its plain one.
    let mut real =
        count(&vault).in_the_way_of(|backing| backing == BackingKeyId { key, version: KeyVersion(2) });
    vault.vault.name_plainly(&mut real);
    assert_eq!(real[0].path.as_ref().unwrap().as_path(), std::path::Path::new("file"));
    assert!(real[0].why.contains("version 2 of key"), "{real:?}");
}
