//! The floor: raised by a re-wrap and by the last close after an fsync, never before what is below it is durable;
//! lowered before anything below it goes. To one who zeroes pages below: what the floor covers is EIO.

use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use super::*;
use crate::content::block;
use crate::header::{self, SLOTS, UnverifiedSlot};
use crate::ids::LowerOffset;
use crate::storage::{self, Errno};
use crate::vault::testing::READ_WRITE;
use crate::vault::{Damage, SyncScope};

const PAGE: u64 = layout::PAGE;

impl Run {
    /// The lower file.
    fn lower(&self) -> PathBuf {
        use std::os::unix::fs::MetadataExt;
        let entries = std::fs::read_dir(self.test.tree()).unwrap().map(Result::unwrap);
        let mut found = entries.filter(|entry| entry.metadata().unwrap().ino() == self.ino.0);
        found.next().unwrap().path()
    }

    /// The floor that an open finds; none if it has no header.
    pub(super) fn floor(&self) -> Option<u64> {
        let bytes = std::fs::read(self.lower()).unwrap();
        let slots: &[u8; SLOTS] = bytes.first_chunk()?;
        let opened = header::open(slots, |slot| crate::vault::unwrap(self.test.keys(), slot));
        Some(opened.ok()?.floor().0)
    }

    /// Nothing below the floor on disk is zero or gone.
    pub(super) fn check_floor(&self) {
        let Some(floor) = self.floor() else { return };
        let bytes = std::fs::read(self.lower()).unwrap();
        assert!(bytes.len() as u64 / PAGE >= floor, "{} bytes, and a floor of {floor}", bytes.len());
        for page in 0..floor {
            let block = layout::block_range(PageIndex(page));
            assert!(
                !block::is_zero(&bytes[block.start as usize..block.end as usize]),
                "page {page} below {floor}"
            );
        }
    }

    fn done(&mut self, ops: &[Op]) {
        for op in ops {
            self.apply(op).unwrap_or_else(|e| panic!("{op:?}: {e}"));
            self.expect(op);
            self.check();
            self.check_floor();
        }
    }

    /// Someone zeroes a page below.
    fn zero(&self, page: u64) {
        let file = std::fs::OpenOptions::new().write(true).open(self.lower()).unwrap();
        file.write_all_at(&[0; PAGE as usize], page * PAGE).unwrap();
    }
}

fn written(pages: u64) -> Op {
    Op::Write { at: 0, len: (BLOCK0_PAYLOAD + (pages - 1) * PAYLOAD) as usize, seed: 1 }
}

#[test]
fn a_file_closed_after_an_fsync_has_a_floor_of_all_its_pages() {
    let mut run = Run::new(Suite::Aes256Gcm);
    run.done(&[written(300), Op::Sync]);
    assert_eq!(run.floor(), Some(0), "it is open for writing");
    run.done(&[Op::Close]);
    assert_eq!(run.floor(), Some(300));
    // Both slots say so: damaging one doesn't take the floor away.
    let bytes = std::fs::read(run.lower()).unwrap();
    assert_eq!(bytes[..512], bytes[512..1024]);
    // Appended to, it rises with the next one.
    run.done(&[Op::Write { at: BLOCK0_PAYLOAD + 299 * PAYLOAD, len: 9000, seed: 2 }, Op::Close]);
    assert_eq!(run.floor(), Some(300), "nothing was synced");
    run.done(&[Op::Write { at: 100, len: 10, seed: 3 }, Op::SyncAll, Op::Reopen]);
    assert_eq!(run.floor(), Some(303));
}

