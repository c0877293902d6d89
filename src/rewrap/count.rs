//! Counts the files of the whole tree by reading each file's header again. It writes nothing to the vault; afterwards the
//! vault's census is complete.

use std::cell::Cell;
use std::collections::HashMap;
use std::time::Instant;

use super::walk::{BATCH, walk};
use crate::ids::{BackingKeyId, Ino, Timestamp};
use crate::monitor::time_left::{Pace, TimeLeft};
use crate::monitor::{Monitor, Progress};
use crate::vault::{Measure, NAMED_FILES_MAX, NamedFile, Result, Vault};

/// What a count found.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Count {
    /// Regular files, each once however many names it has.
    pub files: u64,
    /// Of these, empty ones: no key wraps them.
    pub empty: u64,
    /// Of these, those whose header doesn't open or could not be read. Which key they need isn't known.
    pub unreadable: u64,
    /// Directories that could not be read, and entries on another filesystem or without a name that could be decrypted: they, or
    /// what is below them, aren't counted.
    pub left_out: u64,
    /// Whether it was stopped before the end.
    pub stopped: bool,
    /// Files by the backing key that each needs, in order. A file whose key can't be used counts under the one
    /// that its header names; for all others the header was verified.
    pub census: Vec<(BackingKeyId, u64)>,
    /// Some of the files that are unreadable, or whose header names a backing key that the keyring doesn't have.
    pub named: Vec<NamedFile>,
}

impl Count {
    /// Files, and other parts of the tree, of which it isn't known which key they need.
    pub fn unknown(&self) -> u64 {
        self.unreadable + self.left_out
    }
}

/// Counts. Progress is reported every few hundred files, and then a cancelled count stops.
///
/// # Errors
/// If the root can't be read. Other failures are counted, and the count continues.
pub fn count(vault: &Vault, monitor: &mut Monitor<'_>) -> Result<Count> {
    let cancellation = monitor.cancellation().clone();
    let at = Timestamp::now();
    let mut count = Count::default();
    let mut census: HashMap<BackingKeyId, u64> = HashMap::new();
    let mut pace = Pace::new(0, Instant::now());
    let batch = Cell::new(BATCH);
    let walked = walk(vault, Ino::ROOT, Measure::Files, &batch, &cancellation, &mut |files, all| {
        for ino in files.iter() {
            count.files += 1;
            match vault.count_file(*ino) {
                Ok(Some(info)) => {
                    *census.entry(info.backing).or_default() += 1;
                    if count.named.len() < NAMED_FILES_MAX && vault.keys().state_of(info.backing).is_missing()
                    {
                        count.named.push(vault.named_file(*ino, NamedFile::needs(&[info.backing])));
                    }
                }
                Ok(None) => count.empty += 1,
                Err(e) => {
                    tracing::warn!(ino = ino.0, "counted as unreadable: {e}");
                    count.unreadable += 1;
                    if count.named.len() < NAMED_FILES_MAX {
                        count.named.push(vault.named_file(*ino, e.to_string()));
                    }
                }
            }
        }
        pace.ended(files.len() as u64, Instant::now());
        let (seen, total) = (count.files, all().map(|all| all.files));
        let left =
            total.and_then(|total| pace.of(1.0, total.saturating_sub(seen) as f64)).map(TimeLeft::of_secs);
        monitor.report(Progress { total, seen, failed: count.unreadable, left, ..Progress::default() });
    })?;
    vault.name_plainly(&mut count.named);
    count.census = census.into_iter().collect();
    count.census.sort();
    count.left_out = walked.left_out();
    count.stopped = cancellation.is_cancelled();
    if !count.stopped && count.left_out == 0 {
        vault.census_is_complete(at);
    }
    Ok(count)
}

#[cfg(test)]
mod tests;
