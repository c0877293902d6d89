//! How requests come: closely enough to look out for them, in piles, or all from one caller.

use std::time::{Duration, Instant};

use super::Served;
use crate::sys::schedule::ThreadId;

/// Looks in vain, beyond what finds make up for, after which it is given up.
const PATIENCE: u32 = 16;

/// What a find makes up for: it goes on while every third look finds a request.
const WORTH: u32 = 2;

/// Once given up it is tried again after so many requests: 50 µs for 64 of them is a small part of what serving them
/// takes. As often it is asked whether the machine is busy.
const PROBE: u32 = 64;

/// Requests pile up where more than every third look finds that one waited already. The count up and down of that:
/// how much a look that finds one adds, where it ends, and from where on they do.
const WAITED: u32 = 2;
const PILE_MAX: u32 = 16;
const PILE: u32 = 8;

/// Where they do, every so manieth request is looked out after, to see whether they still do.
const PILED: u32 = 4;

/// Requests of one caller in a row, none of them large, that call for a companion, and in what time.
const STREAK: u32 = 32;
const CLOSELY: Duration = Duration::from_millis(10);

/// How a look-out ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Seen {
    /// There was nothing to look out for: a request waited already.
    Waiting,
    /// A request came.
    Came,
    /// The window was over; so it is, too, for a thread that lost its core meanwhile.
    Nothing,
}

/// Whether requests come so closely that looking out finds them.
pub(super) struct Pace {
    patience: u32,
    /// Requests since it was given up, or since it was asked whether the machine is busy.
    passed: u32,
    /// See [`PILE`].
    pile: u32,
    streak: Streak,
}

impl Default for Pace {
    fn default() -> Self {
        Self { patience: PATIENCE, passed: 0, pile: 0, streak: Streak::default() }
    }
}

impl Pace {
    /// To be asked after each request. `busy` tells whether programs want every core: a thread that looks out then
    /// only takes one from them.
    pub(super) fn is_worth_it(&mut self, busy: impl FnOnce() -> bool) -> bool {
        self.passed += 1;
        if self.passed < PROBE {
            let skipped = self.crowded() && !self.passed.is_multiple_of(PILED);
            return self.patience > 0 && !skipped;
        }
        self.passed = 0;
        if busy() {
            self.patience = 0;
            return false;
        }
        true
    }

    pub(super) fn learn(&mut self, seen: Seen) {
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
    pub(super) fn crowded(&self) -> bool {
        self.pile >= PILE
    }

    /// To be asked after each request, which was served by `now`: whoever would be served best by a companion.
    pub(super) fn wants_companion(&mut self, served: Served, now: impl Fn() -> Instant) -> Option<ThreadId> {
        self.streak.saw(served, now)
    }

    /// A companion has left after so many requests.
    pub(super) fn companion_left(&mut self, served: u32) {
        self.streak.broken(served);
    }
}

/// Requests of one caller in a row.
#[derive(Default)]
struct Streak {
    caller: Option<ThreadId>,
    length: u32,
    began: Option<Instant>,
    /// Requests to let pass before the next companion, and how many it were the last time.
    rest: u32,
    rested: u32,
}

/// A companion that leaves before so many requests wasn't worth calling.
const SHORT: u32 = 256;
const REST_MAX: u32 = 1 << 14;

impl Streak {
    /// The caller, if its streak is complete. Then another one begins.
    fn saw(&mut self, served: Served, now: impl Fn() -> Instant) -> Option<ThreadId> {
        self.rest = self.rest.saturating_sub(1);
        // The kernel's own requests, such as RELEASE, come in between.
        let caller = served.caller?;
        if served.bulk || self.caller != Some(caller) {
            self.length = 0;
        }
        self.caller = Some(caller);
        if self.length == 0 {
            self.began = Some(now());
        }
        self.length += 1;
        if self.length < STREAK {
            return None;
        }
        self.length = 0;
        let closely = self.began.is_some_and(|began| now() - began < CLOSELY);
        (closely && self.rest == 0).then_some(caller)
    }

