//! The cost of trying an unlock slot, and the highest cost of the slots that rekeyfs makes.

use std::fmt;

use crate::crypto::password::KdfParams;

/// What Argon2id takes, in MiB of memory times passes over it: about 1,000 a second and core.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct SlotCost {
    pub(super) mib_passes: u64,
}

impl SlotCost {
    /// What these parameters cost.
    pub fn of(kdf: KdfParams) -> Self {
        Self { mib_passes: u64::from(kdf.memory_kib >> 10) * u64::from(kdf.passes) }
    }

    /// Whether a slot with this cost is tried within the usual bounds.
    pub(super) fn is_usual(self) -> bool {
        self <= MAX_OF_ONE
    }

    /// How many passes over this much memory (at least 1 MiB) a slot may take that is tried within the usual bounds.
    pub fn most_passes(memory_kib: u32) -> u32 {
        let passes = MAX_OF_ONE.mib_passes / u64::from(memory_kib >> 10).max(1);
        u32::try_from(passes).unwrap_or(u32::MAX).min(KdfParams::MAX_PASSES)
    }
}

impl fmt::Display for SlotCost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} GiB", self.mib_passes >> 10)
    }
}

/// The Argon2id costs of a slot that replaces one with the costs `old`, where `new` would be chosen for a first one.
/// Guessing gets no cheaper: no parameter is lower than in `old`. If such a slot were beyond the usual bounds, and so open
/// with `--any-cost` alone, more memory makes up for passes; if that doesn't do either, the costs are `old`.
#[must_use]
pub fn in_place_of(new: KdfParams, old: KdfParams) -> KdfParams {
    let both = new.at_least(old);
    let fewer_passes = KdfParams { passes: SlotCost::most_passes(both.memory_kib), ..both };
    let fits = |kdf: &KdfParams| SlotCost::of(*kdf).is_usual() && SlotCost::of(*kdf) >= SlotCost::of(old);
    [both, fewer_passes].into_iter().find(fits).unwrap_or(old)
}

/// How many slots a keyring has at most, those of unknown kinds too.
pub const MAX_SLOTS: usize = 64;
/// What one slot may cost: three passes over 4 GiB, as `--kdf-memory 4096` makes it.
const MAX_OF_ONE: SlotCost = SlotCost { mib_passes: 3 * 4096 };
/// What all slots that one secret is tried with may cost: 32 of three passes over 1 GiB, half a minute or so.
pub(super) const MAX_OF_ALL: SlotCost = SlotCost { mib_passes: 32 * 3 * 1024 };
