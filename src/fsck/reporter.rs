//! What a check reports while it runs: findings, counts, progress. Shared by its threads.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use super::finding::{Code, Disposition, Finding, Pages, Summary, VersionCount};
use crate::ids::{BackingKeyId, PathText};
use crate::keyring::Keys;
use crate::monitor::Cancellation;

/// Milliseconds between two reports of progress.
const TICK_MS: u64 = 50;

/// How far a check is. It reads all content and changes nothing, so it counts other things than
/// [`Progress`](crate::monitor::Progress) does.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
pub struct CheckProgress {
    /// Regular files begun.
    pub files: u64,
    /// Lower bytes read.
    pub bytes: u64,
    /// Errors and leftovers found.
    pub findings: u64,
}

/// Receives what a check finds. Called by one thread at a time. To stop the check, it cancels.
pub trait CheckObserver: Send {
    /// Something was found.
    fn found(&mut self, finding: &Finding);

    /// Called several times a second.
    fn progress(&mut self, progress: CheckProgress);
}

/// The place of a finding.
pub(super) struct Location {
    /// From the mount's root on.
    pub(super) path: Vec<u8>,
    /// In the vault's directory.
    pub(super) lower: Vec<u8>,
}

impl Location {
    pub(super) fn child(&self, name: &[u8], entry: &[u8]) -> Self {
        Self { path: [&self.path, &b"/"[..], name].concat(), lower: [&self.lower, &b"/"[..], entry].concat() }
    }

    /// A finding here, left as it is.
    pub(super) fn finding(&self, code: Code, pages: Option<Pages>, detail: String) -> Finding {
        let path = |bytes: &[u8]| {
            use std::os::unix::ffi::OsStrExt;
            PathText(std::ffi::OsStr::from_bytes(bytes).into())
        };
        Finding {
            code,
            severity: code.severity(),
            path: path(&self.path),
            lower: path(&self.lower),
            pages,
            detail,
            disposition: Disposition::Left,
        }
    }
}

/// Collects the reports of a check's threads.
pub(super) struct Reporter<'a> {
    observer: Mutex<&'a mut dyn CheckObserver>,
    pub(super) counts: Mutex<Summary>,
    versions: Mutex<HashMap<BackingKeyId, u64>>,
    unopened: Mutex<HashMap<BackingKeyId, u64>>,
    bytes: AtomicU64,
    cancellation: &'a Cancellation,
    began: Instant,
    /// When `observer` receives progress next, in ms from the beginning.
    next_tick: AtomicU64,
}

impl<'a> Reporter<'a> {
    pub(super) fn new(observer: &'a mut dyn CheckObserver, cancellation: &'a Cancellation) -> Self {
        Self {
            observer: Mutex::new(observer),
            counts: Mutex::default(),
            versions: Mutex::default(),
            unopened: Mutex::default(),
            bytes: AtomicU64::new(0),
            cancellation,
            began: Instant::now(),
            next_tick: AtomicU64::new(0),
        }
    }

    /// Reports a finding.
    pub(super) fn found(&self, finding: &Finding) {
        self.counts.lock().count(finding);
        self.observer.lock().found(finding);
    }

    /// Reports a finding at `place`.
    pub(super) fn find(&self, place: &Location, code: Code, pages: Option<Pages>, detail: impl Into<String>) {
        self.found(&place.finding(code, pages, detail.into()));
    }

    /// Counts bytes that were read.
    pub(super) fn read(&self, bytes: u64) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Counts a file wrapped by this backing key.
    pub(super) fn wrapped(&self, backing: BackingKeyId) {
        *self.versions.lock().entry(backing).or_default() += 1;
    }

    /// Counts a file that can't be opened without this backing key.
    pub(super) fn lacks(&self, backing: BackingKeyId) {
        *self.unopened.lock().entry(backing).or_default() += 1;
    }

    /// The backing keys of the files that were opened.
    pub(super) fn opened(&self) -> Vec<BackingKeyId> {
        let mut opened: Vec<_> = self.versions.lock().keys().copied().collect();
        opened.sort_unstable();
        opened
    }

    /// Whether the check was cancelled.
    pub(super) fn stopped(&self) -> bool {
        self.cancellation.is_cancelled()
    }

    /// Reports progress if it is time. Called for each entry and for each MiB.
    pub(super) fn tick(&self) {
        let now = self.began.elapsed().as_millis() as u64;
        let due = self.next_tick.load(Ordering::Relaxed);
        let next = now + TICK_MS;
        if now < due
            || self.next_tick.compare_exchange(due, next, Ordering::Relaxed, Ordering::Relaxed).is_err()
        {
            return;
        }
        let progress = {
            let counts = self.counts.lock();
            let findings = counts.errors + counts.leftovers;
            CheckProgress { files: counts.files, bytes: self.bytes.load(Ordering::Relaxed), findings }
        };
        self.observer.lock().progress(progress);
    }

    /// The counts at the end. `keys` has the reasons why files weren't opened.
    pub(super) fn summary(&self, keys: &Keys) -> Summary {
        let (versions, unopened) = (counted(&self.versions, keys), counted(&self.unopened, keys));
        let bytes = self.bytes.load(Ordering::Relaxed);
        Summary { complete: !self.stopped(), bytes, versions, unopened, ..self.counts.lock().clone() }
    }
}

fn counted(counts: &Mutex<HashMap<BackingKeyId, u64>>, keys: &Keys) -> Vec<VersionCount> {
    let mut counts: Vec<_> = counts.lock().iter().map(|(backing, n)| (*backing, *n)).collect();
    counts.sort_unstable();
    let count = |(backing, files): (BackingKeyId, u64)| VersionCount {
        key_id: backing.key,
        version: backing.version,
        files,
        state: keys.state_of(backing),
    };
    counts.into_iter().map(count).collect()
}
