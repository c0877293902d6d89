//! An allocation that fails, for want of disk space or otherwise, has changed nothing.

use super::stage::Stage;
use super::*;
use crate::storage::fault::InjectedFault;
use crate::storage::{self, Errno};

const WRITTEN: &[Op] = &[Op::Write { at: 0, len: 20_000, seed: 1 }, Op::Sync];

fn reserved(run: &Run) -> u64 {
    storage::fstat(run.test.vault.inode(run.ino).unwrap().opened().unwrap().fd()).unwrap().blocks
}

#[test]
fn a_growth_that_fails_leaves_nothing_reserved_past_the_end() {
    let mut stage = Stage::new(TestVault::in_memory());
    for op in [
        Op::Allocate { at: 9000, len: 400_000, keep_size: false },
        Op::Allocate { at: 9000, len: 400_000, keep_size: true },
        Op::Zero { at: 9000, len: 400_000, keep_size: false },
    ] {
        stage.begin(WRITTEN);
        let recorded = Faults::record();
        stage.apply(&op, &recorded).unwrap();
        assert!(reserved(&stage.run) * 512 > 400_000, "{op:?}: nothing is reserved on this lower filesystem");
        for (skip, call) in recorded.log().into_iter().enumerate() {
            for fault in [InjectedFault::Io, InjectedFault::Full] {
                stage.begin(WRITTEN);
                let before = reserved(&stage.run);
                if stage.apply(&op, &fault.at(skip as u64)).is_err() {
                    let after = reserved(&stage.run);
                    // The page in which the lower size ends may stay.
                    assert!(
                        after <= before + 8,
                        "{op:?}, {fault:?} in {call:?}: {before} blocks, then {after}"
                    );
                }
            }
        }
    }
}

#[test]
fn a_range_is_zeroed_only_where_there_is_room_for_it() {
    let mut stage = Stage::new(TestVault::in_memory());
    for keep_size in [true, false] {
        stage.begin(WRITTEN);
        let full = Faults::record().refusing(FaultOp::Allocate, Errno::NOSPC);
        let zero = Op::Zero { at: 9000, len: 30_000, keep_size };
        assert!(matches!(stage.apply(&zero, &full), Err(Error::Lower(Errno::NOSPC))));
        stage.run.check();
        stage.apply(&zero, &Faults::record()).unwrap();
        stage.run.expect(&zero);
        stage.run.check();
    }
}

#[test]
fn a_zeroed_range_keeps_its_room_with_what_calls_there_are() {
    let mut stage = Stage::new(TestVault::new());
    for faults in [Faults::record(), Faults::record().refusing(FaultOp::ZeroRange, Errno::OPNOTSUPP)] {
        stage.begin(WRITTEN);
        let before = reserved(&stage.run);
        let zero = Op::Zero { at: 0, len: 20_000, keep_size: true };
        stage.apply(&zero, &faults).unwrap();
        stage.run.expect(&zero);
        stage.run.check();
        assert_eq!(reserved(&stage.run), before);
    }
}
