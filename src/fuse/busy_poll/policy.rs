//! The policy of polling: when it pays, when requests pile up, and when one caller sends them all.

use std::time::Instant;

use super::tunables::{
    BACKOFF_MAX, CROWDED_AT, CROWDED_MAX, CROWDED_OUT_MAX, CROWDED_POLLS_EVERY, FIND_IS_WORTH, POLL_CREDIT,
    PROBE_EVERY, RUN_WITHIN, SAME_CALLER_RUN, SHORT_ASSIGNMENT, WAITED_COUNTS,
};
use crate::sys::schedule::ThreadId;

/// A request that was served.
#[derive(Clone, Copy)]
pub(in super::super) struct Served {
    /// Which thread sent it. None if the kernel did by itself.
    pub(in super::super) caller: Option<ThreadId>,
    /// Whether it had so much data, or waits for a disk, that a second core is worth more than a quick switch.
    pub(in super::super) bulk: bool,
}

/// How polling ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum PollResult {
    /// A request waited already.
    Waiting,
    /// A request came.
    Came,
    /// The window was over; so it is, too, for a thread that lost its core meanwhile.
    Nothing,
}

/// Whether requests come so closely that polling finds them.
pub(super) struct PollPolicy {
    /// Polls without a find that are left. None: polling is given up.
    credit: u32,
    /// Requests since polling was given up, or since the last look whether the machine is busy.
    passed: u32,
    /// Polls in a row that found nothing while programs wanted every core.
    crowded_out: u32,
    /// See [`CROWDED_AT`].
    waiting: u32,
    run: CallerRun,
}

impl Default for PollPolicy {
    fn default() -> Self {
        Self { credit: POLL_CREDIT, passed: 0, crowded_out: 0, waiting: 0, run: CallerRun::default() }
    }
}

impl PollPolicy {
    /// To be asked after each request: whether the thread should poll. `busy` tells whether programs want every core: a
    /// thread that polls then only takes one from them.
    pub(super) fn should_poll(&mut self, busy: impl FnOnce() -> bool) -> bool {
        self.passed += 1;
        if self.passed < PROBE_EVERY {
            let skipped = self.crowded() && !self.passed.is_multiple_of(CROWDED_POLLS_EVERY);
            return self.credit > 0 && !skipped;
        }
        self.passed = 0;
        if busy() {
            self.credit = 0;
            return false;
        }
        true
    }

    /// What a poll said. One that found nothing has cost a core for the whole window: where programs want every core, the second
    /// such poll in a row is the last until polling is tried again.
    pub(super) fn learn(&mut self, result: PollResult, busy: impl FnOnce() -> bool) {
        self.credit = match result {
            PollResult::Waiting => self.credit,
            PollResult::Came => (self.credit + FIND_IS_WORTH).min(POLL_CREDIT),
            PollResult::Nothing => {
                self.crowded_out = if busy() { self.crowded_out + 1 } else { 0 };
                if self.crowded_out < CROWDED_OUT_MAX { self.credit.saturating_sub(1) } else { 0 }
            }
        };
        if result != PollResult::Nothing || self.credit == 0 {
            self.crowded_out = 0;
        }
        self.waiting = match result {
            PollResult::Waiting => (self.waiting + WAITED_COUNTS).min(CROWDED_MAX),
            PollResult::Came | PollResult::Nothing => self.waiting.saturating_sub(1),
        };
    }

    /// Whether requests pile up.
    pub(super) fn crowded(&self) -> bool {
        self.waiting >= CROWDED_AT
    }

    /// To be asked after each request, which was served by `now`: the caller that a co-located worker should serve.
    pub(super) fn wants_worker(&mut self, served: Served, now: impl Fn() -> Instant) -> Option<ThreadId> {
        self.run.served(served, now)
    }

    /// The worker has left after so many requests.
    pub(super) fn worker_left(&mut self, served: u32) {
        self.run.worker_left(served);
    }
}

/// Requests of one caller in a row.
#[derive(Default)]
struct CallerRun {
    caller: Option<ThreadId>,
    length: u32,
    began: Option<Instant>,
    /// Requests to let pass before the next call, and how many they were the last time.
    backoff: u32,
    last_backoff: u32,
}

impl CallerRun {
    /// The caller, if its run is complete. Then another run begins.
    fn served(&mut self, served: Served, now: impl Fn() -> Instant) -> Option<ThreadId> {
        self.backoff = self.backoff.saturating_sub(1);
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
        if self.length < SAME_CALLER_RUN {
            return None;
        }
        self.length = 0;
        let closely = self.began.is_some_and(|began| now() - began < RUN_WITHIN);
        (closely && self.backoff == 0).then_some(caller)
    }

