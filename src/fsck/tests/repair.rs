//! Repairs and the quarantine: each, each twice, each stopped at every write, and nothing lost by any.

use super::*;
use crate::content::layout::PAGE;
use crate::storage::fault::Faults;

fn apply_with(f: &Fixture, options: &RepairOptions) -> (Vec<Finding>, Summary) {
    let (found, checked) = f.check();
    let mut seen = Findings::default();
    let summary = apply(
        f.t.keys(),
        f.t.keys().writable().unwrap(),
        options,
        found,
        checked,
        &Cancellation::default(),
        &mut seen,
    )
    .unwrap();
    (seen.0, summary)
}

/// An error is fine here: what is on disk counts.
fn apply_stopped_after(n: u64, f: &Fixture, options: &RepairOptions) -> Faults {
    let (found, checked) = f.check();
    let faults = Faults::stop_after(n);
    {
        let _scope = faults.on_this_thread();
        let leave = f.t.keys().writable().unwrap();
        let _ = apply(
            f.t.keys(),
            leave,
            options,
            found,
            checked,
            &Cancellation::default(),
            &mut Findings::default(),
        );
    }
    faults
}

fn repair(f: &Fixture) -> (Vec<Finding>, Summary) {
    apply_with(f, &RepairOptions { repair: true, ..RepairOptions::default() })
}

/// The content of a file of the root, as a fresh mount reads it.
fn read(f: &mut Fixture, name: &str) -> Result<Vec<u8>, crate::vault::Error> {
    f.t.reopen();
    let (ino, handle) = f.t.open(name)?;
    let mut out = vec![0; 1 << 16];
    let n = f.t.vault.read(ino, PlainOffset(0), &mut out);
    f.t.vault.release(ino, handle).unwrap();
    n.map(|n| out[..n].to_vec())
}

fn assert_repaired(f: &Fixture) {
    let (found, summary) = repair(f);
    assert!(
        found.iter().all(|found| matches!(found.disposition, Disposition::Repaired { .. })),
        "{found:#?}"
    );
    assert_eq!(summary.status(), 1);
    assert_eq!(f.check().0, []);
    assert_eq!(repair(f).1.status(), 0);
}

#[test]
fn a_page_becomes_zeros_and_what_stood_there_is_kept() {
    let mut f = Fixture::new();
    f.file("a", 20_000);
    let good = read(&mut f, "a").unwrap();
    f.patch("a", 2 * PAGE + 100, b"xxxx");
    let torn = std::fs::read(f.lower("a")).unwrap();
    assert!(read(&mut f, "a").is_err());
    let before = std::fs::metadata(f.lower("a")).unwrap().modified().unwrap();
    assert_repaired(&f);
    assert_eq!(std::fs::metadata(f.lower("a")).unwrap().modified().unwrap(), before);
    let mut expected = good;
    let (start, len) = ((3044 + 4068), 4068);
    expected[start..start + len].fill(0);
    assert!(read(&mut f, "a").unwrap() == expected);
    let kept = std::fs::read_to_string(f.vault_dir().join(UNDO_NAME)).unwrap();
    let kept: serde_json::Value = serde_json::from_str(kept.trim_end()).unwrap();
    use base64::Engine as _;
    let bytes = base64::engine::general_purpose::STANDARD.decode(kept["bytes"].as_str().unwrap()).unwrap();
    assert_eq!(kept["offset"], 2 * PAGE);
    assert_eq!(bytes, torn[2 * PAGE as usize..3 * PAGE as usize]);
    // As docs/fsck.md says: put back, all is as it was.
    f.patch("a", 2 * PAGE, &bytes);
    assert_eq!(f.only_code(), Code::PageDamaged);
}

#[test]
fn the_first_page_keeps_its_header() {
    let mut f = Fixture::new();
    f.file("a", 5000);
    f.patch("a", 1500, b"xxxx");
    assert_repaired(&f);
    assert_eq!(read(&mut f, "a").unwrap()[..3044], [0; 3044]);
}

#[test]
fn promised_pages_are_never_zeroed() {
    let f = Fixture::new();
    let ino = f.file("a", 9000);
    let alias = crate::ids::AliasName::default_alias();
    f.t.keys().rotate(&crate::keyring::KeyRef::Alias(alias)).unwrap();
    assert_eq!(f.t.vault.rewrap_batch(&[ino]).rewrapped, 1);
    f.patch("a", PAGE + 100, b"xxxx");
    let damaged = std::fs::read(f.lower("a")).unwrap();
    let (found, summary) = repair(&f);
    assert_eq!((found[0].code, &found[0].disposition), (Code::PageDamagedBelowFloor, &Disposition::Left));
    assert_eq!(summary.status(), 4);
    assert_eq!(std::fs::read(f.lower("a")).unwrap(), damaged);
}

