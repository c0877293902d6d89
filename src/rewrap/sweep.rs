//! The sweep: every regular file of the tree, once. What is fresh is skipped, so a sweep that was stopped
//! is resumed by beginning again; what was re-wrapped stays re-wrapped.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::ids::{BackingKeyId, Handle, Ino};
use crate::vault::{FileKind, Result, Vault};

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
    walk(vault, stop, &mut |entries| {
        total += entries.iter().filter(|entry| entry.kind == FileKind::Regular).count() as u64;
    })?;
    let mut sweep = Sweep { vault, report: SweepReport::default(), census: HashMap::new() };
    let began = Instant::now();
    walk(vault, stop, &mut |entries| {
        let files: Vec<Ino> =
            entries.iter().filter(|entry| entry.kind == FileKind::Regular).map(|entry| entry.ino).collect();
        sweep.files(&files);
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
        self.report.failed += outcome.failed.len() as u64;
        for ino in stale {
            if let Ok(Some(info)) = self.vault.file_header_info(ino) {
                *self.census.entry(info.backing).or_default() += 1;
            }
        }
    }
}

#[derive(Clone, Copy)]
struct Entry {
    ino: Ino,
    kind: FileKind,
}

/// Calls `each` with every entry of the tree, up to [`BATCH`] at a time; they are known to the vault for the
/// length of the call. Directories that can't be read are left out with a warning.
fn walk(vault: &Vault, stop: &AtomicBool, each: &mut dyn FnMut(&[Entry])) -> Result<()> {
    let mut todo = vec![Ino::ROOT];
    while let Some(dir) = todo.pop() {
        let walked = walk_dir(vault, dir, stop, &mut todo, each);
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

fn walk_dir(
    vault: &Vault,
    dir: Ino,
    stop: &AtomicBool,
    todo: &mut Vec<Ino>,
    each: &mut dyn FnMut(&[Entry]),
) -> Result<()> {
    let handle = vault.opendir(dir)?;
    let walked = walk_handle(vault, dir, handle, stop, todo, each);
    vault.releasedir(dir, handle)?;
    walked
}

fn walk_handle(
    vault: &Vault,
    dir: Ino,
    handle: Handle,
    stop: &AtomicBool,
    todo: &mut Vec<Ino>,
    each: &mut dyn FnMut(&[Entry]),
) -> Result<()> {
    let mut cookie = 0;
    while !stop.load(Ordering::Relaxed) {
        let mut entries = Vec::with_capacity(BATCH);
        let mut any = false;
        vault.readdirplus(dir, handle, cookie, &mut |attr, _name, next_cookie| {
            if entries.len() == BATCH {
                return false;
            }
            any = true;
            cookie = next_cookie;
            if let Some(attr) = attr {
                entries.push(Entry { ino: attr.ino, kind: attr.kind });
            }
            true
        })?;
        if !any {
            break;
        }
        each(&entries);
        for entry in entries {
            if entry.kind == FileKind::Directory {
                todo.push(entry.ino);
            } else {
                vault.forget(entry.ino, 1);
            }
        }
    }
    Ok(())
}
