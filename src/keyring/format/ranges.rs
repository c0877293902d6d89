//! Runs of version numbers and of generations: what a keyring says that it doesn't have (gaps.rs).

use serde::{Deserialize, Serialize};

use crate::ids::{Generation, KeyVersion};

/// What became of the versions of a gap.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::keyring) enum GapKind {
    /// They may exist in a keyring that isn't there.
    Lost,
    /// They were lost and are not to come back.
    Trimmed,
}

/// A run of version numbers without entries.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::keyring) struct Gap {
    pub(in crate::keyring) first: KeyVersion,
    pub(in crate::keyring) last: KeyVersion,
    pub(in crate::keyring) kind: GapKind,
}

/// A run of versions of a key.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct VersionRange {
    /// The first.
    pub first: KeyVersion,
    /// The last.
    pub last: KeyVersion,
}

impl std::fmt::Display for VersionRange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self { first, last } if first == last => write!(f, "{first}"),
            Self { first, last } => write!(f, "{first}-{last}"),
        }
    }
}

/// Generations of the keyring of which this one knows nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::keyring) struct LostGenerations {
    /// Those after this one.
    pub(in crate::keyring) after: Generation,
    /// The newest of them that something knows of; none if nothing does.
    pub(in crate::keyring) known: Option<Generation>,
}

impl Gap {
    pub(in crate::keyring) fn has(&self, number: KeyVersion) -> bool {
        (self.first..=self.last).contains(&number)
    }

    /// The parts below a number, and from it on.
    pub(in crate::keyring) fn split_at(self, at: KeyVersion) -> (Option<Self>, Option<Self>) {
        if at <= self.first {
            return (None, Some(self));
        }
        if at > self.last {
            return (Some(self), None);
        }
        (Some(Self { last: KeyVersion(at.0 - 1), ..self }), Some(Self { first: at, ..self }))
    }
}
