//! What the log proves of keyrings: the newest generation that a change in it states, with MACs that only the
//! vault's keys make. Read from the end back to the anchor of the keyring that is found, which knows all before it.

use std::os::fd::AsFd;

use super::chain::{self, Anchor};
use super::file::whole_size;
use super::log::EventLog;
use crate::ids::{Generation, LowerOffset};
use crate::storage::{self, Access};

/// Bytes at the end that are looked at first; then four times as many, and so on.
const FIRST: u64 = 64 << 10;
/// Bytes at the end that are looked at, at most: a log in which nothing but other events follow is not read for ever.
const MOST: u64 = 64 << 20;

impl EventLog {
    /// The newest generation of the changes behind `anchor`, if there are any. Changes that failed before the
    /// keyring was replaced don't count.
    pub fn changes_after(&self, anchor: Anchor) -> Option<Generation> {
        let file = self.open(Access::ReadOnly).ok()??;
        let size = whole_size(&file).ok()?;
        let mut len = FIRST;
        loop {
            let from = size.0.saturating_sub(len);
            let mut tail = vec![0; (size.0 - from) as usize];
            let read = storage::pread(file.as_fd(), &mut tail, LowerOffset(from)).ok()?;
            tail.truncate(read);
            let (met, newest) = chain::newest_change(self.key(), &tail, from == 0, anchor);
            if met || from == 0 || len >= MOST {
                return newest;
            }
            len *= 4;
        }
    }
}
