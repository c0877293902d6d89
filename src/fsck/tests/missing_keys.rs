//! Files whose key the keyring lacks: found, counted by version, and left where they are.

use super::*;
use crate::keyring::{KeyRef, VersionState};

fn rotate(f: &Fixture) {
    let alias = crate::ids::AliasName::default_alias();
    f.t.keys().rotate(&KeyRef::Alias(alias)).unwrap();
}

fn states(versions: &[VersionCount]) -> Vec<(u32, u64, VersionState)> {
    versions.iter().map(|v| (v.version.0, v.files, v.state)).collect()
}

#[test]
fn lost_and_unknown_versions_are_counted_and_the_status_says_so() {
    let f = Fixture::new();
    f.file("one", 10);
    rotate(&f);
    f.file("two", 10);
    f.file("three", 20_000);
    let key = f.t.keys().aliases()[0].key;
    let lost = f.t.keys().lose_last_version_for_test(key);
    let (found, summary) = f.check();
    assert!(found.iter().all(|found| found.code == Code::KeyLost && found.severity == Severity::KeyMissing));
    assert!(found[0].detail.contains("key-backup merge"), "{}", found[0].detail);
    assert_eq!((found.len(), summary.keys_missing, summary.errors, summary.status()), (2, 2, 0, 4));
    assert_eq!(states(&summary.versions), [(1, 1, VersionState::Current)]);
    assert_eq!(states(&summary.unopened), [(2, 2, VersionState::Lost)]);
    assert_eq!(f.t.keys().state_of(BackingKeyId { key, version: lost }), VersionState::Lost);
    // A version that the keyring never heard of, and a key.
    for (at, state) in [(48, VersionState::UnknownVersion), (40, VersionState::UnknownKey)] {
        f.damage("one", at);
        let (found, summary) = f.check();
        let code = found.iter().find(|found| found.code != Code::KeyLost).unwrap().code;
        assert_eq!((code, summary.status()), (Code::KeyUnknown, 4));
        assert!(summary.unopened.iter().any(|v| (v.files, v.state) == (1, state)), "{summary:?}");
    }
}

#[test]
fn the_quarantine_leaves_what_only_lacks_its_key() {
    let f = Fixture::new();
    rotate(&f);
    f.file("lost", 10_000);
    f.file("unknown", 10_000);
    f.file("damaged", 10_000);
    let key = f.t.keys().aliases()[0].key;
    f.damage("damaged", 300);
    f.patch("unknown", 48, b"\x63");
    f.t.keys().lose_last_version_for_test(key);
    f.patch("damaged", 48, b"\x01");
    let before = ["lost", "unknown"].map(|name| std::fs::read(f.lower(name)).unwrap());
    let outside = tempfile::tempdir().unwrap();
    let options = RepairOptions { quarantine: Some(outside.path().join("q")), repair: true, salvage: true };
    let (found, checked) = f.check();
    let mut seen = Findings::default();
    let summary = apply(
        f.t.keys(),
        f.t.keys().writable().unwrap(),
        &options,
        found,
        checked,
        &Cancellation::default(),
        &mut seen,
    )
    .unwrap();
    assert_eq!((summary.quarantined, summary.keys_missing, summary.status()), (1, 2, 5));
    assert_eq!(["lost", "unknown"].map(|name| std::fs::read(f.lower(name)).unwrap()), before);
    assert!(!f.lower("damaged").exists());
    // Nor if the finding is one that would make it a candidate: it is looked at again.
    let forged: Vec<_> = seen.0.into_iter().filter(|found| found.code == Code::KeyLost).collect();
    let forged: Vec<_> = forged.into_iter().map(|f| Finding { code: Code::Unreadable, ..f }).collect();
    assert_eq!(forged.len(), 1);
    let mut seen = Findings::default();
    apply(
        f.t.keys(),
        f.t.keys().writable().unwrap(),
        &options,
        forged,
        f.check().1,
        &Cancellation::default(),
        &mut seen,
    )
    .unwrap();
    assert!(
        matches!(&seen.0[0].disposition, Disposition::Refused { why } if why.contains("lacks its key")),
        "{seen:?}"
    );
    assert!(f.lower("lost").exists());
}

/// A re-wrap that was under way when the keyring was rolled back has written one slot of two.
#[test]
fn a_file_whose_other_slot_opens_is_no_missing_file() {
    let mut f = Fixture::new();
    let ino = f.file("a", 10);
    let old = std::fs::read(f.lower("a")).unwrap()[..512].to_vec();
    rotate(&f);
    assert_eq!(f.t.vault.rewrap_batch(&[ino]).rewrapped, 1);
    let key = f.t.keys().aliases()[0].key;
    f.patch("a", 0, &old);
    f.t.keys().lose_last_version_for_test(key);
    let found = f.only();
    assert_eq!((found.code, found.severity), (Code::SlotKeyMissing, Severity::Unchecked));
    let (_, summary) = f.check();
    assert_eq!((summary.status(), states(&summary.versions)), (0, vec![(1, 1, VersionState::Current)]));
    f.t.reopen();
    let ino = f.t.vault.lookup(Ino::ROOT, b"a").unwrap().ino;
    let info = f.t.vault.file_header_info(ino).unwrap().unwrap();
    assert_eq!(info.backing.version.0, 1, "what is said of it before it is opened");
    let (ino, handle) = f.t.open("a").unwrap();
    let mut out = [0; 10];
    assert_eq!(f.t.vault.read(ino, PlainOffset(0), &mut out).unwrap(), 10);
    assert_eq!(out, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
    f.close(ino, handle);
    // Where the key is known and can't be used, no other slot is tried.
    f.t.keys().disable_key(key).unwrap();
    assert!(f.t.open("a").is_err());
}
