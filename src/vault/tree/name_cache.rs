//! Lower names that were derived recently. A program tends to name an entry several times in a row: it is looked up and
//! then made, listed and then removed. The kernel keeps names of what there is; for each operation that it passes on,
//! rekeyfs would derive the lower name again.

use std::hash::{BuildHasher, RandomState};

use parking_lot::Mutex;

use crate::ids::DirId;

/// How many are kept: two directories of a source tree or so. A power of two.
const SLOTS: usize = 256;

/// The lower names of short names, by directory and plaintext name, each in the one slot that its hash gives it. What
/// is found is what deriving it would give, whatever becomes of the entry.
pub(super) struct NameCache {
    hasher: RandomState,
    /// The locks are leaves.
    slots: Box<[Mutex<Slot>]>,
}

/// Empty, or one name; no entry has an empty name.
#[derive(Default)]
struct Slot {
    dir: Option<DirId>,
    name: Vec<u8>,
    lower: Vec<u8>,
}

impl Default for NameCache {
    fn default() -> Self {
        Self { hasher: RandomState::new(), slots: (0..SLOTS).map(|_| Mutex::default()).collect() }
    }
}

impl NameCache {
    fn slot(&self, dir: DirId, name: &[u8]) -> &Mutex<Slot> {
        &self.slots[self.hasher.hash_one((dir.0, name)) as usize % SLOTS]
    }

    /// The lower name, if it is here.
    pub(in crate::vault) fn get(&self, dir: DirId, name: &[u8]) -> Option<Vec<u8>> {
        let slot = self.slot(dir, name).lock();
        (slot.dir == Some(dir) && slot.name == name).then(|| slot.lower.clone())
    }

    /// Keeps one.
    pub(in crate::vault) fn keep(&self, dir: DirId, name: &[u8], lower: &[u8]) {
        let mut slot = self.slot(dir, name).lock();
        let Slot { dir: kept, name: kept_name, lower: kept_lower } = &mut *slot;
        *kept = Some(dir);
        for (kept, new) in [(kept_name, name), (kept_lower, lower)] {
            kept.clear();
            kept.extend_from_slice(new);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_found_in_its_directory_alone_until_others_take_its_place() {
        let recent = NameCache::default();
        let (here, there) = (DirId([1; 16]), DirId([2; 16]));
        assert_eq!(recent.get(here, b""), None);
        assert_eq!(recent.get(here, b"name"), None);
        recent.keep(here, b"name", b"LOWER");
        assert_eq!(recent.get(here, b"name").as_deref(), Some(&b"LOWER"[..]));
        assert_eq!(recent.get(there, b"name"), None);
        assert_eq!(recent.get(here, b"nam"), None);

        let names: Vec<_> = (0..SLOTS * 4).map(|n| format!("{n}").into_bytes()).collect();
        for name in &names {
            recent.keep(here, name, &[b"lower of ", name.as_slice()].concat());
        }
        let found = names.iter().filter(|name| match recent.get(here, name) {
            Some(lower) => {
                assert_eq!(lower, [b"lower of ", name.as_slice()].concat());
                true
            }
            None => false,
        });
        assert!((SLOTS / 2..=SLOTS).contains(&found.count()));
    }
}
