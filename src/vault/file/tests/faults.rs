//! Every operation on content at each of its write points in turn: stopped for good, failed once, interrupted,
//! a write cut short and completed, failed or stopped behind a part of it. What is read afterwards is what
//! was there, what was to come, or zeros; the file can be used on.

use super::stage::Stage;
use super::*;
use crate::storage::fault::InjectedFault;
use crate::vault::Damage;

/// Files as the operations find them: what was done to a new one.
const SETUPS: &[&[Op]] = &[
    &[Op::Write { at: 0, len: 20_000, seed: 1 }, Op::Sync, Op::Truncate { size: 15_000 }],
    &[Op::Write { at: 0, len: 12_000, seed: 1 }, Op::Truncate { size: 10_000 }, Op::Sync, Op::Reopen],
    &[],
    // With a floor.
    &[Op::Write { at: 0, len: 20_000, seed: 1 }, Op::Sync, Op::Close],
    // With a block of which what is below is in memory.
    &[Op::Write { at: 0, len: 12_000, seed: 1 }, Op::Sync, Op::Write { at: 12_000, len: 3000, seed: 4 }],
];

const OPS: &[Op] = &[
    Op::Write { at: 9000, len: 14_000, seed: 2 },
    Op::Write { at: 100, len: 50, seed: 3 },
    Op::Write { at: 40_000, len: 1, seed: 3 },
    Op::Write { at: 15_000, len: 200, seed: 3 },
    Op::Truncate { size: 0 },
    Op::Truncate { size: 5000 },
    Op::Truncate { size: 60_000 },
    Op::Punch { at: 1000, len: 9000 },
    Op::Zero { at: 9000, len: 9000, keep_size: false },
    Op::Zero { at: 4000, len: 9000, keep_size: true },
    Op::Allocate { at: 9000, len: 9000, keep_size: false },
    Op::Sync,
    Op::SyncAll,
    Op::Rewrap,
    Op::RewrapTo,
    Op::WriteKillingPriv { at: 9000, len: 14_000, seed: 2 },
    Op::OpenTruncating,
];

struct Walk {
    stage: Stage,
    /// Whether files grow with their pages: a stop leaves a size of whole pages in between.
    grows_with_pages: bool,
}

impl Walk {
    fn on(test: TestVault, grows_with_pages: bool) -> Self {
        Self { stage: Stage::new(test), grows_with_pages }
    }

    /// A new file, as `op` is to find it; returns its content.
    fn begin(&mut self, setup: &[Op], op: &Op) -> Vec<u8> {
        self.stage.begin(setup);
        self.stage.make_ready_for(op);
        self.stage.run.model.clone()
    }

    /// The lower calls of an operation that meets no fault.
    fn calls(&mut self, setup: &[Op], op: &Op) -> Vec<FaultOp> {
        self.begin(setup, op);
        let faults = Faults::record();
        self.stage.apply(op, &faults).unwrap();
        self.stage.run.expect(op);
        self.stage.run.check();
        faults.log()
    }

    fn step(&mut self, setup: &[Op], op: &Op, fault: InjectedFault, skip: u64) {
        let before = self.begin(setup, op);
        self.stage.run.expect(op);
        let done = self.stage.apply(op, &fault.at(skip));
        let when = format!("{op:?} on {setup:?}, {fault:?} after {skip} calls: {done:?}");
        let torn = fault.tears_a_page();
        // What a torn page may answer until it is written as a whole, or cut off.
        let harmless = |e: &Error| torn && matches!(e, Error::Corrupt(_));
        if fault.is_no_failure() {
            done.unwrap_or_else(|e| panic!("{when}: {e}"));
            self.stage.run.check();
        } else if fault.stops() {
            self.stage.run.reopen();
            self.is_plausible(&before, torn, &when);
            // Grown over what was left behind, which must not come back.
            match self.stage.run.apply(&Op::Truncate { size: 70_000 }) {
                Err(e) if !harmless(&e) => panic!("{when}: {e}"),
                _ => {}
            }
            let mut grown = vec![0xAA; 70_000];
            let got = self.stage.run.test.vault.read(self.stage.run.ino, PlainOffset(60_000), &mut grown);
            let got = got.unwrap_or_else(|e| if harmless(&e) { 0 } else { panic!("{when}: {e}") });
            assert!(grown[..got].iter().all(|byte| *byte == 0), "{when}");
        } else {
            self.is_plausible(&before, torn, &when);
            if done.is_ok() && !matches!(op, Op::Rewrap) {
                self.stage.run.check();
            }
            // The descriptor owes an error for a sync that failed.
            let _ = self.stage.run.apply(&Op::Sync);
            match self.stage.run.apply(op) {
                Err(e) if !harmless(&e) => panic!("{when}: again: {e}"),
                Err(_) => {}
                Ok(()) if torn => self.is_plausible(&before, torn, &when),
                Ok(()) => {
                    self.stage.run.check();
                    self.stage.run.reopen();
                    self.stage.run.check();
                }
            }
        }
        if torn {
            // Emptied, the file is as good as new.
            self.stage
                .run
                .apply(&Op::Truncate { size: 0 })
                .unwrap_or_else(|e| panic!("{when}: emptied: {e}"));
            self.stage.run.model.clear();
            let again = Op::Write { at: 0, len: 9000, seed: 7 };
            self.stage.run.apply(&again).unwrap_or_else(|e| panic!("{when}: again: {e}"));
            self.stage.run.expect(&again);
            self.stage.run.check();
        }
    }

