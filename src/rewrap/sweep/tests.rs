//! A sweep meets every file once and leaves nothing stale.
use std::num::NonZeroU32;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use super::{MOST, SweepOptions, TAKES, Tally, most, next, sweep};
use crate::crypto::suite::Suite;
use crate::ids::{AliasName, Ino};
use crate::keyring::RotateTarget;
use crate::storage::fault::{Faults, Op};
use crate::vault::testing::{TestVault, me};

fn rotated() -> (TestVault, u64) {
    let test = TestVault::with_suite(Suite::Aes256Gcm);
    let dir = test.vault.mkdir(Ino::ROOT, b"d", 0o755, &me()).unwrap().ino;
    for i in 0..300 {
        test.written_in(if i % 2 == 0 { dir } else { Ino::ROOT }, format!("f{i}").as_bytes());
    }
    test.keys().rotate(&RotateTarget::Alias(AliasName::default_alias())).unwrap();
    (test, 300)
}

#[test]
fn every_stale_file_is_rewrapped_once() {
    let (test, files) = rotated();
    let stop = AtomicBool::new(false);
    let mut seen = 0;
    let report = sweep(&test.vault, SweepOptions::default(), |p| seen = p.seen, &stop).unwrap();
    assert_eq!((report.files, report.rewrapped, report.failed, seen), (files, files, 0, files));
    let current = test.keys().current(&AliasName::default_alias()).unwrap();
    assert_eq!(report.census, [(current, files)]);
    assert_eq!(test.vault.census(), [(current, files)]);
    let again = sweep(&test.vault, SweepOptions::default(), |_| {}, &stop).unwrap();
    assert_eq!((again.files, again.rewrapped, again.skipped), (files, 0, 0));
}

/// Both names were in one batch, and the second was called failed.
#[test]
fn a_file_with_two_names_is_one_file() {
    let (test, files) = rotated();
    let ino = test.vault.lookup(Ino::ROOT, b"f1").unwrap().ino;
    test.vault.link(ino, Ino::ROOT, b"another").unwrap();
    let report = sweep(&test.vault, SweepOptions::default(), |_| {}, &AtomicBool::new(false)).unwrap();
    assert_eq!((report.files, report.rewrapped, report.failed), (files, files, 0));
}

#[test]
fn a_stopped_sweep_goes_on_where_it_was() {
    let (test, files) = rotated();
    let stop = AtomicBool::new(false);
    let first = sweep(
        &test.vault,
        SweepOptions { max_rate: NonZeroU32::new(100) },
        |_| stop.store(true, std::sync::atomic::Ordering::Relaxed),
        &stop,
    )
    .unwrap();
    assert!(first.stopped && first.files < files);
    let second = sweep(&test.vault, SweepOptions::default(), |_| {}, &AtomicBool::new(false)).unwrap();
    assert_eq!(first.rewrapped + second.rewrapped, files);
}

/// What is removed while a sweep goes on was called left out.
#[test]
fn what_is_gone_since_it_was_met_is_no_failure() {
    let (test, _) = rotated();
    let v = &test.vault;
    let files = [b"f1", b"f3", b"f5"].map(|name| v.lookup(Ino::ROOT, name).unwrap().ino);
    v.unlink(Ino::ROOT, b"f1").unwrap();
    v.unlink(Ino::ROOT, b"f3").unwrap();
    v.forget(files[1], 2);
    let report = Tally::of(v, &files).0.report;
    // One is still there without a name, as an open file would be.
    assert_eq!((report.files, report.rewrapped, report.skipped, report.failed), (3, 2, 0, 0));
}

#[test]
fn batches_grow_where_they_are_quick_and_shrink_where_they_are_slow() {
    let took = |ms| Duration::from_millis(ms);
    assert_eq!(next(256, took(10), MOST), 512);
    assert_eq!(next(MOST, took(10), MOST), MOST);
    assert_eq!(next(512, *TAKES.start(), MOST), 512);
    assert_eq!(next(512, *TAKES.end(), MOST), 512);
    assert_eq!(next(512, took(2_001), MOST), 256);
    assert_eq!(next(1, took(60_000), MOST), 1);
}

#[test]
fn no_batch_is_more_than_a_second_of_a_limited_rate() {
    let rate = |rate| NonZeroU32::new(rate);
    assert_eq!(most(rate(3)), 3);
    assert_eq!(most(rate(u32::MAX)), most(None));
    assert!((1..=MOST).contains(&most(None)));
}

/// A file that was emptied or removed, not durably, needed no re-wrap, and a power cut brought it back with its old
/// header.
#[test]
fn what_a_sweep_or_count_has_not_met_is_durably_gone() {
    let (test, files) = rotated();
    test.vault.unlink(Ino::ROOT, b"f1").unwrap();
    let synced_last = |walk: &dyn Fn()| {
        let faults = Faults::record();
        {
            let _scope = faults.on_this_thread();
            walk();
        }
        faults.log().last() == Some(&Op::Syncfs)
    };
    let stop = AtomicBool::new(false);
    assert!(synced_last(&|| {
        let report = sweep(&test.vault, SweepOptions::default(), |_| {}, &stop).unwrap();
        assert_eq!(report.rewrapped, files - 1);
    }));
    assert!(synced_last(&|| {
        assert_eq!(test.vault.count_needs(&mut |_| true).unwrap().of(|_| true), files - 1);
    }));
}
