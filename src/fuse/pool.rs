//! The threads on which requests run that wait for something: syncs for the disk, and seeks for the kernel's
//! own pages. A session thread reads no new request before its handler returns, so either would stop the
//! mount. Started as needed, up to a bound; requests beyond it wait in line.

use std::collections::VecDeque;
use std::sync::Arc;

use fuser::{ReplyEmpty, ReplyLseek};
use parking_lot::{Condvar, Mutex};

use super::replies::empty;
use super::{KernelCache, errno, guarded};
use crate::ids::{Handle, Ino, PlainOffset};
use crate::vault::{Result, Vault, Whence};

/// A request that a program waits for.
pub(super) enum Task {
    SyncFile { ino: Ino, datasync: bool, reply: ReplyEmpty },
    SyncDirectory { ino: Ino, datasync: bool, reply: ReplyEmpty },
    Release { ino: Ino, handle: Handle, reply: ReplyEmpty },
    Seek { ino: Ino, offset: PlainOffset, whence: Whence, reply: ReplyLseek },
}

struct Queue {
    waiting: VecDeque<Task>,
    threads: usize,
    idle: usize,
    closed: bool,
}

struct Shared {
    vault: Arc<Vault>,
    kernel: KernelCache,
    queue: Mutex<Queue>,
    arrived: Condvar,
    limit: usize,
}

/// Runs what waits off the session threads. Dropping it lets the queued tasks finish and their threads end.
pub struct Pool(Arc<Shared>);

impl Pool {
    /// A pool of at most `limit` threads (at least 1); none runs yet.
    pub fn new(vault: Arc<Vault>, kernel: KernelCache, limit: usize) -> Self {
        let queue = Queue { waiting: VecDeque::new(), threads: 0, idle: 0, closed: false };
        Self(Arc::new(Shared {
            vault,
            kernel,
            queue: Mutex::new(queue),
            arrived: Condvar::new(),
            limit: limit.max(1),
        }))
    }

    /// Queues a task; it replies when done. If no thread can be had, it runs here.
    pub(super) fn submit(&self, task: Task) {
        let mut queue = self.0.queue.lock();
        queue.waiting.push_back(task);
        if queue.idle < queue.waiting.len() && queue.threads < self.0.limit {
            let shared = Arc::clone(&self.0);
            let name = format!("wait-{}", queue.threads);
            match std::thread::Builder::new().name(name).spawn(move || shared.work()) {
                Ok(_) => queue.threads += 1,
                Err(error) if queue.threads == 0 => {
                    tracing::warn!(%error, "no thread to wait on: syncs run on the session's");
                    while let Some(task) = queue.waiting.pop_front() {
                        drop(queue);
                        self.0.run(task);
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
            if let Some(task) = queue.waiting.pop_front() {
                drop(queue);
                self.run(task);
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

    fn run(&self, task: Task) {
        guarded("fsync, release or lseek", || match task {
            Task::SyncFile { ino, datasync, reply } => empty(reply, self.vault.fsync(ino, datasync)),
            Task::SyncDirectory { ino, datasync, reply } => {
                empty(reply, self.vault.fsyncdir(ino, datasync));
            }
            Task::Release { ino, handle, reply } => empty(reply, self.vault.release(ino, handle)),
            Task::Seek { ino, offset, whence, reply } => match self.seek(ino, offset, whence) {
                Ok(found) => reply.offset(i64::try_from(found.0).unwrap_or(i64::MAX)),
                Err(error) => reply.error(errno(&error)),
            },
        });
    }

    /// The kernel doesn't write its pages out before it asks: what it holds would look like a hole, or like
    /// the end of the file.
    fn seek(&self, ino: Ino, offset: PlainOffset, whence: Whence) -> Result<PlainOffset> {
        if self.vault.kernel_may_hold_data(ino)
            && let Err(error) = self.kernel.drop_pages(ino)
        {
            tracing::warn!(%error, ino = ino.0, "the kernel kept its pages before a seek");
        }
        self.vault.lseek(ino, offset, whence)
    }
}
