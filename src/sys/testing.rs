//! What tests measure and wait with, so that none of them depends on how busy the machine is.
//!
//! What comes by itself is waited for with [`eventually`], and not slept for. What must not cost much is measured in
//! [`cpu_time`]. A limit on the clock's time stands only where what it tells apart takes far longer: seconds beside minutes.
//! Where a helper's process runs beside a test, a descriptor that the test has closed may stay open for a moment in a process that
//! was just forked by another test: a lock, a socket or the end of a pipe is let go a moment later.

use std::time::{Duration, Instant};

use proptest::test_runner::Config;
use rustix::time::{ClockId, clock_gettime};

/// More than anything takes that happens at all, on a busy machine too.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Waits until a condition holds.
///
/// # Panics
/// If it doesn't within [`PATIENCE`].
#[track_caller]
pub(crate) fn eventually(mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < end, "it doesn't come within {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// A property test that draws so many cases each time, and as many as `PROPTEST_CASES` asks for: what fails once in a million
/// cases is to be found when somebody looks for it, and not by chance.
pub(crate) fn cases(usual: u32) -> Config {
    let asked = std::env::var("PROPTEST_CASES").ok().and_then(|text| text.parse().ok());
    Config { cases: asked.unwrap_or(usual), ..Config::default() }
}

/// What `work` returns, and how much of a processor's time this thread has needed for it, that in the kernel included.
pub(crate) fn cpu_time<T>(work: impl FnOnce() -> T) -> (T, Duration) {
    let now = || {
        let time = clock_gettime(ClockId::ThreadCPUTime);
        Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or_default())
    };
    let began = now();
    let done = work();
    (done, now().saturating_sub(began))
}
