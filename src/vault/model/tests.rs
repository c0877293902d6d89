//! Random sequences, and those that once failed.

use proptest::prelude::*;

use super::ops::{Op, Spot, op};
use super::run::Run;
use super::state::How;
use crate::crypto::suite::Suite;
use crate::sys::testing::cases;
use crate::vault::FileKind;
use crate::vault::testing::TestVault;

fn run(test: TestVault, ops: &[Op]) {
    let mut run = Run::new(test);
    for op in ops {
        run.apply(op);
    }
    run.check("at the end");
    run.close_all();
    run.check("after all was forgotten");
    run.apply(&Op::ReopenKeyring);
}

proptest! {
    #![proptest_config(ProptestConfig { max_shrink_iters: 2000, ..cases(120) })]
    #[test]
    fn the_tree_follows_the_model(ops in prop::collection::vec(op(), 10..80)) {
        run(TestVault::in_memory(), &ops);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { max_shrink_iters: 200, ..cases(6) })]
    /// Where inode numbers are used again at once.
    #[test]
    fn the_tree_follows_the_model_on_disk(ops in prop::collection::vec(op(), 10..60)) {
        run(TestVault::with_suite(Suite::ChaCha20Poly1305), &ops);
    }
}

#[test]
fn no_file_is_created_under_a_disabled_key() {
    run(TestVault::in_memory(), &[Op::SetAlias { dir: 0, alias: 1 }, Op::Disable]);
}

#[test]
fn no_file_moves_to_a_disabled_key() {
    let create = Op::Create { at: Spot::Name(0, 0), keep_open: false };
    let write = Op::Write { file: 0, at: 0, len: 10, seed: 1 };
    run(TestVault::in_memory(), &[create, write, Op::SetAlias { dir: 0, alias: 1 }, Op::Disable]);
}

#[test]
fn a_file_is_reencrypted_by_a_name_that_it_still_has() {
    let create = |n, keep_open| Op::Create { at: Spot::Name(0, n), keep_open };
    let ops = [
        create(4, false),
        Op::Link { from: 0, to: Spot::Name(0, 1) },
        create(0, false),
        Op::ForgetAll,
        create(5, true),
        Op::Write { file: 136, at: 0, len: 1, seed: 0 },
        Op::Open { file: 38 },
        Op::Unlink { at: Spot::Entry(29) },
        Op::Reencrypt { file: 16 },
        create(0, false),
    ];
    run(TestVault::in_memory(), &ops);
}

#[test]
fn a_file_without_a_name_is_not_counted() {
    let at = Spot::Name(0, 0);
    let write = Op::Write { file: 0, at: 0, len: 10, seed: 1 };
    run(TestVault::in_memory(), &[Op::Create { at, keep_open: true }, Op::Unlink { at }, write]);
}

/// Each first write checks what the new header bears.
#[test]
fn an_alias_above_is_in_force_at_once() {
    let create = |dir, name| Op::Create { at: Spot::Name(dir, name), keep_open: false };
    let write = |file| Op::Write { file, at: 0, len: 10, seed: 1 };
    let mut run = Run::new(TestVault::in_memory());
    for op in [
        Op::Mkdir { at: Spot::Name(0, 0) },
        create(1, 0),
        write(0),
        Op::SetAlias { dir: 0, alias: 1 },
        create(1, 1),
        write(1),
        // Moved to where the default alias is in force again.
        Op::Mkdir { at: Spot::Name(0, 1) },
        Op::SetAlias { dir: 2, alias: 2 },
        Op::Rename { from: Spot::Name(0, 0), to: Spot::Name(2, 0), how: How::Over },
        create(2, 2),
        write(0),
    ] {
        run.apply(&op).unwrap();
    }
    let files = run.model.snapshot().entries.into_values().filter(|seen| seen.kind == FileKind::Regular);
    assert_eq!(files.map(|seen| seen.bytes.len()).collect::<Vec<_>>(), [10; 3]);
    run.check("at the end");
}
