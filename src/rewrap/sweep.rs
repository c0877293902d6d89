//! The sweep: every regular file of the tree, once. What is fresh is skipped, so a sweep that was stopped
//! is resumed by beginning again; what was re-wrapped stays re-wrapped.

use std::collections::{HashMap, HashSet};
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::ids::{BackingKeyId, Handle, Ino};
use crate::vault::{Attr, FileKind, Result, Vault};

/// Files re-wrapped between two syncs.
const BATCH: usize = 256;
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
    /// Regular files there were when the sweep began.
    pub total: u64,
    /// Files looked at.
    pub seen: u64,
    /// Files re-wrapped.
    pub rewrapped: u64,
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
    let mut total = 0;
    walk(vault, stop, &mut |files| total += files.len() as u64)?;
    let mut sweep = Sweep { vault, report: SweepReport::default(), census: HashMap::new() };
    let began = Instant::now();
    walk(vault, stop, &mut |files| {
        sweep.files(files);
        let report = &sweep.report;
        let now =
            Progress { total: total.max(report.files), seen: report.files, rewrapped: report.rewrapped };
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
    Ok(report)
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
            match self.vault.file_header_info(*ino) {
                Ok(Some(info)) if info.stale => stale.push(*ino),
                Ok(Some(info)) => *self.census.entry(info.backing).or_default() += 1,
                Ok(None) => {}
                Err(e) => {
                    tracing::warn!(ino = ino.0, "left out by the sweep: {e}");
                    self.report.skipped += 1;
                }
            }
        }
        if stale.is_empty() {
            return;
        }
        let outcome = self.vault.rewrap_batch(&stale);
        self.report.rewrapped += outcome.rewrapped;
        self.report.skipped += outcome.skipped;
        // Some were overtaken, by the lazy re-wrap or by a write that emptied them: these are fresh now, or
        // can be re-wrapped in a second go.
        if !outcome.failed.is_empty() {
            let again = self.vault.rewrap_batch(&outcome.failed);
            self.report.rewrapped += again.rewrapped + again.skipped;
            self.report.failed += again.failed.len() as u64;
        }
        for ino in stale {
            if let Ok(Some(info)) = self.vault.file_header_info(ino) {
                *self.census.entry(info.backing).or_default() += 1;
            }
        }
    }
}

/// Calls `each` with every regular file of the tree, up to [`BATCH`] at a time and each once however many
/// names it has; they are known to the vault for the length of the call. Directories that can't be read are
/// left out with a warning.
fn walk(vault: &Vault, stop: &AtomicBool, each: &mut dyn FnMut(&[Ino])) -> Result<()> {
    let mut walk = Walk { vault, stop, todo: vec![Ino::ROOT], linked: HashSet::new(), each };
    while let Some(dir) = walk.todo.pop() {
        let walked = walk.dir(dir);
        if dir != Ino::ROOT {
            vault.forget(dir, 1);
        }
        match walked {
            Ok(()) => {}
            Err(e) if dir == Ino::ROOT => return Err(e),
            Err(e) => tracing::warn!(ino = dir.0, "left out by the sweep: {e}"),
        }
    }
    Ok(())
}

struct Walk<'a> {
    vault: &'a Vault,
    stop: &'a AtomicBool,
    todo: Vec<Ino>,
    /// Files with several names that were met.
    linked: HashSet<Ino>,
    each: &'a mut dyn FnMut(&[Ino]),
}

impl Walk<'_> {
    fn dir(&mut self, dir: Ino) -> Result<()> {
        let handle = self.vault.opendir(dir)?;
        let walked = self.entries(dir, handle);
        self.vault.releasedir(dir, handle)?;
        walked
    }

    fn entries(&mut self, dir: Ino, handle: Handle) -> Result<()> {
        let mut cookie = 0;
        while !self.stop.load(Ordering::Relaxed) {
            let mut entries = Vec::with_capacity(BATCH);
            let mut any = false;
            self.vault.readdirplus(dir, handle, cookie, &mut |attr, _name, next_cookie| {
                if entries.len() == BATCH {
                    return false;
                }
                any = true;
                cookie = next_cookie;
                entries.extend(attr.copied());
                true
            })?;
            if !any {
                break;
            }
            let new = |attr: &&Attr| attr.nlink < 2 || self.linked.insert(attr.ino);
            let regular = entries.iter().filter(|attr| attr.kind == FileKind::Regular);
            let files: Vec<Ino> = regular.filter(new).map(|attr| attr.ino).collect();
            (self.each)(&files);
            for attr in entries {
                if attr.kind == FileKind::Directory {
                    self.todo.push(attr.ino);
                } else {
                    self.vault.forget(attr.ino, 1);
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
