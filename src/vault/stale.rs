//! Which files are stale, and the queue of those that wait for a re-wrap.
//!
//! A file is stale when a slot of its header bears another backing key than the one that its alias resolves to
//! now: whoever has the old one opens the file by either. With several hard links it has several aliases: it is
//! stale only against its own key's current version, else two would fight over it.

use std::collections::{HashSet, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use super::inode::Inode;
use super::{Result, Vault};
use crate::header::SlotKeys;
use crate::ids::{BackingKeyId, Ino};
use crate::storage;

/// Inodes that wait; beyond this many, later ones wait for their next open, or for a sweep.
const QUEUE_MAX: usize = 1 << 16;

/// Stale files that were opened, in the order they were.
#[derive(Default)]
pub(super) struct Queue {
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
    /// The backing key that both slots of a file should bear; `None` if they do (zeros are as good), or if the key
    /// that opens it isn't usable now.
    pub(super) fn rewrap_target(&self, inode: &Inode, keys: SlotKeys) -> Result<Option<BackingKeyId>> {
        let target = self.moves_to(inode, keys.backing)?.unwrap_or(keys.backing);
        let stale = !keys.only(target) && self.keys.usable(keys.backing).is_ok();
        Ok(stale.then_some(target))
    }

    /// The backing key that a file wrapped by `backing` belongs to instead, if it can be used.
    fn moves_to(&self, inode: &Inode, backing: BackingKeyId) -> Result<Option<BackingKeyId>> {
        let alias = self.tree.alias_of(inode)?;
        let Ok(current) = self.keys.current(&alias) else { return Ok(None) };
        if current == backing {
            return Ok(None);
        }
        if current.key != backing.key && self.tree.stat(inode)?.nlink > 1 {
            let own = self.keys.current_of(backing.key).ok();
            return Ok(own.filter(|own| *own != backing));
        }
        Ok(Some(current).filter(|current| self.keys.usable(*current).is_ok()))
    }

    /// Whether a file with these slots is stale.
    pub(super) fn is_stale(&self, inode: &Inode, keys: SlotKeys) -> Result<bool> {
        Ok(self.rewrap_target(inode, keys)?.is_some())
    }

    /// Makes durable what a walk over all files has seen, and what it has not: a power cut brings back no file, with an
    /// old header, that was emptied or removed before.
    ///
    /// # Errors
    /// What the lower filesystem says.
    pub fn make_durable(&self) -> Result<()> {
        if self.read_only {
            return Ok(());
        }
        Ok(storage::syncfs(self.tree.dir(Ino::ROOT)?.fd())?)
    }

    /// Queues a file that was opened, if it is stale.
    pub(super) fn queue_if_stale(&self, inode: &Inode, keys: SlotKeys) {
        if self.lazy_rewrap && matches!(self.is_stale(inode, keys), Ok(true)) {
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
    /// Writing over a slot of the file, or making that durable, failed.
    pub(super) fn not_settled(&self, ino: Ino) {
        let mut files = self.unsettled.files.lock();
        files.insert(ino);
        self.unsettled.count.store(files.len(), Ordering::SeqCst);
    }

    /// That slot is durable.
    pub(super) fn settled(&self, ino: Ino) {
        if !self.is_unsettled(ino) {
            return;
        }
        let mut files = self.unsettled.files.lock();
        files.remove(&ino);
        self.unsettled.count.store(files.len(), Ordering::SeqCst);
    }

    /// Whether a slot of the file was written and isn't known to be durable.
    pub(super) fn is_unsettled(&self, ino: Ino) -> bool {
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
