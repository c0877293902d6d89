//! Threads for requests that may wait: syncs for the disk, seeks and direct writes for the kernel's own pages.
//!
//! A session thread reads no new request before its handler returns, so if all session threads waited the mount would
//! stop. These requests run on threads of the pool, which are started as needed up to a bound; further requests are queued.
//! If recent syncs were quick (memory, a disk with a cache of its own), up to half of the session threads run their syncs
//! themselves, which saves two switches of threads for each. A session thread needs a [`SyncPermit`] for that.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use fuser::{ReplyEmpty, ReplyLseek, ReplyWrite};
use parking_lot::{Condvar, Mutex};

use super::answer::Answer;
use super::errno::errno;
use super::kernel::KernelCache;
use super::owed::Owed;
use super::panics;
use super::replies::{empty, written};
use crate::ids::{Handle, Ino, PlainOffset};
use crate::vault::{Result, Stale, SyncScope, Vault, Whence};

/// The longest sync that isn't worth another thread, in ns: twice what waking a thread takes at most.
const QUICK: u64 = 100_000;

/// Work for the pool: most of it is a request that a program waits for.
pub(super) enum Task {
    SyncFile {
        ino: Ino,
        scope: SyncScope,
        reply: Answer<ReplyEmpty>,
    },
    SyncDirectory {
        ino: Ino,
        scope: SyncScope,
        reply: Answer<ReplyEmpty>,
    },
    Flush {
        ino: Ino,
        reply: Answer<ReplyEmpty>,
    },
    Release {
        ino: Ino,
        handle: Handle,
        reply: Answer<ReplyEmpty>,
    },
    Seek {
        ino: Ino,
        offset: PlainOffset,
        whence: Whence,
        reply: Answer<ReplyLseek>,
    },
    /// Makes the kernel drop pages that a direct write made stale, then answers the write.
    Written {
        ino: Ino,
        offset: PlainOffset,
        len: usize,
        stale: Stale,
        /// Of the answer that is owed.
        number: u64,
    },
    /// Makes the kernel look an inode up again, once no one has it open any more. Not part of a request: the kernel takes the
    /// directory's lock for it, whose holder may wait for the file that the request works on.
    Forget {
        ino: Ino,
    },
    /// Makes the kernel drop what it has cached of an inode's content, and look it up again as with [`Task::Forget`]: a change
    /// of it failed, and may have been made in part.
    LookAgain {
        ino: Ino,
    },
}

struct Queue {
    waiting: VecDeque<Task>,
    threads: usize,
    idle: usize,
    closed: bool,
}

struct PoolState {
    vault: Arc<Vault>,
    kernel: KernelCache,
    queue: Mutex<Queue>,
    arrived: Condvar,
    limit: usize,
    permits: SyncPermits,
    owed: Owed<(Answer<ReplyWrite>, Result<usize>)>,
}

/// Runs what may wait, off the session threads. If it is dropped, queued tasks are finished and the threads end.
pub struct Pool(Arc<PoolState>);

impl Pool {
    /// A pool of at most `limit` threads (at least 1) beside so many session threads. None is started yet.
    pub fn new(vault: Arc<Vault>, kernel: KernelCache, limit: usize, session_threads: usize) -> Self {
        let queue = Queue { waiting: VecDeque::new(), threads: 0, idle: 0, closed: false };
        Self(Arc::new(PoolState {
            vault,
            kernel,
            queue: Mutex::new(queue),
            arrived: Condvar::new(),
            limit: limit.max(1),
            permits: SyncPermits::new(session_threads / 2),
            owed: Owed::new(),
        }))
    }

    /// Runs a task, here or on a thread of the pool. The task sends its own answer.
    pub(super) fn submit(&self, task: Task) {
        let sync = match task {
            Task::SyncFile { .. }
            | Task::SyncDirectory { .. }
            | Task::Flush { .. }
            | Task::Release { .. } => true,
            // They make the kernel write pages out, which needs session threads.
            Task::Seek { .. } | Task::Written { .. } | Task::Forget { .. } | Task::LookAgain { .. } => false,
        };
        let permit = if sync { self.0.permits.take() } else { None };
        match permit {
            Some(_permit) => self.0.run(task),
            None => self.queue(task),
        }
    }

