//! What the log proves about keyrings: the newest generation in its lines of changes, whose MACs need the vault's keys. It is
//! read backwards to the anchor of the keyring that was found, which covers everything before.

use std::os::fd::AsFd;

use super::anchor::Anchor;
use super::chain;
use super::file::whole_end;
use super::files::LogFile;
use super::log::EventLog;
use crate::ids::{Generation, LowerOffset};
use crate::storage;

/// Bytes at the end that are read first; then four times as many, and so on.
const FIRST: u64 = 64 << 10;
/// The most bytes that are read: a log in which other events follow the last change isn't read without end.
const MOST: u64 = 64 << 20;

/// What the changes behind an anchor prove.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Evidence {
    /// The newest generation of these, if there are any. Changes that failed before the keyring was replaced don't
    /// count.
    pub newest: Option<Generation>,
    /// Whether there may be newer ones, in lines that only the keyring which replaced the event key can check.
    pub more: bool,
}

impl EventLog {
    /// What the log proves of keyrings newer than the one whose anchor this is.
    pub fn changes_after(&self, anchor: Anchor) -> Evidence {
        self.look_behind(anchor).unwrap_or_default()
    }

    /// The newest file whose lines prove anything has the answer: the first line of each states the generation then. What was made
    /// with a key that replaced the one known here proves nothing, so the files before are looked at too.
    fn look_behind(&self, anchor: Anchor) -> Option<Evidence> {
        let mut evidence = Evidence::default();
        for file in self.files().ok()?.iter().rev() {
            let found = self.look_in(file, anchor)?;
            evidence.more |= found.more;
            evidence.newest = found.newest;
            if found.met || found.newest.is_some() {
                break;
            }
        }
        Some(evidence)
    }

    fn look_in(&self, file: &LogFile, anchor: Anchor) -> Option<chain::Changes> {
        let file = file.open(self.dir.as_fd()).ok()?;
        let size = whole_end(&file).ok()?.size;
        let keys = self.keys();
        let mut len = FIRST;
        loop {
            let from = size.0.saturating_sub(len);
            let mut tail = vec![0; (size.0 - from) as usize];
            let read = storage::pread(file.as_fd(), &mut tail, LowerOffset(from)).ok()?;
            tail.truncate(read);
            let before = (from == 0).then(|| chain::start_of(&tail));
            let found = chain::newest_change(&keys, before, &tail, anchor);
            if found.met || from == 0 || len >= MOST {
                return Some(found);
            }
            len *= 4;
        }
    }
}
