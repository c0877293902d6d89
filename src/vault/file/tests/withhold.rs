//! A reader whose lease is over shows nothing that takes a key.

use super::*;
use crate::storage::Lease;
use crate::sys::boottime::BootTime;
use std::time::Duration;

const READ: OpenFlags = OpenFlags { read: true, write: false, truncate: false };

#[test]
fn a_reader_whose_lease_is_over_shows_nothing_until_it_is_renewed() {
    let test = TestVault::shared();
    let (ino, reader) = (test.written("f"), test.reader());
    let lease = Lease::of_reader();
    reader.serve_under(lease.clone());
    let over = |done: crate::vault::Result<()>| assert!(matches!(done, Err(Error::LeaseOver)), "{done:?}");
    over(reader.lookup(Ino::ROOT, b"f").map(drop));
    let live = || lease.extend(BootTime::now().after(Duration::from_secs(600)));
    live();
    assert_eq!(reader.lookup(Ino::ROOT, b"f").unwrap().ino, ino);
    let handle = reader.open(ino, READ, &me()).unwrap();
    let mut out = [0; 7];
    assert_eq!(reader.read(ino, PlainOffset(0), &mut out).unwrap(), 7);
    let file = reader.inode(ino).unwrap().opened().unwrap();
    assert!(file.slot_keys().is_some());

    lease.extend(BootTime::now());
    over(reader.open(ino, READ, &me()).map(drop));
    over(reader.read(ino, PlainOffset(0), &mut out).map(drop));
    let directory = reader.opendir(Ino::ROOT).unwrap();
    over(reader.readdir(Ino::ROOT, directory, 0, &mut |_| true));
    reader.releasedir(Ino::ROOT, directory).unwrap();
    reader.withhold();
    assert!(file.slot_keys().is_none(), "its DEK is in memory");

    live();
    reader.withhold();
    assert_eq!(reader.read(ino, PlainOffset(0), &mut out).unwrap(), 7);
    assert_eq!(&out, b"content");
    reader.release(ino, handle).unwrap();
}

/// A thread that waits for the lower filesystem holds what it reads with.
#[test]
fn what_is_being_read_is_wiped_when_that_is_done() {
    let test = TestVault::shared();
    let (ino, reader) = (test.written("f"), test.reader());
    let lease = Lease::of_reader();
    lease.extend(BootTime::now().after(Duration::from_secs(600)));
    reader.serve_under(lease.clone());
    reader.lookup(Ino::ROOT, b"f").unwrap();
    let handle = reader.open(ino, READ, &me()).unwrap();
    let file = reader.inode(ino).unwrap().opened().unwrap();
    let reading = file.state.read();
    lease.extend(BootTime::now());
    std::thread::scope(|threads| {
        let wiping = threads.spawn(|| reader.withhold());
        std::thread::sleep(Duration::from_millis(50));
        assert!(!wiping.is_finished());
        drop(reading);
        wiping.join().unwrap();
    });
    assert!(file.slot_keys().is_none());
    reader.release(ino, handle).unwrap();
}
