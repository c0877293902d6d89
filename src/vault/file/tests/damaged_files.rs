//! What a lower file may hold that this program didn't leave there in order: flipped bytes, zeroed pages,
//! stale bytes of power cuts, slots of broken-off re-wraps.

use std::os::fd::AsFd;

use super::{Op, Run, assert_same};
use crate::content::layout::{BLOCK0_PAYLOAD, PAYLOAD};
use crate::crypto::suite::Suite;
use crate::ids::{Ino, LowerOffset, PlainOffset};
use crate::storage;
use crate::storage::fault::Faults;
use crate::vault::testing::{READ_WRITE, me};
use crate::vault::{Damage, Error, OpenFlags, Whence};

#[test]
fn every_byte_of_the_lower_file_flipped_is_an_error_or_nothing() {
    let mut run = Run::new(Suite::Aes256Gcm);
    let write = Op::Write { at: 0, len: 5000, seed: 7 };
    run.apply(&write).unwrap();
    run.expect(&write);
    run.test.vault.release(run.ino, run.handle).unwrap();
    let lower = std::fs::read_dir(run.test.tree()).unwrap().next().unwrap().unwrap().path();
    let good = std::fs::read(&lower).unwrap();
    for at in 0..8192 {
        let mut bad = good.clone();
        bad[at] ^= 0x40;
        std::fs::write(&lower, &bad).unwrap();
        run.test.reopen();
        match run.test.open("f") {
            Ok((ino, handle)) => {
                run.ino = ino;
                match run.content() {
                    // Slot B is empty, and whatever is in it is no slot.
                    Ok(content) => {
                        assert!((512..1024).contains(&at), "byte {at}");
                        assert_same(&content, &run.model);
                    }
                    Err(Error::Corrupt(_)) => {}
                    Err(e) => panic!("byte {at}: {e}"),
                }
                run.test.vault.release(ino, handle).unwrap();
            }
            Err(Error::Corrupt(_) | Error::Newer(_) | Error::KeyNotUsable(_)) => {}
            Err(e) => panic!("byte {at}: {e}"),
        }
    }
}

#[test]
fn a_zeroed_page_is_a_hole_unless_the_floor_forbids_it() {
    let mut run = Run::new(Suite::Aes256Gcm);
    let write = Op::Write { at: 0, len: 12_000, seed: 7 };
    run.apply(&write).unwrap();
    run.expect(&write);
    let lower = std::fs::read_dir(run.test.tree()).unwrap().next().unwrap().unwrap().path();
    let zero_page_1 = || {
        let mut bytes = std::fs::read(&lower).unwrap();
        bytes[4096..8192].fill(0);
        std::fs::write(&lower, bytes).unwrap();
    };
    run.apply(&Op::Rotate).unwrap();
    run.apply(&Op::Rewrap).unwrap();
    zero_page_1();
    run.reopen();
    assert!(matches!(run.content(), Err(Error::Corrupt(Damage::Page(1)))));
    // Emptied and written again it has no floor, and the hole is one.
    run.apply(&Op::Truncate { size: 0 }).unwrap();
    run.apply(&write).unwrap();
    zero_page_1();
    run.reopen();
    let content = run.content().unwrap();
    assert!(content[3044..7112].iter().all(|b| *b == 0));
}

