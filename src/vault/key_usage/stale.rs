//! Which files are stale, and the queue of those that wait for a re-wrap.
//!
//! A file is stale when a slot of its header bears another backing key than the one where the file belongs now by its
//! alias tag (`wrapping.rs`): someone who has the old one opens the file by either. Or when it has no tag and is to get one.

use std::collections::{HashSet, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use crate::ids::Ino;

/// Inodes that wait; beyond this many, later ones wait for their next open, or for a sweep.
const QUEUE_MAX: usize = 1 << 16;

/// Stale files that were opened, in the order they were.
#[derive(Default)]
pub(in crate::vault) struct RewrapQueue {
    waiting: Mutex<Waiting>,
    filled: Condvar,
    /// Nothing is given out meanwhile.
    held: AtomicBool,
    unsynced_slots: UnsyncedSlots,
}

/// Files of which a slot was written that isn't known to be durable: what their lower file shows doesn't count,
/// also once no one has them open. Only an error leaves one here.
#[derive(Default)]
struct UnsyncedSlots {
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

impl RewrapQueue {
    /// Writing over a slot of the file, or making that durable, failed.
    pub(in crate::vault) fn slot_not_synced(&self, ino: Ino) {
        let mut files = self.unsynced_slots.files.lock();
        files.insert(ino);
        self.unsynced_slots.count.store(files.len(), Ordering::SeqCst);
    }

    /// That slot is durable.
    pub(in crate::vault) fn slot_synced(&self, ino: Ino) {
        if !self.has_unsynced_slot(ino) {
            return;
        }
        let mut files = self.unsynced_slots.files.lock();
        files.remove(&ino);
        self.unsynced_slots.count.store(files.len(), Ordering::SeqCst);
    }

    /// Whether a slot of the file was written and isn't known to be durable.
    pub(in crate::vault) fn has_unsynced_slot(&self, ino: Ino) -> bool {
        self.unsynced_slots.count.load(Ordering::SeqCst) > 0
            && self.unsynced_slots.files.lock().contains(&ino)
    }

    /// Queues a file, unless it is queued already or too many are.
    pub(in crate::vault) fn push(&self, ino: Ino) {
        let mut waiting = self.waiting.lock();
        if waiting.order.len() < QUEUE_MAX && waiting.known.insert(ino) {
            waiting.order.push_back(ino);
            self.filled.notify_one();
        }
    }

    /// How many wait.
    pub(in crate::vault) fn len(&self) -> usize {
        self.waiting.lock().order.len()
    }

    /// Wakes all that wait, for good.
    pub(in crate::vault) fn close(&self) {
        self.waiting.lock().closed = true;
        self.filled.notify_all();
    }

    /// Gives nothing out as long as it is held; what is pushed waits.
    pub(in crate::vault) fn hold(&self, held: bool) {
        // Under the lock, so that nobody who is about to wait misses it.
        let _waiting = self.waiting.lock();
        self.held.store(held, Ordering::SeqCst);
        self.filled.notify_all();
    }

    /// Whether it is held.
    pub(in crate::vault) fn is_held(&self) -> bool {
        self.held.load(Ordering::SeqCst)
    }

    /// Waits for files, at most `max` of them and at most `timeout`; `None` once closed.
    pub(in crate::vault) fn pop(&self, max: usize, timeout: Duration) -> Option<Vec<Ino>> {
        let mut waiting = self.waiting.lock();
        if (waiting.order.is_empty() || self.is_held()) && !waiting.closed {
            self.filled.wait_for(&mut waiting, timeout);
        }
        if waiting.closed {
            return None;
        }
        let n = if self.is_held() { 0 } else { waiting.order.len().min(max) };
        let batch: Vec<Ino> = waiting.order.drain(..n).collect();
        for ino in &batch {
            waiting.known.remove(ino);
        }
        Some(batch)
    }
}
