use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::*;
use crate::sys::testing::PATIENCE;

#[test]
fn a_file_that_is_only_used_directly_has_nothing_to_drop() {
    let pages = KernelPages::default();
    for _ in 0..10_000 {
        assert_eq!(pages.written(), Stale::Nothing);
    }
}

#[test]
fn pages_that_no_one_uses_any_more_are_dropped_once_and_seldomer_each_time_they_come_back() {
    let pages = KernelPages::default();
    let mut runs = Vec::new();
    for _ in 0..14 {
        pages.come();
        let mut run = 1;
        while pages.written() == Stale::Range {
            run += 1;
        }
        assert_eq!(pages.written(), Stale::Range, "while all are being dropped");
        pages.all_dropped();
        assert_eq!(pages.written(), Stale::Nothing);
        runs.push(run);
    }
    assert_eq!(runs[..3], [64, 128, 256]);
    assert_eq!(runs[13], 64 << DOUBLED_MOST);
}

#[test]
fn who_reads_through_the_cache_keeps_the_rest_of_the_file_there() {
    let pages = KernelPages::default();
    for n in 0..100_000 {
        if n % 60 == 0 {
            pages.come();
        }
        assert_eq!(pages.written(), Stale::Range);
    }
}

#[test]
fn more_droppings_than_can_be_counted_are_not_begun() {
    let long = MAY_BE + (LONG_RUN - 1) * RUN;
    assert_eq!(next(long + DROPPING_MASK - DROPPING), (Stale::All, DROPPING_MASK | DOUBLED));
    assert_eq!(next(long + DROPPING_MASK).0, Stale::Range);
    let longest = MAY_BE | DROPPING_MASK | RUN_MASK;
    assert_eq!(next(longest), (Stale::Range, longest));
    let pages = KernelPages::default();
    pages.all_dropped();
    assert_eq!(pages.written(), Stale::Nothing);
}

/// A page of the kernel's and the block below it. The lock is the page's: held from before a read is sent until it
/// is answered, and waited for by who drops the page.
#[derive(Default)]
struct Page {
    cached: Mutex<Option<u64>>,
    below: AtomicU64,
}

/// Writers that each have a page of their own, and readers of all: once a write is answered, no one sees what was
/// there before.
#[test]
fn no_answered_write_leaves_an_older_page_in_the_cache() {
    const WRITERS: usize = 3;
    let (known, stop) = (KernelPages::default(), AtomicBool::new(false));
    let pages: Vec<Page> = (0..WRITERS).map(|_| Page::default()).collect();
    let (stale, dropped_all) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let read = |page: &Page| {
        let mut cached = page.cached.lock();
        *cached.get_or_insert_with(|| {
            known.come();
            page.below.load(Ordering::Relaxed)
        })
    };
    std::thread::scope(|threads| {
        for page in &pages {
            let (known, pages, stale, dropped_all, stop) = (&known, &pages, &stale, &dropped_all, &stop);
            threads.spawn(move || {
                for number in 1.. {
                    *page.cached.lock() = None;
                    page.below.store(number, Ordering::Relaxed);
                    match known.written() {
                        Stale::Nothing => {}
                        Stale::Range => *page.cached.lock() = None,
                        Stale::All => {
                            pages.iter().for_each(|page| *page.cached.lock() = None);
                            known.all_dropped();
                            dropped_all.fetch_add(1, Ordering::Relaxed);
                        }
                    }
                    let old = page.cached.lock().is_some_and(|seen| seen != number);
                    stale.fetch_add(old.into(), Ordering::Relaxed);
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                }
            });
        }
        let began = Instant::now();
        for turn in 0u64.. {
            read(&pages[turn as usize % WRITERS]);
            // Now in quick succession, now so seldom that all pages are dropped in between.
            std::thread::sleep(Duration::from_micros(if turn % 512 < 256 { 0 } else { turn % 64 * 8 }));
            let (took, rare) = (began.elapsed(), dropped_all.load(Ordering::Relaxed));
            if took > Duration::from_secs(2) && rare > 0 || took > PATIENCE {
                break;
            }
        }
        stop.store(true, Ordering::Relaxed);
    });
    assert_eq!(stale.into_inner(), 0);
    assert!(dropped_all.into_inner() > 0, "the rarer way was never taken");
}
