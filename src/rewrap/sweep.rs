//! The sweep: every regular file of the tree, once. What is fresh is skipped, so a sweep that was stopped
//! is resumed by beginning again; what was re-wrapped stays re-wrapped.

use std::cell::Cell;
use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::walk::{BATCH, is_gone, walk};
use crate::ids::{BackingKeyId, Ino, Timestamp};
use crate::vault::{BatchOutcome, Result, Vault};

/// Files in a batch, at most; each of them is open meanwhile.
const MOST: usize = 2048;
/// How long a batch should take. Each is synced twice, which takes a disk milliseconds however little there is to sync;
/// but a sweep that is to stop ends its batch first.
const TAKES: std::ops::RangeInclusive<Duration> = Duration::from_millis(200)..=Duration::from_secs(1);

/// The longest a sweep rests without asking whether it is to stop.
const PAUSE: Duration = Duration::from_millis(100);

/// How a sweep goes about its work.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct SweepOptions {
    /// Files looked at in a second, at most.
    pub max_rate: Option<NonZeroU32>,
}

/// How far a sweep has come.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Progress {
    /// Regular files there are, as far as that can be told: an estimate that gets better.
    pub total: Option<u64>,
    /// Files looked at.
    pub seen: u64,
    /// Files re-wrapped.
    pub rewrapped: u64,
    /// Files left as they were though they should have been re-wrapped.
    pub failed: u64,
}

/// What a sweep did and found.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct SweepReport {
    /// Regular files looked at.
    pub files: u64,
    /// Files re-wrapped.
    pub rewrapped: u64,
    /// Files left as they were: a key isn't usable, or the header can't be read.
    pub skipped: u64,
    /// Files whose re-wrap failed; their old slot stands.
    pub failed: u64,
    /// Directories that could not be read: what is below them was not looked at.
    pub dirs_left_out: u64,
    /// Whether it was stopped before the end.
    pub stopped: bool,
    /// Files wrapped by each backing key, as far as the sweep came.
    pub census: Vec<(BackingKeyId, u64)>,
}

/// Sweeps the whole tree. `progress` is told after each batch; the sweep stops soon after `stop` is set.
///
/// # Errors
/// If the root can't be read. What goes wrong below it is counted, and the sweep goes on.
pub fn sweep(
    vault: &Vault,
    options: SweepOptions,
    mut progress: impl FnMut(Progress),
    stop: &AtomicBool,
) -> Result<SweepReport> {
    let at = Timestamp::now();
    let mut sweep = Sweep { vault, report: SweepReport::default(), census: HashMap::new() };
    let began = Instant::now();
    let most = most(options.max_rate);
    let batch = Cell::new(BATCH.min(most));
    let walked = walk(vault, Ino::ROOT, &batch, stop, &mut |files, total| {
        let batch_began = Instant::now();
        sweep.files(files);
        batch.set(next(batch.get(), batch_began.elapsed(), most));
        let report = &sweep.report;
        let failed = report.failed + report.skipped;
        let now = Progress { total, seen: report.files, rewrapped: report.rewrapped, failed };
        progress(now);
        if let Some(rate) = options.max_rate {
            let due = Duration::from_secs_f64(report.files as f64 / f64::from(rate.get()));
            while !stop.load(Ordering::Relaxed) && began.elapsed() < due {
                std::thread::sleep(due.saturating_sub(began.elapsed()).min(PAUSE));
                progress(now);
            }
        }
    })?;
    let mut report = sweep.report;
    report.census = sweep.census.into_iter().collect();
    report.census.sort();
    report.stopped = stop.load(Ordering::Relaxed);
    report.dirs_left_out = walked.dirs_left_out;
    if !report.stopped && walked.dirs_left_out == 0 {
        vault.census_is_complete(at);
    }
    Ok(report)
}

/// The most files in a batch: as may be open for it, and not more than a second's where the rate is limited.
fn most(max_rate: Option<NonZeroU32>) -> usize {
    let descriptors =
        rustix::process::getrlimit(rustix::process::Resource::Nofile).current.unwrap_or(u64::MAX);
    let most = MOST.min(usize::try_from(descriptors / 8).unwrap_or(MOST));
    let rate = max_rate.map_or(most, |rate| usize::try_from(rate.get()).unwrap_or(most));
    most.min(rate).max(1)
}

/// How many files are in the next batch, if one of `batch` has taken so long.
fn next(batch: usize, took: Duration, most: usize) -> usize {
    let next = if took < *TAKES.start() {
        batch * 2
    } else if took > *TAKES.end() {
        batch / 2
    } else {
        batch
    };
    next.clamp(1, most)
}

struct Sweep<'a> {
    vault: &'a Vault,
    report: SweepReport,
    census: HashMap<BackingKeyId, u64>,
}

impl Sweep<'_> {
    fn files(&mut self, files: &[Ino]) {
        let mut stale = Vec::new();
        for ino in files {
            self.report.files += 1;
            match self.vault.count_file(*ino) {
                Ok(Some(info)) if info.stale => stale.push((*ino, info.backing)),
                Ok(Some(info)) => *self.census.entry(info.backing).or_default() += 1,
                Ok(None) => {}
                Err(_) if is_gone(self.vault, *ino) => {}
                Err(e) => {
                    tracing::warn!(ino = ino.0, "left out by the sweep: {e}");
                    self.report.skipped += 1;
                }
            }
        }
        if stale.is_empty() {
            return;
        }
        let inos: Vec<Ino> = stale.iter().map(|(ino, _)| *ino).collect();
        let BatchOutcome { mut moved, mut failed, .. } = self.vault.rewrap_batch(&inos);
        // Some were overtaken, by the lazy re-wrap or by a write that emptied them: these are fresh now, or
        // can be re-wrapped in a second go.
        if !failed.is_empty() {
            let again = self.vault.rewrap_batch(&failed);
            moved.extend(again.moved);
            failed = again.failed;
        }
        self.report.rewrapped += moved.len() as u64;
        let moved: HashMap<Ino, BackingKeyId> = moved.into_iter().collect();
        for backing in moved.values() {
            *self.census.entry(*backing).or_default() += 1;
        }
        // What counts of the others is where each is now, whoever moved it; it may be stale again by a rotation
        // meanwhile.
        for (ino, before) in stale.into_iter().filter(|(ino, _)| !moved.contains_key(ino)) {
            match self.vault.count_file(ino) {
                Ok(Some(info)) => {
                    *self.census.entry(info.backing).or_default() += 1;
                    if !info.stale || info.backing != before {
                        self.report.rewrapped += 1;
                    } else if failed.contains(&ino) {
                        self.report.failed += 1;
                    } else {
                        self.report.skipped += 1;
                    }
                }
                Ok(None) => {}
                Err(_) if is_gone(self.vault, ino) => {}
                Err(_) => self.report.skipped += 1,
            }
        }
    }
}

#[cfg(test)]
mod tests;
