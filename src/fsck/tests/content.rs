//! Headers, slots, sizes and pages.

use super::*;
use crate::content::layout::PAGE;
use crate::ids::{PageCount, PageIndex};
use crate::vault::Privileges;

#[test]
fn a_header_whose_only_slot_changed() {
    let f = Fixture::new();
    f.file("a", 10);
    f.damage("a", 200);
    assert_eq!(f.only_code(), Code::HeaderDamaged);
    assert_eq!(f.check().1.status(), 4);
}

#[test]
fn a_header_that_is_gone() {
    let f = Fixture::new();
    f.file("a", 10);
    f.patch("a", 0, &[0; 1024]);
    assert_eq!(f.only_code(), Code::HeaderMissing);
    f.patch("a", 1024, &[0; 3072]);
    assert_eq!(f.check().0, [], "it was never synced");
}

#[test]
fn a_slot_beside_a_good_one() {
    let f = Fixture::new();
    let ino = f.file("a", 10);
    f.patch("a", 512, b"x");
    assert_eq!(f.only_code(), Code::SlotDamaged);
    f.patch("a", 512, b"\0");
    let old = std::fs::read(f.lower("a")).unwrap()[..512].to_vec();
    // A re-wrap writes both.
    let alias = crate::ids::AliasName::default_alias();
    f.t.keys().rotate(&crate::keyring::KeyRef::Alias(alias)).unwrap();
    assert_eq!(f.t.vault.rewrap_batch(&[ino]).rewrapped, 1);
    assert_eq!(f.check().0, []);
    // As a power cut between the two writes leaves them.
    let new = std::fs::read(f.lower("a")).unwrap()[..512].to_vec();
    f.patch("a", 0, &old);
    assert_eq!(f.only_code(), Code::SlotOld);
    assert_eq!(f.check().1.status(), 0, "it opens");
    f.patch("a", 0, &new);
    f.damage("a", 32);
    assert_eq!(f.only_code(), Code::SlotKeyMissing, "the slot that isn't in force");
    assert_eq!(f.check().1.status(), 0);
    f.patch("a", 0, &[0; 512]);
    assert!(f.only().detail.contains("slot A"), "{:?}", f.only());
}

#[test]
fn a_slot_of_another_file() {
    let f = Fixture::new();
    f.file("a", 10);
    f.file("b", 10);
    let slot = std::fs::read(f.lower("b")).unwrap()[..512].to_vec();
    f.patch("a", 512, &slot);
    assert!(f.only().detail.contains("another file"));
}

#[test]
fn keys_that_are_not_there_are_no_damage() {
    let f = Fixture::new();
    f.file("a", 10);
    let key = f.t.keys().aliases()[0].key;
    f.t.keys().disable_key(key).unwrap();
    let found = f.only();
    assert_eq!((found.code, found.severity), (Code::KeyNotUsable, Severity::Unchecked));
    assert_eq!(f.check().1.status(), 0);
    f.t.keys().enable_key(key).unwrap();
    f.damage("a", 40);
    assert_eq!(f.only_code(), Code::KeyUnknown);
}

#[test]
fn what_a_newer_program_wrote() {
    let f = Fixture::new();
    f.file("a", 10);
    f.patch("a", 4, b"\x02");
    assert_eq!(f.only_code(), Code::Newer);
}

#[test]
fn sizes_that_no_file_has() {
    let f = Fixture::new();
    f.file("a", 5000);
    f.resize("a", 2 * PAGE + 4090);
    assert_eq!(f.only_code(), Code::SizeImpossible);
    f.resize("a", 100);
    assert_eq!(f.only_code(), Code::SizeImpossible);
}

#[test]
fn runs_of_damaged_pages() {
    let f = Fixture::new();
    f.file("a", 5_000_000);
    for page in [0, 7, 8, 9, 255, 256, 600] {
        f.patch("a", page * PAGE + 2000, b"\xff\xff\xff\xff");
    }
    let (found, summary) = f.check();
    let runs: Vec<_> = found.iter().map(|found| found.pages.unwrap()).collect();
    let run = |first, count| Pages { first: PageIndex(first), count: PageCount(count) };
    assert_eq!(runs, [run(0, 1), run(7, 3), run(255, 2), run(600, 1)]);
    assert!(found.iter().all(|found| found.code == Code::PageDamaged));
    assert_eq!((summary.errors, summary.status()), (4, 4));
}

#[test]
fn below_the_floor() {
    let f = Fixture::new();
    let ino = f.file("a", 9000);
    let alias = crate::ids::AliasName::default_alias();
    f.t.keys().rotate(&crate::keyring::KeyRef::Alias(alias)).unwrap();
    assert_eq!(f.t.vault.rewrap_batch(&[ino]).rewrapped, 1);
    let good = std::fs::read(f.lower("a")).unwrap();
    f.damage("a", 2 * PAGE);
    assert_eq!(f.only_code(), Code::PageDamagedBelowFloor);
    f.patch("a", PAGE, &[0; PAGE as usize]);
    let codes: Vec<Code> = f.check().0.iter().map(|found| found.code).collect();
    assert_eq!(codes, [Code::PageMissing, Code::PageDamagedBelowFloor]);
    std::fs::write(f.lower("a"), &good).unwrap();
    assert_eq!(f.check().0, []);
    f.resize("a", 2 * PAGE + 5);
    assert_eq!(f.only_code(), Code::SizeBelowFloor);
}