#[test]
fn slots_sizes_and_leftovers() {
    let mut f = Fixture::new();
    f.file("slot", 10);
    f.file("behind", 5000);
    f.file("size", 5000);
    f.file("nothing", 10);
    f.file(&"n".repeat(220), 10);
    f.patch("slot", 512, b"xxxx");
    f.patch("behind", 2 * PAGE + 7, b"xxxx");
    f.resize("size", 2 * PAGE + 4090);
    f.resize("nothing", 0);
    f.resize("nothing", 77);
    std::fs::remove_file(f.lower(&"n".repeat(220))).unwrap();
    std::fs::write(f.t.tree().join(".tmp.AAAA"), b"x").unwrap();
    std::fs::write(f.vault_dir().join(".tmp.AAAA"), b"x").unwrap();
    let behind = read(&mut f, "behind").unwrap();
    assert_eq!(f.check().0.len(), 7);
    assert_repaired(&f);
    assert_eq!(read(&mut f, "behind").unwrap(), behind);
    assert_eq!(read(&mut f, "size").unwrap().len(), 3044 + 4068);
    assert_eq!(read(&mut f, "nothing").unwrap(), b"");
}

#[test]
fn what_may_be_a_part_of_a_page_is_left() {
    let f = Fixture::new();
    f.file("a", 5000);
    f.resize("a", 2 * PAGE + 4090);
    f.damage("a", 2 * PAGE + 50);
    let (found, summary) = repair(&f);
    assert!(matches!(found[0].disposition, Disposition::Refused { .. }), "{found:?}");
    assert_eq!(summary.status(), 4);
}

#[test]
fn a_slot_that_claims_another_file_is_left() {
    let f = Fixture::new();
    f.file("a", 10);
    f.file("b", 10);
    let slot = std::fs::read(f.lower("b")).unwrap()[..512].to_vec();
    f.patch("a", 512, &slot);
    assert!(matches!(repair(&f).0[0].disposition, Disposition::Refused { .. }));
}

/// Stopped after any write, with what was readable before still readable, and repaired by the next.
#[test]
fn a_repair_stopped_at_any_write_is_taken_up() {
    for n in 0.. {
        let mut f = Fixture::new();
        f.file("good", 9000);
        f.file("pages", 20_000);
        f.file("slot", 10);
        f.file("behind", 5000);
        f.patch("pages", 2 * PAGE + 100, b"xxxx");
        f.patch("pages", 1500, b"xxxx");
        f.patch("slot", 512, b"xxxx");
        f.patch("behind", 2 * PAGE + 7, b"xxxx");
        std::fs::write(f.t.tree().join(".tmp.AAAA"), b"x").unwrap();
        let names = ["good", "slot", "behind"];
        let before: Vec<_> = names.iter().map(|name| read(&mut f, name).unwrap()).collect();
        let faults = apply_stopped_after(n, &f, &RepairOptions { repair: true, ..RepairOptions::default() });
        for (name, content) in names.iter().zip(&before) {
            assert!(read(&mut f, name).unwrap() == *content, "{name}, stopped after {n}");
        }
        let left = f.check().1;
        let (found, summary) = repair(&f);
        assert_eq!(summary.errors + summary.leftovers, 0, "stopped after {n}: {found:#?}");
        assert_eq!(summary.repaired, left.errors + left.leftovers);
        assert_eq!(f.check().0, [], "stopped after {n}");
        if !faults.fired() {
            assert!(n > 20, "the walk has stopped early");
            return;
        }
    }
}

#[test]
fn the_quarantine_takes_the_file_and_lists_what_can_be_read() {
    let mut f = Fixture::new();
    f.file("good", 10);
    f.file(&"n".repeat(220), 30_000);
    let whole = read(&mut f, &"n".repeat(220)).unwrap();
    f.patch(&"n".repeat(220), 3 * PAGE + 100, b"xxxx");
    let damaged = std::fs::read(f.lower(&"n".repeat(220))).unwrap();
    let outside = tempfile::tempdir().unwrap();
    let options = RepairOptions {
        quarantine: Some(outside.path().join("q")),
        salvage: true,
        ..RepairOptions::default()
    };
    let (found, summary) = apply_with(&f, &options);
    assert_eq!((found.len(), summary.quarantined, summary.status()), (1, 1, 1));
    let Disposition::Quarantined { into, saved } = &found[0].disposition else { panic!("{found:?}") };
    let saved: Vec<_> = saved.iter().map(|run| (run.first.0, run.count.0)).collect();
    assert_eq!(saved, [(0, 3), (4, 4)]);
    assert_eq!(std::fs::read(into.as_path().join("ciphertext")).unwrap(), damaged);
    let mut expected = whole;
    let start = 3044 + 2 * 4068;
    expected[start..start + 4068].fill(0);
    assert!(std::fs::read(into.as_path().join("salvaged")).unwrap() == expected);
    assert!(std::fs::read_to_string(into.as_path().join("about.json")).unwrap().contains("\"readable\""));
    assert_eq!(f.check().0, [], "its companion is gone too");
    // Another one gets a place of its own.
    f.file("b", 10);
    f.damage("b", 200);
    let (found, _) = apply_with(&f, &RepairOptions { salvage: false, ..options });
    let Disposition::Quarantined { into: other, saved } = &found[0].disposition else { panic!("{found:?}") };
    assert!(other != into && saved.is_empty());
    assert_eq!(f.check().0, []);
}

