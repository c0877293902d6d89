//! What a vault that others read hands over to the lower filesystem, and when.

use std::os::fd::AsFd;
use std::time::Duration;

use super::current::{WRITE, lookup, truncate};
use super::*;
use crate::ids::{Time, TimeChange};
use crate::storage::fault::{After, Op as Call, Plan};
use crate::storage::{self, Errno};

#[test]
fn a_close_gives_the_file_the_mtime_that_the_kernel_shows() {
    let test = TestVault::shared();
    test.vault.set_kernel_keeps_times(true);
    let ino = test.make("f");
    let handle = test.vault.open(ino, WRITE, &me()).unwrap();
    let shown = test.vault.getattr(ino).unwrap().mtime;
    // Longer than a tick of the lower filesystem's clock.
    std::thread::sleep(Duration::from_millis(50));
    test.vault.write(ino, PlainOffset(0), b"data", Privileges::Keep).unwrap();
    test.vault.flush(ino).unwrap();
    assert_eq!(lookup(&test.reader(), "f").mtime, shown);
    test.vault.release(ino, handle).unwrap();
}

/// A client of JuiceFS that looks between the two, and finds the mtime, would look no more.
#[test]
fn an_mtime_is_set_when_what_was_written_before_is_handed_over() {
    let test = TestVault::shared();
    test.vault.set_kernel_keeps_times(true);
    let ino = test.make("f");
    let handle = test.vault.open(ino, WRITE, &me()).unwrap();
    let set_to = Time { secs: 1_600_000_000, nanos: 5 };
    let mtime = SetAttr { mtime: Some(TimeChange::At(set_to)), ..SetAttr::default() };
    let calls = |act: &dyn Fn()| {
        test.vault.write(ino, PlainOffset(0), b"data", Privileges::Keep).unwrap();
        let faults = Faults::record();
        let scope = faults.on_this_thread();
        act();
        drop(scope);
        faults.log()
    };
    let v = &test.vault;
    assert_eq!(calls(&|| v.flush(ino).unwrap()), [Call::Fdatasync, Call::SetTimes]);
    // The kernel sends it while it writes pages out. It isn't waited for there: a close does both.
    assert_eq!(calls(&|| _ = v.setattr(ino, &mtime, &me()).unwrap()), []);
    assert_eq!(calls(&|| v.flush(ino).unwrap()), [Call::Fdatasync, Call::SetTimes]);
    assert_eq!(lookup(&test.reader(), "f").mtime, set_to);
    let fsync = calls(&|| v.fsync(ino, SyncScope::All).unwrap());
    assert_eq!(fsync, [Call::Fdatasync, Call::SetTimes, Call::Fsync]);
    test.vault.release(ino, handle).unwrap();
}

/// The kernel ignores what a SETATTR of its own fails with: that must not be the only answer.
#[test]
fn a_close_says_that_what_was_written_is_lost_though_the_mtime_was_set_before() {
    let test = TestVault::shared();
    test.vault.set_kernel_keeps_times(true);
    let ino = test.make("f");
    let handle = test.vault.open(ino, WRITE, &me()).unwrap();
    test.vault.write(ino, PlainOffset(0), b"data", Privileges::Keep).unwrap();
    let plan = Plan { skip: 0, only: Some(Call::Fdatasync), errno: Errno::NOSPC, after: After::Recover };
    let _scope = Faults::new(plan).on_this_thread();
    let set_to = Time { secs: 1_600_000_000, nanos: 5 };
    let mtime = SetAttr { mtime: Some(TimeChange::At(set_to)), ..SetAttr::default() };
    test.vault.setattr(ino, &mtime, &me()).unwrap();
    assert!(matches!(test.vault.flush(ino), Err(Error::Lower(Errno::NOSPC))));
    test.vault.release(ino, handle).unwrap();
    assert_eq!(test.vault.getattr(ino).unwrap().mtime, set_to);
}

