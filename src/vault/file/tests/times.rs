//! The mtime that the kernel knows is the one that the lower file is left with.

use std::time::Duration;

use crate::ids::{Handle, Ino, PlainOffset, Time, TimeChange};
use crate::vault::testing::{READ_WRITE, TestVault, me};
use crate::vault::{Privileges, SetAttr, SyncScope};

/// A vault whose kernel keeps times, and an open file of it, made some ticks of the clock ago.
fn vault_and_file() -> (TestVault, Ino, Handle, Time) {
    let t = TestVault::new();
    t.vault.set_kernel_keeps_times(true);
    let (attr, handle) = t.vault.create(Ino::ROOT, b"f", 0o644, READ_WRITE, &me()).unwrap();
    later();
    (t, attr.ino, handle, attr.mtime)
}

fn later() {
    std::thread::sleep(Duration::from_millis(20));
}

fn write(t: &TestVault, ino: Ino) {
    assert_eq!(t.vault.write(ino, PlainOffset(0), b"data", Privileges::Keep).unwrap(), 4);
    later();
}

fn mtime(t: &TestVault, ino: Ino) -> Time {
    t.vault.getattr(ino).unwrap().mtime
}

fn set_mtime(t: &TestVault, ino: Ino, change: TimeChange) {
    t.vault.setattr(ino, &SetAttr { mtime: Some(change), ..SetAttr::default() }, &me()).unwrap();
}

#[test]
fn the_last_close_leaves_the_mtime_that_the_kernel_knows() {
    let (t, ino, handle, made) = vault_and_file();
    let second = t.vault.open(ino, READ_WRITE, &me()).unwrap();
    write(&t, ino);
    t.vault.release(ino, second).unwrap();
    assert!(mtime(&t, ino) > made, "others may be writing still");
    t.vault.release(ino, handle).unwrap();
    assert_eq!(mtime(&t, ino), made);
}

#[test]
fn what_the_kernel_sends_counts_whether_it_comes_before_a_write_or_after() {
    let (t, ino, handle, _) = vault_and_file();
    let sent = Time { secs: -7, nanos: 123_456_789 };
    write(&t, ino);
    set_mtime(&t, ino, TimeChange::At(sent));
    write(&t, ino);
    // A time of last access alone says nothing of the mtime.
    let atime = Some(TimeChange::At(Time { secs: 9, nanos: 0 }));
    t.vault.setattr(ino, &SetAttr { atime, ..SetAttr::default() }, &me()).unwrap();
    t.vault.release(ino, handle).unwrap();
    assert_eq!(mtime(&t, ino), sent);
    assert_eq!(t.vault.getattr(ino).unwrap().atime.secs, 9);
}

#[test]
fn the_time_that_the_lower_clock_gave_counts_too() {
    let (t, ino, handle, made) = vault_and_file();
    set_mtime(&t, ino, TimeChange::Now);
    let set = mtime(&t, ino);
    later();
    write(&t, ino);
    t.vault.release(ino, handle).unwrap();
    assert_eq!(mtime(&t, ino), set);
    assert!(set > made);
}

#[test]
fn an_fsync_puts_it_back_and_an_fdatasync_does_not() {
    let (t, ino, handle, made) = vault_and_file();
    write(&t, ino);
    t.vault.fsync(ino, SyncScope::Data).unwrap();
    assert!(mtime(&t, ino) > made);
    t.vault.fsync(ino, SyncScope::All).unwrap();
    assert_eq!(mtime(&t, ino), made);
    t.vault.release(ino, handle).unwrap();
}

#[test]
fn a_write_after_the_last_close_moves_nothing() {
    let (t, ino, handle, made) = vault_and_file();
    write(&t, ino);
    t.vault.release(ino, handle).unwrap();
    write(&t, ino);
    assert_eq!(mtime(&t, ino), made);
}

#[test]
fn where_the_kernel_asks_for_times_a_write_moves_them() {
    let (t, ino, handle, made) = vault_and_file();
    t.vault.set_kernel_keeps_times(false);
    write(&t, ino);
    t.vault.release(ino, handle).unwrap();
    assert!(mtime(&t, ino) > made);
}
