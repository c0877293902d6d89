//! Versions stay while a copy of the vault needs them, or may.
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::*;
use crate::ids::{Ino, KeyId, KeyVersion, PathText};
use crate::keyring::{KeyRef, Retirement, SystemClock};
use crate::service::{Operations, Retire};
use crate::vault::testing::TestVault;

struct Fixture {
    vault: TestVault,
    open: OpenVault,
    key: KeyId,
    copy: PathBuf,
}

impl Fixture {
    fn new() -> Self {
        let vault = TestVault::at(Arc::new(SystemClock));
        let open = OpenVault::with_files(Arc::clone(&vault.vault));
        let key = vault.default_key();
        let copy = vault.tree().parent().unwrap().with_file_name("copy");
        Self { vault, open, key, copy }
    }

    fn rewrapped(&self, files: &[Ino]) {
        self.open.rotate(&KeyRef::Key(self.key)).unwrap();
        assert_eq!(self.vault.vault.rewrap_batch(files).rewrapped, files.len() as u64);
    }

    /// As a copy program does that looks at what there is.
    fn copied(&self) {
        let tree = self.copy.join("tree");
        std::fs::create_dir_all(&tree).unwrap();
        for entry in std::fs::read_dir(self.vault.tree()).unwrap() {
            let entry = entry.unwrap();
            std::fs::copy(entry.path(), tree.join(entry.file_name())).unwrap();
        }
    }

    fn retire(&self, copy: &Path) -> Result<u32> {
        let meta = copy.metadata().unwrap();
        let place = CopyPlace { path: PathText(copy.to_owned()), device: meta.dev(), inode: meta.ino() };
        self.retire_at(place)
    }

    fn retire_at(&self, place: CopyPlace) -> Result<u32> {
        let (key_id, below, what) = (self.key.to_string(), KeyVersion(2), Retirement::Trim);
        let asked = Retire { key_id, below, what, force: None, copies: vec![place] };
        self.open.retire(&asked, &mut Monitor::unattended()).map(|report| report.trimmed)
    }
}

#[test]
fn a_copy_that_was_not_copied_again_since_the_rewrap_keeps_the_versions() {
    let f = Fixture::new();
    let files = ["a", "b", "c"].map(|name| f.vault.written(name));
    f.copied();
    f.rewrapped(&files);
    let refused = f.retire(&f.copy).unwrap_err();
    assert_eq!(refused.kind, ErrorKind::KeyNotUsable);
    assert!(refused.message.contains("3 files of this copy need versions below 2 of key"), "{refused}");
    assert!(refused.message.contains("rsync --checksum"), "{refused}");
    // Of the tree alone it is the same.
    assert_eq!(f.retire(&f.copy.join("tree")).unwrap_err().kind, ErrorKind::KeyNotUsable);
    f.copied();
    assert_eq!(f.retire(&f.copy).unwrap(), 1);
}

#[test]
fn one_slot_of_an_old_version_is_enough() {
    let f = Fixture::new();
    let file = f.vault.written("a");
    f.copied();
    let lower = std::fs::read_dir(f.copy.join("tree")).unwrap().next().unwrap().unwrap().path();
    let old = std::fs::read(&lower).unwrap();
    f.rewrapped(&[file]);
    f.copied();
    // As a copy has it that was read between the two writes of a re-wrap: slot A old, slot B new.
    let mut mixed = std::fs::read(&lower).unwrap();
    mixed[..512].copy_from_slice(&old[..512]);
    std::fs::write(&lower, mixed).unwrap();
    assert!(f.retire(&f.copy).unwrap_err().message.contains("1 file of this copy needs"));
}

/// By the vault's own path, or its tree's, nothing would be checked.
#[test]
fn the_vault_itself_is_no_copy() {
    let f = Fixture::new();
    let file = f.vault.written("a");
    f.rewrapped(&[file]);
    let tree = f.vault.tree();
    for own in [tree.parent().unwrap(), &tree] {
        let refused = f.retire(own).unwrap_err();
        assert!(refused.message.contains("this is the vault itself"), "{refused}");
    }
    f.copied();
    assert_eq!(f.retire(&f.copy).unwrap(), 1);
}

#[test]
fn what_isnt_a_copy_of_this_vault_or_cant_be_told_refuses() {
    let f = Fixture::new();
    let file = f.vault.written("a");
    f.rewrapped(&[file]);
    std::fs::create_dir(&f.copy).unwrap();
    let empty = f.retire(&f.copy).unwrap_err();
    assert!(empty.message.contains("no file is in this copy"), "{empty}");
    let elsewhere = CopyPlace { path: PathText(f.copy.clone()), device: 0, inode: 0 };
    assert_eq!(f.retire_at(elsewhere).unwrap_err().kind, ErrorKind::NotFound);
    let other = Fixture::new();
    other.vault.written("b");
    let foreign = f.retire(&other.vault.tree()).unwrap_err();
    assert!(foreign.message.contains("doesn't know its key"), "{foreign}");
    f.copied();
    let lower = std::fs::read_dir(f.copy.join("tree")).unwrap().next().unwrap().unwrap().path();
    std::fs::write(&lower, vec![1; 4096]).unwrap();
    let damaged = f.retire(&f.copy).unwrap_err();
    assert!(damaged.message.contains("header is damaged"), "{damaged}");
    f.copied();
    assert_eq!(f.retire(&f.copy).unwrap(), 1);
}
