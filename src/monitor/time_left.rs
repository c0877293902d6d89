//! How long work on files will still take, by what it took so far.
//!
//! The work is done in steps, each of some size: a batch of files, or a file of some bytes. A step is taken to cost so much for
//! itself (what is synced, opened, renamed) and so much for each unit of its size. Both are measured, by least squares over the
//! steps so far ([`Pace`]). A speed would not do: batches get larger, so files get cheaper, and a sweep that was told by its speed
//! so far said up to three times what it then took; and a large file costs more than a small one.
//!
//! The rule: from a tenth of the work on, and from the sixth step, the time told at each moment is within a fifth of what it then
//! takes, or within a second, where that is more. It holds for work that goes on as it began, whose steps take what their sizes
//! say within a twentieth. What nobody can know by then (the first large file comes last, another program takes the disk) is told
//! too late, but it is told: what is older than 20 s counts little.
//!
//! - Steps weigh less with age, by a time that grows with the work up to 20 s: at any moment about its last half counts.
//! - A step's time may be off by as much as its size says, so the squares are weighed by that. With it the fit as a whole takes as
//!   long as the steps did, whatever a single one took.
//! - Until steps of several sizes were seen, the two costs can't be told apart. They are drawn to the ratio that is usual for the
//!   kind of work, by as much as a tenth of a step weighs.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

/// Milliseconds that work still takes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TimeLeft(u64);

impl TimeLeft {
    /// Of seconds, as they come out of the arithmetic.
    pub fn of_secs(secs: f64) -> Self {
        Self((secs * 1000.0) as u64)
    }

    /// As a duration.
    pub fn duration(self) -> Duration {
        Duration::from_millis(self.0)
    }
}

/// The longest time after which a step weighs a third.
const MEMORY: f64 = 20.0;
/// What the usual ratio weighs, in steps.
const PRIOR: f64 = 0.1;

/// What steps cost, by those that were done.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Pace {
    /// The size of a step that usually costs as much for itself as for its size; 0: steps cost nothing for themselves.
    usual: f64,
    began: Instant,
    /// When the last step ended.
    last: Instant,
    sums: Sums,
}

/// Weighed sums over steps of time `t` and size `n`; `m` is what the step's time may be off by.
#[derive(Clone, Copy, PartialEq, Default, Debug)]
struct Sums {
    steps: f64,
    n: f64,
    t: f64,
    per_m: f64,
    n_per_m: f64,
    nn_per_m: f64,
    t_per_m: f64,
    tn_per_m: f64,
}

impl Sums {
    fn fade(&mut self, by: f64) {
        let Self { steps, n, t, per_m, n_per_m, nn_per_m, t_per_m, tn_per_m } = self;
        for sum in [steps, n, t, per_m, n_per_m, nn_per_m, t_per_m, tn_per_m] {
            *sum *= by;
        }
    }

    fn add(&mut self, t: f64, n: f64, m: f64) {
        self.steps += 1.0;
        self.n += n;
        self.t += t;
        self.per_m += 1.0 / m;
        self.n_per_m += n / m;
        self.nn_per_m += n * n / m;
        self.t_per_m += t / m;
        self.tn_per_m += t * n / m;
    }
}

impl Pace {
    /// Of work that begins now.
    pub fn new(usual: u64, now: Instant) -> Self {
        Self { usual: usual as f64, began: now, last: now, sums: Sums::default() }
    }

    /// A step of this size ended now; it began when the one before it ended, or at [`Self::resumed`].
    pub fn ended(&mut self, size: u64, now: Instant) {
        let (took, age) = ((now - self.last).as_secs_f64(), (now - self.began).as_secs_f64());
        self.last = now;
        // While it grows with the work, a step's weight falls with the square of the work's age.
        self.sums.fade((-took / (age / 2.0).clamp(f64::MIN_POSITIVE, MEMORY)).exp());
        self.sums.add(took, size as f64, (self.usual + size as f64).max(1.0));
    }

