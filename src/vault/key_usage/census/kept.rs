//! A census outside of the process that made it: the same sets of inode numbers, as lists.

use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};

use super::files::{self, Files};
use super::summary::SlotSummary;
use super::{Census, Inner};
use crate::ids::{AliasId, BackingKeyId, KeyId, KeyVersion, Timestamp};
use crate::keyring::{Keys, Staying};
use crate::vault::Vault;
use crate::vault::key_usage::wrapping::belonging_of;

/// What a complete census holds.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SavedCensus {
    /// When the count began that made it complete.
    pub counted: Timestamp,
    groups: Vec<Group>,
}

/// Files whose slots hold the same.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Group {
    key: KeyId,
    version: KeyVersion,
    differs: bool,
    tagged: bool,
    /// The id of the alias, in hexadecimal digits; of a tag without one the file is pinned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    follows: Option<String>,
    newer: bool,
    /// Inode numbers: the upper 58 bits, and a bit for each value of the lower six.
    files: Vec<(u64, u64)>,
}

impl Group {
    fn of((summary, words): (SlotSummary, Vec<(u64, u64)>)) -> Self {
        let SlotSummary { backing, differs, follows, newer } = summary;
        Self {
            key: backing.key,
            version: backing.version,
            differs,
            tagged: follows.is_some(),
            follows: follows.flatten().map(|alias| HEXLOWER.encode(&alias.0)),
            newer,
            files: words,
        }
    }

    fn summary(&self) -> Option<SlotSummary> {
        let alias = |text: &String| Some(AliasId(HEXLOWER.decode(text.as_bytes()).ok()?.try_into().ok()?));
        let follows = match &self.follows {
            Some(text) => Some(Some(alias(text)?)),
            None => self.tagged.then_some(None),
        };
        let backing = BackingKeyId { key: self.key, version: self.version };
        Some(SlotSummary { backing, differs: self.differs, follows, newer: self.newer })
    }
}

impl SavedCensus {
    /// The census; `None` if this is none that was saved.
    fn census(&self) -> Option<Census> {
        let mut files = Files::default();
        for group in &self.groups {
            let summary = group.summary()?;
            let numbers = group.files.iter().flat_map(|(high, bits)| files::inodes(*high, *bits));
            numbers.for_each(|ino| files.set(ino, summary));
        }
        Some(Census(parking_lot::Mutex::new(Inner { files, counted: Some(self.counted) })))
    }

    /// Backing keys in order, with the number of files that each wraps.
    pub fn versions(&self) -> Vec<(BackingKeyId, u64)> {
        self.census().map(|census| census.counts()).unwrap_or_default()
    }

    /// As [`Vault::census_of_belonging`].
    pub fn belonging(&self, keys: &Keys) -> (u64, Staying) {
        self.census().map(|census| belonging_of(keys, &census.slots())).unwrap_or_default()
    }

    /// Words of its sets of inode numbers: what it takes to write it.
    pub fn words(&self) -> usize {
        self.groups.iter().map(|group| group.files.len()).sum()
    }
}

impl Census {
    fn saved(&self) -> Option<SavedCensus> {
        let inner = self.0.lock();
        let groups = inner.files.words().map(Group::of).collect();
        Some(SavedCensus { counted: inner.counted?, groups })
    }

    fn restore(&self, other: Self) {
        *self.0.lock() = other.0.into_inner();
    }
}

impl Vault {
    /// The census, if it is complete.
    pub fn saved_census(&self) -> Option<SavedCensus> {
        self.census.saved()
    }

    /// Takes over the census of another use of this vault, since when no file was changed. For a vault that isn't in use yet.
    /// False if it is none that was saved.
    pub fn restore_census(&self, saved: &SavedCensus) -> bool {
        saved.census().map(|census| self.census.restore(census)).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::header::{AliasTag, OtherSlot, SlotKeys};
    use crate::ids::{Generation, Ino};
    use crate::vault::key_usage::census::TagGeneration;

    #[test]
    fn a_census_comes_back_with_every_file() {
        let census = Census::default();
        let backing =
            |version| BackingKeyId { key: KeyId::from_bytes([3; 16]), version: KeyVersion(version) };
        let tag = |follows| Some(AliasTag { follows, generation: Generation(0) });
        let slots = [
            (1, OtherSlot::Empty, None),
            (2, OtherSlot::Names(backing(1)), tag(None)),
            (2, OtherSlot::Empty, tag(Some(AliasId([7; 16])))),
        ];
        for ino in 0..5000_u64 {
            let (version, other, tag) = slots[(ino % 7 % 3) as usize];
            let newer = if ino % 11 == 0 { TagGeneration::NewerThanKeyring } else { TagGeneration::NotNewer };
            census.note(Ino(ino * ino), SlotKeys { backing: backing(version), other, tag }, newer);
        }
        assert_eq!(census.saved(), None, "it isn't complete");
        census.complete(Timestamp(77));
        let saved = census.saved().unwrap();
        let text = serde_json::to_string(&saved).unwrap();
        let read: SavedCensus = serde_json::from_str(&text).unwrap();
        assert_eq!(read, saved);
        let restored = read.census().unwrap();
        assert_eq!(restored.saved().unwrap(), saved);
        assert_eq!((restored.counts(), restored.slots()), (census.counts(), census.slots()));
        assert_eq!((saved.versions(), restored.counted()), (census.counts(), Some(Timestamp(77))));
        let damaged = text.replace(&"07".repeat(16), "07");
        assert!(serde_json::from_str::<SavedCensus>(&damaged).unwrap().census().is_none());
    }
}
