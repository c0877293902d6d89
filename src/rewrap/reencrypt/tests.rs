//! A run meets every file once, and goes on where another was stopped.

use super::{FileOutcome, reencrypt_all, reencrypt_file};
use crate::ids::{Ino, PlainOffset, Timestamp};
use crate::monitor::{Cancellation, Monitor, Progress};
use crate::vault::testing::{READ_WRITE, TestVault, me};
use crate::vault::{Privileges, Reencrypted};

fn filled(files: usize) -> TestVault {
    let mut test = TestVault::new();
    let dir = test.vault.mkdir(Ino::ROOT, b"d", 0o755, &me()).unwrap().ino;
    for i in 0..files {
        let parent = if i % 2 == 0 { dir } else { Ino::ROOT };
        let (attr, handle) =
            test.vault.create(parent, format!("f{i}").as_bytes(), 0o644, READ_WRITE, &me()).unwrap();
        test.vault
            .write(attr.ino, PlainOffset(0), format!("content {i}").as_bytes(), Privileges::Keep)
            .unwrap();
        test.vault.release(attr.ino, handle).unwrap();
    }
    test.make("empty");
    test.reopen();
    test
}

#[test]
fn every_file_is_reencrypted_once() {
    let test = filled(40);
    let linked = test.vault.lookup(Ino::ROOT, b"f1").unwrap().ino;
    test.vault.link(linked, Ino::ROOT, b"again").unwrap();
    let mut told = 0;
    let report =
        reencrypt_all(&test.vault, None, &mut Monitor::new(&Cancellation::default(), &mut |p| told = p.seen))
            .unwrap();
    assert_eq!((report.files, report.reencrypted, report.nothing_to_do), (41, 39, 1));
    assert_eq!((report.left, told), (1, 41));
    assert_eq!(report.named, [(linked, "it has several names".to_owned())]);
}

#[test]
fn a_stopped_run_goes_on_with_what_is_older() {
    let test = filled(20);
    // What was made up to now is older: the clock of the lower filesystem ticks in some milliseconds.
    std::thread::sleep(std::time::Duration::from_millis(20));
    let began = Timestamp::now();
    std::thread::sleep(std::time::Duration::from_millis(20));
    let cancellation = Cancellation::default();
    let mut enough = |p: Progress| {
        if p.rewrapped >= 7 {
            cancellation.cancel();
        }
    };
    let first = reencrypt_all(&test.vault, None, &mut Monitor::new(&cancellation, &mut enough)).unwrap();
    assert!(first.stopped);
    assert_eq!(first.reencrypted, 7);
    let probe = test.vault.lookup(Ino::ROOT, b"f1").unwrap().ino;
    if test.vault.born(probe).unwrap().is_none() {
        return; // This filesystem doesn't say when a file was made.
    }
    let second = reencrypt_all(&test.vault, Some(began), &mut Monitor::unattended()).unwrap();
    assert_eq!((second.files, second.reencrypted, second.nothing_to_do), (21, 13, 8));
    let ino = test.vault.lookup(Ino::ROOT, b"f3").unwrap().ino;
    let one = |before| reencrypt_file(&test.vault, ino, before, &mut Monitor::unattended()).unwrap();
    assert_eq!(one(Some(began)), FileOutcome::Newer);
    assert!(matches!(one(None), FileOutcome::Was(Reencrypted::Done(_))));
}
