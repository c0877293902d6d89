//! The time that a sweep still takes: what its batches took, and what it may do in a second.
//!
//! Batches that run at a time end one soon after the other, whatever their sizes: so that many together are one step of the pace,
//! and what is told between the ends of two steps is what was told at the first.

use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use super::batch_size::next;
use crate::monitor::time_left::{Pace, TimeLeft};

/// Files whose work takes as long as what a batch costs for itself: its syncs.
const USUAL: u64 = 300;

/// What is known of a sweep's speed.
pub(super) struct SweepLeft {
    pace: Pace,
    began: Instant,
    max_rate: Option<NonZeroU32>,
    /// The most files in a batch.
    most: usize,
    /// Batches at a time.
    together: usize,
    /// Those that ended since the last step did, and their files.
    pending: (usize, u64),
    told: Option<TimeLeft>,
}

impl SweepLeft {
    /// Of a sweep that begins now.
    pub(super) fn new(began: Instant, max_rate: Option<NonZeroU32>, most: usize, together: usize) -> Self {
        let pace = Pace::new(USUAL * together as u64, began);
        Self { pace, began, max_rate, most, together, pending: (0, 0), told: None }
    }

    /// A batch of so many files ended, and the next one has `batch`: the time left now that `seen` files of all have been.
    pub(super) fn ended(
        &mut self,
        files: u64,
        seen: u64,
        total: Option<u64>,
        batch: usize,
        now: Instant,
    ) -> Option<TimeLeft> {
        let (batches, of_them) = self.pending;
        self.pending = (batches + 1, of_them + files);
        if self.pending.0 == self.together || total == Some(seen) {
            self.pace.ended(self.pending.1, now);
            self.pending = (0, 0);
            self.told = total.and_then(|total| self.of(seen, total, batch, now));
        }
        self.told
    }

    /// A batch begins, after a pause.
    pub(super) fn resumed(&mut self, now: Instant) {
        self.pace.resumed(now);
    }

    fn of(&self, seen: u64, total: u64, batch: usize, now: Instant) -> Option<TimeLeft> {
        let files = total.saturating_sub(seen);
        let work = self.pace.of(self.steps(files, batch)?, files as f64)?;
        let paused = self.max_rate.filter(|_| files > 0).and_then(|rate| {
            // The last batch begins when all before it were due.
            let last = (files - 1) % batch.max(1) as u64 + 1;
            let due = Duration::from_secs_f64((total - last) as f64 / f64::from(rate.get()));
            let left = (self.began + due).saturating_duration_since(now).as_secs_f64();
            Some(left + self.pace.of(1.0, last as f64)?)
        });
        Some(TimeLeft::of_secs(work.max(paused.unwrap_or(0.0))))
    }

    /// Steps that so many files are done in, when the next batch has `batch` of them.
    fn steps(&self, files: u64, mut batch: usize) -> Option<f64> {
        let (mut left, mut steps) = (files, 0.0);
        while left > 0 {
            let step = (batch * self.together) as u64;
            let took = self.pace.of(1.0, left.min(step) as f64)?;
            let following = next(batch, Duration::try_from_secs_f64(took).ok()?, self.most);
            if following == batch {
                return Some(steps + (left as f64 / step as f64).ceil());
            }
            left = left.saturating_sub(step);
            steps += 1.0;
            batch = following;
        }
        Some(steps)
    }
}