    /// Makes the kernel drop pages that a direct write has made stale, then answers the write; earlier if all such writes wait
    /// for each other (`owed`).
    pub(super) fn answer_after_drop(
        &self,
        ino: Ino,
        offset: PlainOffset,
        len: usize,
        stale: Stale,
        answer: (Answer<ReplyWrite>, Result<usize>),
    ) {
        let (number, unwatched) = self.0.owed.add(answer);
        if unwatched {
            let shared = Arc::clone(&self.0);
            let watch = move || shared.owed.watch(|(reply, done)| written(reply, done));
            if let Err(error) = std::thread::Builder::new().name("owed".to_owned()).spawn(watch) {
                tracing::warn!(%error, "no thread to watch direct writes that wait for each other");
            }
        }
        self.submit(Task::Written { ino, offset, len, stale, number });
    }

    /// Whether recent syncs took so long that syncs run on threads of the pool.
    pub(super) fn syncs_are_slow(&self) -> bool {
        self.0.permits.are_slow()
    }

    /// Queues a task for a thread of the pool; runs it here if no thread can be started.
    fn queue(&self, task: Task) {
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
        self.0.owed.close();
    }
}

/// A semaphore for syncs on session threads, closed while syncs are slow.
struct SyncPermits {
    limit: usize,
    taken: AtomicUsize,
    /// How long recent syncs took, in ns: a maximum that decays, so that one slow sync counts for several quick ones.
    recent: AtomicU64,
}

/// Permission to sync on a session thread, until it is dropped.
struct SyncPermit<'a>(&'a SyncPermits);

impl SyncPermits {
    /// At most `limit` permits at once. Syncs count as slow until one was measured.
    fn new(limit: usize) -> Self {
        Self { limit, taken: AtomicUsize::new(0), recent: AtomicU64::new(QUICK + 1) }
    }

    fn take(&self) -> Option<SyncPermit<'_>> {
        if self.are_slow() {
            return None;
        }
        let next = |taken| (taken < self.limit).then_some(taken + 1);
        self.taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next).is_ok().then(|| SyncPermit(self))
    }

    fn are_slow(&self) -> bool {
        self.recent.load(Ordering::Relaxed) > QUICK
    }

    /// Records how long a sync took. A racing update may be lost, which only delays what is learned.
    fn learn(&self, took: Duration) {
        let took = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        let recent = self.recent.load(Ordering::Relaxed);
        self.recent.store(took.max(recent - recent / 4), Ordering::Relaxed);
    }
}

impl Drop for SyncPermit<'_> {
    fn drop(&mut self) {
        self.0.taken.fetch_sub(1, Ordering::Relaxed);
    }
}

