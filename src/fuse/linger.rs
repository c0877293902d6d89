//! Looking out for the next request before sleeping. A session thread that sleeps in read(2) is woken by an
//! interrupt to a halted core, which takes longer than most requests do. A program that works through files sends
//! its next request some microseconds after a reply: so after its reply a thread asks the device, for a moment,
//! whether one has come, and only then returns to fuser's read.
//!
//! One thread looks out at a time. As long as it finds requests and none piles up, the other threads keep away from
//! read(2): the kernel would wake one of them for each request, in vain, on the core that the program runs on.
//!
//! Nothing depends on it: whoever looks out goes on to read(2) in any case, at the latest after a [`WINDOW`], and
//! whoever keeps away at the latest two [`WATCH`]es after another has last looked out; so no request is lost, and none
//! waits for longer, whatever the other threads do.

use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// How long a thread looks out. What it is to save, the wake-up of a sleeping thread, takes 10 to 50 µs; within the
/// window the program has to be woken, too, for the reply before. Twice as long finds hardly more.
const WINDOW: Duration = Duration::from_micros(50);

/// Looks in vain, beyond what finds make up for, after which it is given up.
const PATIENCE: u32 = 16;

/// What a find makes up for: it goes on while every third look finds a request.
const WORTH: u32 = 2;

/// Once given up it is tried again after so many requests: 50 µs for 64 of them is a small part of what serving them
/// takes.
const PROBE: u32 = 64;

/// How often a thread that keeps away looks whether the others get on. A request waits for up to two of these for one
/// that is stuck with another.
const WATCH: Duration = Duration::from_millis(1);

/// Requests pile up where more than every third look finds that one waited already. The count up and down of that:
/// how much a look that finds one adds, where it ends, and from where on they do.
const WAITED: u32 = 2;
const PILE_MAX: u32 = 16;
const PILE: u32 = 8;

/// What a session thread does between two requests.
pub struct Linger {
    device: OwnedFd,
    /// Held by the thread that looks out, through all of it. Nobody waits for it.
    pace: Mutex<Pace>,
    away: Away,
}

/// The threads that keep away from the device.
#[derive(Default)]
struct Away {
    /// Counts looks.
    beat: AtomicU32,
    /// Whether every thread is needed.
    crowded: AtomicBool,
    lock: Mutex<()>,
    back: Condvar,
}

impl Away {
    /// One thread has looked out.
    fn looked(&self, crowded: bool) {
        self.beat.fetch_add(1, Ordering::Relaxed);
        if self.crowded.swap(crowded, Ordering::Relaxed) != crowded && crowded {
            self.back.notify_all();
        }
    }

    /// Keeps away while another thread looks out and gets on.
    fn keep(&self) {
        let mut lock = self.lock.lock();
        loop {
            let beat = self.beat.load(Ordering::Relaxed);
            let over =
                self.crowded.load(Ordering::Relaxed) || !self.back.wait_for(&mut lock, WATCH).timed_out();
            if over || self.beat.load(Ordering::Relaxed) == beat {
                return;
            }
        }
    }
}

impl Linger {
    /// `device` is a duplicate of the session's descriptor: whichever of them a thread reads from, they have one queue.
    /// `None` on a single core, where whoever looks out keeps others from sending anything.
    pub fn new(device: OwnedFd) -> Option<Self> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        (cores > 1).then(|| Self { device, pace: Mutex::default(), away: Away::default() })
    }

    /// To be called once a request is answered. Returns when another one waits, or the device is gone, or the window
    /// is over; where another thread looks out, once that one needs help.
    pub(super) fn look_out(&self) {
        let Some(mut pace) = self.pace.try_lock() else { return self.away.keep() };
        if pace.is_worth_it() {
            let seen = watch(|| self.may_read(), Instant::now);
            pace.learn(seen);
            let crowded = pace.crowded();
            drop(pace);
            self.away.looked(crowded);
        }
    }

    /// Whether a read would return at once; also when that can't be told.
    fn may_read(&self) -> bool {
        let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
        !matches!(poll(&mut [PollFd::new(&self.device, PollFlags::IN)], Some(&at_once)), Ok(0))
    }
}

/// How a look-out ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Seen {
    /// There was nothing to look out for: a request waited already.
    Waiting,
    /// A request came.
    Came,
    /// The window was over; so it is, too, for a thread that lost its core meanwhile.
    Nothing,
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

/// Whether requests come so closely that looking out finds them.
struct Pace {
    patience: u32,
    /// Requests since it was given up.
    passed: u32,
    /// See [`PILE`].
    pile: u32,
}

