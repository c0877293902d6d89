//! Answers owed to direct writes: the data is written, and the answer waits until the kernel has dropped its older pages.
//!
//! The kernel bounds the number of asynchronous requests under way, and most of these writes are asynchronous. A page can be
//! locked by a reader whose own request waits for one of them to end. If all of them wait for such pages, none ever ends.
//! So if none has been answered for a while, all are answered. Their pages are dropped as soon as possible all the same. A
//! reader that has locked one of these pages reads what was written, since its request is served after the write.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

/// So many may be all that the kernel allows at once: it may allow fewer than it was asked for.
const MANY: usize = super::kernel::MAX_BACKGROUND as usize / 2;
/// How long none may be answered if there are [`MANY`]. A caller that is answered too early, on a busy machine, may read an old page.
const SHORT: Duration = Duration::from_millis(200);
/// The same if there are fewer: as long as a slow disk may take to write out pages before they are dropped.
const LONG: Duration = Duration::from_secs(2);

/// The answers owed, in the order of their writes.
pub(super) struct Owed<R> {
    inner: Mutex<OwedState<R>>,
    came: Condvar,
}

struct OwedState<R> {
    next: u64,
    waiting: VecDeque<(u64, R)>,
    /// When one was answered last, or the first was added.
    moved: Instant,
    /// Whether a thread runs [`Owed::watch`], and whether it sleeps because none is owed.
    watched: bool,
    asleep: bool,
    closed: bool,
}

impl<R> Owed<R> {
    pub(super) fn new() -> Self {
        let (waiting, moved) = (VecDeque::new(), Instant::now());
        let inner = OwedState { next: 0, waiting, moved, watched: false, asleep: false, closed: false };
        Self { inner: Mutex::new(inner), came: Condvar::new() }
    }

    /// Adds one. Returns its number, and whether the caller must start a thread for [`Owed::watch`].
    pub(super) fn add(&self, answer: R) -> (u64, bool) {
        let mut inner = self.inner.lock();
        if inner.waiting.is_empty() {
            inner.moved = Instant::now();
        }
        inner.next += 1;
        let number = inner.next;
        inner.waiting.push_back((number, answer));
        if inner.asleep {
            self.came.notify_one();
        }
        (number, !std::mem::replace(&mut inner.watched, true))
    }

    /// Takes one to answer it; `None` if it was answered already.
    pub(super) fn take(&self, number: u64) -> Option<R> {
        let mut inner = self.inner.lock();
        let at = inner.waiting.iter().position(|(known, _)| *known == number)?;
        inner.moved = Instant::now();
        inner.waiting.remove(at).map(|(_, answer)| answer)
    }

    /// Answers those that wait for too long, until [`Owed::close`].
    pub(super) fn watch(&self, answer: impl Fn(R)) {
        let mut inner = self.inner.lock();
        while !inner.closed {
            if inner.waiting.is_empty() {
                inner.asleep = true;
                self.came.wait(&mut inner);
                inner.asleep = false;
                continue;
            }
            let overdue = inner.overdue(Instant::now());
            if overdue.is_empty() {
                self.came.wait_for(&mut inner, SHORT);
            } else {
                drop(inner);
                overdue.into_iter().for_each(|(_, owed)| answer(owed));
                inner = self.inner.lock();
            }
        }
    }

    /// Ends [`Owed::watch`].
    pub(super) fn close(&self) {
        self.inner.lock().closed = true;
        self.came.notify_all();
    }
}

impl<R> OwedState<R> {
    /// All of them, if they wait for too long.
    fn overdue(&mut self, now: Instant) -> VecDeque<(u64, R)> {
        let patience = if self.waiting.len() < MANY { LONG } else { SHORT };
        if now.saturating_duration_since(self.moved) < patience {
            return VecDeque::new();
        }
        self.moved = now;
        std::mem::take(&mut self.waiting)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_are_answered_where_none_has_been_for_a_while() {
        let owed = Owed::new();
        let numbers: Vec<u64> = (0..MANY).map(|n| owed.add(n).0).collect();
        assert_eq!(owed.take(numbers[3]), Some(3));
        assert_eq!(owed.take(numbers[3]), None);
        let moved = owed.inner.lock().moved;
        let overdue = |after: Duration| owed.inner.lock().overdue(moved + after).len();
        assert_eq!(overdue(SHORT), 0, "few may take longer");
        owed.add(MANY);
        assert_eq!(overdue(SHORT - Duration::from_millis(1)), 0);
        assert_eq!(overdue(SHORT), MANY);
        assert_eq!(owed.take(numbers[0]), None, "it has been answered");
        owed.add(0);
        let moved = owed.inner.lock().moved;
        assert_eq!(owed.inner.lock().overdue(moved + LONG).len(), 1);
    }

    #[test]
    fn the_watching_thread_answers_what_is_stuck_and_ends_when_it_is_closed() {
        let owed = Owed::new();
        let (answered, seen) = std::sync::mpsc::channel();
        std::thread::scope(|threads| {
            threads.spawn(|| owed.watch(|n| answered.send(n).unwrap()));
            for n in 0..MANY {
                assert_eq!(owed.add(n).1, n == 0, "one is enough");
            }
            for n in 0..MANY {
                assert_eq!(seen.recv_timeout(Duration::from_secs(20)), Ok(n));
            }
            owed.close();
        });
    }
}
