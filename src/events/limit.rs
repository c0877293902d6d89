//! Keeps a reader of a damaged file from filling the disk with events.

use crate::ids::Timestamp;

const BURST: u32 = 50;
const REFILL_MS: i64 = 1000;

/// A token bucket: 50 at once, then one a second. Counts what it holds back.
pub(super) struct Limit {
    tokens: u32,
    refilled: Timestamp,
    held_back: u64,
}

impl Limit {
    pub(super) fn new(now: Timestamp) -> Self {
        Self { tokens: BURST, refilled: now, held_back: 0 }
    }

    /// Whether one more may pass now.
    pub(super) fn pass(&mut self, now: Timestamp) -> bool {
        let periods = (now.0 - self.refilled.0) / REFILL_MS;
        if periods > 0 {
            let more = u32::try_from(periods).unwrap_or(BURST);
            self.tokens = self.tokens.saturating_add(more).min(BURST);
            self.refilled = Timestamp(self.refilled.0 + periods * REFILL_MS);
        } else if periods < 0 {
            // The clock was set back: begin anew instead of waiting for it.
            self.refilled = now;
        }
        match self.tokens.checked_sub(1) {
            Some(left) => {
                self.tokens = left;
                true
            }
            None => {
                self.held_back += 1;
                false
            }
        }
    }

    /// How many were held back since this was last asked.
    pub(super) fn take_held_back(&mut self) -> u64 {
        std::mem::take(&mut self.held_back)
    }
}