    fn broken(&mut self, served: u32) {
        self.length = 0;
        self.rested = if served < SHORT { (self.rested * 2).clamp(SHORT, REST_MAX) } else { 0 };
        self.rest = self.rested;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_requests_come_rarely_few_are_looked_out_after() {
        let mut pace = Pace::default();
        let mut looks = 0;
        for _ in 0..64_000 {
            if pace.is_worth_it(|| false) {
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
            assert!(pace.is_worth_it(|| false));
            pace.learn(if n % 3 == 0 { Seen::Came } else { Seen::Nothing });
        }
        let again = |pace: &mut Pace| (0..PROBE).position(|_| pace.is_worth_it(|| false));
        while pace.is_worth_it(|| false) {
            pace.learn(Seen::Nothing);
        }
        assert!(again(&mut pace).is_some());
        pace.learn(Seen::Came);
        assert_eq!(again(&mut pace), Some(0));
    }

    #[test]
    fn a_busy_machine_isnt_looked_out_on() {
        let mut pace = Pace::default();
        let mut looks = 0;
        for _ in 0..6_400 {
            if pace.is_worth_it(|| true) {
                looks += 1;
                pace.learn(Seen::Came);
            }
        }
        assert!(looks < PROBE, "{looks}");
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
    fn where_requests_pile_up_few_are_looked_out_after() {
        let mut pace = Pace::default();
        let mut looked = |seen| {
            let worth: Vec<_> = (0..640).filter(|_| pace.is_worth_it(|| false)).collect();
            worth.iter().for_each(|_| pace.learn(seen));
            worth.len()
        };
        assert_eq!(looked(Seen::Waiting), 640);
        assert_eq!(looked(Seen::Came), 640 / PILED as usize);
        assert_eq!(looked(Seen::Came), 640, "they no longer do");
    }

    const TAR: ThreadId = ThreadId(7);
    const GIT: ThreadId = ThreadId(8);

    fn small(caller: ThreadId) -> Served {
        Served { caller: Some(caller), bulk: false }
    }

    /// The first of such requests after which a companion is called, if each comes so long after the one before.
    fn called_at(
        pace: &mut Pace,
        every: Duration,
        requests: impl IntoIterator<Item = Served>,
    ) -> Option<usize> {
        let start = Instant::now();
        let mut at = start;
        requests.into_iter().position(|served| {
            at += every;
            pace.wants_companion(served, || at).is_some()
        })
    }

    fn called(pace: &mut Pace, requests: impl IntoIterator<Item = Served>) -> Option<usize> {
        called_at(pace, Duration::from_micros(20), requests)
    }

    #[test]
    fn a_companion_is_called_for_one_caller_with_small_requests() {
        let ever = || std::iter::repeat_n(small(TAR), 1_000);
        let first = STREAK as usize - 1;
        assert_eq!(called(&mut Pace::default(), ever()), Some(first));
        assert_eq!(called_at(&mut Pace::default(), CLOSELY / STREAK, ever()), Some(first));
        assert_eq!(called_at(&mut Pace::default(), CLOSELY / (STREAK - 2), ever()), None);
        let release = Served { caller: None, bulk: false };
        let with_releases = ever().flat_map(|served| [served, release]);
        assert_eq!(called(&mut Pace::default(), with_releases), Some(first * 2));
        let of_two = ever().flat_map(|served| [served, small(GIT)]);
        assert_eq!(called(&mut Pace::default(), of_two), None);
        let bulk = Served { bulk: true, ..small(TAR) };
        let reading = ever().enumerate().map(|(n, served)| if n % 20 == 0 { bulk } else { served });
        assert_eq!(called(&mut Pace::default(), reading), None);
    }

    #[test]
    fn a_companion_that_left_soon_is_called_again_later_each_time() {
        let ever = || std::iter::repeat_n(small(TAR), 100_000);
        let mut pace = Pace::default();
        let mut before = called(&mut pace, ever()).unwrap();
        for _ in 0..10 {
            pace.companion_left(SHORT - 1);
            let now = called(&mut pace, ever()).unwrap();
            assert!(now >= (before * 2 - STREAK as usize).min(REST_MAX as usize - 1), "{before} {now}");
            before = now;
        }
        pace.companion_left(SHORT);
        assert_eq!(called(&mut pace, ever()), Some(STREAK as usize - 1));
    }
}
