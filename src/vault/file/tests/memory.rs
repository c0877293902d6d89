//! After every error memory is what a fresh load of the same file finds: each operation on each kind of file, each of
//! its lower calls failing in turn, on lower filesystems that lack one thing or the other.

use super::stage::Stage;
use super::*;
use crate::ids::Time;
use crate::storage::fault::InjectedFault;
use crate::storage::{self, Errno};
use crate::vault::file::{Body, OpenFile, State};
use crate::vault::testing::READ_WRITE;
use crate::vault::{Damage, Privileges, SyncScope};

/// How a file comes to be what an operation finds.
struct Setup {
    ops: &'static [Op],
    /// What a power cut, say, makes of its lower file: a size, and the bytes that differ from zeros.
    left: Option<(u64, &'static [(u64, u8)])>,
}

const fn made(ops: &'static [Op]) -> Setup {
    Setup { ops, left: None }
}

const fn left(size: u64, bytes: &'static [(u64, u8)]) -> Setup {
    Setup { ops: &[Op::Write { at: 0, len: 100, seed: 1 }], left: Some((size, bytes)) }
}

const SETUPS: &[Setup] = &[
    made(&[]),
    made(&[Op::Write { at: 0, len: 20_000, seed: 1 }, Op::Sync]),
    made(&[Op::Write { at: 0, len: 20_000, seed: 1 }, Op::Sync, Op::Truncate { size: 15_000 }]),
    // With a floor.
    made(&[Op::Write { at: 0, len: 20_000, seed: 1 }, Op::Rotate, Op::Rewrap]),
    made(&[Op::Write { at: 0, len: 12_000, seed: 1 }, Op::Truncate { size: 10_000 }, Op::Sync, Op::Close]),
    // No header: as ext4 leaves a file whose size was journalled and whose blocks were never allocated.
    left(4096 * 5 + 100, &[]),
    // The same, and a leftover past the end.
    left(4096 * 2 + 100, &[(4096 * 2 + 50, 0xEE)]),
    // Pages whose header never reached the disk.
    left(4096 * 5 + 100, &[(4096 * 2 + 7, 0xEE)]),
];

const OPS: &[Op] = &[
    Op::Write { at: 9000, len: 14_000, seed: 2 },
    Op::Write { at: 100, len: 50, seed: 3 },
    Op::Write { at: 40_000, len: 1, seed: 3 },
    // Aligned, as O_DIRECT has it.
    Op::Write { at: 0, len: 4096, seed: 4 },
    Op::Write { at: 8192, len: 16_384, seed: 4 },
    Op::Truncate { size: 0 },
    Op::Truncate { size: 5000 },
    Op::Truncate { size: 15_000 },
    Op::Truncate { size: 60_000 },
    Op::Punch { at: 1000, len: 9000 },
    Op::Zero { at: 9000, len: 9000, keep_size: false },
    Op::Zero { at: 4000, len: 9000, keep_size: true },
    Op::Allocate { at: 9000, len: 90_000, keep_size: false },
    Op::Allocate { at: 9000, len: 90_000, keep_size: true },
    Op::Sync,
    Op::Rewrap,
    Op::OpenTruncating,
];

/// A lower filesystem, by what it refuses.
type Lower = &'static [(FaultOp, Errno)];

const WHOLE: Lower = &[];
const NO_PUNCH_HOLE: Lower = &[(FaultOp::Punch, Errno::OPNOTSUPP), (FaultOp::ZeroRange, Errno::OPNOTSUPP)];
const NO_ZERO_RANGE: Lower = &[(FaultOp::ZeroRange, Errno::OPNOTSUPP)];
const NO_KEEP_SIZE: Lower = &[(FaultOp::Allocate, Errno::OPNOTSUPP), (FaultOp::ZeroRange, Errno::OPNOTSUPP)];
/// To a daemon that isn't root.
const FILES_OF_ANOTHER: Lower = &[(FaultOp::SetTimes, Errno::PERM), (FaultOp::Chmod, Errno::PERM)];

fn on(lower: Lower, faults: Faults) -> Faults {
    lower.iter().fold(faults, |faults, (op, errno)| faults.refusing(*op, *errno))
}

struct Walk {
    stage: Stage,
    lower: Lower,
}

impl Walk {
    fn new(lower: Lower) -> Self {
        let stage = Stage::new(TestVault::in_memory());
        stage.run.test.vault.set_kernel_keeps_times(true);
        Self { stage, lower }
    }