#[test]
fn whoever_zeroes_or_cuts_what_a_floor_covers_is_noticed() {
    for page in [0, 1, 150, 299] {
        let mut run = Run::new(Suite::Aes256Gcm);
        run.done(&[written(300), Op::Sync, Op::Close]);
        run.test.vault.release(run.ino, run.handle).unwrap();
        if page == 0 {
            let file = std::fs::OpenOptions::new().write(true).open(run.lower()).unwrap();
            file.write_all_at(&[0; 3072], 1024).unwrap();
        } else {
            run.zero(page);
        }
        run.reopen();
        assert!(
            matches!(run.content(), Err(Error::Corrupt(Damage::Page(found))) if found == page),
            "page {page}"
        );
    }
    // All of it a hole but for the header, which says 300.
    let mut run = Run::new(Suite::Aes256Gcm);
    run.done(&[written(300), Op::Sync, Op::Close]);
    run.test.vault.release(run.ino, run.handle).unwrap();
    let file = std::fs::OpenOptions::new().write(true).open(run.lower()).unwrap();
    storage::punch(std::os::fd::AsFd::as_fd(&file), LowerOffset(PAGE), 299 * PAGE).unwrap();
    run.reopen();
    let mut block = [0; 100];
    for at in [4000, 500_000, 1_000_000] {
        let read = run.test.vault.read(run.ino, PlainOffset(at), &mut block);
        assert!(matches!(read, Err(Error::Corrupt(Damage::Page(_)))), "{at}: {read:?}");
    }
    // One slot torn to pieces takes nothing away.
    let mut run = Run::new(Suite::Aes256Gcm);
    run.done(&[written(3), Op::Sync, Op::Close]);
    for slot in [0, 512] {
        let before = std::fs::read(run.lower()).unwrap();
        let file = std::fs::OpenOptions::new().write(true).open(run.lower()).unwrap();
        file.write_all_at(&[0xEE; 40], slot + 64).unwrap();
        run.zero(2);
        run.reopen();
        assert!(matches!(run.content(), Err(Error::Corrupt(Damage::Page(2)))), "slot at {slot}");
        file.write_all_at(&before, 0).unwrap();
    }
}

#[test]
fn a_file_with_a_hole_has_a_floor_up_to_it() {
    let mut run = Run::new(Suite::Aes256Gcm);
    let beyond = Op::Write { at: BLOCK0_PAYLOAD + 20 * PAYLOAD, len: 9000, seed: 2 };
    run.done(&[written(10), beyond, Op::Sync, Op::Close]);
    assert_eq!(run.floor(), Some(10));
    // Filled in from behind.
    let gap = |first: u64, last: u64| Op::Write {
        at: BLOCK0_PAYLOAD + (first - 1) * PAYLOAD,
        len: ((last - first) * PAYLOAD) as usize,
        seed: 3,
    };
    run.done(&[gap(15, 21), gap(10, 15), Op::Sync, Op::Close]);
    assert_eq!(run.floor(), Some(24), "what lies behind is looked at where it is cached");
}

#[test]
fn write_back_in_any_order_is_known_as_written() {
    let mut run = Run::new(Suite::Aes256Gcm);
    run.done(&[Op::Truncate { size: BLOCK0_PAYLOAD + 399 * PAYLOAD }]);
    for chunk in [1, 0, 3, 2, 4] {
        let (first, last) = (chunk * 80, chunk * 80 + 80);
        let at = layout::block_start(PageIndex(first)).0;
        run.done(&[Op::Write { at, len: (layout::block_start(PageIndex(last)).0 - at) as usize, seed: 5 }]);
    }
    run.done(&[Op::Sync, Op::Close]);
    assert_eq!(run.floor(), Some(400));
}

/// Of what was written when the process began nothing is known. A small file is read, a large one isn't.
#[test]
fn a_rewrap_raises_the_floor_by_what_it_sees() {
    for pages in [1, 16] {
        let mut run = Run::new(Suite::Aes256Gcm);
        run.done(&[written(pages), Op::Close]);
        assert_eq!(run.floor(), Some(0), "it was never synced");
        run.done(&[Op::Reopen]);
        let file = std::fs::File::open(run.lower()).unwrap();
        storage::fdatasync(std::os::fd::AsFd::as_fd(&file)).unwrap();
        storage::drop_cached(std::os::fd::AsFd::as_fd(&file));
        run.done(&[Op::Rotate, Op::Rewrap]);
        assert_eq!(run.floor(), Some(pages));
    }
    let mut run = Run::new(Suite::Aes256Gcm);
    run.done(&[written(300), Op::Rotate, Op::Rewrap]);
    assert_eq!(run.floor(), Some(300), "it was written by this process");
    run.done(&[Op::Truncate { size: 0 }, written(300), Op::Reopen, Op::Rotate, Op::Rewrap]);
    assert_eq!(run.floor(), Some(0));
}

