//! The co-located worker: a session thread that serves a program on the program's own core.
//!
//! A request wakes two threads: the one that serves it, and the program when it is answered. Waking one on a core that
//! has gone to sleep takes 5 to 50 µs; polling spares the first of them. A program that sends one request after
//! another, and waits for each, needs no second core: where both use one, the kernel switches between them in a
//! microsecond or two. By itself it doesn't: it moves a thread that wakes up to an idle core. So the worker is bound to
//! the core that the program last ran on, and of policy SCHED_IDLE: a core on which nothing else runs counts as
//! idle, so the program stays there when it is woken (select_idle_sibling in the kernel's sched/fair.c), and it runs
//! before the worker does.
//!
//! A thread needs a privilege to leave SCHED_IDLE, so one thread is the worker for good, and parked when not called. It
//! comes last where others want its core, maybe with a lock that another thread waits for: so it isn't called where
//! all cores are busy, and leaves when it is late ([`WORKER_LATE`]), when they are busy ([`WORKER_CHECK_EVERY`]), or
//! when requests are large or come from several callers, for then a second core does help.

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

use parking_lot::{Condvar, Mutex};

use super::policy::Served;
use super::tunables::{
    MIGRATIONS_MAX, PENALTY_BULK, PENALTY_MAX, PENALTY_OTHER_CALLER, SWITCH_AFTER, WORKER_CHECK_EVERY,
    WORKER_LATE,
};
use crate::sys::schedule::{
    Core, Cores, ThreadId, core_of, run_as_others, run_on, run_when_idle, this_thread,
};

thread_local! {
    /// In the worker alone: whom it serves, and how.
    static ASSIGNMENT: RefCell<Option<Assignment>> = const { RefCell::new(None) };
    static ATTENDS: RefCell<Option<Attends>> = const { RefCell::new(None) };
}

/// The worker, as all session threads know it.
pub(super) struct ColocatedWorker {
    /// The number of the call that it serves, or 0. Written with the lock of `post` held.
    serving: AtomicU32,
    /// Where it may run: an administrator may have said where not.
    allowed: Cores,
    post: Mutex<Post>,
    called: Condvar,
}

#[derive(Default)]
struct Post {
    holder: Holder,
    calls: u32,
    /// Whom it is called to serve, and where.
    at: Option<(ThreadId, Core)>,
    /// A session thread has ended.
    over: bool,
    /// The thread that is the worker.
    thread: Option<ThreadId>,
}

#[derive(Default, PartialEq, Eq)]
enum Holder {
    /// The next thread to call becomes the worker.
    #[default]
    Nobody,
    Somebody,
    /// The system doesn't let a thread be one.
    Impossible,
}

/// Which thread serves from now on.
#[derive(PartialEq, Eq, Debug)]
pub(super) enum Called {
    /// The calling thread, which has become the worker.
    Me,
    /// The worker, another thread.
    Other,
    /// There is none, or the caller's core isn't known.
    Nobody,
}

impl ColocatedWorker {
    /// A worker that may run on these cores; no thread is it yet.
    pub(super) fn new(allowed: Cores) -> Self {
        Self { serving: AtomicU32::new(0), allowed, post: Mutex::default(), called: Condvar::new() }
    }

    /// Whether the calling thread is it.
    pub(super) fn is_this_thread() -> bool {
        ASSIGNMENT.with_borrow(Option::is_some)
    }

    /// Whether it is called for.
    pub(super) fn serving(&self) -> bool {
        self.serving.load(Ordering::Relaxed) != 0
    }

    /// Calls it to serve `caller`. To be asked by a thread that isn't it.
    pub(super) fn call(&self, caller: ThreadId) -> Called {
        let mut post = self.post.lock();
        if post.holder == Holder::Impossible || post.over {
            return Called::Nobody;
        }
        let Some(core) = self.core_of(caller) else { return Called::Nobody };
        let mut who = Called::Other;
        if post.holder == Holder::Nobody {
            if let Err(error) = run_when_idle() {
                tracing::info!(%error, "no thread can share a program's core");
                post.holder = Holder::Impossible;
                return Called::Nobody;
            }
            post.holder = Holder::Somebody;
            post.thread = Some(this_thread());
            who = Called::Me;
        }
        post.calls = post.calls.checked_add(1).unwrap_or(1);
        post.at = Some((caller, core));
        self.serving.store(post.calls, Ordering::Relaxed);
        if who == Called::Me {
            post.answer();
        } else {
            self.called.notify_one();
        }
        who
    }

    /// To be asked by the worker after each request: whether it serves the next one, too; if not, how many it served
    /// since it was called.
    pub(super) fn continues(&self, served: Served, busy: impl FnOnce() -> bool) -> Result<(), u32> {
        ASSIGNMENT.with_borrow_mut(|assignment| {
            let Some(assignment) = assignment else { return Err(0) };
            let decision = assignment.decide(served, Instant::now());
            let leaves = self.serving.load(Ordering::Relaxed) != assignment.call
                || match decision {
                    Decision::Stay => false,
                    Decision::Leave => true,
                    Decision::Check => {
                        assignment.is_crowded_out(busy())
                            || !assignment.follow(self.core_of(assignment.caller))
                    }
                };
            if leaves { Err(assignment.count) } else { Ok(()) }
        })
    }

