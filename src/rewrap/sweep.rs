//! The sweep: visits each regular file of the tree once and re-wraps it if it is stale. A re-wrapped file stays so, and files that
//! aren't stale are skipped: so a stopped sweep is resumed by starting it again.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::thread::{Scope, ScopedJoinHandle};
use std::time::{Duration, Instant};

use batch_size::{TOGETHER, most, next};
use left::SweepLeft;

use super::walk::{BATCH, FoundFiles, is_gone, walk};
use crate::ids::{BackingKeyId, Ino, Timestamp};
use crate::monitor::{Monitor, Progress};
use crate::vault::{BatchOutcome, Destination, FileKind, Measure, Result, Vault};

mod batch_size;
mod left;

/// The longest that a sweep sleeps without checking whether it is to stop.
const PAUSE: Duration = Duration::from_millis(100);

/// How long a sweep tries a file again that is changed while it is re-wrapped, before it leaves the file to the next use: a
/// time, since on a busy machine a program may overtake many tries in a row,
const TRY_AGAIN_FOR: Duration = Duration::from_secs(2);
/// and the fewest tries, since on a slow disk one may take as long.
const TRIES_AGAIN: usize = 8;

/// The options of a sweep.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct SweepOptions {
    /// The most files visited in a second.
    pub max_rate: Option<NonZeroU32>,
    /// Where files are re-wrapped to.
    pub to: Destination,
    /// The file to sweep, or the directory whose files below are swept; `None`: the whole tree. The caller keeps a reference.
    pub top: Option<Ino>,
}

/// What a sweep did and found.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct SweepReport {
    /// Regular files looked at.
    pub files: u64,
    /// Files re-wrapped.
    pub rewrapped: u64,
    /// Unchanged files: a key isn't usable, or the header can't be read.
    pub skipped: u64,
    /// Files whose re-wrap failed; they have their old slot.
    pub failed: u64,
    /// Directories that could not be read, and entries on another filesystem or without a name that could be decrypted: they, or
    /// what is below them, were not visited.
    pub left_out: u64,
    /// Whether it was stopped before the end.
    pub stopped: bool,
    /// Files wrapped by each backing key, of those visited.
    pub census: Vec<(BackingKeyId, u64)>,
}

/// Sweeps. Progress is reported after each batch. A cancelled sweep finishes its batches.
///
/// # Errors
/// If the root can't be read, or the lower filesystem can't be synced at the end. Other failures are counted, and the sweep
/// continues.
pub fn sweep(vault: &Vault, options: SweepOptions, monitor: &mut Monitor<'_>) -> Result<SweepReport> {
    let cancellation = monitor.cancellation().clone();
    let at = Timestamp::now();
    let began = Instant::now();
    let (to, top) = (&options.to, options.top.unwrap_or(Ino::ROOT));
    if vault.getattr(top)?.kind == FileKind::Regular {
        return Ok(Tally::of(vault, to, &[top]).0.report(0, false));
    }
    let most = most(vault.most_descriptors(), options.max_rate);
    let together = if options.max_rate.is_some() { 1 } else { TOGETHER };
    let batch = Cell::new(BATCH.min(most));
    let mut tally = Tally::default();
    let left = RefCell::new(SweepLeft::new(began, options.max_rate, most, together));
    let walked = std::thread::scope(|scope| {
        let mut in_work = VecDeque::new();
        let mut end_oldest = |in_work: &mut VecDeque<(Batch<'_>, Option<u64>)>, monitor: &mut Monitor<'_>| {
            let Some((oldest, total)) = in_work.pop_front() else { return };
            let (of_batch, took) = oldest.end();
            let (files, now) = (of_batch.report.files, Instant::now());
            batch.set(next(files as usize, took, most));
            tally.add(of_batch);
            let report = &tally.report;
            let (seen, rewrapped, failed) = (report.files, report.rewrapped, report.failed + report.skipped);
            let left = left.borrow_mut().ended(files, seen, total, batch.get(), now);
            monitor.report(Progress { total, seen, rewrapped, failed, left, ..Progress::default() });
        };
        let walked = walk(vault, top, Measure::Files, &batch, &cancellation, &mut |files, all| {
            if let Some(rate) = options.max_rate.filter(|_| !files.is_empty()) {
                pause(began, rate, monitor);
                if cancellation.is_cancelled() {
                    return;
                }
                left.borrow_mut().resumed(Instant::now());
            }
            in_work.push_back((Batch::begin(scope, vault, to, files), all().map(|all| all.files)));
            if in_work.len() >= together {
                end_oldest(&mut in_work, monitor);
            }
        });
        while !in_work.is_empty() {
            end_oldest(&mut in_work, monitor);
        }
        walked
    })?;
    let stopped = cancellation.is_cancelled();
    if !stopped {
        vault.make_durable()?;
    }
    if !stopped && walked.left_out() == 0 && top == Ino::ROOT {
        vault.census_is_complete(at);
    }
    Ok(tally.report(walked.left_out(), stopped))
}

/// Waits until as many files may have been visited since `began` as were; less long if the sweep is to stop. Before a batch, not
/// after it: the last one ends the sweep.
fn pause(began: Instant, rate: NonZeroU32, monitor: &mut Monitor<'_>) {
    let due = Duration::from_secs_f64(monitor.last().seen as f64 / f64::from(rate.get()));
    while monitor.check().is_ok() && began.elapsed() < due {
        std::thread::sleep(due.saturating_sub(began.elapsed()).min(PAUSE));
        monitor.keep_alive();
    }
}

/// Files that are worked on by a thread of their own.
enum Batch<'scope> {
    InWork(ScopedJoinHandle<'scope, (Tally, Duration)>),
    /// No thread could be started.
    Done(Tally, Duration),
}

impl<'scope> Batch<'scope> {
    fn begin<'env>(
        scope: &'scope Scope<'scope, 'env>,
        vault: &'env Vault,
        to: &'env Destination,
        files: FoundFiles<'env>,
    ) -> Self {
        let files = Arc::new(files);
        let work = {
            let files = Arc::clone(&files);
            move || Tally::of(vault, to, &files)
        };
        match std::thread::Builder::new().name("rekeyfs-sweep".into()).spawn_scoped(scope, work) {
            Ok(thread) => Self::InWork(thread),
            Err(_) => {
                let (tally, took) = Tally::of(vault, to, &files);
                Self::Done(tally, took)
            }
        }
    }

    /// Waits for the end: what became of the files, and how long it took.
    fn end(self) -> (Tally, Duration) {
        match self {
            Self::InWork(thread) => thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
            Self::Done(tally, took) => (tally, took),
        }
    }
}