#[test]
fn the_quarantine_is_outside_and_takes_no_linked_file() {
    let f = Fixture::new();
    let ino = f.file("a", 10);
    f.t.vault.link(ino, Ino::ROOT, b"b").unwrap();
    f.damage("a", 200);
    let (found, checked) = f.check();
    let inside = RepairOptions { quarantine: Some(f.vault_dir().join("q")), ..RepairOptions::default() };
    let refused = apply(
        f.t.keys(),
        f.t.keys().writable().unwrap(),
        &inside,
        found,
        checked,
        &Cancellation::default(),
        &mut Findings::default(),
    )
    .unwrap_err();
    assert!(matches!(refused, CheckError::QuarantineInside(_)), "{refused}");
    assert!(!f.vault_dir().join("q").exists());
    let outside = tempfile::tempdir().unwrap();
    let options = RepairOptions { quarantine: Some(outside.path().to_owned()), ..RepairOptions::default() };
    let (found, summary) = apply_with(&f, &options);
    assert!(matches!(found[0].disposition, Disposition::Refused { .. }), "{found:?}");
    assert_eq!(summary.status(), 4);
    assert!(f.lower("a").exists() && f.lower("b").exists());
}

/// Stopped after any write, the file is in the vault, or whole in the quarantine, or both.
#[test]
fn a_quarantine_stopped_at_any_write_has_the_file_somewhere() {
    for n in 0.. {
        let mut f = Fixture::new();
        f.file("good", 9000);
        f.file(&"n".repeat(220), 9000);
        f.patch(&"n".repeat(220), PAGE + 100, b"xxxx");
        let lower = f.lower(&"n".repeat(220));
        let damaged = std::fs::read(&lower).unwrap();
        let good = read(&mut f, "good").unwrap();
        let outside = tempfile::tempdir().unwrap();
        let options = RepairOptions {
            quarantine: Some(outside.path().join("q")),
            salvage: true,
            ..RepairOptions::default()
        };
        let faults = apply_stopped_after(n, &f, &options);
        if !lower.exists() {
            assert_eq!(std::fs::read(outside.path().join("q/000001/ciphertext")).unwrap(), damaged);
        }
        apply_with(&f, &RepairOptions { repair: true, ..options });
        assert_eq!(f.check().0, [], "stopped after {n}");
        assert!(read(&mut f, "good").unwrap() == good);
        if !faults.fired() {
            assert!(n > 8, "the walk has stopped early");
            return;
        }
    }
}

#[test]
fn a_file_whose_content_is_whole_stays() {
    let f = Fixture::new();
    f.file("a", 10);
    let mut finding = {
        f.patch("a", 1500, b"xxxx");
        f.only()
    };
    finding.code = Code::Unreadable;
    assert_eq!(repair(&f).1.repaired, 1);
    let outside = tempfile::tempdir().unwrap();
    let options = RepairOptions { quarantine: Some(outside.path().to_owned()), ..RepairOptions::default() };
    let mut seen = Findings::default();
    apply(
        f.t.keys(),
        f.t.keys().writable().unwrap(),
        &options,
        vec![finding],
        f.check().1,
        &Cancellation::default(),
        &mut seen,
    )
    .unwrap();
    assert_eq!(seen.0[0].disposition, Disposition::Left);
    assert!(f.lower("a").exists());
}

/// Its size may mean something else there, and so may everything behind the header.
#[test]
fn a_file_of_a_newer_program_is_neither_repaired_nor_taken_away() {
    let f = Fixture::new();
    f.file("n", 3000);
    f.patch("n", 52, &[4]);
    f.resize("n", PAGE + 4000);
    let before = crate::keyring::testing::everything(&f.t.tree());
    let into = tempfile::tempdir().unwrap();
    let (found, summary) = apply_with(
        &f,
        &RepairOptions { repair: true, quarantine: Some(into.path().join("q")), salvage: true },
    );
    assert_eq!(
        found.iter().map(|found| (found.code, &found.disposition)).collect::<Vec<_>>(),
        [(Code::Newer, &Disposition::Left)]
    );
    assert_eq!((summary.repaired, summary.quarantined, summary.status()), (0, 0, 0));
    assert!(before == crate::keyring::testing::everything(&f.t.tree()), "something was written");
}
