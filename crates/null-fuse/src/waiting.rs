//! What the serving thread does between two requests with `--poll`: in small what rekeyfs does (docs/busy-polling.md), so
//! that how long a sleeping core takes to wake counts on neither side.
//!
//! It polls the device for a while after each reply, as long as that finds requests often enough. While one caller sends
//! request after request, none of them large, it runs on the caller's core instead and sleeps between requests: the kernel
//! then switches between the two there.

use std::os::fd::OwnedFd;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};
use std::{fs, io};

use fuser::Request;
use parking_lot::Mutex;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// The numbers of rekeyfs (`src/fuse/busy_poll/tunables.rs`).
const WINDOW: Duration = Duration::from_micros(50);
const CREDIT: u32 = 16;
const FIND_IS_WORTH: u32 = 2;
const PROBE_EVERY: u32 = 64;
const SAME_CALLER_RUN: u32 = 32;
const CHECK_EVERY: u32 = 64;
/// From so many bytes on a second core is worth more than a quick switch.
const BULK: usize = 64 << 10;

/// How one session waits: without `--poll`, asleep.
#[derive(Clone, Default)]
pub(crate) struct Waiting(Option<Arc<Poller>>);

struct Poller {
    /// A duplicate of the session's, which comes later.
    device: OnceLock<OwnedFd>,
    /// Where the thread may run.
    anywhere: CpuSet,
    /// There is one thread: nothing waits for this lock.
    state: Mutex<State>,
}

/// A request, while it is served. The reply is sent before this is dropped, which waits for the next one.
#[must_use]
pub(crate) struct Serving<'a> {
    poller: Option<&'a Poller>,
    caller: u32,
    bulk: bool,
}

impl Waiting {
    /// Of a session with one thread.
    pub(crate) fn polling() -> io::Result<Self> {
        let state = Mutex::new(State { credit: CREDIT, ..State::default() });
        Ok(Self(Some(Arc::new(Poller {
            device: OnceLock::new(),
            anywhere: sched_getaffinity(None)?,
            state,
        }))))
    }

    /// The session's device.
    pub(crate) fn on(&self, device: OwnedFd) {
        if let Some(poller) = &self.0 {
            let _ = poller.device.set(device);
        }
    }

    /// A request that carries so many bytes.
    pub(crate) fn serving(&self, request: &Request, bytes: usize) -> Serving<'_> {
        Serving { poller: self.0.as_deref(), caller: request.pid(), bulk: bytes >= BULK }
    }
}

impl Drop for Serving<'_> {
    fn drop(&mut self) {
        if let Some(poller) = self.poller {
            poller.wait(self.caller, self.bulk);
        }
    }
}

#[derive(Default)]
struct State {
    /// Polls without a find that are left.
    credit: u32,
    /// Requests since polling was given up.
    passed: u32,
    caller: u32,
    /// Requests of that caller in a row.
    run: u32,
    /// Whether the thread is bound to the caller's core.
    bound: bool,
}

impl Poller {
    fn wait(&self, caller: u32, bulk: bool) {
        let mut state = self.state.lock();
        // The kernel's own requests, such as RELEASE, come in between.
        if caller != 0 {
            state.run = if bulk || caller != state.caller { 0 } else { state.run + 1 };
            state.caller = caller;
        }
        if state.run < SAME_CALLER_RUN {
            if state.bound {
                let _ = sched_setaffinity(None, &self.anywhere);
                state.bound = false;
            }
            return self.poll(&mut state);
        }
        if !state.bound || state.run.is_multiple_of(CHECK_EVERY) {
            state.bound = core_of(state.caller).is_some_and(|core| {
                let mut only = CpuSet::new();
                only.set(core);
                sched_setaffinity(None, &only).is_ok()
            });
        }
    }

    fn poll(&self, state: &mut State) {
        state.passed += 1;
        if state.credit == 0 && state.passed < PROBE_EVERY {
            return;
        }
        state.passed = 0;
        let began = Instant::now();
        while began.elapsed() < WINDOW {
            if self.waits() {
                state.credit = (state.credit + FIND_IS_WORTH).min(CREDIT);
                return;
            }
        }
        state.credit = state.credit.saturating_sub(1);
    }

    /// Whether there is a request.
    fn waits(&self) -> bool {
        let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
        self.device.get().is_none_or(|device| {
            !matches!(poll(&mut [PollFd::new(device, PollFlags::IN)], Some(&at_once)), Ok(0))
        })
    }
}

/// The core that a thread ran on last: field 39 of proc_pid_stat(5); the second, in parentheses, may contain anything.
fn core_of(thread: u32) -> Option<usize> {
    let stat = fs::read_to_string(format!("/proc/{thread}/stat")).ok()?;
    stat.rsplit_once(')')?
        .1
        .split_ascii_whitespace()
        .nth(39 - 3)?
        .parse()
        .ok()
        .filter(|&core| core < CpuSet::MAX_CPU)
}
