use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::mpsc;

use proptest::prelude::*;

use super::*;
use crate::sys::testing::{cases, eventually};

fn lock(ranges: &BlockLocks, (first, last): (u64, u64)) -> BlockLock<'_> {
    ranges.lock(PageIndex(first), PageIndex(last))
}

/// Waits until so many are waiting.
fn until_waiting(ranges: &BlockLocks, count: usize) {
    eventually(|| ranges.queue.lock().waiting == count);
}

#[test]
fn ranges_that_only_neighbour_each_other_are_held_at_once() {
    let ranges = BlockLocks::default();
    let _held = [lock(&ranges, (0, 0)), lock(&ranges, (1, 63)), lock(&ranges, (64, 64))];
    let _beyond = lock(&ranges, (u64::MAX, u64::MAX));
}

#[test]
fn the_middle_of_a_range_is_held_as_its_ends_are() {
    let ranges = BlockLocks::default();
    for inner in [(10, 10), (50, 51), (99, 99), (0, 200), (5, 10), (99, 105)] {
        let outer = lock(&ranges, (10, 99));
        let entered = AtomicBool::new(false);
        std::thread::scope(|threads| {
            threads.spawn(|| {
                let _inner = lock(&ranges, inner);
                entered.store(true, Ordering::SeqCst);
            });
            until_waiting(&ranges, 1);
            assert!(!entered.load(Ordering::SeqCst), "{inner:?}");
            drop(outer);
        });
        assert!(entered.load(Ordering::SeqCst));
    }
    assert!(ranges.queue.lock().all.is_empty());
}

/// A range over the whole file isn't overtaken by later ones, however many there are; one that overlaps neither
/// continues.
#[test]
fn nobody_is_overtaken_by_who_came_later_and_overlaps() {
    let ranges = BlockLocks::default();
    let (order, entered) = mpsc::channel();
    let small = lock(&ranges, (7, 7));
    std::thread::scope(|threads| {
        let enter = |number: usize, range: (u64, u64)| {
            let (order, ranges) = (order.clone(), &ranges);
            threads.spawn(move || {
                let _held = lock(ranges, range);
                order.send(number).unwrap();
            });
            until_waiting(ranges, number);
        };
        enter(1, (0, 99));
        enter(2, (3, 3));
        enter(3, (3, 120));
        // All of 100 to 120 is free, but number 3 came first.
        enter(4, (110, 110));
        drop(lock(&ranges, (200, 210)));
        assert!(entered.try_recv().is_err());
        drop(small);
    });
    assert_eq!(entered.try_iter().take(4).collect::<Vec<_>>(), [1, 2, 3, 4]);
}

proptest! {
    #![proptest_config(cases(24))]

    /// However threads come: no block has two holders, all get through, and nothing is left behind.
    #[test]
    fn no_block_has_two_holders(
        works in prop::collection::vec(prop::collection::vec((0u64..48, 0u64..12), 1..60), 2..6),
    ) {
        let ranges = BlockLocks::default();
        let holders: Vec<AtomicU32> = (0..64).map(|_| AtomicU32::new(0)).collect();
        let (twice, done) = (AtomicUsize::new(0), AtomicUsize::new(0));
        std::thread::scope(|threads| {
            for work in &works {
                let (ranges, holders, twice, done) = (&ranges, &holders, &twice, &done);
                threads.spawn(move || {
                    for (first, more) in work {
                        let held = lock(ranges, (*first, first + more));
                        let blocks = &holders[*first as usize..=(first + more) as usize];
                        for block in blocks {
                            twice.fetch_add(block.fetch_add(1, Ordering::SeqCst) as usize, Ordering::SeqCst);
                        }
                        std::thread::yield_now();
                        for block in blocks {
                            block.fetch_sub(1, Ordering::SeqCst);
                        }
                        drop(held);
                    }
                    done.fetch_add(1, Ordering::SeqCst);
                });
            }
        });
        prop_assert_eq!(twice.into_inner(), 0);
        prop_assert_eq!(done.into_inner(), works.len());
        prop_assert!(ranges.queue.lock().all.is_empty());
    }
}
