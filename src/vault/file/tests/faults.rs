//! Every operation on content at each of its write points in turn: stopped for good, failed once, interrupted,
//! a write cut short and completed, failed or stopped behind its first part. What is read afterwards is what
//! was there, what was to come, or zeros; the file can be used on.

use super::*;
use crate::keyring::kms::Call;
use crate::storage::Errno;
use crate::vault::Damage;

/// What happens at a write point.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Fault {
    /// The process dies.
    Stop,
    /// The process dies behind the first part of a write.
    TornStop,
    Io,
    Full,
    /// A write finds the disk full behind its first part.
    TornFull,
    Interrupted,
    Short,
}

impl Fault {
    const ALL: [Self; 7] =
        [Self::Stop, Self::TornStop, Self::Io, Self::Full, Self::TornFull, Self::Interrupted, Self::Short];

    fn at(self, skip: u64) -> Faults {
        match self {
            Self::Stop => Faults::stop_after(skip),
            Self::TornStop => Faults::stop_after(skip + 1).short_after(skip),
            Self::Io => Faults::fail_once(skip, Errno::IO),
            Self::Full => Faults::fail_once(skip, Errno::NOSPC),
            Self::TornFull => Faults::fail_once(skip + 1, Errno::NOSPC).short_after(skip),
            Self::Interrupted => Faults::fail_once(skip, Errno::INTR),
            Self::Short => Faults::record().short_after(skip),
        }
    }

    fn is_for(self, call: FaultOp) -> bool {
        call == FaultOp::Pwrite || !matches!(self, Self::TornStop | Self::TornFull | Self::Short)
    }
}

/// Files as the operations find them: what was done to a new one.
const SETUPS: &[&[Op]] = &[
    &[Op::Write { at: 0, len: 20_000, seed: 1 }, Op::Sync, Op::Truncate { size: 15_000 }],
    &[Op::Write { at: 0, len: 12_000, seed: 1 }, Op::Truncate { size: 10_000 }, Op::Sync, Op::Reopen],
    &[],
];

const OPS: &[Op] = &[
    Op::Write { at: 9000, len: 14_000, seed: 2 },
    Op::Write { at: 100, len: 50, seed: 3 },
    Op::Write { at: 40_000, len: 1, seed: 3 },
    Op::Truncate { size: 0 },
    Op::Truncate { size: 5000 },
    Op::Truncate { size: 60_000 },
    Op::Punch { at: 1000, len: 9000 },
    Op::Zero { at: 9000, len: 9000, keep_size: false },
    Op::Zero { at: 4000, len: 9000, keep_size: true },
    Op::Allocate { at: 9000, len: 9000, keep_size: false },
    Op::Sync,
    Op::Rewrap,
];

struct Walk {
    run: Run,
    files: u32,
    /// The keys that the default alias points at by turns, so that files become stale without more versions.
    keys: [String; 2],
}

impl Walk {
    fn new() -> Self {
        let run = Run::new(Suite::Aes256Gcm);
        let first = run.test.keys().keys()[0].id.to_string();
        let second = run.test.keys().create_key_for_test("alias/second".parse().unwrap()).to_string();
        Self { run, files: 0, keys: [first, second] }
    }

    /// A new file, as `op` is to find it; returns its content.
    fn begin(&mut self, setup: &[Op], op: &Op) -> Vec<u8> {
        self.files += 1;
        self.run.start_over(format!("f{}", self.files));
        for op in setup {
            self.run.apply(op).unwrap();
            self.run.expect(op);
        }
        if matches!(op, Op::Rewrap) {
            self.keys.swap(0, 1);
            let [target_key_id, _] = self.keys.clone();
            let alias_name = "alias/default".to_owned();
            self.run.test.keys().call(&Call::UpdateAlias { alias_name, target_key_id }).unwrap();
        }
        self.run.model.clone()
    }

    fn apply(&mut self, op: &Op, faults: &Faults) -> crate::vault::Result<()> {
        let _scope = faults.on_this_thread();
        if matches!(op, Op::Rewrap) {
            let vault = self.run.test.vault.clone();
            vault.rewrap_batch(&[self.run.ino]);
            return Ok(());
        }
        self.run.apply(op)
    }

    /// The lower calls of an operation that nothing befalls.
    fn calls(&mut self, setup: &[Op], op: &Op) -> Vec<FaultOp> {
        self.begin(setup, op);
        let faults = Faults::record();
        self.apply(op, &faults).unwrap();
        self.run.expect(op);
        self.run.check();
        faults.log()
    }

    fn step(&mut self, setup: &[Op], op: &Op, fault: Fault, skip: u64) {
        let before = self.begin(setup, op);
        self.run.expect(op);
        let faults = fault.at(skip);
        let done = self.apply(op, &faults);
        let when = format!("{op:?} on {setup:?}, {fault:?} after {skip} calls: {done:?}");
        match fault {
            Fault::Interrupted | Fault::Short => {
                done.unwrap_or_else(|e| panic!("{when}: {e}"));
                self.run.check();
            }
            Fault::Stop | Fault::TornStop => {
                self.run.reopen();
                is_plausible(&self.run, &before, &when);
                // Grown over what was left behind, which must not come back.
                self.run.apply(&Op::Truncate { size: 70_000 }).unwrap_or_else(|e| panic!("{when}: {e}"));
                let got = self.run.content().unwrap_or_else(|e| panic!("{when}: {e}"));
                assert!(got[60_000..].iter().all(|byte| *byte == 0), "{when}");
            }
            Fault::Io | Fault::Full | Fault::TornFull => {
                is_plausible(&self.run, &before, &when);
                if done.is_ok() && !matches!(op, Op::Rewrap) {
                    self.run.check();
                }
                // The descriptor owes an error for a sync that failed.
                let _ = self.run.apply(&Op::Sync);
                self.run.apply(op).unwrap_or_else(|e| panic!("{when}: again: {e}"));
                self.run.check();
                self.run.reopen();
                self.run.check();
            }
        }
    }
}

/// Each byte is what was there, what was to come, or a zero.
fn is_plausible(run: &Run, before: &[u8], when: &str) {
    let after = &run.model;
    let got = match run.content() {
        Ok(got) => got,
        // The header of a file that had none may have been stopped on its way.
        Err(Error::Corrupt(Damage::Header)) if before.is_empty() => return,
        Err(e) => panic!("{when}: {e}"),
    };
    assert!(got.len() == before.len() || got.len() == after.len(), "{when}: size {}", got.len());
    for (at, byte) in got.iter().enumerate() {
        let old = before.get(at).copied().unwrap_or(0);
        let new = after.get(at).copied().unwrap_or(0);
        assert!([old, new, 0].contains(byte), "{when}: byte {at} is {byte}, was {old}, should become {new}");
    }
}

fn walk(setup: &[Op]) {
    let mut walk = Walk::new();
    for op in OPS {
        let calls = walk.calls(setup, op);
        for (skip, call) in calls.into_iter().enumerate() {
            for fault in Fault::ALL.into_iter().filter(|fault| fault.is_for(call)) {
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
fn every_operation_on_a_new_file() {
    walk(SETUPS[2]);
}