    /// The work goes on after a pause, which no step took.
    pub fn resumed(&mut self, now: Instant) {
        self.began += now - self.last;
        self.last = now;
    }

    /// When the last step ended, or the pause after it.
    pub fn last(&self) -> Instant {
        self.last
    }

    /// Seconds that so many steps of this size together take; none until one has ended.
    pub fn of(&self, steps: f64, size: f64) -> Option<f64> {
        let (step, unit) = self.costs()?;
        Some(steps * step + size * unit)
    }

    /// Seconds that a step costs for itself, and for each unit of its size.
    fn costs(&self) -> Option<(f64, f64)> {
        let (s, usual) = (&self.sums, self.usual);
        let expected = usual * s.steps + s.n;
        if expected <= 0.0 || s.t <= 0.0 {
            return None;
        }
        if usual == 0.0 {
            return (s.n > 0.0).then(|| (0.0, s.t / s.n));
        }
        // In units of what a step costs by the usual ratio, so that the ratio is (usual, 1).
        let scale = s.t / expected;
        let prior = PRIOR * expected / s.steps;
        let (a11, a12, a22) = (s.per_m + prior / (usual * usual), s.n_per_m, s.nn_per_m + prior);
        let (b1, b2) = (s.t_per_m / scale + prior / usual, s.tn_per_m / scale + prior);
        let determinant = a11 * a22 - a12 * a12;
        let (step, unit) = ((b1 * a22 - b2 * a12) / determinant, (b2 * a11 - b1 * a12) / determinant);
        // Neither is less than nothing; then the other is what is left.
        let (step, unit) = (step.max(0.0), unit.max(0.0));
        let all = step * s.steps + unit * s.n;
        let corrected = s.t / all;
        corrected.is_finite().then_some((step * corrected, unit * corrected))
    }
}

/// What a copy of many files still takes, one after the other.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct CopyLeft {
    pace: Pace,
    all: Option<Amount>,
    done: Amount,
}

/// Files and their bytes.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Amount {
    /// Files.
    pub files: u64,
    /// What they have in all.
    pub bytes: u64,
}

/// Thousandths of a file that are done.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Part(pub u16);

impl Part {
    /// Whether it is nothing yet.
    pub fn is_nothing(&self) -> bool {
        self.0 == 0
    }
}

/// Bytes that take as long as a file for itself: its syncs, on a disk.
const USUAL_BYTES: u64 = 1 << 20;
/// A file that has taken so long counts as far as it is done.
const LONG: Duration = Duration::from_millis(500);

impl CopyLeft {
    /// Of work that begins now.
    pub fn new(now: Instant) -> Self {
        Self { pace: Pace::new(USUAL_BYTES, now), all: None, done: Amount::default() }
    }

    /// There are so many in all, where that is known by now.
    pub fn known(&mut self, all: Option<Amount>) {
        self.all = all;
    }

    /// A file of so many bytes is done, or was left as it is.
    pub fn ended(&mut self, bytes: u64, now: Instant) {
        self.pace.ended(bytes, now);
        self.done = Amount { files: self.done.files + 1, bytes: self.done.bytes + bytes };
    }

    /// The time left while a part of a file of so many bytes is done.
    pub fn of(&self, bytes: u64, part: Part, now: Instant) -> Option<TimeLeft> {
        let of_file = bytes as f64 * f64::from(part.0) / 1000.0;
        let since = now - self.pace.last();
        let mut pace = self.pace;
        if since >= LONG {
            pace.ended(of_file as u64, now);
        }
        let files = self.all?.files.saturating_sub(self.done.files) as f64;
        let bytes = self.all?.bytes.saturating_sub(self.done.bytes) as f64;
        pace.of(files, (bytes - of_file).max(0.0)).map(TimeLeft::of_secs)
    }
}

#[cfg(test)]
mod tests;
