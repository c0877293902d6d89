//! Deletions of keys whose date has passed and that can't be carried out.

use std::collections::HashMap;
use std::time::Instant;

use parking_lot::Mutex;

use crate::ids::KeyId;

/// Deletions that are blocked: why, and since when.
#[derive(Default)]
pub(super) struct BlockedDeletions(pub(super) Mutex<HashMap<KeyId, (String, Instant)>>);

impl BlockedDeletions {
    /// Why the deletion of a key is blocked, if it is.
    pub(super) fn reason(&self, key: KeyId) -> Option<String> {
        self.0.lock().get(&key).map(|(why, _)| why.clone())
    }
}

/// What became of a deletion whose date has passed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DueDeletion {
    /// The key.
    pub key: KeyId,
    /// Why it is still there; nothing if it is deleted.
    pub blocked: Option<String>,
}
