//! Every number of busy polling: its unit, and why it is what it is. They were found by measuring, on two cores, with
//! `scripts/bench.sh`; `scripts/bench.sh --polling` shows what each part is worth.

use std::time::Duration;

/// How long the leader polls. The wake-up of a sleeping thread, which polling saves, takes 10 to 50 µs; within the window
/// the program has to be woken, too, for the reply before. A window twice as long finds hardly more requests.
pub(super) const POLL_WINDOW: Duration = Duration::from_micros(50);

/// Polls that may find nothing, beyond what finds make up for, before polling is given up.
pub(super) const POLL_CREDIT: u32 = 16;

/// Polls without a find that one find makes up for: polling continues while every third poll finds a request.
pub(super) const FIND_IS_WORTH: u32 = 2;

/// Polls in a row that may find nothing while programs want every core: the last of them ends polling. Two, since something
/// runs for a moment now and then.
pub(super) const CROWDED_OUT_MAX: u32 = 2;

/// Requests after which polling that was given up is tried again: 50 µs for 64 requests are a small part of the time
/// that it takes to serve them. As often the policy asks whether the machine is busy.
pub(super) const PROBE_EVERY: u32 = 64;

/// Requests pile up where more than every third poll finds that one waited already. A count goes up by this for each poll
/// that finds one waiting, and down by one for each other,
pub(super) const WAITED_COUNTS: u32 = 2;
/// at most to here;
pub(super) const CROWDED_MAX: u32 = 16;
/// from here on they do.
pub(super) const CROWDED_AT: u32 = 8;

/// While requests pile up, the leader polls after every so manieth request, to see whether they still do.
pub(super) const CROWDED_POLLS_EVERY: u32 = 4;

/// Requests of one caller in a row, none of them large, that call the co-located worker,
pub(super) const SAME_CALLER_RUN: u32 = 32;
/// and the time in which they come.
pub(super) const RUN_WITHIN: Duration = Duration::from_millis(10);

/// A worker that leaves before it has served so many requests wasn't worth the call: as many pass before the next one,
/// twice as many each time,
pub(super) const SHORT_ASSIGNMENT: u32 = 256;
/// at most so many.
pub(super) const BACKOFF_MAX: u32 = 1 << 14;

/// How often a follower looks whether the leader has made progress. A request that comes while the leader is stuck with
/// another one waits for up to two of these.
pub(super) const STANDBY_CHECK: Duration = Duration::from_millis(1);

/// The longest time between two requests that the worker serves: after it the followers are back in any case.
pub(super) const WORKER_LATE: Duration = STANDBY_CHECK.saturating_mul(2);

/// Requests after which the worker looks whether the machine is busy, and on which core its caller runs.
pub(super) const WORKER_CHECK_EVERY: u32 = 64;

/// Checks in a row that may find the caller on another core before the worker leaves: this kernel doesn't keep the two
/// together.
pub(super) const MIGRATIONS_MAX: u32 = 4;

/// The penalty of the worker grows by this with each large request,
pub(super) const PENALTY_BULK: u32 = 16;
/// by this with each of another caller, and falls by one with each other request;
pub(super) const PENALTY_OTHER_CALLER: u32 = 4;
/// at this sum the worker leaves.
pub(super) const PENALTY_MAX: u32 = 32;

/// Requests in a row of another caller that make it the worker's caller: programs follow one another.
pub(super) const SWITCH_AFTER: u32 = 8;
