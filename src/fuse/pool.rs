//! The threads on which syncs run: a session thread reads no new request before its handler returns, so a
//! slow disk would stop the mount. Started as needed, up to a bound; requests beyond it wait in line.

use std::collections::VecDeque;
use std::sync::Arc;

use fuser::ReplyEmpty;
use parking_lot::{Condvar, Mutex};

use super::{errno, guarded};
use crate::ids::Ino;
use crate::vault::Vault;

/// A sync that a program waits for.
pub(super) enum Sync {
    File { ino: Ino, datasync: bool },
    Directory { ino: Ino, datasync: bool },
}

struct Queue {
    waiting: VecDeque<(Sync, ReplyEmpty)>,
    threads: usize,
    idle: usize,
    closed: bool,
}

struct Shared {
    vault: Arc<Vault>,
    queue: Mutex<Queue>,
    arrived: Condvar,
    limit: usize,
}

/// Runs syncs off the session threads. Dropping it lets the queued ones finish and their threads end.
pub struct Pool(Arc<Shared>);

impl Pool {
    /// A pool of at most `limit` threads (at least 1); none runs yet.
    pub fn new(vault: Arc<Vault>, limit: usize) -> Self {
        let queue = Queue { waiting: VecDeque::new(), threads: 0, idle: 0, closed: false };
        Self(Arc::new(Shared {
            vault,
            queue: Mutex::new(queue),
            arrived: Condvar::new(),
            limit: limit.max(1),
        }))
    }

    /// Queues a sync; it replies when done. If no thread can be had, it runs here.
    pub(super) fn submit(&self, sync: Sync, reply: ReplyEmpty) {
        let mut queue = self.0.queue.lock();
        queue.waiting.push_back((sync, reply));
        if queue.idle < queue.waiting.len() && queue.threads < self.0.limit {
            let shared = Arc::clone(&self.0);
            let name = format!("sync-{}", queue.threads);
            match std::thread::Builder::new().name(name).spawn(move || shared.work()) {
                Ok(_) => queue.threads += 1,
                Err(error) if queue.threads == 0 => {
                    tracing::warn!(%error, "no thread for syncs: they run on the session's");
                    while let Some((sync, reply)) = queue.waiting.pop_front() {
                        drop(queue);
                        self.0.run(sync, reply);
                        queue = self.0.queue.lock();
                    }
                    return;
                }
                Err(_) => {}
            }
        }
        drop(queue);
        self.0.arrived.notify_one();
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.0.queue.lock().closed = true;
        self.0.arrived.notify_all();
    }
}

impl Shared {
    fn work(&self) {
        let mut queue = self.queue.lock();
        loop {
            if let Some((sync, reply)) = queue.waiting.pop_front() {
                drop(queue);
                self.run(sync, reply);
                queue = self.queue.lock();
            } else if queue.closed {
                return;
            } else {
                queue.idle += 1;
                self.arrived.wait(&mut queue);
                queue.idle -= 1;
            }
        }
    }

    fn run(&self, sync: Sync, reply: ReplyEmpty) {
        guarded("fsync", || {
            let done = match sync {
                Sync::File { ino, datasync } => self.vault.fsync(ino, datasync),
                Sync::Directory { ino, datasync } => self.vault.fsyncdir(ino, datasync),
            };
            match done {
                Ok(()) => reply.ok(),
                Err(error) => reply.error(errno(&error)),
            }
        });
    }
}
