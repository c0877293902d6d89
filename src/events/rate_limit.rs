//! Keeps a user who opens what they may not, or reads a damaged file, from filling the disk with events and lines of the
//! log: a limit for each user, so that nobody hides another one's refusals behind a flood of their own.

use std::collections::HashMap;
use std::hash::Hash;

use crate::ids::Timestamp;

/// Users, or files, with a limit of their own. Those beyond share one.
const KEYS: usize = 1024;

/// The limits of one class of events, by user id, or by another key.
pub struct RateLimits<K = u32> {
    burst: u32,
    keys: HashMap<K, TokenBucket>,
    rest: Option<TokenBucket>,
    /// Held back after they had passed.
    held_back: u64,
    /// Held back so far, whether a line has said so or not.
    held_back_ever: u64,
}

impl Default for RateLimits {
    fn default() -> Self {
        Self::with_burst(BURST)
    }
}

impl<K: Hash + Eq> RateLimits<K> {
    /// Limits by which so many may pass at once.
    pub fn with_burst(burst: u32) -> Self {
        Self { burst, keys: HashMap::new(), rest: None, held_back: 0, held_back_ever: 0 }
    }

    /// Whether one more event in the name of this user may pass now: 50 at once, or another burst, then one each `refill`
    /// milliseconds. Counts those that may not.
    pub fn pass(&mut self, key: K, now: Timestamp, refill: i64) -> bool {
        let burst = self.burst;
        if self.keys.len() >= KEYS && !self.keys.contains_key(&key) {
            self.keys.retain(|_, limit| !limit.is_at_rest(now, refill));
        }
        let limit = if self.keys.len() < KEYS || self.keys.contains_key(&key) {
            self.keys.entry(key).or_insert_with(|| TokenBucket::with_burst(burst, now))
        } else {
            self.rest.get_or_insert_with(|| TokenBucket::with_burst(burst, now))
        };
        let passes = limit.pass(now, refill);
        self.held_back_ever += u64::from(!passes);
        passes
    }

    /// Counts an event that passed and still could not be written.
    pub fn hold_back_one(&mut self) {
        self.held_back_ever += 1;
        self.hold_back_again(1);
    }

    /// Counts events again that [`RateLimits::take_held_back`] has returned, since no line says how many there were.
    pub fn hold_back_again(&mut self, events: u64) {
        self.held_back = self.held_back.saturating_add(events);
    }

    /// How many were held back in all.
    pub fn held_back_ever(&self) -> u64 {
        self.held_back_ever
    }

    /// How many were held back since this was last asked.
    pub fn take_held_back(&mut self) -> u64 {
        let of_users = self.keys.values_mut().chain(&mut self.rest).map(TokenBucket::take_held_back);
        of_users.fold(std::mem::take(&mut self.held_back), u64::saturating_add)
    }
}

/// So many may pass at once where nothing else was asked for.
const BURST: u32 = 50;
/// Milliseconds until one more event may pass.
pub(super) const REFILL_MS: i64 = 1000;
/// The same once the log is large: an attacker has months of its kind in it already.
pub(super) const REFILL_LARGE_MS: i64 = 600_000;

/// A token bucket: a burst at once, then one at a time. Counts what it holds back.
pub(super) struct TokenBucket {
    burst: u32,
    tokens: u32,
    refilled: Timestamp,
    held_back: u64,
}

impl TokenBucket {
    #[cfg(test)]
    pub(super) fn new(now: Timestamp) -> Self {
        Self::with_burst(BURST, now)
    }

    fn with_burst(burst: u32, now: Timestamp) -> Self {
        Self { burst, tokens: burst, refilled: now, held_back: 0 }
    }

    /// Whether it is as a new one would be: nothing is held back, and by now all of a burst may pass.
    fn is_at_rest(&self, now: Timestamp, refill: i64) -> bool {
        self.held_back == 0
            && (now.0 - self.refilled.0) / refill + i64::from(self.tokens) >= i64::from(self.burst)
    }

    /// Whether one more may pass now, where one more comes each `refill` milliseconds.
    pub(super) fn pass(&mut self, now: Timestamp, refill: i64) -> bool {
        let periods = (now.0 - self.refilled.0) / refill;
        if periods > 0 {
            let more = u32::try_from(periods).unwrap_or(self.burst);
            self.tokens = self.tokens.saturating_add(more).min(self.burst);
            self.refilled = Timestamp(self.refilled.0 + periods * refill);
        } else if now.0 < self.refilled.0 {
            // The clock was set back: start again instead of waiting for it.
            self.refilled = now;
        }
        match self.tokens.checked_sub(1) {
            Some(left) => {
                self.tokens = left;
                true
            }
            None => {
                self.held_back = self.held_back.saturating_add(1);
                false
            }
        }
    }

    /// How many were held back since this was last asked.
    pub(super) fn take_held_back(&mut self) -> u64 {
        std::mem::take(&mut self.held_back)
    }
}