#[test]
fn a_hole_or_a_cut_below_the_floor_lowers_it_first() {
    let at = |page: u64| layout::block_start(PageIndex(page)).0;
    for (op, floor) in [
        (Op::Punch { at: at(50), len: 5 * PAYLOAD }, 50),
        (Op::Zero { at: at(50), len: 5 * PAYLOAD, keep_size: true }, 50),
        (Op::Truncate { size: at(50) }, 50),
        (Op::Truncate { size: at(99) + 10 }, 100),
        (Op::Punch { at: 0, len: at(100) }, 0),
    ] {
        let mut run = Run::new(Suite::Aes256Gcm);
        run.done(&[written(100), Op::Sync, Op::Close]);
        let faults = Faults::record();
        {
            let _scope = faults.on_this_thread();
            run.apply(&op).unwrap();
        }
        run.expect(&op);
        run.check();
        run.check_floor();
        assert_eq!(run.floor(), Some(floor), "{op:?}");
        let log = faults.log();
        let destroys =
            |call: &FaultOp| matches!(call, FaultOp::Punch | FaultOp::ZeroRange | FaultOp::Truncate);
        let (sync, destroyed) =
            (log.iter().position(|call| *call == FaultOp::Fdatasync), log.iter().position(destroys));
        assert!(floor == 100 || (sync.is_some() && sync < destroyed), "{op:?}: {log:?}");
        run.done(&[Op::Reopen]);
    }
}

/// Each lowering costs a sync: a file that is truncated page by page pays for a few.
#[test]
fn cutting_page_by_page_costs_a_few_syncs() {
    let mut run = Run::new(Suite::Aes256Gcm);
    run.done(&[written(200), Op::Sync, Op::Close]);
    let faults = Faults::record();
    {
        let _scope = faults.on_this_thread();
        for page in (1..200).rev() {
            run.apply(&Op::Truncate { size: layout::block_start(PageIndex(page)).0 }).unwrap();
        }
    }
    run.expect(&Op::Truncate { size: BLOCK0_PAYLOAD });
    let syncs = faults.log().iter().filter(|call| **call == FaultOp::Fdatasync).count();
    assert!((2..=12).contains(&syncs), "{syncs} syncs");
    run.check();
    run.check_floor();
}

/// A floor on disk before the pages below it makes a good file unreadable after a power cut: the sync comes between
/// the last page and the slot, and none of its own is needed.
#[test]
fn a_floor_is_written_after_the_sync_that_covers_it_and_costs_none() {
    let mut run = Run::new(Suite::Aes256Gcm);
    run.done(&[written(20), Op::Sync]);
    let faults = Faults::record();
    {
        let _scope = faults.on_this_thread();
        run.test.vault.release(run.ino, run.handle).unwrap();
    }
    let log = faults.log();
    let syncs = [FaultOp::Fdatasync, FaultOp::Fsync, FaultOp::Syncfs];
    assert_eq!(log.iter().filter(|call| **call == FaultOp::Pwrite).count(), 1, "{log:?}");
    assert!(!log.iter().any(|call| syncs.contains(call)), "{log:?}");
    assert_eq!(run.floor(), Some(20));
    // Nothing more to say, nothing more to write.
    run.handle = run.test.open("f").unwrap().1;
    let faults = Faults::record();
    {
        let _scope = faults.on_this_thread();
        run.test.vault.fsync(run.ino, SyncScope::Data).unwrap();
        run.test.vault.release(run.ino, run.handle).unwrap();
    }
    assert_eq!(faults.log(), [FaultOp::Fdatasync]);
}

/// What a fsync failed to write the kernel takes for clean, and for written at the next one.
#[test]
fn no_floor_is_raised_over_pages_whose_write_out_failed() {
    let mut run = Run::new(Suite::Aes256Gcm);
    run.done(&[written(20)]);
    let faults = Faults::new(Plan {
        skip: 0,
        only: Some(FaultOp::Fdatasync),
        errno: Errno::IO,
        after: After::Recover,
    });
    {
        let _scope = faults.on_this_thread();
        assert!(run.apply(&Op::Sync).is_err());
    }
    run.done(&[Op::Sync, Op::Rotate, Op::Rewrap, Op::Close]);
    assert_eq!(run.floor(), Some(0));
}

