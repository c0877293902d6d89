//! The census: how many files each backing key wraps, of those this mount has seen. A cache for people to
//! look at; before anything is retired or deleted, a sweep counts afresh.
//!
//! Also what the kernel may have pages of when a key becomes unusable is found here, so a file stays until it is emptied or
//! removed, whether the kernel has forgotten it or not: files are kept as sets of inode numbers, of which lower
//! filesystems give out neighbours. That is less than a byte for a file, at worst 60 for a file with no neighbour. What a file
//! costs doesn't grow with the number of keys.

mod files;
mod kept;
mod summary;

use std::collections::{BTreeMap, HashSet};

use files::Files;
pub use kept::SavedCensus;
use parking_lot::Mutex;
use summary::SlotSummary;

use crate::header::SlotKeys;
use crate::ids::{BackingKeyId, Ino, Timestamp};

#[derive(Default)]
pub(in crate::vault) struct Census(Mutex<Inner>);

#[derive(Default)]
struct Inner {
    /// The files seen, by what their slots hold.
    files: Files,
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

impl Census {
    /// The file has these slots.
    pub(in crate::vault) fn note(&self, ino: Ino, keys: SlotKeys, generation: TagGeneration) {
        let newer = generation == TagGeneration::NewerThanKeyring;
        let (backing, differs) = (keys.backing, keys.differ());
        let summary = SlotSummary { backing, differs, follows: keys.tag.map(|tag| tag.follows), newer };
        self.0.lock().files.set(ino, summary);
    }

    /// What slots hold, and in how many files.
    pub(in crate::vault) fn slots(&self) -> Vec<(SlotKeys, u64)> {
        self.0.lock().files.counts().map(|(summary, files)| (summary.slots(), files)).collect()
    }

    /// The file is empty or gone.
    pub(in crate::vault) fn forget(&self, ino: Ino) {
        self.0.lock().files.remove(ino);
    }

    /// Gives up memory that files no longer counted have left.
    pub(in crate::vault) fn shrink(&self) {
        self.0.lock().files.shrink();
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
        let backings: HashSet<&BackingKeyId> = backings.iter().collect();
        self.0.lock().files.with(|summary| backings.contains(&summary.backing))
    }

    /// Backing keys in order, with the number of files seen wrapped by each.
    pub(in crate::vault) fn counts(&self) -> Vec<(BackingKeyId, u64)> {
        let mut counts: BTreeMap<BackingKeyId, u64> = BTreeMap::new();
        for (summary, files) in self.0.lock().files.counts() {
            *counts.entry(summary.backing).or_default() += files;
        }
        counts.into_iter().collect()
    }

    /// As [`Census::counts`], of the files whose other slot bears another backing key.
    pub(in crate::vault) fn counts_that_differ(&self) -> Vec<(BackingKeyId, u64)> {
        let mut counts: BTreeMap<BackingKeyId, u64> = BTreeMap::new();
        for (summary, files) in self.0.lock().files.counts().filter(|(summary, _)| summary.differs) {
            *counts.entry(summary.backing).or_default() += files;
        }
        counts.into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::header::OtherSlot;
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
        assert!(census.counts().is_empty() && census.0.lock().files.is_empty());
    }

    /// Files that were read a million at a time, and removed: neither may add up.
    #[test]
    fn a_file_takes_less_than_a_byte_and_leaves_nothing_behind() {
        let census = Census::default();
        let room = || census.0.lock().files.room();
        let files = 1 << 20;
        (0..files).for_each(|ino| census.note(Ino(1000 + ino), keys(1), TagGeneration::NotNewer));
        assert!(room() <= files as usize, "{} bytes for {files} files", room());
        // As a filesystem that never uses a number again has it.
        for round in 1..4 {
            (0..files).for_each(|ino| census.forget(Ino(1000 + (round - 1) * files + ino)));
            (0..files).for_each(|ino| {
                census.note(Ino(1000 + round * files + ino), keys(1), TagGeneration::NotNewer)
            });
        }
        assert!(room() <= 2 * files as usize, "{}", room());
        (10..files).for_each(|ino| census.forget(Ino(1000 + 3 * files + ino)));
        census.shrink();
        assert!(room() < 2000, "{}", room());
        assert_eq!(census.counts(), [(keys(1).backing, 10)]);
    }
    /// A mount looks at a file's keys whenever it is opened. The limit is for an unoptimized build on a loaded machine: it
    /// tells a cost that grows with the number of keys.
    #[test]
    fn what_a_file_costs_does_not_grow_with_the_number_of_keys() {
        const KEYS: u64 = 10_000;
        let census = Census::default();
        let of_key = |key: u64| {
            let id = KeyId::from_bytes([key.to_le_bytes(), [7; 8]].concat().try_into().unwrap());
            SlotKeys {
                backing: BackingKeyId { key: id, version: KeyVersion(1) },
                other: OtherSlot::Empty,
                tag: None,
            }
        };
        let began = std::time::Instant::now();
        // Neighbours of different keys, moved to others and back.
        for round in [0, 1, 0] {
            for ino in 0..4 * KEYS {
                census.note(Ino(ino), of_key((ino + round) % KEYS), TagGeneration::NotNewer);
            }
        }
        assert!(began.elapsed().as_secs() < 5, "{:?}", began.elapsed());
        assert_eq!(census.counts().len(), KEYS as usize);
        assert!(census.counts().iter().all(|(_, files)| *files == 4));
        let mut found = census.wrapped_by(&[of_key(3).backing]);
        found.sort();
        assert_eq!(found, [3, 3 + KEYS, 3 + 2 * KEYS, 3 + 3 * KEYS].map(Ino));
    }
}
