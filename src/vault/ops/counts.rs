//! What a vault tells of itself in numbers: what it counted, and how much it holds now.

use super::counters::RewrapCounts;
use crate::events::RefusalReason;
use crate::vault::Vault;

/// How much a vault holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct InUse {
    /// Inodes in memory.
    pub inodes: usize,
    /// Open files.
    pub files: usize,
}

impl Vault {
    /// How often damage was met, by each part of [`Damage::place`](crate::vault::Damage::place).
    pub fn damage_counts(&self) -> impl Iterator<Item = (&'static str, u64)> {
        self.counters.damage()
    }

    /// How often a user was refused, by each reason.
    pub fn refusal_counts(&self) -> impl Iterator<Item = (RefusalReason, u64)> {
        self.counters.refusals()
    }

    /// What became of the files that were to be re-wrapped.
    pub fn rewrap_counts(&self) -> RewrapCounts {
        self.counters.rewraps()
    }

    /// What it holds now.
    pub fn in_use(&self) -> InUse {
        InUse { inodes: self.tree.inodes.len(), files: self.open_files.len() }
    }
}