#[test]
fn a_file_cut_below_its_floor_by_someone_else_is_damaged() {
    let mut run = Run::new(Suite::Aes256Gcm);
    for op in [Op::Write { at: 0, len: 12_000, seed: 7 }, Op::Rotate, Op::Rewrap] {
        run.apply(&op).unwrap();
        run.expect(&op);
    }
    let shorter = Op::Truncate { size: 10_000 };
    run.apply(&shorter).unwrap();
    run.expect(&shorter);
    run.reopen();
    run.check();
    let lower = std::fs::read_dir(run.test.tree()).unwrap().next().unwrap().unwrap().path();
    let file = std::fs::OpenOptions::new().write(true).open(lower).unwrap();
    file.set_len(4096 + 100).unwrap();
    // It opens for writing, so that it can be emptied; nothing of it is shown, nothing is written into it.
    run.reopen();
    assert!(matches!(run.content(), Err(Error::Corrupt(Damage::Size))));
    let write = Op::Write { at: 50, len: 10, seed: 1 };
    assert!(matches!(run.apply(&write), Err(Error::Corrupt(Damage::Size))));
    assert!(matches!(run.apply(&Op::Truncate { size: 20 }), Err(Error::Corrupt(Damage::Size))));
    run.test.vault.release(run.ino, run.handle).unwrap();
    let read = OpenFlags { read: true, write: false, truncate: false };
    assert!(matches!(run.test.vault.open(run.ino, read, &me()), Err(Error::Corrupt(Damage::Size))));
    run.handle = run.test.vault.open(run.ino, READ_WRITE, &me()).unwrap();
    for op in [Op::Truncate { size: 0 }, write] {
        run.apply(&op).unwrap();
        run.expect(&op);
    }
    run.check();
}

#[test]
fn holes_are_found_where_they_are() {
    let mut run = Run::new(Suite::Aes256Gcm);
    run.apply(&Op::Write { at: 100_000, len: 10, seed: 1 }).unwrap();
    run.apply(&Op::Write { at: 10, len: 10, seed: 1 }).unwrap();
    let seek = |run: &Run, at, whence| run.test.vault.lseek(run.ino, PlainOffset(at), whence);
    assert!(run.test.vault.kernel_may_hold_data(run.ino));
    let hole = seek(&run, 0, Whence::Hole).unwrap();
    assert_eq!(hole, PlainOffset(3044));
    let data = seek(&run, 3044, Whence::Data).unwrap();
    assert!(data.0 > 90_000 && data.0 <= 100_000);
    assert_eq!(seek(&run, 100_005, Whence::Hole).unwrap(), PlainOffset(100_010));
    assert!(matches!(seek(&run, 100_010, Whence::Data), Err(Error::NoMoreData)));
}

/// A size that was reduced while its last page held data: what was truncated must not come back when the file
/// grows, also if the page after the new end had been left behind by a power cut.
#[test]
fn leftovers_past_the_end_never_come_back() {
    let mut run = Run::new(Suite::Aes256Gcm);
    for op in [Op::Write { at: 0, len: 3 * PAYLOAD as usize, seed: 5 }, Op::Sync] {
        run.apply(&op).unwrap();
        run.expect(&op);
    }
    let lower = std::fs::read_dir(run.test.tree()).unwrap().next().unwrap().unwrap().path();
    // A cut that only shortened the file, as a power cut may leave it: the page after the end is still there.
    let file = std::fs::OpenOptions::new().write(true).open(&lower).unwrap();
    file.set_len(8192 + 100).unwrap();
    let size = (BLOCK0_PAYLOAD + 100) as usize;
    run.model.truncate(size);
    run.reopen();
    run.check();
    let grow = Op::Truncate { size: 3 * PAYLOAD };
    run.apply(&grow).unwrap();
    run.expect(&grow);
    run.check();
    run.reopen();
    run.check();
    assert_eq!(crate::content::layout::lower_size(PlainOffset(1)), LowerOffset(4097));
}

/// A re-wrap may raise the floor. Broken off anywhere, it must not leave a floor behind that a later hole or truncate
/// doesn't know of: the slot with it can be the header after a power cut.
#[test]
fn holes_and_cuts_behind_a_broken_off_rewrap_stay_readable() {
    for change in [Op::Punch { at: BLOCK0_PAYLOAD, len: PAYLOAD }, Op::Truncate { size: 100 }] {
        for skip in 0.. {
            let mut run = Run::new(Suite::Aes256Gcm);
            for op in [Op::Write { at: 0, len: 12_000, seed: 1 }, Op::Sync, Op::Rotate] {
                run.apply(&op).unwrap();
                run.expect(&op);
            }
            let faults = Faults::fail_once(skip, rustix::io::Errno::IO);
            {
                let _scope = faults.on_this_thread();
                let _ = run.test.vault.rewrap_batch(&[run.ino]);
            }
            if !faults.fired() {
                break;
            }
            // The descriptor owes an error for the failed sync.
            let _ = run.apply(&Op::Sync);
            for op in [change.clone(), Op::Truncate { size: 12_000 }, Op::Reopen, Op::Rewrap, Op::Reopen] {
                run.apply(&op).unwrap();
                run.expect(&op);
                run.check();
            }
        }
    }
}

