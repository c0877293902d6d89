//! Which files are stale, and the queue of those that wait for a re-wrap.
//!
//! A file is stale when a slot of its header bears another backing key than the one where the file belongs now by its
//! alias tag (`wrapping.rs`): whoever has the old one opens the file by either. Or when it has no tag and is to get one.

use std::collections::{HashSet, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use crate::header::SlotKeys;
use crate::ids::Ino;
use crate::storage;
use crate::vault::{Result, Vault};

/// Inodes that wait; beyond this many, later ones wait for their next open, or for a sweep.
const QUEUE_MAX: usize = 1 << 16;

/// Stale files that were opened, in the order they were.
#[derive(Default)]
pub(in crate::vault) struct Queue {
    waiting: Mutex<Waiting>,
    filled: Condvar,
    unsettled: Unsettled,
}

/// Files of which a slot was written that isn't known to be durable: what their lower file shows doesn't count,
/// also once no one has them open. Only an error leaves one here.
#[derive(Default)]
struct Unsettled {
    files: Mutex<HashSet<Ino>>,
    /// How many there are: mostly none, which every open asks.
    count: AtomicUsize,
}

#[derive(Default)]
struct Waiting {
    order: VecDeque<Ino>,
    known: HashSet<Ino>,
    closed: bool,
}

impl Vault {
    /// Makes durable what a walk over all files has seen, and what it has not: a power cut brings back no file, with an
    /// old header, that was emptied or removed before.
    ///
    /// # Errors
    /// What the lower filesystem says.
    pub fn make_durable(&self) -> Result<()> {
        if self.read_only() {
            return Ok(());
        }
        Ok(storage::syncfs(self.tree.dir(Ino::ROOT)?.fd())?)
    }

    /// Queues a file that was opened, if it is stale.
    pub(in crate::vault) fn queue_if_stale(&self, ino: Ino, slots: &SlotKeys) {
        if self.lazy_rewrap && self.rewrap_target(slots).is_some() {
            self.stale.push(ino);
        }
    }

    /// Waits for stale files that were opened, at most `max` of them and at most `timeout`; `None` once the
    /// vault is closing.
    pub fn next_stale(&self, max: usize, timeout: Duration) -> Option<Vec<Ino>> {
        self.stale.pop(max, timeout)
    }

    /// Stale files that wait for their re-wrap.
    pub fn stale_waiting(&self) -> usize {
        self.stale.waiting.lock().order.len()
    }

    /// Wakes whoever waits in [`Vault::next_stale`], [`Vault::give_memory_back`] or [`Vault::free_removed`], for good.
    pub fn close_queues(&self) {
        self.stale.waiting.lock().closed = true;
        self.stale.filled.notify_all();
        self.forgotten.close();
        self.removed.close();
    }
}

impl Queue {
    /// Writing over a slot of the file, or making that durable, failed.
    pub(in crate::vault) fn not_settled(&self, ino: Ino) {
        let mut files = self.unsettled.files.lock();
        files.insert(ino);
        self.unsettled.count.store(files.len(), Ordering::SeqCst);
    }

    /// That slot is durable.
    pub(in crate::vault) fn settled(&self, ino: Ino) {
        if !self.is_unsettled(ino) {
            return;
        }
        let mut files = self.unsettled.files.lock();
        files.remove(&ino);
        self.unsettled.count.store(files.len(), Ordering::SeqCst);
    }

    /// Whether a slot of the file was written and isn't known to be durable.
    pub(in crate::vault) fn is_unsettled(&self, ino: Ino) -> bool {
        self.unsettled.count.load(Ordering::SeqCst) > 0 && self.unsettled.files.lock().contains(&ino)
    }

    fn push(&self, ino: Ino) {
        let mut waiting = self.waiting.lock();
        if waiting.order.len() < QUEUE_MAX && waiting.known.insert(ino) {
            waiting.order.push_back(ino);
            self.filled.notify_one();
        }
    }

    fn pop(&self, max: usize, timeout: Duration) -> Option<Vec<Ino>> {
        let mut waiting = self.waiting.lock();
        if waiting.order.is_empty() && !waiting.closed {
            self.filled.wait_for(&mut waiting, timeout);
        }
        if waiting.closed {
            return None;
        }
        let n = waiting.order.len().min(max);
        let batch: Vec<Ino> = waiting.order.drain(..n).collect();
        for ino in &batch {
            waiting.known.remove(ino);
        }
        Some(batch)
    }
}
