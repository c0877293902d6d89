//! Where the walks through the lower calls of operations begin, again and again: a new file in a state of one's choice,
//! and an operation on it while a plan of faults is in force.

use super::*;
use crate::kms::Call;

pub(super) struct Stage {
    pub(super) run: Run,
    files: u32,
    /// The keys that the default alias points at by turns, so that files become stale without more versions.
    keys: [String; 2],
}

impl Stage {
    pub(super) fn new(test: TestVault) -> Self {
        let run = Run::of(test);
        let first = run.test.keys().keys()[0].id.to_string();
        let second = run.test.keys().create_key_for_test("alias/second".parse().unwrap()).to_string();
        Self { run, files: 0, keys: [first, second] }
    }

    /// Continues with a new file, to which `ops` were done.
    pub(super) fn begin(&mut self, ops: &[Op]) {
        self.files += 1;
        self.run.start_over(format!("f{}", self.files));
        for op in ops {
            self.run.apply(op).unwrap();
            self.run.expect(op);
        }
    }

    /// Makes the file stale, if `op` is to re-wrap it.
    pub(super) fn make_ready_for(&mut self, op: &Op) {
        if matches!(op, Op::Rewrap | Op::RewrapTo) {
            self.keys.swap(0, 1);
            let [target_key_id, _] = self.keys.clone();
            let alias_name = "alias/default".to_owned();
            self.run.test.keys().call(&Call::UpdateAlias { alias_name, target_key_id }).unwrap();
        }
    }

    /// A re-wrap that fails is no error: it is put off.
    pub(super) fn apply(&mut self, op: &Op, faults: &Faults) -> crate::vault::Result<()> {
        let _scope = faults.on_this_thread();
        if matches!(op, Op::Rewrap) {
            self.run.test.vault.rewrap_batch(&[self.run.ino]);
            return Ok(());
        }
        self.run.apply(op)
    }
}
