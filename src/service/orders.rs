//! What the operations are asked to do: their parameters, as the control protocol writes them.

use std::num::NonZeroU32;

use serde::{Deserialize, Serialize};

use crate::ids::{AliasName, KeyVersion, PathText};
use crate::keyring::{ForceToken, Retirement};

/// An order to re-wrap files: without more, all that are stale.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rewrap {
    /// Files looked at in a second, at most.
    pub max_rate: Option<NonZeroU32>,
    /// Where to.
    #[serde(default, skip_serializing_if = "RewrapDestination::is_followed")]
    pub to: RewrapDestination,
    /// The inode number of a file or directory that the kernel holds: it, or what is below it, and nothing else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub top: Option<u64>,
}

/// Where files are re-wrapped to.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RewrapDestination {
    /// Where the alias that each follows points.
    #[default]
    Followed,
    /// The same, and files that don't say which alias they follow get that of their directory, if it points at their key.
    Adopted,
    /// Where this alias points, which they follow from then on.
    Alias(AliasName),
}

impl RewrapDestination {
    fn is_followed(&self) -> bool {
        *self == Self::Followed
    }
}

/// An order to retire versions of a key.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Retire {
    /// Which key: its id or ARN, an alias or its ARN.
    pub key_id: String,
    /// Versions below this one.
    pub below: KeyVersion,
    /// What becomes of them.
    pub what: Retirement,
    /// Do it though files need them, and without counting.
    #[serde(rename = "insist")]
    pub force: Option<ForceToken>,
    /// Copies of the vault whose files count too. A daemon that doesn't know of them refuses.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub copies: Vec<CopyPlace>,
}

/// A directory that holds a copy of a vault, or of its tree alone.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CopyPlace {
    /// Its absolute path.
    pub path: PathText,
    /// Which directory the client found there: the daemon may see another one.
    pub device: u64,
    /// See `device`.
    pub inode: u64,
}
