//! A count tells what every file needs, also of keys that can't be used, and keeps the census complete.

use super::{Count, count};
use crate::ids::{AliasName, BackingKeyId, Ino, KeyVersion, PlainOffset};
use crate::keyring::KeyRef;
use crate::monitor::{Cancellation, Monitor};
use crate::storage::RenameFlags;
use crate::vault::Privileges;
use crate::vault::testing::{READ_WRITE, TestVault, me};

fn counted(test: &TestVault) -> Count {
    count(&test.vault, &mut Monitor::unattended()).unwrap()
}

fn is_complete(count: &Count) -> bool {
    !count.stopped && count.unreadable == 0 && count.left_out == 0
}

fn of(count: &Count, backing: BackingKeyId) -> u64 {
    count.census.iter().find(|(known, _)| *known == backing).map_or(0, |(_, files)| *files)
}

fn versions(test: &TestVault) -> [BackingKeyId; 2] {
    let second = test.keys().current(&AliasName::default_alias()).unwrap();
    [BackingKeyId { version: KeyVersion(1), ..second }, second]
}

#[test]
fn every_file_is_counted_by_what_it_needs() {
    let mut test = TestVault::new();
    for name in ["a", "b", "c"] {
        test.written(name);
    }
    let linked = test.vault.lookup(Ino::ROOT, b"a").unwrap().ino;
    test.vault.link(linked, Ino::ROOT, b"again").unwrap();
    test.keys().rotate(&KeyRef::Alias(AliasName::default_alias())).unwrap();
    test.written("d");
    test.make("empty");
    test.reopen();
    let [first, second] = versions(&test);
    let mut told = 0;
    let found =
        count(&test.vault, &mut Monitor::new(&Cancellation::default(), &mut |p| told = p.seen)).unwrap();
    assert_eq!((found.files, found.empty, found.unreadable, told), (5, 1, 0, 5));
    assert_eq!((of(&found, first), of(&found, second)), (3, 1));
    assert!(is_complete(&found));
    // From then on the census is kept.
    assert!(test.vault.census_counted().is_some());
    assert_eq!(test.vault.census(), found.census);
    test.vault.unlink(Ino::ROOT, b"b").unwrap();
    test.written("e");
    assert_eq!(test.vault.census(), counted(&test).census);
    test.keys().disable_key(first.key).unwrap();
    test.reopen();
    assert_eq!((of(&counted(&test), first), of(&counted(&test), second)), (2, 2), "of a disabled key too");
}

/// The higher slot counts only if it opens: a mount that can't open it falls back, and needs the other's key.
#[test]
fn a_slot_that_does_not_open_is_not_what_counts() {
    let mut test = TestVault::new();
    let ino = test.written("a");
    let lower = std::fs::read_dir(test.tree()).unwrap().next().unwrap().unwrap().path();
    let before = std::fs::read(&lower).unwrap();
    test.keys().rotate(&KeyRef::Alias(AliasName::default_alias())).unwrap();
    assert_eq!(test.vault.rewrap_batch(&[ino]).rewrapped, 1);
    let mut torn = std::fs::read(&lower).unwrap();
    // Slot B is the new one; slot A is put back, as after a power cut between the two.
    torn[..512].copy_from_slice(&before[..512]);
    torn[1023] ^= 1;
    std::fs::write(&lower, &torn).unwrap();
    test.reopen();
    let [first, second] = versions(&test);
    let found = counted(&test);
    assert_eq!((of(&found, first), of(&found, second)), (1, 0));
    torn[511] ^= 1;
    std::fs::write(&lower, &torn).unwrap();
    test.reopen();
    let found = counted(&test);
    assert_eq!((found.files, found.unreadable), (1, 1));
    assert!(!is_complete(&found));
}

#[test]
fn a_stopped_count_says_so() {
    let test = TestVault::new();
    test.written("a");
    let cancelled = Cancellation::default();
    cancelled.cancel();
    let found = count(&test.vault, &mut Monitor::silent(&cancelled)).unwrap();
    assert!(found.stopped && !is_complete(&found));
    assert_eq!(test.vault.census_counted(), None);
}

/// A directory that can't be read hides files from the count: it says so.
#[test]
fn a_directory_left_out_makes_it_incomplete() {
    let mut test = TestVault::new();
    let dir = test.vault.mkdir(Ino::ROOT, b"d", 0o755, &me()).unwrap().ino;
    let (attr, handle) = test.vault.create(dir, b"f", 0o644, READ_WRITE, &me()).unwrap();
    test.vault.write(attr.ino, PlainOffset(0), b"x", Privileges::Keep).unwrap();
    test.vault.release(attr.ino, handle).unwrap();
    test.vault.rename((Ino::ROOT, b"d"), (Ino::ROOT, b"moved"), RenameFlags::empty()).unwrap();
    let record = std::fs::read_dir(test.tree()).unwrap().next().unwrap().unwrap().path().join(".dir");
    std::fs::write(record, b"damaged").unwrap();
    test.reopen();
    let found = counted(&test);
    assert_eq!((found.files, found.left_out), (0, 1));
    assert!(!is_complete(&found) && test.vault.census_counted().is_none());
}

/// An entry without a name that could be shown is in no listing: it is not taken for nothing.
#[test]
fn an_entry_without_a_name_is_unknown() {
    let mut test = TestVault::new();
    test.written("a");
    test.written(&"long".repeat(60));
    test.written("b");
    for entry in std::fs::read_dir(test.tree()).unwrap() {
        let path = entry.unwrap().path();
        if path.to_str().unwrap().ends_with(".name") {
            std::fs::remove_file(path).unwrap();
        }
    }
    test.reopen();
    let found = counted(&test);
    assert_eq!((found.files, found.left_out, found.unknown()), (2, 1, 1));
    assert!(!is_complete(&found) && test.vault.census_counted().is_none());
}