    fn worker_left(&mut self, served: u32) {
        self.length = 0;
        self.last_backoff = if served < SHORT_ASSIGNMENT {
            (self.last_backoff * 2).clamp(SHORT_ASSIGNMENT, BACKOFF_MAX)
        } else {
            0
        };
        self.backoff = self.last_backoff;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn polling_is_rare_where_requests_are() {
        let mut policy = PollPolicy::default();
        let mut polls = 0;
        for _ in 0..64_000 {
            if policy.should_poll(|| false) {
                polls += 1;
                policy.learn(PollResult::Nothing, || false);
            }
        }
        assert!(polls <= POLL_CREDIT + 1_000, "{polls}");
    }

    #[test]
    fn polling_continues_while_every_third_poll_finds_a_request_and_is_tried_again() {
        let mut policy = PollPolicy::default();
        for n in 0..3_000 {
            assert!(policy.should_poll(|| false));
            policy.learn(if n % 3 == 0 { PollResult::Came } else { PollResult::Nothing }, || false);
        }
        let again = |policy: &mut PollPolicy| (0..PROBE_EVERY).position(|_| policy.should_poll(|| false));
        while policy.should_poll(|| false) {
            policy.learn(PollResult::Nothing, || false);
        }
        assert!(again(&mut policy).is_some());
        policy.learn(PollResult::Came, || false);
        assert_eq!(again(&mut policy), Some(0));
    }

    #[test]
    fn a_busy_machine_is_not_polled_on() {
        let mut policy = PollPolicy::default();
        let mut polls = 0;
        for _ in 0..6_400 {
            if policy.should_poll(|| true) {
                polls += 1;
                policy.learn(PollResult::Came, || false);
            }
        }
        assert!(polls < PROBE_EVERY, "{polls}");
    }

    #[test]
    fn the_second_poll_that_finds_nothing_is_the_last_on_a_busy_machine() {
        let polls = |policy: &mut PollPolicy| policy.should_poll(|| false);
        let mut policy = PollPolicy::default();
        policy.learn(PollResult::Nothing, || true);
        assert!(polls(&mut policy), "something runs for a moment now and then");
        policy.learn(PollResult::Nothing, || false);
        policy.learn(PollResult::Nothing, || true);
        assert!(polls(&mut policy), "not in a row");
        policy.learn(PollResult::Came, || unreachable!("a find is worth its time"));
        policy.learn(PollResult::Nothing, || true);
        assert!(polls(&mut policy), "it found one");
        policy.learn(PollResult::Nothing, || true);
        let again = (1..=PROBE_EVERY).find(|_| polls(&mut policy));
        assert_eq!(again, Some(PROBE_EVERY - 3), "as often as where it was given up otherwise");
        policy.learn(PollResult::Nothing, || true);
        assert!(!polls(&mut policy), "a try that finds nothing");
    }

    #[test]
    fn requests_pile_up_where_most_polls_find_one_that_waited() {
        let crowded = |every: u32| {
            let mut policy = PollPolicy::default();
            for n in 0..300 {
                policy.learn(if n % every == 0 { PollResult::Waiting } else { PollResult::Came }, || false);
            }
            policy.crowded()
        };
        assert!(crowded(1) && crowded(2));
        assert!(!crowded(3) && !crowded(5));
    }

    #[test]
    fn polling_is_rare_where_requests_pile_up() {
        let mut policy = PollPolicy::default();
        let mut polled = |result| {
            let worth: Vec<_> = (0..640).filter(|_| policy.should_poll(|| false)).collect();
            worth.iter().for_each(|_| policy.learn(result, || false));
            worth.len()
        };
        assert_eq!(polled(PollResult::Waiting), 640);
        assert_eq!(polled(PollResult::Came), 640 / CROWDED_POLLS_EVERY as usize);
        assert_eq!(polled(PollResult::Came), 640, "they no longer do");
    }

    const TAR: ThreadId = ThreadId(7);
    const GIT: ThreadId = ThreadId(8);

    fn small(caller: ThreadId) -> Served {
        Served { caller: Some(caller), bulk: false }
    }

    /// The first of such requests after which the worker is called, if each comes so long after the one before.
    fn called_at(
        policy: &mut PollPolicy,
        every: Duration,
        requests: impl IntoIterator<Item = Served>,
    ) -> Option<usize> {
        let start = Instant::now();
        let mut at = start;
        requests.into_iter().position(|served| {
            at += every;
            policy.wants_worker(served, || at).is_some()
        })
    }

    fn called(policy: &mut PollPolicy, requests: impl IntoIterator<Item = Served>) -> Option<usize> {
        called_at(policy, Duration::from_micros(20), requests)
    }

    #[test]
    fn the_worker_is_called_for_one_caller_with_small_requests() {
        let ever = || std::iter::repeat_n(small(TAR), 1_000);
        let first = SAME_CALLER_RUN as usize - 1;
        assert_eq!(called(&mut PollPolicy::default(), ever()), Some(first));
        assert_eq!(called_at(&mut PollPolicy::default(), RUN_WITHIN / SAME_CALLER_RUN, ever()), Some(first));
        assert_eq!(called_at(&mut PollPolicy::default(), RUN_WITHIN / (SAME_CALLER_RUN - 2), ever()), None);
        let release = Served { caller: None, bulk: false };
        let with_releases = ever().flat_map(|served| [served, release]);
        assert_eq!(called(&mut PollPolicy::default(), with_releases), Some(first * 2));
        let of_two = ever().flat_map(|served| [served, small(GIT)]);
        assert_eq!(called(&mut PollPolicy::default(), of_two), None);
        let bulk = Served { bulk: true, ..small(TAR) };
        let reading = ever().enumerate().map(|(n, served)| if n % 20 == 0 { bulk } else { served });
        assert_eq!(called(&mut PollPolicy::default(), reading), None);
    }

    #[test]
    fn a_worker_that_left_soon_is_called_again_later_each_time() {
        let ever = || std::iter::repeat_n(small(TAR), 100_000);
        let mut policy = PollPolicy::default();
        let mut before = called(&mut policy, ever()).unwrap();
        for _ in 0..10 {
            policy.worker_left(SHORT_ASSIGNMENT - 1);
            let now = called(&mut policy, ever()).unwrap();
            assert!(
                now >= (before * 2 - SAME_CALLER_RUN as usize).min(BACKOFF_MAX as usize - 1),
                "{before} {now}"
            );
            before = now;
        }
        policy.worker_left(SHORT_ASSIGNMENT);
        assert_eq!(called(&mut policy, ever()), Some(SAME_CALLER_RUN as usize - 1));
    }
}