    /// The core of a caller, if it is known and the worker may run there.
    fn core_of(&self, caller: ThreadId) -> Option<Core> {
        core_of(caller).filter(|&core| self.allowed.contains(core))
    }

    /// To be called by the worker when it leaves: returns when it is called again, or the session ends.
    pub(super) fn park(&self) {
        let mut post = self.post.lock();
        let left =
            ASSIGNMENT.with_borrow(|assignment| assignment.as_ref().map_or(0, |assignment| assignment.call));
        if self.serving.load(Ordering::Relaxed) == left {
            self.vacate(&mut post);
        }
        while post.at.is_none() && !post.over {
            self.called.wait(&mut post);
        }
        post.answer();
    }

    /// Ends the assignment: other threads serve its caller.
    pub(super) fn dismiss(&self) {
        self.vacate(&mut self.post.lock());
    }

    fn vacate(&self, post: &mut Post) {
        post.at = None;
        self.serving.store(0, Ordering::Relaxed);
    }

    /// To be called in each session thread: a parked worker returns when one of them ends.
    pub(super) fn attend(self: &Arc<Self>) {
        ATTENDS.with_borrow_mut(|attends| {
            attends.get_or_insert_with(|| Attends(Arc::clone(self)));
        });
    }
}

impl Post {
    /// The calling thread, the worker, goes where it is called.
    fn answer(&self) {
        if let Some((caller, core)) = self.at {
            let mut assignment = Assignment::new(self.calls, caller, Instant::now());
            if !assignment.follow(Some(core)) {
                // It leaves again with the next request.
                assignment.penalty = PENALTY_MAX;
            }
            ASSIGNMENT.set(Some(assignment));
        }
    }
}

/// Dropped when a session thread ends.
struct Attends(Arc<ColocatedWorker>);

impl Drop for Attends {
    fn drop(&mut self) {
        let mut post = self.0.post.lock();
        post.over = true;
        // An unmount waits for its end, which takes it long on a busy machine; without the privilege it has to.
        if let Some(worker) = post.thread.take() {
            let _ = run_as_others(worker);
        }
        drop(post);
        self.0.called.notify_all();
    }
}

/// Whom the worker serves since it was called, and how that goes.
struct Assignment {
    /// The number of the call.
    call: u32,
    caller: ThreadId,
    /// Another caller, and how many requests in a row it sent.
    candidate: (Option<ThreadId>, u32),
    /// Requests served, and how many of them since the last check.
    count: u32,
    unchecked: u32,
    penalty: u32,
    core: Option<Core>,
    migrations: u32,
    /// Whether the machine was busy at the last check.
    busy: bool,
    last: Instant,
}

#[derive(PartialEq, Eq, Debug)]
enum Decision {
    Stay,
    Check,
    Leave,
}

impl Assignment {
    fn new(call: u32, caller: ThreadId, now: Instant) -> Self {
        Self {
            call,
            caller,
            candidate: (None, 0),
            count: 0,
            unchecked: 0,
            penalty: 0,
            core: None,
            migrations: 0,
            busy: false,
            last: now,
        }
    }

    /// What a request served by `now` says.
    fn decide(&mut self, served: Served, now: Instant) -> Decision {
        let gap = now - std::mem::replace(&mut self.last, now);
        self.count += 1;
        self.unchecked += 1;
        self.penalize(served);
        if gap > WORKER_LATE || self.penalty >= PENALTY_MAX {
            Decision::Leave
        } else if self.unchecked >= WORKER_CHECK_EVERY {
            self.unchecked = 0;
            Decision::Check
        } else {
            Decision::Stay
        }
    }

    fn penalize(&mut self, served: Served) {
        if served.bulk {
            self.penalty += PENALTY_BULK;
        } else if served.caller == Some(self.caller) {
            self.penalty = self.penalty.saturating_sub(1);
            self.candidate = (None, 0);
        } else if let Some(other_caller) = served.caller {
            self.penalty += PENALTY_OTHER_CALLER;
            let (candidate, requests) = self.candidate;
            self.candidate =
                (Some(other_caller), if candidate == Some(other_caller) { requests + 1 } else { 1 });
            if self.candidate.1 >= SWITCH_AFTER {
                // Programs follow one another: its core is to be found first.
                (self.caller, self.penalty, self.unchecked) = (other_caller, 0, WORKER_CHECK_EVERY);
            }
        }
    }

    /// Whether the machine was busy at this check and at the one before: something runs for a moment now and then.
    fn is_crowded_out(&mut self, busy: bool) -> bool {
        std::mem::replace(&mut self.busy, busy) && busy
    }

    /// Moves to the caller's core. Whether that makes sense.
    fn follow(&mut self, core: Option<Core>) -> bool {
        if core == self.core {
            self.migrations = 0;
            return core.is_some();
        }
        self.core = core;
        self.migrations += 1;
        self.migrations <= MIGRATIONS_MAX && core.is_some_and(|core| run_on(core).is_ok())
    }
}

#[cfg(test)]
mod tests;
