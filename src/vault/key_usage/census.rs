//! The census: how many files each backing key wraps, of those this mount has seen. A cache for people to
//! look at; before anything is retired or deleted, a sweep counts afresh.
//!
//! Also what the kernel may have pages of when a key becomes unusable is found here, so a file stays until it is emptied or
//! removed, whether the kernel has forgotten it or not: files are kept as sets of inode numbers, of which lower
//! filesystems give out neighbours. That is a byte for two or three files, at worst 40 for a file with no neighbour.

mod kept;

use std::collections::BTreeMap;
use std::collections::hash_map::{Entry, HashMap};

pub use kept::SavedCensus;
use parking_lot::Mutex;

use crate::header::{AliasTag, OtherSlot, SlotKeys};
use crate::ids::{AliasId, BackingKeyId, Generation, Ino, Timestamp};

#[derive(Default)]
pub(in crate::vault) struct Census(Mutex<Inner>);

#[derive(Default)]
struct Inner {
    /// What the slots of the files seen hold, and the files that hold it; few, so all are looked through for a
    /// file. Those of no file are left out.
    by_slots: Vec<(SlotSummary, Files)>,
    /// When the last count of all files began, if there was one.
    counted: Option<Timestamp>,
}

/// How the generation of a file's alias tag, if it has one, compares with the keyring in use.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::vault) enum TagGeneration {
    NotNewer,
    /// The keyring never had it.
    NewerThanKeyring,
}

/// What the census keeps of a file's slots.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct SlotSummary {
    backing: BackingKeyId,
    /// The other slot bears, or may bear, another backing key.
    differs: bool,
    /// Of the alias tag, if there is one.
    follows: Option<Option<AliasId>>,
    /// The tag is of a generation that the keyring never had.
    newer: bool,
}

impl SlotSummary {
    fn slots(self) -> SlotKeys {
        let Self { backing, differs, follows, newer } = self;
        let other = if differs { OtherSlot::Unknown } else { OtherSlot::Names(backing) };
        // One that every keyring had, or none has, stands for all.
        let generation = Generation(if newer { u64::MAX } else { 0 });
        let tag = follows.map(|follows| AliasTag { follows, generation });
        SlotKeys { backing, other, tag }
    }
}

impl Census {
    /// The file has these slots.
    pub(in crate::vault) fn note(&self, ino: Ino, keys: SlotKeys, generation: TagGeneration) {
        let newer = generation == TagGeneration::NewerThanKeyring;
        let mut inner = self.0.lock();
        let (backing, differs) = (keys.backing, keys.differ());
        let summary = SlotSummary { backing, differs, follows: keys.tag.map(|tag| tag.follows), newer };
        inner.forget(ino, Some(summary));
        match inner.by_slots.iter_mut().find(|(known, _)| *known == summary) {
            Some((_, files)) => files.insert(ino),
            None => {
                let mut files = Files::default();
                files.insert(ino);
                inner.by_slots.push((summary, files));
            }
        }
    }

    /// What slots hold, and in how many files.
    pub(in crate::vault) fn slots(&self) -> Vec<(SlotKeys, u64)> {
        self.0.lock().by_slots.iter().map(|(summary, files)| (summary.slots(), files.count)).collect()
    }

    /// The file is empty or gone.
    pub(in crate::vault) fn forget(&self, ino: Ino) {
        self.0.lock().forget(ino, None);
    }

    /// Gives up memory that files no longer counted have left.
    pub(in crate::vault) fn shrink(&self) {
        for (_, files) in &mut self.0.lock().by_slots {
            // Some is left to grow, so that it isn't taken back at once.
            let capacity = files.words.len() * 2;
            files.words.shrink_to(capacity);
        }
    }

    /// A count that began then has recorded every file there is.
    pub(in crate::vault) fn complete(&self, began: Timestamp) {
        self.0.lock().counted = Some(began);
    }

    /// When the count began that made it complete; `None`: it holds what was used so far.
    pub(in crate::vault) fn counted(&self) -> Option<Timestamp> {
        self.0.lock().counted
    }

    /// The files seen that are wrapped by one of these.
    pub(in crate::vault) fn wrapped_by(&self, backings: &[BackingKeyId]) -> Vec<Ino> {
        let inner = self.0.lock();
        let wanted = inner.by_slots.iter().filter(|(summary, _)| backings.contains(&summary.backing));
        wanted.flat_map(|(_, files)| files.all()).collect()
    }

    /// Backing keys in order, with the number of files seen wrapped by each.
    pub(in crate::vault) fn counts(&self) -> Vec<(BackingKeyId, u64)> {
        let mut counts: BTreeMap<BackingKeyId, u64> = BTreeMap::new();
        for (summary, files) in &self.0.lock().by_slots {
            *counts.entry(summary.backing).or_default() += files.count;
        }
        counts.into_iter().collect()
    }

