//! Re-encrypts all files below a directory, one after the other. A stopped run is resumed by skipping the files that were made
//! after it began.

use std::cell::Cell;
use std::collections::HashSet;
use std::time::Instant;

use super::walk::{BATCH, walk};
use crate::ids::{Ino, Timestamp};
use crate::monitor::time_left::{CopyLeft, Part};
use crate::monitor::{Monitor, Progress};
use crate::vault::{Measure, Reencrypted, Result, Vault};

/// Files that a report names.
const NAMED: usize = 100;

/// What became of one file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FileOutcome {
    /// The vault's answer.
    Was(Reencrypted),
    /// Unchanged: its lower file, and so its DEK, is newer than the given time.
    Newer,
}

/// What a run did and found.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct ReencryptReport {
    /// Regular files looked at.
    pub files: u64,
    /// Files that have a new DEK.
    pub reencrypted: u64,
    /// Empty files, and those newer than the given time.
    pub nothing_to_do: u64,
    /// Unchanged files, directories that could not be read, and entries on another filesystem.
    pub left: u64,
    /// The first of the files that were left, by inode number, and why.
    pub named: Vec<(Ino, String)>,
    /// Whether it was stopped before the end.
    pub stopped: bool,
}

/// Re-encrypts one file, unless it was made at or after `before`.
///
/// # Errors
/// As [`Vault::reencrypt`].
pub fn reencrypt_file(
    vault: &Vault,
    ino: Ino,
    before: Option<Timestamp>,
    monitor: &mut Monitor<'_>,
) -> Result<FileOutcome> {
    if let Some(before) = before
        && let Some(born) = vault.born(ino)?
        && born.secs.saturating_mul(1000).saturating_add(i64::from(born.nanos / 1_000_000)) >= before.0
    {
        return Ok(FileOutcome::Newer);
    }
    vault.reencrypt(ino, monitor).map(FileOutcome::Was)
}

/// Re-encrypts all files of a vault that were made before `before`. Progress is reported all the time. A cancelled run leaves
/// the file that it is at as it was.
///
/// # Errors
/// If the root can't be read. Other failures are counted, and the run continues.
pub fn reencrypt_all(
    vault: &Vault,
    before: Option<Timestamp>,
    monitor: &mut Monitor<'_>,
) -> Result<ReencryptReport> {
    let cancellation = monitor.cancellation().clone();
    let mut report = ReencryptReport::default();
    // The new file may appear in the listing in which the old one was.
    let mut done: HashSet<Ino> = HashSet::new();
    let mut left_of_all = CopyLeft::new(Instant::now());
    let batch = Cell::new(BATCH);
    let walked = walk(vault, Ino::ROOT, Measure::Bytes, &batch, &cancellation, &mut |files, all| {
        for ino in files.iter() {
            if cancellation.is_cancelled() || done.contains(ino) {
                continue;
            }
            let bytes = vault.getattr(*ino).map_or(0, |attr| attr.blocks * 512);
            let told = |report: &ReencryptReport, mut left: CopyLeft, bytes, part| {
                let all = all();
                left.known(all);
                Progress {
                    total: all.map(|all| all.files),
                    seen: report.files,
                    rewrapped: report.reencrypted,
                    failed: report.left,
                    part,
                    left: left.of(bytes, part, Instant::now()),
                }
            };
            let mut receiver = |now: Progress| monitor.report(told(&report, left_of_all, bytes, now.part));
            let outcome =
                reencrypt_file(vault, *ino, before, &mut Monitor::new(&cancellation, &mut receiver));
            report.files += 1;
            let mut left = |why: String| {
                report.left += 1;
                if report.named.len() < NAMED {
                    report.named.push((*ino, why));
                }
            };
            match outcome {
                Ok(FileOutcome::Was(Reencrypted::Done(new))) => {
                    done.insert(new);
                    report.reencrypted += 1;
                }
                Ok(FileOutcome::Newer | FileOutcome::Was(Reencrypted::Empty)) => report.nothing_to_do += 1,
                Ok(FileOutcome::Was(Reencrypted::Stopped)) => report.files -= 1,
                Ok(FileOutcome::Was(Reencrypted::Linked)) => left("it has several names".to_owned()),
                Ok(FileOutcome::Was(Reencrypted::InUse)) => left("it is in use".to_owned()),
                Err(e) => left(e.to_string()),
            }
            left_of_all.ended(bytes, Instant::now());
            monitor.report(told(&report, left_of_all, 0, Part::default()));
        }
    })?;
    report.left += walked.left_out();
    report.stopped = cancellation.is_cancelled();
    Ok(report)
}

#[cfg(test)]
mod tests;
