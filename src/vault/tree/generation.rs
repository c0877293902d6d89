//! Generations: what tells the inodes that bear one number one after the other, for file handles that outlive the
//! first (`name_to_handle_at(2)`, NFS).
//!
//! A generation is a hash of the lower inode's birth time, which comes with the stat that a lookup makes anyway: it
//! needs no call of its own, and is the same after the kernel forgot the inode, and in the next mount. Birth times
//! have the grain of the clock's tick: a number that is freed and used again within one may bear the same twice. So
//! what is removed young is kept for a while, and generations are counted on from there: within a mount no two inodes
//! share number and generation. Where there is no birth time, the generation in the lower file handle counts, for a
//! call with each inode that the kernel comes to know.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;

use crate::ids::{Ino, NodeGeneration, Time};

/// No tick is longer; nor does a file that is older share its birth time with one that is still to come.
const TICK: Duration = Duration::from_secs(2);
/// How many numbers are kept before those of no use any more are given up.
const MANY: usize = 1024;

#[derive(Default)]
pub(in crate::vault) struct Generations {
    /// Numbers that were freed while their inode was young.
    freed: Mutex<HashMap<Ino, Freed>>,
    /// Whether there are any.
    any: AtomicBool,
    /// An inode without a birth time was met: handles are asked for.
    no_births: AtomicBool,
}

struct Freed {
    born: Time,
    /// Inodes of this number and birth time that were removed.
    times: u32,
    at: Instant,
    /// There is another one of the same birth time.
    reused: bool,
}

impl Generations {
    /// The filesystem below reports no birth times.
    pub(in crate::vault) fn lack_births(&self) {
        self.no_births.store(true, Ordering::Relaxed);
    }

    /// Whether generations are taken from file handles.
    pub(in crate::vault) fn take_handles(&self) -> bool {
        self.no_births.load(Ordering::Relaxed)
    }

    /// The last name of an inode is about to go, or has gone and a descriptor still keeps the number.
    pub(in crate::vault) fn freed(&self, ino: Ino, born: Option<Time>) {
        let Some(born) = born else { return };
        if age(born).is_some_and(|age| age > TICK) {
            return;
        }
        let mut freed = self.freed.lock();
        // Only when it would have to grow, and then to no less than capacity for as many more: a burst isn't looked
        // through with each of its removals.
        if freed.len() >= MANY && freed.len() == freed.capacity() {
            freed.retain(|_, freed| freed.reused || freed.at.elapsed() < TICK);
            let capacity = (freed.len() * 2).max(MANY);
            freed.shrink_to(capacity);
            let more = capacity - freed.len();
            freed.reserve(more);
        }
        let at = Instant::now();
        let known = freed.entry(ino).or_insert(Freed { born, times: 0, at, reused: false });
        let times = if known.born == born { known.times + 1 } else { 1 };
        *known = Freed { born, times, at, reused: false };
        self.any.store(true, Ordering::Relaxed);
    }

    /// The generation of an inode that was born then.
    pub(in crate::vault) fn of(&self, ino: Ino, born: Time) -> NodeGeneration {
        let first = hash(born);
        if !self.any.load(Ordering::Relaxed) {
            return NodeGeneration(first);
        }
        let times = match self.freed.lock().get_mut(&ino) {
            Some(freed) if freed.born == born => {
                freed.reused = true;
                freed.times
            }
            _ => 0,
        };
        NodeGeneration(first.wrapping_add(times))
    }
}

/// `None`: of the future.
fn age(born: Time) -> Option<Duration> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).ok()?;
    let born = Duration::new(u64::try_from(born.secs).unwrap_or(0), born.nanos);
    now.checked_sub(born)
}

/// The finalizer of MurmurHash3: each bit of the time tells in each of the hash.
fn hash(born: Time) -> u32 {
    let mut bits = (born.secs as u64).wrapping_mul(1_000_000_000).wrapping_add(born.nanos.into());
    bits = (bits ^ (bits >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    bits = (bits ^ (bits >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    (bits ^ (bits >> 33)) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> Time {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        Time { secs: now.as_secs() as i64, nanos: now.subsec_nanos() }
    }

    #[test]
    fn a_number_used_again_within_a_tick_has_another_generation_each_time() {
        let generations = Generations::default();
        let (ino, born) = (Ino(7), now());
        let mut seen = Vec::new();
        for _ in 0..100 {
            let generation = generations.of(ino, born);
            assert!(!seen.contains(&generation));
            assert_eq!(generations.of(ino, born), generation, "looked up again");
            seen.push(generation);
            generations.freed(ino, Some(born));
        }
        assert_eq!(generations.of(Ino(8), born), seen[0], "of another number");
    }

    #[test]
    fn it_is_that_of_the_birth_time_in_every_mount() {
        let born = Time { secs: 1_700_000_000, nanos: 4_000_000 };
        let generations = Generations::default();
        let generation = generations.of(Ino(7), born);
        generations.freed(Ino(7), Some(born));
        assert!(generations.freed.lock().is_empty(), "too old to be born again");
        assert_eq!(Generations::default().of(Ino(7), born), generation);
        let next = Time { nanos: 8_000_000, ..born };
        assert_ne!(Generations::default().of(Ino(7), next), generation);
    }

    #[test]
    fn what_is_of_no_use_any_more_is_given_up() {
        let generations = Generations::default();
        let born = now();
        generations.freed(Ino(1), Some(born));
        let second = generations.of(Ino(1), born);
        for ino in 2..5 * MANY as u64 {
            generations.freed(Ino(ino), Some(born));
            let long_ago = Instant::now().checked_sub(TICK * 2).unwrap_or_else(Instant::now);
            generations.freed.lock().get_mut(&Ino(ino)).unwrap().at = long_ago;
        }
        assert!(generations.freed.lock().len() <= 4 * MANY);
        assert_eq!(generations.of(Ino(1), born), second, "one that lives keeps what it got");
    }
}
