//! The session threads that keep away from the device while one gets on without them.

use std::cell::Cell;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

/// How often a thread that keeps away looks whether the other gets on. A request waits for up to two of these for one
/// that is stuck with another.
pub(super) const WATCH: Duration = Duration::from_millis(1);

thread_local! {
    /// The beat when this thread came back because there was no other.
    static LAST: Cell<Option<u32>> = const { Cell::new(None) };
}

/// The threads that keep away from the device.
#[derive(Default)]
pub(super) struct Away {
    /// Counts requests of the thread that is at the device.
    beat: AtomicU32,
    /// Whether every thread is needed.
    crowded: AtomicBool,
    lock: Mutex<()>,
    back: Condvar,
}

impl Away {
    /// The one thread has served another request.
    pub(super) fn looked(&self, crowded: bool) {
        self.beat.fetch_add(1, Ordering::Relaxed);
        if self.crowded.load(Ordering::Relaxed) != crowded {
            self.crowded.store(crowded, Ordering::Relaxed);
            if crowded {
                self.back.notify_all();
            }
        }
    }

    /// Has everyone return to the device.
    pub(super) fn recall(&self) {
        self.looked(true);
    }

    /// Keeps away while another thread gets on.
    pub(super) fn keep(&self) {
        let mut lock = self.lock.lock();
        loop {
            let beat = self.beat.load(Ordering::Relaxed);
            if self.crowded.load(Ordering::Relaxed) || !self.back.wait_for(&mut lock, WATCH).timed_out() {
                return;
            }
            if self.beat.load(Ordering::Relaxed) == beat {
                LAST.set(Some(beat));
                return;
            }
        }
    }

    /// Whether the other thread has got on since this one last came back from keeping away for want of that.
    pub(super) fn gets_on(&self) -> bool {
        LAST.get() != Some(self.beat.load(Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

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

            let trusting = threads.spawn(|| away.keep());
            let mut crowded = false;
            while !trusting.is_finished() {
                away.looked(crowded);
                crowded = true;
            }
            trusting.join().unwrap();
            away.looked(true);
            away.keep();
            away.looked(false);
            assert!(!away.crowded.load(Ordering::Relaxed));
            away.keep();
            assert!(!away.gets_on());
            away.looked(false);
            assert!(away.gets_on());
        });
    }
}