impl Default for Pace {
    fn default() -> Self {
        Self { patience: PATIENCE, passed: 0, pile: 0 }
    }
}

impl Pace {
    /// To be asked after each request.
    fn is_worth_it(&mut self) -> bool {
        if self.patience > 0 {
            return true;
        }
        self.passed += 1;
        let again = self.passed >= PROBE;
        if again {
            self.passed = 0;
        }
        again
    }

    fn learn(&mut self, seen: Seen) {
        self.patience = match seen {
            Seen::Waiting => self.patience,
            Seen::Came => (self.patience + WORTH).min(PATIENCE),
            Seen::Nothing => self.patience.saturating_sub(1),
        };
        self.pile = match seen {
            Seen::Waiting => (self.pile + WAITED).min(PILE_MAX),
            Seen::Came | Seen::Nothing => self.pile.saturating_sub(1),
        };
    }

    /// Whether requests pile up.
    fn crowded(&self) -> bool {
        self.pile >= PILE
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::io::Write;
    use std::os::unix::net::UnixStream;

    use super::*;

    /// What `watch` says if the `at`th look is the first to find something and each takes 7 µs.
    fn watched(at: u32) -> Seen {
        let (looks, start) = (Cell::new(0), Instant::now());
        let ready = || {
            looks.set(looks.get() + 1);
            looks.get() >= at
        };
        watch(ready, || start + Duration::from_micros(7) * looks.get())
    }

    #[test]
    fn a_look_out_ends_with_a_request_or_with_the_window() {
        assert_eq!(watched(1), Seen::Waiting);
        assert_eq!(watched(2), Seen::Came);
        assert_eq!(watched(7), Seen::Came);
        assert_eq!(watched(20), Seen::Nothing);
        assert_eq!(watched(u32::MAX), Seen::Nothing);
    }

    #[test]
    fn where_requests_come_rarely_few_are_looked_out_after() {
        let mut pace = Pace::default();
        let mut looks = 0;
        for _ in 0..64_000 {
            if pace.is_worth_it() {
                looks += 1;
                pace.learn(Seen::Nothing);
            }
        }
        assert!(looks <= PATIENCE + 1_000, "{looks}");
    }

    #[test]
    fn it_goes_on_while_every_third_look_finds_one_and_begins_again() {
        let mut pace = Pace::default();
        for n in 0..3_000 {
            assert!(pace.is_worth_it());
            pace.learn(if n % 3 == 0 { Seen::Came } else { Seen::Nothing });
        }
        while pace.is_worth_it() {
            pace.learn(Seen::Nothing);
        }
        let passed = (1..).find(|_| pace.is_worth_it()).unwrap();
        assert_eq!(passed, PROBE - 1, "one more was asked after already");
        pace.learn(Seen::Came);
        assert!(pace.is_worth_it());
    }

    #[test]
    fn requests_pile_up_where_most_looks_find_one_that_waited() {
        let crowded = |every: u32| {
            let mut pace = Pace::default();
            for n in 0..300 {
                pace.learn(if n % every == 0 { Seen::Waiting } else { Seen::Came });
            }
            pace.crowded()
        };
        assert!(crowded(1) && crowded(2));
        assert!(!crowded(3) && !crowded(5));
    }

    #[test]
    fn who_keeps_away_is_back_when_the_other_gets_stuck_or_needs_help() {
        let away = Away::default();
        std::thread::scope(|threads| {
            let stuck = threads.spawn(|| away.keep());
            let began = Instant::now();
            while began.elapsed() < WATCH * 50 {
                // Beats may be late on a busy machine: who was away is back then, as it should be.
                away.looked(false);
            }
            // No more beats.
            stuck.join().unwrap();

            let trusting = threads.spawn(|| {
                let began = Instant::now();
                away.keep();
                began.elapsed()
            });
            let mut crowded = false;
            while !trusting.is_finished() {
                away.looked(crowded);
                crowded = true;
            }
            trusting.join().unwrap();
            assert!(away.crowded.load(Ordering::Relaxed));
            away.keep();
            away.looked(false);
            assert!(!away.crowded.load(Ordering::Relaxed));
        });
    }

    #[test]
    fn it_ends_when_there_is_something_to_read_and_when_the_other_side_is_gone() {
        let (device, mut kernel) = UnixStream::pair().unwrap();
        let linger = Linger { device: device.into(), pace: Mutex::default(), away: Away::default() };
        assert!(!linger.may_read());
        linger.look_out();
        kernel.write_all(b"x").unwrap();
        assert!(linger.may_read());
        drop(kernel);
        assert!(linger.may_read());
        let looking = linger.pace.lock();
        linger.look_out();
        drop(looking);
    }
}