    fn lower_path(&self) -> std::path::PathBuf {
        use std::os::unix::fs::MetadataExt;
        let entries = std::fs::read_dir(self.stage.run.test.tree()).unwrap().map(Result::unwrap);
        let mut found = entries.filter(|entry| entry.metadata().unwrap().ino() == self.stage.run.ino.0);
        found.next().unwrap().path()
    }

    /// A new file, as `op` is to find it; whether it can be read.
    fn begin(&mut self, setup: &Setup, op: &Op) -> bool {
        let _ = std::fs::remove_file(self.lower_path());
        self.stage.begin(setup.ops);
        self.stage.make_ready_for(op);
        let Some((size, bytes)) = setup.left else { return true };
        self.stage.run.test.vault.release(self.stage.run.ino, self.stage.run.handle).unwrap();
        let file = std::fs::OpenOptions::new().write(true).open(self.lower_path()).unwrap();
        file.set_len(0).unwrap();
        file.set_len(size).unwrap();
        for (at, byte) in bytes {
            storage::pwrite_all(std::os::fd::AsFd::as_fd(&file), &[*byte], crate::ids::LowerOffset(*at))
                .unwrap();
        }
        self.stage.run.handle = self.stage.run.test.open(&self.stage.run.name.clone()).unwrap().1;
        let plain = layout::plain_size(crate::ids::LowerOffset(size)).unwrap();
        self.stage.run.model = vec![0; plain.0 as usize];
        !matches!(self.file().state.read().body, Body::Unsynced)
    }

    fn file(&self) -> std::sync::Arc<OpenFile> {
        self.stage.run.test.vault.inode(self.stage.run.ino).unwrap().opened().unwrap()
    }

    /// Whether the lower filesystem can do it at all: as with ext4, no hole without PUNCH_HOLE.
    fn is_possible(&self, op: &Op) -> bool {
        match op {
            Op::Punch { .. } | Op::Zero { .. } if self.lower == NO_PUNCH_HOLE => false,
            Op::Zero { keep_size, .. } | Op::Allocate { keep_size, .. } => {
                self.lower != NO_KEEP_SIZE || !keep_size
            }
            _ => true,
        }
    }

    fn memory_is_disk(&self, when: &str) {
        let (vault, file) = (&self.stage.run.test.vault, self.file());
        let state = file.state.read();
        let lower = storage::fstat(file.fd()).unwrap().lower_size();
        let disk =
            vault.load_state(self.stage.run.ino, file.fd(), lower).unwrap_or_else(|e| panic!("{when}: {e}"));
        assert_eq!(summary(&state), summary(&disk), "{when}: memory, and the disk");
        if let Some(last) = state.last_page()
            && state.tail_clean
        {
            let mut past = vec![0; (lower.0 - layout::page_offset(PageIndex(last.0 + 1)).0) as usize];
            storage::pread(file.fd(), &mut past, layout::page_offset(PageIndex(last.0 + 1))).unwrap();
            assert!(past.iter().all(|byte| *byte == 0), "{when}: block N isn't a hole");
            if let Some(sealed) = state.sealed().unwrap() {
                let mut payload = vec![0xAA; layout::payload(last) as usize];
                file.read_block(sealed, last, &mut payload).unwrap();
                let counts = (state.size.0 - layout::block_start(last).0) as usize;
                assert!(
                    payload[counts..].iter().all(|byte| *byte == 0),
                    "{when}: the last block isn't clean"
                );
            }
        }
    }