/// What a sweep has done so far.
#[derive(Default)]
struct Tally {
    /// Its counts of files; the rest is known at the end.
    report: SweepReport,
    census: HashMap<BackingKeyId, u64>,
}

impl Tally {
    fn of(vault: &Vault, to: &Destination, files: &[Ino]) -> (Self, Duration) {
        let began = Instant::now();
        let mut tally = Self::default();
        tally.sweep(vault, to, files);
        (tally, began.elapsed())
    }

    fn add(&mut self, other: Self) {
        self.report.files += other.report.files;
        self.report.rewrapped += other.report.rewrapped;
        self.report.skipped += other.report.skipped;
        self.report.failed += other.report.failed;
        for (backing, files) in other.census {
            *self.census.entry(backing).or_default() += files;
        }
    }

    fn report(self, left_out: u64, stopped: bool) -> SweepReport {
        let mut census: Vec<_> = self.census.into_iter().collect();
        census.sort();
        SweepReport { left_out, stopped, census, ..self.report }
    }

    fn sweep(&mut self, vault: &Vault, to: &Destination, files: &[Ino]) {
        let mut stale = Vec::new();
        for ino in files {
            self.report.files += 1;
            let found = vault.count_file(*ino).and_then(|info| {
                let elsewhere = info.as_ref().map(|info| vault.is_elsewhere(*ino, info, to)).transpose()?;
                Ok(info.zip(elsewhere))
            });
            match found {
                Ok(Some((info, true))) => stale.push((*ino, info.backing)),
                Ok(Some((info, false))) => *self.census.entry(info.backing).or_default() += 1,
                Ok(None) => {}
                Err(_) if is_gone(vault, *ino) => {}
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
        let BatchOutcome { mut moved, mut failed, .. } = vault.rewrap_batch_to(&inos, to);
        // Some were overtaken by the lazy re-wrap, or by a truncate to zero: these are current now. Others by a truncate that
        // lowered their floor, as many times as a program truncates them.
        let mut again = failed.clone();
        let (mut tries, end) = (0, Instant::now() + TRY_AGAIN_FOR);
        while !again.is_empty() && (tries < TRIES_AGAIN || Instant::now() < end) {
            tries += 1;
            let outcome = vault.rewrap_batch_to(&again, to);
            moved.extend(outcome.moved);
            failed.retain(|ino| !again.contains(ino) || outcome.failed.contains(ino));
            again = outcome.overtaken;
        }
        self.report.rewrapped += moved.len() as u64;
        let moved: HashMap<Ino, BackingKeyId> = moved.into_iter().collect();
        for backing in moved.values() {
            *self.census.entry(*backing).or_default() += 1;
        }
        // For the others only the present key counts, whichever thread moved them. A rotation meanwhile may have made them stale
        // again.
        for (ino, before) in stale.into_iter().filter(|(ino, _)| !moved.contains_key(ino)) {
            match vault.count_file(ino) {
                Ok(Some(info)) => {
                    *self.census.entry(info.backing).or_default() += 1;
                    let there = vault.is_elsewhere(ino, &info, to).is_ok_and(|elsewhere| !elsewhere);
                    if there || (info.backing != before && !info.slots().differ()) {
                        self.report.rewrapped += 1;
                    } else if failed.contains(&ino) {
                        self.report.failed += 1;
                    } else {
                        self.report.skipped += 1;
                    }
                }
                Ok(None) => {}
                Err(_) if is_gone(vault, ino) => {}
                Err(_) => self.report.skipped += 1,
            }
        }
    }
}

#[cfg(test)]
mod tests;
