//! Inodes that the kernel has forgotten: after many of them their memory goes back to the system.
//!
//! The allocator keeps what is freed for its next use, and gives back only what lies at the end of an arena, where
//! there is always something that lives on. So after a walk over a million files it would keep hundreds of MiB.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

/// How many make it worthwhile: they hold some MiB, and looking through the allocator's lists takes milliseconds.
const MANY: u32 = 1 << 14;
/// Forgets come in bursts. A burst is over when so long passes without one.
const PAUSE: Duration = Duration::from_millis(500);
/// Bursts that don't end are taken as over after so many pauses.
const PAUSES: u32 = 20;

/// How many inodes have been forgotten since memory was last given back.
#[derive(Default)]
pub(in crate::vault) struct ForgetCounter {
    count: AtomicU32,
    closed: Mutex<bool>,
    changed: Condvar,
}

impl ForgetCounter {
    /// Counts one.
    pub(in crate::vault) fn note(&self) {
        if self.count.fetch_add(1, Ordering::Relaxed) + 1 == MANY {
            // Who is about to wait has the lock, or sees the count.
            drop(self.closed.lock());
            self.changed.notify_all();
        }
    }

    /// Wakes all that wait, for good.
    pub(in crate::vault) fn close(&self) {
        *self.closed.lock() = true;
        self.changed.notify_all();
    }

    /// Waits until there are many and no more come; false once closed.
    pub(in crate::vault) fn wait(&self) -> bool {
        let mut closed = self.closed.lock();
        while !*closed && self.count.load(Ordering::Relaxed) < MANY {
            self.changed.wait(&mut closed);
        }
        let mut seen = 0;
        for _ in 0..PAUSES {
            let now = self.count.load(Ordering::Relaxed);
            if *closed || now == seen {
                break;
            }
            seen = now;
            self.changed.wait_for(&mut closed, PAUSE);
        }
        self.count.store(0, Ordering::Relaxed);
        !*closed
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    #[test]
    fn who_waits_is_woken_by_many_and_by_the_end() {
        let forgotten = ForgetCounter::default();
        std::thread::scope(|threads| {
            let waiting = threads.spawn(|| (forgotten.wait(), forgotten.wait()));
            for _ in 0..MANY {
                forgotten.note();
            }
            while forgotten.count.load(Ordering::Relaxed) >= MANY {
                std::thread::sleep(Duration::from_millis(1));
            }
            for _ in 1..MANY {
                forgotten.note();
            }
            let began = Instant::now();
            while began.elapsed() < PAUSE * 2 {
                assert!(!waiting.is_finished(), "one too few");
                std::thread::sleep(Duration::from_millis(10));
            }
            forgotten.close();
            assert_eq!(waiting.join().unwrap(), (true, false));
        });
    }
}