    fn step(&mut self, setup: &Setup, op: &Op, fault: InjectedFault, skip: u64) {
        let readable = self.begin(setup, op);
        let before = self.stage.run.model.clone();
        let done = self.stage.apply(op, &on(self.lower, fault.at(skip)));
        let when = format!("{op:?}, {fault:?} after {skip} calls, {:?}: {done:?}", self.lower);
        let when = format!("{when}, on {:?} left as {:?}", setup.ops, setup.left);
        self.memory_is_disk(&when);
        if done.is_err() && matches!(op, Op::Truncate { .. } | Op::Allocate { .. } | Op::OpenTruncating) {
            let content = self.stage.run.content();
            if readable {
                assert_same(&content.unwrap_or_else(|e| panic!("{when}: {e}")), &before);
            } else if let Ok(content) = content {
                // Given up before what failed.
                assert_same(&content, &before);
            }
        }
        // The descriptor owes an error for a sync that failed.
        let _ = self.stage.run.apply(&Op::Sync);
        if done.is_err() && matches!(op, Op::Write { .. } | Op::Zero { .. } | Op::Punch { .. }) {
            let torn = |e: &Error| fault.tears_a_page() && matches!(e, Error::Corrupt(Damage::Page(_)));
            match self.stage.run.content() {
                Ok(content) => assert!(content.len() == before.len(), "{when}: size {}", content.len()),
                Err(e) if torn(&e) || !readable => {}
                Err(e) => panic!("{when}: {e}"),
            }
            if fault.tears_a_page() {
                return;
            }
        }
        let again = self.stage.apply(op, &on(self.lower, Faults::record()));
        again.unwrap_or_else(|e| panic!("{when}: again: {e}"));
        self.memory_is_disk(&when);
        self.stage.run.expect(op);
        if readable || !matches!(op, Op::Sync | Op::Rewrap) {
            self.stage.run.check();
            self.stage.run.apply(&Op::Sync).unwrap();
            self.stage.run.apply(&Op::Close).unwrap();
            self.stage.run.check();
        }
    }

