//! The progress of work on all files: a sweep, a count, a re-encryption.

use serde::{Deserialize, Serialize};

/// How far the work is, as the control protocol and reports write it.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
pub struct Progress {
    /// Files looked at.
    pub seen: u64,
    /// Of these, re-wrapped or re-encrypted by this work.
    pub rewrapped: u64,
    /// Of these, unchanged though they should have been changed: a key isn't usable, or the file can't be written.
    pub failed: u64,
    /// Regular files in all: an estimate that gets better.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total: Option<u64>,
}
