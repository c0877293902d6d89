//! A session thread that serves a program on the program's own core.
//!
//! A request wakes two threads: the one that serves it, and the program when it is answered. Waking one on a core that
//! has gone to sleep takes 5 to 50 µs; to look out for requests spares the first of them. A program that sends one
//! request after another, and waits for each, needs no second core: where both use one, the kernel switches between
//! them in a microsecond or two. By itself it doesn't: it moves whoever wakes up to an idle core. So the companion is
//! bound to the core that the program last ran on, and of policy SCHED_IDLE: a core on which nothing else runs counts
//! as idle, so the program stays there when it is woken (select_idle_sibling in the kernel's sched/fair.c), and it
//! goes on before the companion does.
//!
//! A thread needs a privilege to leave SCHED_IDLE, so one is the companion for good, and parked when not called. It
//! comes last where others want its core, maybe with a lock that another thread waits for: so it isn't called where
//! all cores are busy, and leaves when it is late ([`LATE`]), when they are busy ([`CHECK`]), or when requests are
//! large or come from several callers, for then a second core does help.

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use super::Served;
use super::away::WATCH;
use crate::sys::schedule::{Core, Cores, ThreadId, core_of, run_on, run_when_idle};

/// Between two requests served; beyond it the other threads are back in any case.
const LATE: Duration = WATCH.saturating_mul(2);

/// After so many requests it looks whether the machine is busy, and where the caller is.
const CHECK: u32 = 64;

/// So often in a row it may find the caller elsewhere before it leaves: this kernel doesn't keep them together.
const ASTRAY: u32 = 4;

/// Doubts grow with each large request and each of another caller, and fall with each other; the sum to leave at.
const DOUBT_BULK: u32 = 16;
const DOUBT_STRANGER: u32 = 4;
const DOUBTS: u32 = 32;

/// Requests in a row of another caller that make it the one.
const ADOPT: u32 = 8;

thread_local! {
    /// In the companion alone: how it serves.
    static STAY: RefCell<Option<Stay>> = const { RefCell::new(None) };
    static ATTENDS: RefCell<Option<Attends>> = const { RefCell::new(None) };
}

/// The companion, as all session threads know it.
pub(super) struct Companion {
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
}

#[derive(Default, PartialEq, Eq)]
enum Holder {
    /// The next thread to call becomes the companion.
    #[default]
    Nobody,
    Somebody,
    /// The system doesn't let a thread be one.
    Impossible,
}

/// Who is to serve on.
#[derive(PartialEq, Eq, Debug)]
pub(super) enum Called {
    /// The calling thread, which has become the companion.
    Me,
    /// The companion.
    Other,
    /// There is none, or it can't be told where the caller is.
    Nobody,
}

impl Companion {
    /// A companion that may run on these cores; nobody is it yet.
    pub(super) fn new(allowed: Cores) -> Self {
        Self { serving: AtomicU32::new(0), allowed, post: Mutex::default(), called: Condvar::new() }
    }

