//! Which files are stale, and the queue of those that wait for a re-wrap.
//!
//! A file is stale when its backing key isn't what its alias resolves to now. With several hard links it
//! has several aliases: it is stale only against its own key's current version, else two would fight over it.

use std::collections::{HashSet, VecDeque};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use super::inode::Inode;
use super::{Result, Vault};
use crate::ids::{BackingKeyId, Ino};

/// Inodes that wait; beyond this many, later ones wait for their next open, or for a sweep.
const QUEUE_MAX: usize = 1 << 16;

/// Stale files that were opened, in the order they were.
#[derive(Default)]
pub(super) struct Queue {
    waiting: Mutex<Waiting>,
    filled: Condvar,
}

#[derive(Default)]
struct Waiting {
    order: VecDeque<Ino>,
    known: HashSet<Ino>,
    closed: bool,
}

impl Vault {
    /// The backing key that a file wrapped by `backing` should move to; `None` if it is where it belongs, or
    /// if a key isn't usable now.
    pub(super) fn rewrap_target(&self, inode: &Inode, backing: BackingKeyId) -> Result<Option<BackingKeyId>> {
        let alias = self.tree.alias_of(inode)?;
        let Ok(current) = self.keys.current(&alias) else { return Ok(None) };
        if current == backing || self.keys.usable(backing).is_err() {
            return Ok(None);
        }
        if current.key != backing.key && self.tree.stat(inode)?.nlink > 1 {
            let own = self.keys.current_of(backing.key).ok();
            return Ok(own.filter(|own| *own != backing));
        }
        Ok(Some(current).filter(|current| self.keys.usable(*current).is_ok()))
    }

    /// Whether a file wrapped by `backing` is stale.
    pub(super) fn is_stale(&self, inode: &Inode, backing: BackingKeyId) -> Result<bool> {
        Ok(self.rewrap_target(inode, backing)?.is_some())
    }

    /// Queues a file that was opened, if it is stale.
    pub(super) fn queue_if_stale(&self, inode: &Inode, backing: BackingKeyId) {
        if self.lazy_rewrap && matches!(self.is_stale(inode, backing), Ok(true)) {
            self.stale.push(inode.ino);
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
