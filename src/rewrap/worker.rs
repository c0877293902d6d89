//! The lazy re-wrap: re-wraps stale files that were opened, in batches, on a thread of its own.

use std::collections::HashSet;
use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::ids::Ino;
use crate::vault::Vault;

/// Files in a batch: enough to share a sync, few enough that none is locked for long.
const BATCH: usize = 64;
/// How long further files are collected after the first of a batch.
const GATHER: Duration = Duration::from_millis(200);
/// How long until a failed re-wrap (no space, immutable file) is tried again.
const RETRY: Duration = Duration::from_secs(30);
/// The most files kept for another try; others wait for their next open.
const RETRY_MAX: usize = 4096;

/// The thread that re-wraps what is opened. It ends when the vault's queues are closed.
pub struct Worker(JoinHandle<()>);

impl Worker {
    /// Starts it.
    ///
    /// # Errors
    /// If no thread can be started.
    pub fn start(vault: Arc<Vault>) -> io::Result<Self> {
        std::thread::Builder::new().name("rekeyfs-rewrap".into()).spawn(move || run(&vault)).map(Self)
    }

    /// Waits for its end, after [`Vault::close_queues`].
    pub fn join(self) {
        if self.0.join().is_err() {
            tracing::error!("the re-wrap thread panicked");
        }
    }
}

fn run(vault: &Vault) {
    let mut retry: HashSet<Ino> = HashSet::new();
    let mut retry_at = Instant::now();
    while let Some(mut batch) = vault.next_stale(BATCH, RETRY) {
        if !batch.is_empty() && batch.len() < BATCH {
            std::thread::sleep(GATHER);
            match vault.next_stale(BATCH - batch.len(), Duration::ZERO) {
                Some(more) => batch.extend(more),
                None => return,
            }
        }
        if vault.rewraps_are_held() {
            // Of a batch that was taken just before.
            retry.extend(batch);
            continue;
        }
        if retry_at <= Instant::now() {
            // Those that don't fit into this batch keep waiting.
            let due: Vec<Ino> = retry.iter().copied().take(BATCH).collect();
            retry.retain(|ino| !due.contains(ino));
            batch.extend(due);
            retry_at = Instant::now() + RETRY;
        }
        if batch.is_empty() {
            continue;
        }
        let outcome = vault.rewrap_batch(&batch);
        retry.extend(outcome.failed.iter().take(RETRY_MAX.saturating_sub(retry.len())));
        tracing::debug!(
            rewrapped = outcome.rewrapped,
            skipped = outcome.skipped,
            failed = outcome.failed.len(),
            "lazy re-wrap"
        );
    }
}
