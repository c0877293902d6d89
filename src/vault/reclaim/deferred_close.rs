//! Removed files that the kernel has forgotten. When the last descriptor of one is closed the lower filesystem frees
//! its blocks, which takes longer than all else that a removal does: a thread closes them, a few at a time, while
//! session threads continue. A request that finds no disk space waits for that.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use crate::vault::tree::inode::Inode;

/// Removals come in bursts: within one the thread needn't be woken for each, but looks itself, so often.
const STEP: Duration = Duration::from_millis(1);
/// A burst is over when it has found nothing so often.
const PAUSES: u32 = 3;
/// How many may wait. Beyond it session threads close files themselves.
const MOST: usize = 256;

/// The files whose last descriptors are to be closed.
#[derive(Default)]
pub(in crate::vault) struct DeferredClose {
    queue: Mutex<WaitingInodes>,
    /// For the thread: there is something again, or the end. For others: what was under way is closed.
    changed: Condvar,
}

#[derive(Default)]
struct WaitingInodes {
    waiting: Vec<Arc<Inode>>,
    /// Whether a thread serves it; without one nothing is queued.
    served: bool,
    asleep: bool,
    /// Whether the thread is closing files, which aren't among those that wait any more.
    under_way: bool,
    over: bool,
}

impl DeferredClose {
    /// Closes an inode's descriptor, here or soon.
    pub(in crate::vault) fn add(&self, inode: Arc<Inode>) {
        let mut queue = self.queue.lock();
        if queue.served && queue.waiting.len() < MOST {
            queue.waiting.push(inode);
            if queue.asleep {
                queue.asleep = false;
                self.changed.notify_all();
            }
        }
    }

    /// Closes all that waits. Returns whether that may have freed space.
    pub(in crate::vault) fn drain(&self) -> bool {
        let mut queue = self.queue.lock();
        let waiting = std::mem::take(&mut queue.waiting);
        let any = queue.under_way || !waiting.is_empty();
        while queue.under_way {
            self.changed.wait(&mut queue);
        }
        drop(queue);
        drop(waiting);
        any
    }

    /// Ends the thread, and lets nothing wait any more.
    pub(in crate::vault) fn close(&self) {
        self.queue.lock().over = true;
        self.changed.notify_all();
    }

    pub(in crate::vault) fn serve(&self) {
        let mut queue = self.queue.lock();
        queue.served = true;
        let mut pauses = 0;
        while !queue.over {
            let waiting = std::mem::take(&mut queue.waiting);
            if !waiting.is_empty() {
                pauses = 0;
                queue.under_way = true;
                drop(queue);
                drop(waiting);
                queue = self.queue.lock();
                queue.under_way = false;
                self.changed.notify_all();
            } else if pauses < PAUSES {
                pauses += 1;
                self.changed.wait_for(&mut queue, STEP);
            } else {
                queue.asleep = true;
                self.changed.wait(&mut queue);
                queue.asleep = false;
                pauses = 0;
            }
        }
        queue.served = false;
        queue.waiting.clear();
    }
}

#[cfg(test)]
mod tests;