/// Killed, or failing, at each of its calls: the file opens by one slot or the other, with all that was in it.
#[test]
fn a_raise_that_fails_or_is_stopped_anywhere_leaves_the_file_whole() {
    for stops in [true, false] {
        for skip in 0.. {
            let mut run = Run::new(Suite::Aes256Gcm);
            run.done(&[written(20), Op::Sync]);
            let faults = if stops { Faults::stop_after(skip) } else { Faults::fail_once(skip, Errno::IO) };
            {
                let _scope = faults.on_this_thread();
                run.test.vault.release(run.ino, run.handle).unwrap();
            }
            if !stops {
                // In the same process: what it knows is what is there.
                run.handle = run.test.open("f").unwrap().1;
                run.check();
                run.done(&[Op::Truncate { size: 9000 }, Op::Truncate { size: 70_000 }, Op::Sync, Op::Close]);
            } else {
                run.reopen();
                run.check();
                run.check_floor();
                run.done(&[Op::Truncate { size: 9000 }, Op::Truncate { size: 70_000 }, Op::Reopen]);
            }
            if !faults.fired() {
                break;
            }
        }
    }
}

/// While the slots bear two backing keys, the one in force is not overwritten before the other is durable.
#[test]
fn a_close_raises_no_floor_between_two_backing_keys() {
    let mut run = Run::new(Suite::Aes256Gcm);
    run.done(&[written(20), Op::Sync]);
    let old = std::fs::read(run.lower()).unwrap()[..512].to_vec();
    run.done(&[Op::Rotate, Op::Rewrap]);
    run.test.vault.release(run.ino, run.handle).unwrap();
    let file = std::fs::OpenOptions::new().write(true).open(run.lower()).unwrap();
    // The second write of the re-wrap was lost.
    file.write_all_at(&old, 0).unwrap();
    run.reopen();
    let grown = Op::Write { at: BLOCK0_PAYLOAD + 19 * PAYLOAD, len: 9000, seed: 4 };
    run.done(&[grown, Op::Sync, Op::Close]);
    let slots = *std::fs::read(run.lower()).unwrap().first_chunk::<SLOTS>().unwrap();
    let versions = UnverifiedSlot::parse_both(&slots).map(|slot| slot.unwrap().backing().version.0);
    assert_eq!((versions, run.floor()), ([2, 1], Some(20)));
}

#[test]
fn a_removed_or_read_only_file_is_left_alone_at_its_close() {
    let mut run = Run::new(Suite::Aes256Gcm);
    run.done(&[written(20), Op::Sync]);
    let read = OpenFlags { read: true, write: false, truncate: false };
    let reader = run.test.vault.open(run.ino, read, &me()).unwrap();
    run.test.vault.release(run.ino, reader).unwrap();
    assert_eq!(run.floor(), Some(0), "the writer has it open");
    let other = run.test.vault.open(run.ino, READ_WRITE, &me()).unwrap();
    run.test.vault.release(run.ino, other).unwrap();
    assert_eq!(run.floor(), Some(0));
    run.test.vault.unlink(Ino::ROOT, b"f").unwrap();
    let faults = Faults::record();
    {
        let _scope = faults.on_this_thread();
        run.test.vault.release(run.ino, run.handle).unwrap();
    }
    assert!(!faults.log().contains(&FaultOp::Pwrite));
}

/// The times are the file's own.
#[test]
fn raising_the_floor_moves_no_mtime() {
    let mut run = Run::new(Suite::Aes256Gcm);
    run.done(&[written(20), Op::SyncAll]);
    let before = run.test.vault.getattr(run.ino).unwrap().mtime;
    std::thread::sleep(std::time::Duration::from_millis(20));
    run.done(&[Op::Close]);
    assert_eq!(run.floor(), Some(20));
    assert_eq!(run.test.vault.getattr(run.ino).unwrap().mtime, before);
}

/// Where the kernel has the lower file's times, ctime is what the last change made it, also behind the close.
#[test]
fn without_the_writeback_cache_a_close_changes_no_ctime() {
    let mut run = Run::new(Suite::Aes256Gcm);
    run.test.vault.set_kernel_keeps_times(false);
    run.done(&[written(10), Op::SyncAll]);
    let before = run.test.vault.getattr(run.ino).unwrap().ctime;
    std::thread::sleep(std::time::Duration::from_millis(20));
    run.done(&[Op::Close]);
    assert_eq!((run.test.vault.getattr(run.ino).unwrap().ctime, run.floor()), (before, Some(0)));
    run.done(&[Op::Rotate, Op::Rewrap]);
    assert_eq!(run.floor(), Some(10));
}