impl PoolState {
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
        panics::caught("fsync, release, lseek or write", || match task {
            Task::SyncFile { ino, scope, reply } => {
                let _entered = reply.enter();
                empty(reply, self.timed(|| self.vault.fsync(ino, scope)));
            }
            Task::SyncDirectory { ino, scope, reply } => {
                let _entered = reply.enter();
                empty(reply, self.timed(|| self.vault.fsyncdir(ino, scope)));
            }
            Task::Flush { ino, reply } => {
                let _entered = reply.enter();
                empty(reply, self.timed(|| self.vault.flush(ino)));
            }
            Task::Release { ino, handle, reply } => {
                let _entered = reply.enter();
                empty(reply, self.timed(|| self.vault.release(ino, handle)));
            }
            Task::Seek { ino, offset, whence, reply } => {
                let _entered = reply.enter();
                match self.seek(ino, offset, whence) {
                    Ok(found) => {
                        let found = i64::try_from(found.0).unwrap_or(i64::MAX);
                        reply.send(|reply| reply.offset(found));
                    }
                    Err(error) => reply.error(errno(&error)),
                }
            }
            Task::Written { ino, offset, len, stale, number } => {
                self.drop_stale(ino, offset, len, stale);
                if let Some((reply, done)) = self.owed.take(number) {
                    written(reply, done);
                }
            }
            Task::Forget { ino } => self.forget(ino),
            Task::LookAgain { ino } => {
                if let Err(error) = self.kernel.drop_pages(ino) {
                    tracing::warn!(%error, ino = ino.0, "the kernel kept pages of a file that could not be changed");
                }
                self.forget(ino);
            }
        });
    }

    fn drop_stale(&self, ino: Ino, offset: PlainOffset, len: usize, stale: Stale) {
        let dropped = match stale {
            Stale::Nothing => Ok(()),
            Stale::Range => self.kernel.drop_range(ino, offset, len),
            Stale::All => {
                let dropped = self.kernel.drop_pages(ino);
                self.vault.all_pages_dropped(ino);
                dropped
            }
        };
        if let Err(error) = dropped {
            tracing::warn!(%error, ino = ino.0, "the kernel kept pages that a direct write made stale");
        }
    }

    fn forget(&self, ino: Ino) {
        if let Some((directory, name)) = self.vault.known_name(ino)
            && let Err(error) = self.kernel.drop_name(directory, &name)
        {
            tracing::debug!(%error, ino = ino.0, "the kernel shows a size or an mtime that the lower filesystem can't keep");
        }
    }

    fn timed(&self, sync: impl FnOnce() -> Result<()>) -> Result<()> {
        let began = Instant::now();
        let done = sync();
        self.permits.learn(began.elapsed());
        done
    }

    /// The kernel doesn't write its pages out before it asks for data or holes: what it holds would look like a hole, or like
    /// the end of the file. So its pages are dropped, and with that written out, first.
    fn seek(&self, ino: Ino, offset: PlainOffset, whence: Whence) -> Result<PlainOffset> {
        if self.vault.kernel_may_hold_data(ino)
            && let Err(error) = self.kernel.drop_pages(ino)
        {
            tracing::warn!(%error, ino = ino.0, "the kernel kept its pages before a seek");
        }
        self.vault.lseek(ino, offset, whence)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SLOW: Duration = Duration::from_millis(5);
    const FAST: Duration = Duration::from_micros(3);

    /// Permits as they are where syncs are quick.
    fn quick(limit: usize) -> SyncPermits {
        let permits = SyncPermits::new(limit);
        permits.learn(FAST);
        permits
    }

    #[test]
    fn no_more_session_threads_wait_than_may_and_each_permit_comes_back() {
        let permits = quick(2);
        let at_once = AtomicUsize::new(0);
        std::thread::scope(|threads| {
            for _ in 0..8 {
                threads.spawn(|| {
                    for _ in 0..2_000 {
                        let Some(_permit) = permits.take() else { continue };
                        assert!(at_once.fetch_add(1, Ordering::SeqCst) < 2);
                        std::thread::yield_now();
                        at_once.fetch_sub(1, Ordering::SeqCst);
                    }
                });
            }
        });
        let first = permits.take();
        let second = permits.take();
        assert!(first.is_some() && second.is_some());
        assert!(permits.take().is_none());
        drop(first);
        assert!(permits.take().is_some());
        assert!(quick(0).take().is_none());
    }

    #[test]
    fn syncs_get_a_permit_while_recent_ones_were_quick() {
        let permits = SyncPermits::new(1);
        assert!(permits.take().is_none(), "nothing is known yet");
        permits.learn(FAST);
        assert!(permits.take().is_some());
        permits.learn(SLOW);
        permits.learn(FAST);
        assert!(permits.take().is_none(), "a slow one is remembered");
        for _ in 0..20 {
            permits.learn(FAST);
        }
        assert!(permits.take().is_some(), "and forgotten");
    }
}