#[test]
fn what_was_written_is_handed_over_at_each_close_and_nothing_else_is() {
    let test = TestVault::shared();
    let ino = test.make("f");
    let flushed = || {
        let faults = Faults::record();
        let scope = faults.on_this_thread();
        test.vault.flush(ino).unwrap();
        drop(scope);
        faults.log()
    };
    let handle = test.vault.open(ino, WRITE, &me()).unwrap();
    assert_eq!(flushed(), []);
    for _ in 0..2 {
        test.vault.write(ino, PlainOffset(0), b"data", Privileges::Keep).unwrap();
        assert_eq!(flushed(), [Call::Fdatasync]);
        assert_eq!(flushed(), []);
    }
    truncate(&test, ino, 2);
    assert_eq!(flushed(), [Call::Fdatasync]);
    test.vault.release(ino, handle).unwrap();
    assert!(!TestVault::new().vault.flushes_at_close());
}

/// The kernel has no other mtime for a write in the same tick of its clock, and JuiceFS's clients look at nothing else.
#[test]
fn each_close_after_a_change_leaves_another_mtime_where_other_hosts_see_changes_by_nothing_else() {
    for (test, differs) in [(TestVault::shared_and_remote(), true), (TestVault::shared(), false)] {
        test.vault.set_kernel_keeps_times(true);
        let ino = test.make("f");
        let handle = test.vault.open(ino, WRITE, &me()).unwrap();
        let mtimes = [1, 2, 3].map(|byte| {
            test.vault.write(ino, PlainOffset(0), &[byte], Privileges::Keep).unwrap();
            test.vault.flush(ino).unwrap();
            lookup(&test.reader(), "f").mtime
        });
        assert_eq!(mtimes[0] < mtimes[1] && mtimes[1] < mtimes[2], differs, "{mtimes:?}");
        assert!(differs || (mtimes[0] == mtimes[1] && mtimes[1] == mtimes[2]), "{mtimes:?}");
        // Nothing was changed.
        test.vault.flush(ino).unwrap();
        assert_eq!(lookup(&test.reader(), "f").mtime, mtimes[2]);
        test.vault.release(ino, handle).unwrap();
    }
}

/// Another host may have re-wrapped the file since the kernel here read it, which a client that keeps whole seconds doesn't see.
#[test]
fn what_the_kernel_cached_before_the_mount_is_dropped_on_a_remote_filesystem() {
    const PAGES: u64 = 400;
    // Behind what a load reads, and the kernel reads ahead.
    let last = layout::page_offset(PageIndex(PAGES - 2));
    let mut test = TestVault::remote(Suite::Aes256Gcm);
    let ino = test.make("f");
    let (_, handle) = test.open("f").unwrap();
    test.vault
        .write(ino, PlainOffset(0), &bytes(1, (PAGES * PAYLOAD - 2000) as usize), Privileges::Keep)
        .unwrap();
    test.vault.fsync(ino, SyncScope::Data).unwrap();
    test.vault.release(ino, handle).unwrap();
    let lower =
        std::fs::File::open(std::fs::read_dir(test.tree()).unwrap().next().unwrap().unwrap().path()).unwrap();
    let is_cached = || {
        let mut page = [0; layout::PAGE as usize];
        storage::pread_cached(lower.as_fd(), &mut page, last).unwrap() > 0
    };
    for kept in [false, true] {
        storage::pread(lower.as_fd(), &mut [0; layout::PAGE as usize], last).unwrap();
        assert!(is_cached());
        if !kept {
            test.reopen();
        }
        let (ino, handle) = test.open("f").unwrap();
        assert_eq!(is_cached(), kept, "not for its second open");
        test.vault.release(ino, handle).unwrap();
    }
}

/// A client that looks at size and mtime would keep the old header, and truncate below the floor of the new one.
#[test]
fn a_rewrap_shows_in_the_mtime_where_other_hosts_see_changes_by_nothing_else() {
    for (test, later) in [(TestVault::remote(Suite::Aes256Gcm), 2_000), (TestVault::new(), 0)] {
        let ino = test.written("f");
        let set_to = |nanos| Time { secs: 1_600_000_000, nanos };
        let mtime = SetAttr { mtime: Some(TimeChange::At(set_to(5))), ..SetAttr::default() };
        test.vault.setattr(ino, &mtime, &me()).unwrap();
        test.keys().rotate(&KeyRef::Alias(AliasName::default_alias())).unwrap();
        assert_eq!(test.vault.rewrap_batch(&[ino]).rewrapped, 1);
        // Of two slots.
        assert_eq!(test.vault.getattr(ino).unwrap().mtime, set_to(5 + later));
    }
}