    /// Each byte is what was there, what was to come, or a zero; with `torn`, one block can't be read.
    fn is_plausible(&self, before: &[u8], torn: bool, when: &str) {
        let run = &self.stage.run;
        let after = &run.model;
        let size = run.test.vault.getattr(run.ino).unwrap_or_else(|e| panic!("{when}: {e}")).size as usize;
        let whole = |len: usize| {
            layout::block_start(PageIndex(layout::page_count(PlainOffset(len as u64)).0)).0 as usize
        };
        let between = self.grows_with_pages && (before.len()..=whole(after.len())).contains(&size);
        assert!(size == before.len() || size == after.len() || between, "{when}: size {size}");
        let mut unreadable = 0;
        let (mut at, mut len) = (0, BLOCK0_PAYLOAD as usize);
        while at < size {
            let mut block = vec![0xAA; len.min(size - at)];
            match run.test.vault.read(run.ino, PlainOffset(at as u64), &mut block) {
                Ok(got) => assert_eq!(got, block.len(), "{when}: at {at}"),
                // The header of a file that had none may have been stopped on its way.
                Err(Error::Corrupt(Damage::Header)) if before.is_empty() => return,
                Err(Error::Corrupt(_)) if torn => {
                    unreadable += 1;
                    block.fill(0);
                }
                Err(e) => panic!("{when}: at {at}: {e}"),
            }
            for (at, byte) in (at..).zip(block) {
                let old = before.get(at).copied().unwrap_or(0);
                let new = after.get(at).copied().unwrap_or(0);
                assert!(
                    [old, new, 0].contains(&byte),
                    "{when}: byte {at} is {byte}, was {old}, should become {new}"
                );
            }
            (at, len) = (at + len, PAYLOAD as usize);
        }
        assert!(unreadable <= 1, "{when}: {unreadable} blocks can't be read");
    }
}

fn walk(setup: &[Op]) {
    through(Walk::on(TestVault::new(), false), setup, |_| true);
}

fn through(mut walk: Walk, setup: &[Op], met: impl Fn(InjectedFault) -> bool) {
    for op in OPS {
        let calls = walk.calls(setup, op);
        for (skip, call) in calls.into_iter().enumerate() {
            for fault in InjectedFault::all_of(call).into_iter().filter(|fault| met(*fault)) {
                walk.step(setup, op, fault, skip as u64);
            }
        }
    }
}

#[test]
fn every_operation_on_a_synced_file_that_was_cut() {
    walk(SETUPS[0]);
}

#[test]
fn every_operation_on_a_file_just_opened() {
    walk(SETUPS[1]);
}

#[test]
fn every_operation_on_a_file_with_a_floor() {
    walk(SETUPS[3]);
}

#[test]
fn every_operation_on_a_new_file() {
    walk(SETUPS[2]);
}

#[test]
fn every_operation_on_a_file_that_was_just_written_to() {
    walk(SETUPS[4]);
}

/// A size in the middle of a page is none that a file has. Where they grow with their pages none is left: what is one request is served whole
/// or not at all, and longer ones end with a page.
#[test]
fn every_operation_where_files_grow_with_their_pages() {
    for setup in SETUPS {
        for test in [TestVault::remote(Suite::Aes256Gcm), TestVault::shared()] {
            through(Walk::on(test, true), setup, |fault| !fault.tears_a_page());
        }
    }
}
