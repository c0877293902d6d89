//! Followers: the session threads that stay away from the device while the leader keeps up without them.

use parking_lot::{Condvar, Mutex};
use std::cell::Cell;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use super::tunables::STANDBY_CHECK;

thread_local! {
    /// The leader's count when this thread came back because it had stopped.
    static STOPPED_AT: Cell<Option<u32>> = const { Cell::new(None) };
}

/// What the leader found behind the request that it served.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Backlog {
    /// It keeps up.
    Short,
    /// Requests pile up: every thread is needed.
    Crowded,
}

/// The threads that stand by.
#[derive(Default)]
pub(super) struct Followers {
    /// Counts the leader's requests.
    progress: AtomicU32,
    /// Whether every thread is needed.
    crowded: AtomicBool,
    lock: Mutex<()>,
    back: Condvar,
}

impl Followers {
    /// The leader has served another request.
    pub(super) fn progress(&self, backlog: Backlog) {
        let crowded = backlog == Backlog::Crowded;
        self.progress.fetch_add(1, Ordering::Relaxed);
        if self.crowded.load(Ordering::Relaxed) != crowded {
            self.crowded.store(crowded, Ordering::Relaxed);
            if crowded {
                self.back.notify_all();
            }
        }
    }

    /// Makes all followers return to the device.
    pub(super) fn wake_all(&self) {
        self.progress(Backlog::Crowded);
    }

    /// Stays away while the leader keeps up.
    pub(super) fn stand_by(&self) {
        let mut lock = self.lock.lock();
        loop {
            let before = self.progress.load(Ordering::Relaxed);
            if self.crowded.load(Ordering::Relaxed)
                || !self.back.wait_for(&mut lock, STANDBY_CHECK).timed_out()
            {
                return;
            }
            if self.progress.load(Ordering::Relaxed) == before {
                STOPPED_AT.set(Some(before));
                return;
            }
        }
    }

    /// Whether the leader has served a request since this thread last came back because it had stopped.
    pub(super) fn leader_progressed(&self) -> bool {
        STOPPED_AT.get() != Some(self.progress.load(Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    #[test]
    fn a_follower_is_back_when_the_leader_is_stuck_or_needs_help() {
        let followers = Followers::default();
        std::thread::scope(|threads| {
            let stuck = threads.spawn(|| followers.stand_by());
            let began = Instant::now();
            while began.elapsed() < STANDBY_CHECK * 50 {
                // Progress may be late on a busy machine: the follower is back then, as it should be.
                followers.progress(Backlog::Short);
            }
            // No more progress.
            stuck.join().unwrap();

            let trusting = threads.spawn(|| followers.stand_by());
            let mut backlog = Backlog::Short;
            while !trusting.is_finished() {
                followers.progress(backlog);
                backlog = Backlog::Crowded;
            }
            trusting.join().unwrap();
            followers.progress(Backlog::Crowded);
            followers.stand_by();
            followers.progress(Backlog::Short);
            assert!(!followers.crowded.load(Ordering::Relaxed));
            followers.stand_by();
            assert!(!followers.leader_progressed());
            followers.progress(Backlog::Short);
            assert!(followers.leader_progressed());
        });
    }
}
