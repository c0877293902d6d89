//! Looking out for the next request before sleeping. A session thread that sleeps in read(2) is woken by an
//! interrupt to a halted core, which takes longer than most requests do. A program that works through files sends
//! its next request some microseconds after a reply: so after its reply a thread asks the device, for a moment,
//! whether one has come, and only then returns to fuser's read.
//!
//! Nothing depends on it: whoever looks out goes on to read(2) in any case, at the latest after a [`WINDOW`], so
//! no request is lost or held back, whatever the other threads do. One thread looks out at a time.

use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
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

/// What a session thread does between two requests.
pub struct Linger {
    device: OwnedFd,
    /// Held by the thread that looks out, through all of it. Nobody waits for it.
    pace: Mutex<Pace>,
}

impl Linger {
    /// `device` is a duplicate of the session's descriptor: whichever of them a thread reads from, they have one queue.
    /// `None` on a single core, where whoever looks out keeps others from sending anything.
    pub fn new(device: OwnedFd) -> Option<Self> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        (cores > 1).then(|| Self { device, pace: Mutex::default() })
    }

    /// To be called once a request is answered. Returns when another one waits, or the device is gone, or the window
    /// is over; at once while another thread looks out.
    pub(super) fn look_out(&self) {
        let Some(mut pace) = self.pace.try_lock() else { return };
        if pace.is_worth_it() {
            let seen = watch(|| self.may_read(), Instant::now);
            pace.learn(seen);
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
}

impl Default for Pace {
    fn default() -> Self {
        Self { patience: PATIENCE, passed: 0 }
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
    fn it_ends_when_there_is_something_to_read_and_when_the_other_side_is_gone() {
        let (device, mut kernel) = UnixStream::pair().unwrap();
        let linger = Linger { device: device.into(), pace: Mutex::default() };
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