/// A block that no fsync promised can be torn by a power cut. The one behind the last promised block shares
/// a page of the kernel's cache with it, which is read whole: it has to be as stable as what was promised.
#[test]
fn the_block_that_shares_a_kernel_page_with_promised_ones_is_not_torn() {
    let mut run = Run::new(Suite::Aes256Gcm);
    if !run.test.vault.lower.stable_needed {
        return;
    }
    let waits = |run: &mut Run, at: u64| {
        let faults = Faults::record();
        let scope = faults.on_this_thread();
        let op = Op::Write { at, len: 10, seed: 2 };
        run.apply(&op).unwrap();
        drop(scope);
        run.expect(&op);
        faults.log().contains(&crate::storage::fault::Op::WaitStable)
    };
    let promised = Op::Write { at: 0, len: BLOCK0_PAYLOAD as usize, seed: 1 };
    run.apply(&promised).unwrap();
    run.expect(&promised);
    assert!(!waits(&mut run, 0), "nothing was promised yet");
    run.apply(&Op::Sync).unwrap();
    assert!(waits(&mut run, 0));
    assert!(waits(&mut run, BLOCK0_PAYLOAD + 100), "shares bytes 0..4096 with the promised block");
    assert!(!waits(&mut run, BLOCK0_PAYLOAD + PAYLOAD + 100), "bytes 7212.. share nothing");
    run.check();
}

#[test]
fn a_file_given_twice_is_rewrapped_once() {
    let mut run = Run::new(Suite::Aes256Gcm);
    run.apply(&Op::Write { at: 0, len: 10, seed: 1 }).unwrap();
    run.apply(&Op::Rotate).unwrap();
    let outcome = run.test.vault.rewrap_batch(&[run.ino, run.ino]);
    assert_eq!((outcome.rewrapped, outcome.skipped, outcome.failed), (1, 0, Vec::new()));
}

/// A file that was never synced met a power cut: its pages are zeros, its header is gone, and past the last
/// page stands what a later write had put there.
#[test]
fn a_bare_file_grows_over_what_a_power_cut_left_behind() {
    for op in [Op::Write { at: 9000, len: 10, seed: 1 }, Op::Truncate { size: 9010 }] {
        let mut run = Run::new(Suite::Aes256Gcm);
        run.test.vault.release(run.ino, run.handle).unwrap();
        let lower = std::fs::read_dir(run.test.tree()).unwrap().next().unwrap().unwrap().path();
        let mut bytes = vec![0; 4096 + 100];
        bytes[4096..].fill(0xEE);
        std::fs::write(&lower, bytes).unwrap();
        run.model = vec![0; 100];
        run.reopen();
        run.check();
        run.apply(&op).unwrap();
        run.expect(&op);
        run.check();
        run.reopen();
        run.check();
    }
}

/// A file of 20,000 bytes whose page 0 `take` takes from the lower file, as found by a new process, closed.
fn without_page_0(take: impl Fn(&std::path::Path)) -> Run {
    without_page_0_of(Run::new(Suite::Aes256Gcm), take)
}

fn without_page_0_of(mut run: Run, take: impl Fn(&std::path::Path)) -> Run {
    run.apply(&Op::Write { at: 0, len: 20_000, seed: 1 }).unwrap();
    run.test.vault.release(run.ino, run.handle).unwrap();
    take(&std::fs::read_dir(run.test.tree()).unwrap().next().unwrap().unwrap().path());
    run.test.reopen();
    let ino = run.test.vault.lookup(Ino::ROOT, b"f").unwrap().ino;
    let read = OpenFlags { read: true, write: false, truncate: false };
    assert!(matches!(run.test.vault.open(ino, read, &me()), Err(Error::Corrupt(Damage::Header))));
    (run.ino, run.handle) = run.test.open("f").unwrap();
    let mut out = [0xAA; 100];
    for at in [0, 5000, 19_000] {
        let got = run.test.vault.read(run.ino, PlainOffset(at), &mut out);
        assert!(matches!(got, Err(Error::Corrupt(Damage::Header))), "never zeros: {got:?}");
    }
    run
}

