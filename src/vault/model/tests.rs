//! Random sequences, and those that once failed.

use proptest::prelude::*;

use super::ops::{Op, op};
use super::run::Run;
use crate::crypto::suite::Suite;
use crate::vault::testing::TestVault;

fn run(test: TestVault, ops: &[Op]) {
    let mut run = Run::new(test);
    for op in ops {
        run.apply(op);
    }
    run.check("at the end");
    run.let_go();
    run.check("after all was forgotten");
    run.apply(&Op::ReopenKeyring);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 120, max_shrink_iters: 2000, ..ProptestConfig::default() })]
    #[test]
    fn the_tree_follows_the_model(ops in prop::collection::vec(op(), 10..80)) {
        run(TestVault::in_memory(), &ops);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 6, max_shrink_iters: 200, ..ProptestConfig::default() })]
    /// Where inode numbers are used again at once.
    #[test]
    fn the_tree_follows_the_model_on_disk(ops in prop::collection::vec(op(), 10..60)) {
        run(TestVault::with_suite(Suite::ChaCha20Poly1305), &ops);
    }
}
