//! The keys of the log's chain: the current one, and former ones, which revocations replaced.
//!
//! The keyring stores the number and MAC of the last line of each former key. Lines up to that one are checked with that key,
//! and fixed by that MAC: someone who has the key, but can't seal a keyring, can't replace them. Lines behind it are checked
//! with the next key only, so a former key can't make any.

use std::sync::Arc;

use super::anchor::Anchor;
use crate::crypto::keys::EventKey;

/// A key that was replaced.
#[derive(Clone)]
pub struct FormerKey {
    /// The key.
    pub key: Arc<EventKey>,
    /// The last line that it made.
    pub until: Anchor,
}

/// All keys of one log.
#[derive(Clone)]
pub struct LogKeys {
    current: Arc<EventKey>,
    /// Oldest first.
    former: Vec<FormerKey>,
}

impl From<Arc<EventKey>> for LogKeys {
    fn from(current: Arc<EventKey>) -> Self {
        Self { current, former: Vec::new() }
    }
}

impl LogKeys {
    /// The key that makes lines now, after those that did, oldest first.
    pub fn new(current: Arc<EventKey>, former: &[FormerKey]) -> Self {
        Self { current, former: former.to_vec() }
    }

    /// The key of the lines to come.
    pub(super) fn current(&self) -> &EventKey {
        &self.current
    }

    /// The key of the line with that number.
    pub(super) fn of_line(&self, count: u64) -> &EventKey {
        let former = self.former.iter().find(|former| count <= former.until.count);
        former.map_or(&self.current, |former| &former.key)
    }

    /// Whether this place may be in the chain, as far as it is known which line was a key's last.
    pub(super) fn allows(&self, place: Anchor) -> bool {
        self.former.iter().all(|former| former.until.count != place.count || former.until == place)
    }
}