fn punch_page_0(lower: &std::path::Path) {
    let file = std::fs::OpenOptions::new().write(true).open(lower).unwrap();
    storage::punch(file.as_fd(), LowerOffset(0), 4096).unwrap();
}

fn zero_page_0(lower: &std::path::Path) {
    let file = std::fs::OpenOptions::new().write(true).open(lower).unwrap();
    storage::pwrite_all(file.as_fd(), &[0; 4096], LowerOffset(0)).unwrap();
}

/// There nothing tells zeros that were written from a page that never reached the disk.
#[test]
fn where_holes_are_told_as_data_a_file_that_lost_its_header_can_be_written_again_too() {
    let mut run = Run::new(Suite::Aes256Gcm);
    run.test.tell_no_holes();
    let mut run = without_page_0_of(run, zero_page_0);
    run.model = vec![0; 20_000];
    let op = Op::Write { at: 9000, len: 10, seed: 2 };
    run.apply(&op).unwrap();
    run.expect(&op);
    run.check();
    run.reopen();
    run.check();
}

/// Found by PostgreSQL, whose recovery writes a file again that a power cut left so, and could not.
#[test]
fn a_file_that_was_never_synced_and_lost_its_header_can_be_written_again() {
    for op in [
        Op::Write { at: 0, len: 20_000, seed: 2 },
        Op::Write { at: 9000, len: 10, seed: 2 },
        Op::Write { at: 30_000, len: 10, seed: 2 },
        Op::Truncate { size: 5000 },
        Op::Truncate { size: 60_000 },
        Op::Punch { at: 100, len: 9000 },
        Op::Allocate { at: 0, len: 30_000, keep_size: false },
    ] {
        let mut run = without_page_0(punch_page_0);
        run.model = vec![0; 20_000];
        run.apply(&op).unwrap();
        run.expect(&op);
        run.check();
        run.apply(&Op::Sync).unwrap();
        run.reopen();
        run.check();
        let events = std::fs::read_to_string(run.test.tree().join("../events.jsonl")).unwrap();
        assert!(events.contains("\"part\":\"header\""), "{op:?}: {events}");
    }
}

/// A header that is gone from a page 0 that is there may have been promised.
#[test]
fn a_header_that_was_overwritten_with_zeros_stays_an_error_for_writers_too() {
    let mut run = without_page_0(zero_page_0);
    for op in [Op::Write { at: 0, len: 20_000, seed: 2 }, Op::Truncate { size: 5000 }] {
        assert!(matches!(run.apply(&op), Err(Error::Corrupt(Damage::Header))), "{op:?}");
    }
    run.apply(&Op::Truncate { size: 0 }).unwrap();
    run.apply(&Op::Write { at: 0, len: 10, seed: 2 }).unwrap();
}

/// It was walked block by block, under the inode lock.
#[test]
fn a_hole_of_terabytes_takes_no_longer_than_a_small_one() {
    let mut run = Run::new(Suite::Aes256Gcm);
    run.apply(&Op::Write { at: 0, len: 9000, seed: 1 }).unwrap();
    run.apply(&Op::Truncate { size: 1 << 42 }).unwrap();
    let punch = Op::Punch { at: 100, len: (1 << 42) - 200 };
    let (_, took) = crate::sys::testing::cpu_time(|| run.apply(&punch).unwrap());
    assert!(took < std::time::Duration::from_secs(2), "{took:?}");
    let mut out = vec![0xAA; 9000];
    run.test.vault.read(run.ino, PlainOffset(0), &mut out).unwrap();
    assert!(out[..100].iter().all(|b| *b != 0) && out[100..].iter().all(|b| *b == 0));
}
