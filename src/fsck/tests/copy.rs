//! Copies of a vault, checked with a keyring from elsewhere.

use std::path::{Path, PathBuf};

use super::*;
use crate::ids::{AliasName, KeyVersion};
use crate::keyring::{FILE_NAME, KeyRef, RetireOrder, Retirement, UnusableReason, VersionState};

/// Copies the tree, and the keyring if it is there.
fn copy_tree(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy_tree(&entry.path(), &to)
        } else {
            _ = std::fs::copy(entry.path(), to).unwrap()
        }
    }
}

fn check_copy(f: &Fixture, copy: &Path) -> (Vec<Code>, Summary) {
    let mut seen = Findings::default();
    let options = Options { copy: Some(CopiedTree::at(copy)), ..Options::default() };
    let summary = check(f.t.keys(), None, &options, &Cancellation::default(), &mut seen).unwrap();
    (seen.0.iter().map(|finding| finding.code).collect(), summary)
}

fn copy_of(f: &Fixture) -> PathBuf {
    f.vault_dir().parent().unwrap().join("copy")
}

#[test]
fn a_copy_is_checked_with_the_keys_of_the_vault_and_its_own_keyring_held_against_them() {
    let f = Fixture::new();
    f.file("old", 5000);
    let copy = copy_of(&f);
    copy_tree(&f.vault_dir().join("tree"), &copy.join("tree"));
    assert_eq!(check_copy(&f, &copy).0, [Code::KeyringDiffers]);
    std::fs::copy(f.vault_dir().join(FILE_NAME), copy.join(FILE_NAME)).unwrap();
    assert_eq!(check_copy(&f, &copy).0, []);
    // A keyring that was read before a rotation, a tree that was read after it.
    f.t.keys().rotate(&KeyRef::Alias(AliasName::default_alias())).unwrap();
    f.file("new", 5000);
    copy_tree(&f.vault_dir().join("tree"), &copy.join("tree"));
    let (found, summary) = check_copy(&f, &copy);
    assert_eq!(found, [Code::KeyringLacks]);
    assert_eq!(summary.status(), 4);
    let versions: Vec<_> = summary.versions.iter().map(|v| (v.version.0, v.files)).collect();
    assert_eq!(versions, [(1, 1), (2, 1)]);
    // Of the tree alone there is no keyring to speak of.
    assert_eq!(check_copy(&f, &copy.join("tree")).0, []);
    std::fs::copy(f.vault_dir().join(FILE_NAME), copy.join(FILE_NAME)).unwrap();
    assert_eq!(check_copy(&f, &copy).0, []);
}

#[test]
fn a_copy_in_which_nothing_is_is_no_good_one() {
    let f = Fixture::new();
    f.file("a", 10);
    // As where the disk of the copies isn't mounted.
    let copy = copy_of(&f);
    std::fs::create_dir(&copy).unwrap();
    let (found, summary) = check_copy(&f, &copy);
    assert_eq!((found, summary.status()), (vec![Code::CopyEmpty], 4));
    std::fs::create_dir(copy.join("tree")).unwrap();
    std::fs::copy(f.vault_dir().join(FILE_NAME), copy.join(FILE_NAME)).unwrap();
    assert_eq!(check_copy(&f, &copy).0, [Code::CopyEmpty]);
    copy_tree(&f.vault_dir().join("tree"), &copy.join("tree"));
    assert_eq!(check_copy(&f, &copy).0, []);
}

#[test]
fn what_isnt_opened_is_counted_by_key_and_version_with_the_reason() {
    let f = Fixture::new();
    f.file("one", 10);
    f.file("two", 5000);
    f.file("empty", 0);
    let copy = copy_of(&f);
    copy_tree(&f.vault_dir().join("tree"), &copy);
    // Another vault has none of the keys.
    let other = Fixture::new();
    let options = Options { copy: Some(CopiedTree::at(&copy)), ..Options::default() };
    let summary =
        check(other.t.keys(), None, &options, &Cancellation::default(), &mut Findings::default()).unwrap();
    let key = f.t.keys().current(&AliasName::default_alias()).unwrap();
    let unopened: Vec<_> = summary.unopened.iter().map(|u| (u.key_id, u.version, u.files, u.state)).collect();
    assert_eq!(unopened, [(key.key, key.version, 2, VersionState::UnknownKey)]);
    assert_eq!((summary.versions.len(), summary.files), (0, 3));
    f.t.keys().disable_key(key.key).unwrap();
    let (_, summary) = check_copy(&f, &copy);
    let disabled = VersionState::Unusable { why: UnusableReason::Disabled };
    assert_eq!(summary.unopened.iter().map(|u| (u.files, u.state)).collect::<Vec<_>>(), [(2, disabled)]);
    f.t.keys().enable_key(key.key).unwrap();
    f.t.keys().rotate(&KeyRef::Alias(AliasName::default_alias())).unwrap();
    for (what, reason) in
        [(Retirement::Retire, UnusableReason::Retired), (Retirement::Trim, UnusableReason::Trimmed)]
    {
        let order = RetireOrder { key: key.key, below: KeyVersion(2), what };
        f.t.keys().retire(&order, None).unwrap();
        let (found, summary) = check_copy(&f, &copy);
        let why = VersionState::Unusable { why: reason };
        assert_eq!(summary.unopened.iter().map(|u| (u.files, u.state)).collect::<Vec<_>>(), [(2, why)]);
        // What is shut can be opened again; what is trimmed is gone.
        let trimmed = what == Retirement::Trim;
        assert_eq!(found, [if trimmed { Code::KeyTrimmed } else { Code::KeyNotUsable }; 2]);
        assert_eq!(summary.status(), if trimmed { 4 } else { 0 });
    }
}
