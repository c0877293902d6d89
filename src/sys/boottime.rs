//! The clock that goes on while the machine is suspended (CLOCK_BOOTTIME), and a timer on it that kills this process.

use std::io;
use std::time::Duration;

use nix::sys::signal::{SigEvent, SigevNotify, Signal};
use nix::sys::timer::{Expiration, Timer, TimerSetTimeFlags};
use nix::time::ClockId;
use rustix::time::{ClockId as Clock, clock_gettime};

/// An instant of this clock. Comparable within one boot alone.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct BootTime(Duration);

impl BootTime {
    /// The present.
    pub fn now() -> Self {
        let now = clock_gettime(Clock::Boottime);
        // The kernel's count since the boot: neither part is negative.
        Self(Duration::new(now.tv_sec.unsigned_abs(), now.tv_nsec as u32))
    }

    /// So much later.
    #[must_use]
    pub fn after(self, time: Duration) -> Self {
        Self(self.0.saturating_add(time))
    }

    /// How long ago that is; nothing if it is to come.
    pub fn elapsed(self) -> Duration {
        Self::now().0.saturating_sub(self.0)
    }

    /// In nanoseconds since the boot; 584 years are enough.
    pub fn nanoseconds(self) -> u64 {
        u64::try_from(self.0.as_nanos()).unwrap_or(u64::MAX)
    }
}

/// Sends SIGKILL to this process at an instant: it kills one that is stopped, or whose threads all wait, too. Not inherited by a
/// forked process. Disarmed when it is dropped.
pub struct KillTimer(Timer);

impl KillTimer {
    /// One that isn't armed.
    ///
    /// # Errors
    /// Those of `timer_create(2)`.
    pub fn new() -> io::Result<Self> {
        let event = SigEvent::new(SigevNotify::SigevSignal { signal: Signal::SIGKILL, si_value: 0 });
        Ok(Self(Timer::new(ClockId::CLOCK_BOOTTIME, event)?))
    }

    /// Arms it, or moves it. One that lies in the past kills at once.
    ///
    /// # Errors
    /// Those of `timer_settime(2)`.
    pub fn kill_at(&mut self, at: BootTime) -> io::Result<()> {
        Ok(self.0.set(Expiration::OneShot(at.0.into()), TimerSetTimeFlags::TFD_TIMER_ABSTIME)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_goes_on() {
        let before = BootTime::now();
        let later = before.after(Duration::from_millis(5));
        assert!(later > before && later.elapsed() == Duration::ZERO);
        std::thread::sleep(Duration::from_millis(10));
        assert!(later.elapsed() >= Duration::from_millis(5) && BootTime::now() > later);
        assert!(later.nanoseconds() - before.nanoseconds() == 5_000_000);
    }

    #[test]
    fn a_timer_that_is_dropped_kills_nobody() {
        let mut timer = KillTimer::new().unwrap();
        timer.kill_at(BootTime::now().after(Duration::from_millis(50))).unwrap();
        timer.kill_at(BootTime::now().after(Duration::from_millis(80))).unwrap();
        drop(timer);
        std::thread::sleep(Duration::from_millis(120));
    }
}
