//! A change of any byte of any lower file is found.

use proptest::prelude::*;

use super::*;
use crate::sys::testing::cases;

/// Every lower file of a small vault, the keyring's predecessor and the event log too. What isn't among them: the
/// lock, whose content nothing depends on, and the keyring, which doesn't open at all then.
fn lower_files(f: &Fixture) -> Vec<PathBuf> {
    let mut files = vec![f.vault_dir().join("keyring.prev"), f.vault_dir().join("events.jsonl")];
    let mut dirs = vec![f.t.tree()];
    while let Some(dir) = dirs.pop() {
        for entry in std::fs::read_dir(dir).unwrap().map(Result::unwrap) {
            if entry.file_type().unwrap().is_dir() {
                dirs.push(entry.path())
            } else {
                files.push(entry.path())
            }
        }
    }
    files.sort();
    files
}

fn small() -> Fixture {
    let f = Fixture::new();
    f.file("a", 10_000);
    f.file(&"long".repeat(50), 1);
    let ino = f.file("both slots", 10);
    f.t.vault.mkdir(Ino::ROOT, b"d", 0o755, &me()).unwrap();
    f.t.vault.rename((Ino::ROOT, b"d"), (Ino::ROOT, b"e"), crate::storage::RenameFlags::empty()).unwrap();
    let alias = crate::ids::AliasName::default_alias();
    f.t.keys().rotate(&crate::keyring::KeyRef::Alias(alias)).unwrap();
    f.t.vault.rewrap_batch(&[ino]);
    f
}

#[test]
fn every_flipped_byte_is_found() {
    let f = small();
    let files = lower_files(&f);
    assert_eq!(files.len(), 7, "{files:?}");
    assert_eq!(f.check().0, []);
    proptest!(cases(300), |(file in 0..files.len(), at: prop::sample::Index, bit in 0..8u8)| {
        let path = &files[file];
        let good = std::fs::read(path).unwrap();
        let mut bad = good.clone();
        let at = at.index(bad.len());
        bad[at] ^= 1 << bit;
        std::fs::write(path, &bad).unwrap();
        let (found, _) = f.check();
        std::fs::write(path, &good).unwrap();
        prop_assert!(!found.is_empty(), "{path:?} byte {at} bit {bit}");
    });
    assert_eq!(f.check().0, []);
}