#[test]
fn a_punch_lowers_the_floor_of_one_slot() {
    let f = Fixture::new();
    let ino = f.file("a", 40_000);
    for _ in 0..2 {
        let alias = crate::ids::AliasName::default_alias();
        f.t.keys().rotate(&crate::keyring::KeyRef::Alias(alias)).unwrap();
        assert_eq!(f.t.vault.rewrap_batch(&[ino]).rewrapped, 1);
    }
    let (_, handle) = f.t.open("a").unwrap();
    let punch = crate::vault::FallocMode { keep_size: true, punch_hole: true, zero_range: false };
    f.t.vault.fallocate(ino, PlainOffset(8000), 16_000, punch, Privileges::Keep).unwrap();
    f.close(ino, handle);
    let lower = std::fs::read(f.lower("a")).unwrap();
    assert_eq!(lower[3 * PAGE as usize..4 * PAGE as usize], [0; PAGE as usize], "a page became a hole");
    assert_eq!(f.check().0, [], "the slot that isn't in force still promises it");
}

#[test]
fn what_stands_behind_the_end() {
    let f = Fixture::new();
    f.file("a", 10);
    f.damage("a", PAGE + 3);
    let found = f.only();
    assert_eq!((found.code, found.severity), (Code::DataPastEnd, Severity::Leftover));
}

#[test]
fn a_writer_beside_the_check_raises_no_alarm() {
    let f = Fixture::new();
    f.file("a", 200_000);
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let (v, f, done) = (&f.t.vault, &f, &done);
        scope.spawn(move || {
            let (ino, handle) = f.t.open("a").unwrap();
            for round in 0..60u64 {
                let at = PlainOffset(round * 7919 % 190_000);
                v.write(ino, at, &vec![round as u8; 9000], Privileges::Keep).unwrap();
                if round % 7 == 0 {
                    let set = crate::vault::SetAttr { size: Some(round * 1000), ..Default::default() };
                    v.setattr(ino, &set, &me()).unwrap();
                }
            }
            v.release(ino, handle).unwrap();
            done.store(true, std::sync::atomic::Ordering::SeqCst);
        });
        while !done.load(std::sync::atomic::Ordering::SeqCst) {
            let mut seen = Findings::default();
            check(f.t.keys(), Some(v), &Options::default(), &Cancellation::default(), &mut seen).unwrap();
            assert_eq!(seen.0, []);
        }
    });
}

#[test]
fn all_files_with_one_id_are_named() {
    let f = Fixture::new();
    let v = &f.t.vault;
    f.file("a", 10_000);
    f.file("alone", 10_000);
    f.file("log", 10);
    let dir = v.mkdir(Ino::ROOT, b"dir", 0o755, &me()).unwrap().ino;
    let small = v.lookup(Ino::ROOT, b"alone").unwrap().ino;
    v.link(small, dir, b"linked").unwrap();
    // The header of one file with an empty block, where another one was; and a copy of all of it.
    let header = std::fs::read(f.lower("a")).unwrap()[..1024].to_vec();
    f.resize("log", 0);
    f.patch("log", 0, &header);
    f.resize("log", PAGE + 10);
    let below = f.t.tree().join(std::str::from_utf8(f.lower_name(b"dir").entry()).unwrap());
    std::fs::copy(f.lower("a"), below.join("copied")).unwrap();
    for vault in [None, Some(&*f.t.vault)] {
        let mut seen = Findings::default();
        let summary =
            check(f.t.keys(), vault, &Options::default(), &Cancellation::default(), &mut seen).unwrap();
        assert_eq!(summary.status(), 4);
        let mut twice: Vec<&Finding> =
            seen.0.iter().filter(|found| found.code == Code::FileIdTwice).collect();
        twice.sort_by_key(|found| found.path.as_path().to_owned());
        let paths: Vec<String> =
            twice.iter().map(|found| found.path.as_path().display().to_string()).collect();
        assert_eq!(paths, ["/a", "/dir/.rekeyfs-bad.copied", "/log"]);
        assert!(twice.iter().all(|found| found.detail == twice[0].detail), "{twice:#?}");
        let others: Vec<Code> =
            seen.0.iter().map(|found| found.code).filter(|code| *code != Code::FileIdTwice).collect();
        assert_eq!(others, [Code::NameDamaged]);
    }
    let (found, summary) = f.check_at(Some("/dir"));
    assert_eq!(
        found.iter().map(|found| found.code).collect::<Vec<_>>(),
        [Code::NameDamaged],
        "one of them is there"
    );
    assert_eq!(summary.status(), 4);
}
