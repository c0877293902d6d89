//! Looking out for the next request before sleeping. A session thread that sleeps in read(2) is woken by an
//! interrupt to a halted core, which takes longer than most requests do. A program that works through files sends
//! its next request some microseconds after a reply: so after its reply a thread asks the device, for a moment,
//! whether one has come, and only then returns to fuser's read.
//!
//! One thread looks out at a time. As long as it finds requests and none piles up, the other threads keep away from
//! read(2): the kernel would wake one of them for each request, in vain, on the core that the program runs on. Where
//! one program asks for one thing after another, even that thread leaves it to the [`Companion`].
//!
//! Nothing depends on it: whoever looks out goes on to read(2) in any case, at the latest after a [`WINDOW`], and
//! whoever keeps away at the latest two [`away::WATCH`]es after another has last looked out; so no request is lost,
//! and none waits for longer, whatever the other threads do.

mod away;
mod companion;
mod pace;

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use away::Away;
use companion::{Called, Companion};
use pace::{Pace, Seen};
use parking_lot::Mutex;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::sys::schedule::{Cores, Runnable, ThreadId};

/// How long a thread looks out. What it is to save, the wake-up of a sleeping thread, takes 10 to 50 µs; within the
/// window the program has to be woken, too, for the reply before. Twice as long finds hardly more.
const WINDOW: Duration = Duration::from_micros(50);

/// What a session thread does between two requests.
pub struct Linger {
    device: OwnedFd,
    cores: usize,
    runnable: Runnable,
    /// Held by the thread that looks out, through all of it; only the companion waits for it, when it leaves.
    pace: Mutex<Pace>,
    away: Away,
    companion: Arc<Companion>,
}

/// A request that was served.
#[derive(Clone, Copy)]
pub(super) struct Served {
    /// Who sent it. None if the kernel did by itself.
    pub(super) caller: Option<ThreadId>,
    /// Whether it had so much data, or waits for a disk, that a second core is worth more than a quick switch.
    pub(super) bulk: bool,
}

impl Linger {
    /// How many session threads there should be beside those that serve: the companion.
    pub const EXTRA_THREADS: usize = 1;

    /// `device` is a duplicate of the session's descriptor: whichever of them a thread reads from, they have one queue.
    /// `None` on a single core, where whoever looks out keeps others from sending anything, and without /proc.
    pub fn new(device: OwnedFd) -> Option<Self> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let runnable = Runnable::open().ok()?;
        let companion = Arc::new(Companion::new(Cores::allowed().ok()?));
        (cores > 1).then(|| Self {
            device,
            cores,
            runnable,
            pace: Mutex::default(),
            away: Away::default(),
            companion,
        })
    }

    /// To be called once a request is answered. Returns when another one waits, or the device is gone, or the window
    /// is over; where another thread is at the device, once that one needs help.
    pub(super) fn look_out(&self, served: Served) {
        self.companion.attend();
        if Companion::is_me() {
            return self.accompany(served);
        }
        if self.companion.serving() {
            if self.away.gets_on() {
                return self.away.keep();
            }
            self.companion.dismiss();
        }
        let Some(mut pace) = self.pace.try_lock() else { return self.away.keep() };
        if let Some(caller) = pace.wants_companion(served, Instant::now)
            && !self.busy()
            && self.companion.call(caller) == Called::Other
        {
            drop(pace);
            self.away.looked(false);
            return self.away.keep();
        }
        if pace.is_worth_it(|| self.busy()) {
            pace.learn(watch(|| self.may_read(), Instant::now));
            let crowded = pace.crowded();
            drop(pace);
            self.away.looked(crowded);
        }
    }

    /// What the companion does between two requests.
    fn accompany(&self, served: Served) {
        match self.companion.goes_on(served, || self.busy()) {
            Ok(()) => self.away.looked(false),
            Err(count) => {
                self.pace.lock().companion_left(count);
                self.away.recall();
                self.companion.park();
            }
        }
    }

    /// Whether programs want all cores, this thread's included.
    fn busy(&self) -> bool {
        self.runnable.count().is_none_or(|count| count > self.cores)
    }

    /// Whether a read would return at once; also when that can't be told.
    fn may_read(&self) -> bool {
        let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
        !matches!(poll(&mut [PollFd::new(&self.device, PollFlags::IN)], Some(&at_once)), Ok(0))
    }
}

/// Looks until something is there.
fn watch(mut ready: impl FnMut() -> bool, mut now: impl FnMut() -> Instant) -> Seen {
    if ready() {
        return Seen::Waiting;
    }
    let began = now();
    loop {
        let came = ready();
        if now() - began > WINDOW {
            return Seen::Nothing;
        }
        if came {
            return Seen::Came;
        }
    }
}

#[cfg(test)]
mod tests;