    /// As [`Census::counts`], of the files whose other slot bears another backing key.
    pub(in crate::vault) fn counts_that_differ(&self) -> Vec<(BackingKeyId, u64)> {
        let mut counts: BTreeMap<BackingKeyId, u64> = BTreeMap::new();
        for (summary, files) in self.0.lock().by_slots.iter().filter(|(summary, _)| summary.differs) {
            *counts.entry(summary.backing).or_default() += files.count;
        }
        counts.into_iter().collect()
    }
}

impl Inner {
    /// Takes a file out, but from `stays`.
    fn forget(&mut self, ino: Ino, stays: Option<SlotSummary>) {
        for (entry, files) in &mut self.by_slots {
            if Some(*entry) != stays && files.remove(ino) {
                break;
            }
        }
        self.by_slots.retain(|(entry, files)| files.count > 0 || Some(*entry) == stays);
    }
}

/// A set of inode numbers.
#[derive(Default)]
struct Files {
    count: u64,
    /// By the number's upper 58 bits: a bit for each value of the lower six. None is zero.
    words: HashMap<u64, u64>,
}

impl Files {
    fn insert(&mut self, ino: Ino) {
        let word = self.words.entry(ino.0 >> 6).or_default();
        let bit = 1 << (ino.0 & 63);
        self.count += u64::from(*word & bit == 0);
        *word |= bit;
    }

    /// False if it isn't in there.
    fn remove(&mut self, ino: Ino) -> bool {
        let bit = 1 << (ino.0 & 63);
        let Entry::Occupied(mut word) = self.words.entry(ino.0 >> 6) else { return false };
        if word.get() & bit == 0 {
            return false;
        }
        self.count -= 1;
        *word.get_mut() &= !bit;
        if *word.get() == 0 {
            word.remove();
        }
        true
    }

    fn all(&self) -> impl Iterator<Item = Ino> {
        let of = |high: u64, word: u64| {
            let set = (0..64).filter(move |bit| word >> bit & 1 == 1);
            set.map(move |bit| Ino(high << 6 | bit))
        };
        self.words.iter().flat_map(move |(high, word)| of(*high, *word))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{KeyId, KeyVersion};

    fn keys(version: u32) -> SlotKeys {
        let backing = BackingKeyId {
            key: "44d8dc31-fa24-42b6-b006-6dae0ab64958".parse::<KeyId>().unwrap(),
            version: KeyVersion(version),
        };
        SlotKeys { backing, other: OtherSlot::Empty, tag: None }
    }

    #[test]
    fn each_file_counts_once_under_what_it_was_last_noted_with() {
        let census = Census::default();
        let mut model: BTreeMap<Ino, u32> = BTreeMap::new();
        let mut random = 1_u64;
        for _ in 0..20_000 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let (ino, version) = (Ino((random >> 33) % 500), (random >> 50) as u32 % 4);
            if version == 0 {
                census.forget(ino);
                model.remove(&ino);
            } else {
                census.note(ino, keys(version), TagGeneration::NotNewer);
                model.insert(ino, version);
            }
        }
        for version in 1..4 {
            let backing = keys(version).backing;
            let mut found = census.wrapped_by(&[backing]);
            found.sort();
            let wanted: Vec<Ino> =
                model.iter().filter(|(_, v)| **v == version).map(|(ino, _)| *ino).collect();
            assert_eq!(found, wanted);
            assert!(census.counts().contains(&(backing, wanted.len() as u64)));
        }
        (0..500).for_each(|ino| census.forget(Ino(ino)));
        assert!(census.counts().is_empty() && census.0.lock().by_slots.is_empty());
    }

    /// Files that were read a million at a time, and removed: neither may add up.
    #[test]
    fn a_file_takes_less_than_a_byte_and_leaves_nothing_behind() {
        let census = Census::default();
        let room = || census.0.lock().by_slots.iter().map(|(_, files)| files.words.capacity()).sum::<usize>();
        let files = 1 << 20;
        (0..files).for_each(|ino| census.note(Ino(1000 + ino), keys(1), TagGeneration::NotNewer));
        assert!(room() * 17 <= files as usize, "{} bytes for {files} files", room() * 17);
        // As a filesystem that never uses a number again has it.
        for round in 1..4 {
            (0..files).for_each(|ino| census.forget(Ino(1000 + (round - 1) * files + ino)));
            (0..files).for_each(|ino| {
                census.note(Ino(1000 + round * files + ino), keys(1), TagGeneration::NotNewer)
            });
        }
        assert!(room() * 17 <= 2 * files as usize, "{}", room());
        (10..files).for_each(|ino| census.forget(Ino(1000 + 3 * files + ino)));
        census.shrink();
        assert!(room() < 100, "{}", room());
        assert_eq!(census.counts(), [(keys(1).backing, 10)]);
    }
}
