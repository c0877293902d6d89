//! What a mount counts from its beginning on, beside its requests: damage, refusals and re-wraps. None of it is on the path
//! of a request that succeeds.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::events::RefusalReason;
use crate::vault::Damage;

/// Counts since the vault was taken into use.
#[derive(Default)]
pub(in crate::vault) struct Counters {
    damage: [AtomicU64; Damage::PARTS.len()],
    refused: [AtomicU64; RefusalReason::ALL.len()],
    rewrapped: AtomicU64,
    skipped: AtomicU64,
    failed: AtomicU64,
}

/// Counts of re-wraps.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RewrapCounts {
    /// Files that bear the key version where they belong, and did not before.
    pub rewrapped: u64,
    /// Files that needed none, or whose key isn't usable.
    pub skipped: u64,
    /// Files that are tried again.
    pub failed: u64,
}

impl Counters {
    pub(super) fn damaged(&self, damage: Damage) {
        let (part, _) = damage.place();
        if let Some(at) = Damage::PARTS.iter().position(|known| *known == part) {
            self.damage[at].fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(super) fn refused(&self, reason: RefusalReason) {
        self.refused[reason as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(in crate::vault) fn rewrapped(&self, more: RewrapCounts) {
        self.rewrapped.fetch_add(more.rewrapped, Ordering::Relaxed);
        self.skipped.fetch_add(more.skipped, Ordering::Relaxed);
        self.failed.fetch_add(more.failed, Ordering::Relaxed);
    }

    pub(super) fn damage(&self) -> impl Iterator<Item = (&'static str, u64)> {
        Damage::PARTS.iter().copied().zip(self.damage.iter().map(|count| count.load(Ordering::Relaxed)))
    }

    pub(super) fn refusals(&self) -> impl Iterator<Item = (RefusalReason, u64)> {
        RefusalReason::ALL.iter().copied().zip(self.refused.iter().map(|count| count.load(Ordering::Relaxed)))
    }

    pub(super) fn rewraps(&self) -> RewrapCounts {
        let count = |count: &AtomicU64| count.load(Ordering::Relaxed);
        RewrapCounts {
            rewrapped: count(&self.rewrapped),
            skipped: count(&self.skipped),
            failed: count(&self.failed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::Ino;

    #[test]
    fn each_kind_of_damage_and_each_reason_has_a_counter() {
        let counters = Counters::default();
        let kinds = [
            Damage::Header,
            Damage::Page(7),
            Damage::Size,
            Damage::DirRecord,
            Damage::Symlink,
            Damage::Xattr,
            Damage::FileId(Ino(1)),
            Damage::LongName,
        ];
        assert_eq!(kinds.map(|damage| damage.place().0).as_slice(), Damage::PARTS);
        kinds.into_iter().for_each(|damage| counters.damaged(damage));
        RefusalReason::ALL.iter().for_each(|reason| counters.refused(*reason));
        assert!(counters.damage().all(|(_, count)| count == 1));
        assert!(counters.refusals().all(|(_, count)| count == 1));
    }
}