    /// Whether the calling thread is it.
    pub(super) fn is_me() -> bool {
        STAY.with_borrow(Option::is_some)
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

    /// To be asked by the companion after each request: whether it serves the next one, too; if not, how many it
    /// served since it was called.
    pub(super) fn goes_on(&self, served: Served, busy: impl FnOnce() -> bool) -> Result<(), u32> {
        STAY.with_borrow_mut(|stay| {
            let Some(stay) = stay else { return Err(0) };
            let verdict = stay.judge(served, Instant::now());
            let leaves = self.serving.load(Ordering::Relaxed) != stay.call
                || match verdict {
                    Verdict::Stay => false,
                    Verdict::Leave => true,
                    Verdict::Check => stay.is_crowded_out(busy()) || !stay.follow(self.core_of(stay.caller)),
                };
            if leaves { Err(stay.count) } else { Ok(()) }
        })
    }

    /// Where a caller is, if that can be told and the companion may go there.
    fn core_of(&self, caller: ThreadId) -> Option<Core> {
        core_of(caller).filter(|&core| self.allowed.contains(core))
    }

    /// To be called by the companion when it leaves: returns when it is called again, or the session ends.
    pub(super) fn park(&self) {
        let mut post = self.post.lock();
        let left = STAY.with_borrow(|stay| stay.as_ref().map_or(0, |stay| stay.call));
        if self.serving.load(Ordering::Relaxed) == left {
            self.vacate(&mut post);
        }
        while post.at.is_none() && !post.over {
            self.called.wait(&mut post);
        }
        post.answer();
    }

    /// Has another thread do what it was called for.
    pub(super) fn dismiss(&self) {
        self.vacate(&mut self.post.lock());
    }

    fn vacate(&self, post: &mut Post) {
        post.at = None;
        self.serving.store(0, Ordering::Relaxed);
    }

    /// To be called in each session thread: a parked companion returns when one of them ends.
    pub(super) fn attend(self: &Arc<Self>) {
        ATTENDS.with_borrow_mut(|attends| {
            attends.get_or_insert_with(|| Attends(Arc::clone(self)));
        });
    }
}

impl Post {
    /// The calling thread, the companion, goes where it is called.
    fn answer(&self) {
        if let Some((caller, core)) = self.at {
            let mut stay = Stay::new(self.calls, caller, Instant::now());
            if !stay.follow(Some(core)) {
                // It leaves again with the next request.
                stay.doubts = DOUBTS;
            }
            STAY.set(Some(stay));
        }
    }
}

/// Dropped when a session thread ends.
struct Attends(Arc<Companion>);

impl Drop for Attends {
    fn drop(&mut self) {
        self.0.post.lock().over = true;
        self.0.called.notify_all();
    }
}

/// How the companion serves since it was called.
struct Stay {
    /// The number of the call.
    call: u32,
    caller: ThreadId,
    /// Another caller, and how many requests in a row were its.
    newcomer: (Option<ThreadId>, u32),
    /// Requests served, and how many of them since the last check.
    count: u32,
    unchecked: u32,
    doubts: u32,
    core: Option<Core>,
    astray: u32,
    /// Whether the machine was busy at the last check.
    busy: bool,
    last: Instant,
}

#[derive(PartialEq, Eq, Debug)]
enum Verdict {
    Stay,
    Check,
    Leave,
}

impl Stay {
    fn new(call: u32, caller: ThreadId, now: Instant) -> Self {
        Self {
            call,
            caller,
            newcomer: (None, 0),
            count: 0,
            unchecked: 0,
            doubts: 0,
            core: None,
            astray: 0,
            busy: false,
            last: now,
        }
    }

    /// What a request served by `now` says.
    fn judge(&mut self, served: Served, now: Instant) -> Verdict {
        let gap = now - std::mem::replace(&mut self.last, now);
        self.count += 1;
        self.unchecked += 1;
        self.doubt(served);
        if gap > LATE || self.doubts >= DOUBTS {
            Verdict::Leave
        } else if self.unchecked >= CHECK {
            self.unchecked = 0;
            Verdict::Check
        } else {
            Verdict::Stay
        }
    }

    fn doubt(&mut self, served: Served) {
        if served.bulk {
            self.doubts += DOUBT_BULK;
        } else if served.caller == Some(self.caller) {
            self.doubts = self.doubts.saturating_sub(1);
            self.newcomer = (None, 0);
        } else if let Some(stranger) = served.caller {
            self.doubts += DOUBT_STRANGER;
            let (newcomer, requests) = self.newcomer;
            self.newcomer = (Some(stranger), if newcomer == Some(stranger) { requests + 1 } else { 1 });
            if self.newcomer.1 >= ADOPT {
                // Programs follow one another: it is to be found first.
                (self.caller, self.doubts, self.unchecked) = (stranger, 0, CHECK);
            }
        }
    }

    /// Whether the machine was busy at this check and at the one before: something runs for a moment now and then.
    fn is_crowded_out(&mut self, busy: bool) -> bool {
        std::mem::replace(&mut self.busy, busy) && busy
    }

    /// Goes where the caller is. Whether that makes sense.
    fn follow(&mut self, core: Option<Core>) -> bool {
        if core == self.core {
            self.astray = 0;
            return core.is_some();
        }
        self.core = core;
        self.astray += 1;
        self.astray <= ASTRAY && core.is_some_and(|core| run_on(core).is_ok())
    }
}

#[cfg(test)]
mod tests;
