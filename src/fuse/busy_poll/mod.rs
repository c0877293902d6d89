//! Busy polling: how a session thread waits for the next request.
//!
//! A thread that sleeps in read(2) is woken by an interrupt to a halted core, which takes longer than most requests take
//! to serve. A program that works through files sends its next request some microseconds after a reply. Three parts
//! make use of that; docs/busy-polling.md explains the policy and has what each part is worth.
//!
//! - **Polling** ([`policy`]). After its reply a thread polls the device for up to a [`POLL_WINDOW`], and only then
//!   returns to fuser's read. One thread polls at a time: the leader.
//! - **Followers** ([`standby`]). While the leader finds the requests and none piles up, the other threads stand by: if
//!   they slept in read(2), the kernel would wake one of them for each request, in vain, on the core that the
//!   program runs on.
//! - **Co-located worker** ([`colocated`]). Where one program sends one request after another, a thread on the program's
//!   own core serves them, and the leader stands by too.
//!
//! No request depends on any of this: a thread that polls continues with read(2) at the latest after a [`POLL_WINDOW`],
//! and one that stands by at the latest two [`tunables::STANDBY_CHECK`]s after the leader's last request.

mod colocated;
mod parts;
mod policy;
mod standby;
mod tunables;

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Instant;

use colocated::{Called, ColocatedWorker};
use parking_lot::Mutex;
use parts::Parts;
pub(super) use policy::Served;
use policy::{PollPolicy, PollResult};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use standby::{Backlog, Followers};
use tunables::POLL_WINDOW;

use crate::sys::schedule::{Cores, Runnable};

/// What a session thread does between two requests.
pub struct BusyPoller {
    device: OwnedFd,
    parts: Parts,
    cores: usize,
    runnable: Runnable,
    /// The leader holds it while it polls. Only the worker waits for it, when it leaves.
    policy: Mutex<PollPolicy>,
    followers: Followers,
    worker: Arc<ColocatedWorker>,
}

impl BusyPoller {
    /// How many session threads there should be beside those that serve: the worker.
    pub const EXTRA_THREADS: usize = 1;

    /// `device` is a duplicate of the session's descriptor: whichever of them a thread reads from, they have one queue.
    /// `None` on a single core, where a thread that polls keeps programs from sending anything, and without /proc.
    pub fn new(device: OwnedFd) -> Option<Self> {
        let parts = Parts::chosen();
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let runnable = Runnable::open().ok()?;
        let worker = Arc::new(ColocatedWorker::new(Cores::allowed().ok()?));
        (cores > 1 && parts.any()).then(|| Self {
            device,
            parts,
            cores,
            runnable,
            policy: Mutex::default(),
            followers: Followers::default(),
            worker,
        })
    }

    /// To be called once a request is answered. Returns when another one waits, the device is gone, or the window is
    /// over; in a thread that stands by, once the leader needs help.
    pub(super) fn poll_for_next(&self, served: Served) {
        self.worker.attend();
        if ColocatedWorker::is_this_thread() {
            return self.serve_on(served);
        }
        if self.worker.serving() {
            if self.followers.leader_progressed() {
                return self.stand_by();
            }
            self.worker.dismiss();
        }
        let Some(mut policy) = self.policy.try_lock() else { return self.stand_by() };
        if self.parts.colocated
            && let Some(caller) = policy.wants_worker(served, Instant::now)
            && !self.busy()
            && self.worker.call(caller) == Called::Other
        {
            drop(policy);
            self.followers.progress(Backlog::Short);
            return self.stand_by();
        }
        if self.parts.polling && policy.should_poll(|| self.busy()) {
            let crowded_out = || self.parts.yielding && self.busy();
            policy.learn(poll_until(|| self.may_read(), Instant::now), crowded_out);
            let backlog = if policy.crowded() { Backlog::Crowded } else { Backlog::Short };
            drop(policy);
            self.followers.progress(backlog);
        }
    }

    fn stand_by(&self) {
        if self.parts.standby {
            self.followers.stand_by();
        }
    }

    /// What the worker does between two requests.
    fn serve_on(&self, served: Served) {
        match self.worker.continues(served, || self.busy()) {
            Ok(()) => self.followers.progress(Backlog::Short),
            Err(count) => {
                self.policy.lock().worker_left(count);
                self.followers.wake_all();
                self.worker.park();
            }
        }
    }

    /// Whether programs want all cores, this thread's included.
    fn busy(&self) -> bool {
        self.runnable.count().is_none_or(|count| count > self.cores)
    }

    /// Whether a read would return at once; also when that can't be found out.
    fn may_read(&self) -> bool {
        let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
        !matches!(poll(&mut [PollFd::new(&self.device, PollFlags::IN)], Some(&at_once)), Ok(0))
    }
}

/// Polls until something is there, or the window is over.
fn poll_until(mut ready: impl FnMut() -> bool, mut now: impl FnMut() -> Instant) -> PollResult {
    if ready() {
        return PollResult::Waiting;
    }
    let began = now();
    loop {
        let came = ready();
        if now() - began > POLL_WINDOW {
            return PollResult::Nothing;
        }
        if came {
            return PollResult::Came;
        }
    }
}

#[cfg(test)]
mod tests;