    fn walk(lower: Lower) {
        let mut walk = Self::new(lower);
        for setup in SETUPS {
            for op in OPS {
                walk.begin(setup, op);
                let recorded = on(lower, Faults::record());
                if !walk.is_possible(op) {
                    let done = walk.stage.apply(op, &recorded);
                    if let Err(e) = done {
                        let said = matches!(e, Error::Lower(Errno::OPNOTSUPP) | Error::NotSupported(_));
                        assert!(said, "{op:?}: {e}");
                    }
                    walk.memory_is_disk(&format!("{op:?} refused"));
                    continue;
                }
                walk.stage
                    .apply(op, &recorded)
                    .unwrap_or_else(|e| panic!("{op:?} on {:?}, {lower:?}: {e}", setup.ops));
                for (skip, call) in recorded.log().into_iter().enumerate() {
                    let tried = |fault: &InjectedFault| !fault.stops() && !fault.is_no_failure();
                    for fault in InjectedFault::all_of(call).into_iter().filter(tried) {
                        walk.step(setup, op, fault, skip as u64);
                    }
                }
            }
        }
    }
}

/// Not the slot: a re-wrap leaves the same bytes in both.
type HeaderSummary = (crate::ids::FileId, u64, u64, crate::ids::BackingKeyId);

fn summary(state: &State) -> (u64, &'static str, Option<HeaderSummary>) {
    let (kind, header) = match &state.body {
        Body::NoHeader => ("bare", None),
        Body::Sealed(sealed) => ("sealed", Some(&sealed.header)),
        Body::KeyEvicted(_) => ("shut", None),
        Body::Unreadable(_) => ("unreadable", None),
        Body::Unsynced => ("unsynced", None),
        Body::Unknown => ("unknown", None),
    };
    let header = header.map(|h| (h.file(), h.sequence().0, h.floor().0, h.backing()));
    (state.size.0, kind, header)
}

#[test]
fn after_every_error_memory_is_what_a_fresh_load_finds() {
    Walk::walk(WHOLE);
}

#[test]
fn after_every_error_memory_is_the_disk_also_without_punch_hole() {
    Walk::walk(NO_PUNCH_HOLE);
}

#[test]
fn after_every_error_memory_is_the_disk_also_without_zero_range() {
    Walk::walk(NO_ZERO_RANGE);
}

#[test]
fn after_every_error_memory_is_the_disk_also_without_keep_size() {
    Walk::walk(NO_KEEP_SIZE);
}

#[test]
fn after_every_error_memory_is_the_disk_also_in_files_of_another_owner() {
    Walk::walk(FILES_OF_ANOTHER);
}

/// Nothing is known of it then, and the next use finds out.
#[test]
fn a_file_that_cannot_be_read_after_an_error_pretends_nothing() {
    let mut run = Run::of(TestVault::in_memory());
    let write = Op::Write { at: 0, len: 20_000, seed: 1 };
    run.apply(&write).unwrap();
    run.expect(&write);
    let file = run.test.vault.inode(run.ino).unwrap().opened().unwrap();
    file.state.write().body = Body::Unknown;
    assert!(matches!(run.test.vault.open(run.ino, READ_WRITE, &me()), Err(Error::Lower(_))));
    file.must_reload.store(true, std::sync::atomic::Ordering::Relaxed);
    run.check();
    let grow = Op::Write { at: 19_000, len: 5000, seed: 2 };
    run.apply(&grow).unwrap();
    run.expect(&grow);
    run.check();
}

/// As the kernel sends them: a time with the size, and one at each fsync.
#[test]
fn what_is_written_to_a_file_of_another_owner_is_told_as_done() {
    let walk = Walk::new(FILES_OF_ANOTHER);
    let (vault, ino) = (&walk.stage.run.test.vault, walk.stage.run.ino);
    let faults = on(FILES_OF_ANOTHER, Faults::record());
    let _scope = faults.on_this_thread();
    let sent = Some(crate::ids::TimeChange::At(Time { secs: 1_700_000_000, nanos: 5 }));
    vault.write(ino, PlainOffset(0), &bytes(1, 9000), Privileges::Keep).unwrap();
    vault.setattr(ino, &SetAttr { mtime: sent, ..SetAttr::default() }, &me()).unwrap();
    vault.fsync(ino, SyncScope::All).unwrap();
    for size in [5000, 0] {
        let new_size = SetAttr { size: Some(size), mtime: sent, ..SetAttr::default() };
        vault.setattr(ino, &new_size, &me()).unwrap();
        assert_eq!(vault.getattr(ino).unwrap().size, size);
    }
    vault.release(ino, walk.stage.run.handle).unwrap();
    let grown = SetAttr { size: Some(70), mtime: sent, ..SetAttr::default() };
    vault.setattr(ino, &grown, &me()).unwrap();
    // A time that nothing below has: nobody may be told that it was set.
    let old = SetAttr { atime: sent, mtime: sent, ..SetAttr::default() };
    assert!(matches!(vault.setattr(ino, &old, &me()), Err(Error::Lower(Errno::PERM))));
}

/// What the failed truncate made of it can be on disk already.
#[test]
fn what_is_put_back_after_a_cut_that_failed_is_durable() {
    let mut run = Run::of(TestVault::in_memory());
    let write = Op::Write { at: 0, len: 20_000, seed: 1 };
    for op in [&write, &Op::Sync] {
        run.apply(op).unwrap();
        run.expect(op);
    }
    let faults = Faults::record().refusing(FaultOp::Truncate, Errno::IO);
    {
        let _scope = faults.on_this_thread();
        run.apply(&Op::Truncate { size: 5000 }).unwrap_err();
    }
    let log = faults.log();
    let last = |op| log.iter().rposition(|call| *call == op);
    assert!(last(FaultOp::Pwrite).is_some() && last(FaultOp::Pwrite) < last(FaultOp::Fdatasync), "{log:?}");
    run.check();
}

#[test]
fn a_sync_that_began_before_a_file_was_emptied_makes_no_later_cut_durable() {
    let mut run = Run::of(TestVault::in_memory());
    let write = Op::Write { at: 0, len: 20_000, seed: 1 };
    let file = run.test.vault.inode(run.ino).unwrap().opened().unwrap();
    run.apply(&write).unwrap();
    run.apply(&Op::Truncate { size: 5000 }).unwrap();
    let begun = file.state.read().truncates;
    for op in [&Op::Truncate { size: 0 }, &write, &Op::Truncate { size: 5000 }] {
        run.apply(op).unwrap();
    }
    file.truncates_are_durable(begun);
    assert!(file.state.read().truncate_unsynced());
    run.apply(&Op::Sync).unwrap();
    assert!(!file.state.read().truncate_unsynced());
}
