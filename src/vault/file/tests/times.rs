//! The mtime that the kernel knows is the one that the lower file is left with.

use std::time::Duration;

use crate::ids::{Handle, Ino, PlainOffset, Time, TimeChange};
use crate::storage::fault::{Faults, Op};
use crate::storage::{Errno, RenameFlags};
use crate::vault::testing::{READ_WRITE, TestVault, me};
use crate::vault::{Error, Privileges, SetAttr, SyncScope};

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

/// The lower ctime, which any write of times moves.
fn ctime(t: &TestVault, ino: Ino) -> Time {
    t.vault.getattr(ino).unwrap().ctime
}

/// As the kernel sends what it has itself.
fn send(t: &TestVault, ino: Ino, mtime: Time, ctime: Time) {
    let set = SetAttr { mtime: Some(TimeChange::At(mtime)), ctime: Some(ctime), ..SetAttr::default() };
    t.vault.setattr(ino, &set, &me()).unwrap();
}

#[test]
fn times_that_the_file_has_already_are_not_written_again() {
    let (t, ino, handle, made) = vault_and_file();
    let before = ctime(&t, ino);
    send(&t, ino, made, before);
    assert_eq!(ctime(&t, ino), before, "open");
    t.vault.release(ino, handle).unwrap();
    later();
    t.vault.rename((Ino::ROOT, b"f"), (Ino::ROOT, b"g"), RenameFlags::empty()).unwrap();
    let renamed = ctime(&t, ino);
    later();
    send(&t, ino, made, renamed);
    assert_eq!((ctime(&t, ino), mtime(&t, ino)), (renamed, made), "closed");
    // Another mtime is written, and the same one where the lower file may have another, and with anything else.
    let other = Time { secs: made.secs + 5, ..made };
    send(&t, ino, other, renamed);
    assert_eq!(mtime(&t, ino), other);
    let handle = t.vault.open(ino, READ_WRITE, &me()).unwrap();
    write(&t, ino);
    assert!(mtime(&t, ino) < other);
    send(&t, ino, other, renamed);
    assert_eq!(mtime(&t, ino), other, "moved by a write");
    t.vault.release(ino, handle).unwrap();
    let (mtime, ctime) = (Some(TimeChange::At(other)), Some(renamed));
    let set = SetAttr { mtime, ctime, mode: Some(0o600), ..SetAttr::default() };
    assert_eq!(t.vault.setattr(ino, &set, &me()).unwrap().perm, 0o600);
}

#[test]
fn a_ctime_that_the_kernel_has_shown_does_not_go_back() {
    let (t, ino, handle, made) = vault_and_file();
    t.vault.release(ino, handle).unwrap();
    let before = ctime(&t, ino);
    later();
    let shown = Time { nanos: before.nanos / 2, secs: before.secs };
    send(&t, ino, made, shown);
    assert_eq!(ctime(&t, ino), before, "it is later below");
    later();
    let touched = Time {
        nanos: (before.nanos + 1) % 1_000_000_000,
        secs: before.secs + i64::from(before.nanos == 999_999_999),
    };
    send(&t, ino, made, touched);
    assert!(ctime(&t, ino) >= touched);
    // Where the kernel keeps no times it sends none: a user sets the mtime, whatever it was.
    let before = ctime(&t, ino);
    later();
    set_mtime(&t, ino, TimeChange::At(made));
    assert!(ctime(&t, ino) > before);
}

#[test]
fn a_truncate_of_a_closed_file_leaves_the_mtime_that_comes_with_it_or_the_one_before() {
    let (t, ino, handle, _) = vault_and_file();
    write(&t, ino);
    t.vault.release(ino, handle).unwrap();
    let known = mtime(&t, ino);
    let truncate = |size, mtime| {
        later();
        t.vault.setattr(ino, &SetAttr { size: Some(size), mtime, ..SetAttr::default() }, &me()).unwrap()
    };
    assert_eq!(truncate(3, None).mtime, known);
    let sent = Time { secs: 12, nanos: 34 };
    assert_eq!(truncate(2, Some(TimeChange::At(sent))).mtime, sent);
    assert_eq!(mtime(&t, ino), sent);
    let atime = Some(TimeChange::At(Time { secs: 9, nanos: 0 }));
    t.vault.setattr(ino, &SetAttr { size: Some(1), atime, ..SetAttr::default() }, &me()).unwrap();
    assert_eq!(mtime(&t, ino), sent, "a time of last access says nothing of it");
}

#[test]
fn a_truncate_of_a_closed_file_whose_sync_fails_leaves_the_mtime_too() {
    let (t, ino, handle, _) = vault_and_file();
    write(&t, ino);
    t.vault.release(ino, handle).unwrap();
    let known = mtime(&t, ino);
    later();
    let failing = Faults::record().refusing(Op::Fdatasync, Errno::IO);
    let scope = failing.on_this_thread();
    t.vault.setattr(ino, &SetAttr { size: Some(3), ..SetAttr::default() }, &me()).unwrap_err();
    drop(scope);
    assert_eq!(mtime(&t, ino), known);
}

/// GlusterFS finds a file by its name when its times are set, whatever descriptor is given.
#[test]
fn the_kernels_times_of_an_open_file_without_a_name_are_no_error_where_the_lower_filesystem_cannot_set_them()
{
    let (t, ino, handle, made) = vault_and_file();
    write(&t, ino);
    let sent = Time { secs: made.secs + 5, nanos: 1 };
    let of_kernel = SetAttr { mtime: Some(TimeChange::At(sent)), ctime: Some(sent), ..SetAttr::default() };
    let of_program = SetAttr { ctime: None, ..of_kernel };
    let set = |set: &SetAttr| {
        let lacking = Faults::record().refusing(Op::SetTimes, Errno::STALE);
        let _scope = lacking.on_this_thread();
        t.vault.setattr(ino, set, &me())
    };
    assert!(matches!(set(&of_kernel), Err(Error::Lower(Errno::STALE))), "it has a name");
    t.vault.unlink(Ino::ROOT, b"f").unwrap();
    assert!(set(&of_kernel).is_ok());
    assert!(matches!(set(&of_program), Err(Error::Lower(Errno::STALE))), "a program asked for it");
    t.vault.release(ino, handle).unwrap();
}
