//! The census: how many files each backing key wraps, of those this mount has seen. A cache for people to
//! look at; before anything is retired or deleted, a sweep counts afresh.

use std::collections::{BTreeMap, HashMap};

use parking_lot::Mutex;

use crate::header::SlotKeys;
use crate::ids::{BackingKeyId, Ino, Timestamp};

#[derive(Default)]
pub(super) struct Census(Mutex<Inner>);

#[derive(Default)]
struct Inner {
    /// Backing keys seen, each apart for files whose other slot bears another one, and files wrapped by each; few,
    /// so an index into this stands for one.
    backings: Vec<((BackingKeyId, bool), u64)>,
    files: HashMap<Ino, u32>,
    /// When the last count of all files began, if there was one.
    counted: Option<Timestamp>,
}

impl Census {
    /// The file has these slots.
    pub(super) fn note(&self, ino: Ino, keys: SlotKeys) {
        let mut inner = self.0.lock();
        let entry = (keys.backing, keys.differ());
        let index = match inner.backings.iter().position(|(known, _)| *known == entry) {
            Some(index) => index,
            None => {
                inner.backings.push((entry, 0));
                inner.backings.len() - 1
            }
        };
        inner.backings[index].1 += 1;
        let before = inner.files.insert(ino, index as u32);
        inner.uncount(before);
    }

    /// The file is empty or gone.
    pub(super) fn forget(&self, ino: Ino) {
        let mut inner = self.0.lock();
        let before = inner.files.remove(&ino);
        inner.uncount(before);
    }

    /// A count that began then has noted every file there is.
    pub(super) fn complete(&self, began: Timestamp) {
        self.0.lock().counted = Some(began);
    }

    /// When the count began that made it complete; `None`: it holds what was used so far.
    pub(super) fn counted(&self) -> Option<Timestamp> {
        self.0.lock().counted
    }

    /// The files seen that are wrapped by one of these.
    pub(super) fn wrapped_by(&self, backings: &[BackingKeyId]) -> Vec<Ino> {
        let inner = self.0.lock();
        let wanted: Vec<bool> =
            inner.backings.iter().map(|((known, _), _)| backings.contains(known)).collect();
        let is_wanted = |index: &u32| wanted.get(*index as usize).is_some_and(|wanted| *wanted);
        inner.files.iter().filter(|(_, index)| is_wanted(index)).map(|(ino, _)| *ino).collect()
    }

    /// Backing keys in order, with the number of files seen wrapped by each.
    pub(super) fn counts(&self) -> Vec<(BackingKeyId, u64)> {
        let mut counts: BTreeMap<BackingKeyId, u64> = BTreeMap::new();
        for ((backing, _), n) in self.0.lock().backings.iter().filter(|(_, n)| *n > 0) {
            *counts.entry(*backing).or_default() += n;
        }
        counts.into_iter().collect()
    }

    /// As [`Census::counts`], of the files whose other slot bears another backing key.
    pub(super) fn counts_that_differ(&self) -> Vec<(BackingKeyId, u64)> {
        let inner = self.0.lock();
        let differing = inner.backings.iter().filter(|((_, differs), n)| *differs && *n > 0);
        differing.map(|((backing, _), n)| (*backing, *n)).collect()
    }
}

impl Inner {
    fn uncount(&mut self, index: Option<u32>) {
        if let Some((_, n)) = index.and_then(|index| self.backings.get_mut(index as usize)) {
            *n -= 1;
        }
    }
}
