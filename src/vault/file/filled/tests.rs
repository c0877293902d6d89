//! What is filled against a model that knows each page.

use proptest::prelude::*;

use super::*;

#[test]
fn writes_in_any_order_become_one_prefix() {
    let filled = Filled::default();
    for pages in [8..12, 4..8, 0..4] {
        filled.note(pages);
    }
    assert_eq!(filled.prefix(), PageCount(12));
    // One page is left out.
    filled.note(13..20);
    assert_eq!(filled.prefix(), PageCount(12));
    filled.note(12..13);
    assert_eq!(filled.prefix(), PageCount(20));
}

#[test]
fn only_what_was_filled_when_the_sync_began_is_durable() {
    let filled = Filled::default();
    filled.note(0..4);
    let mark = filled.mark();
    filled.note(4..8);
    filled.is_durable(mark);
    assert_eq!((filled.prefix(), filled.durable()), (PageCount(8), PageCount(4)));
}

/// The file was truncated, and grew again without being written, while it was synced.
#[test]
fn a_hole_made_during_a_sync_makes_what_it_covered_void() {
    let mut filled = Filled::default();
    filled.note(0..8);
    let mark = filled.mark();
    filled.hole_from(PageCount(2));
    filled.note(3..8);
    filled.is_durable(mark);
    assert_eq!((filled.prefix(), filled.durable()), (PageCount(2), PageCount(0)));
    let mark = filled.mark();
    filled = filled.restarted(PageCount(0));
    filled.is_durable(mark);
    assert_eq!(filled.durable(), PageCount(0), "that was another header's");
}

#[test]
fn more_ranges_than_are_remembered_lose_the_farthest() {
    let filled = Filled::default();
    for n in (1..=AHEAD as u64 + 4).rev() {
        filled.note(2 * n..2 * n + 1);
    }
    for n in 0..AHEAD as u64 + 4 {
        filled.note(2 * n + 1..2 * n + 2);
    }
    filled.note(0..1);
    let reached = filled.prefix().0;
    assert!(reached > AHEAD as u64, "{reached}");
}

#[derive(Clone, Debug)]
enum Step {
    Note(u64, u64),
    Hole(u64),
    Begin,
    End,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0u64..200, 1u64..40).prop_map(|(at, len)| Step::Note(at, len)),
        1 => (0u64..200).prop_map(Step::Hole),
        1 => Just(Step::Begin),
        1 => Just(Step::End),
    ]
}

proptest! {
    /// Never more than there is; with few gaps also no less.
    #[test]
    fn what_is_filled_holds_data(steps in prop::collection::vec(step(), 1..60)) {
        let mut filled = Filled::default();
        let (mut data, mut durable) = (vec![false; 256], vec![false; 256]);
        let mut sync: Option<(Mark, Vec<bool>)> = None;
        for step in steps {
            match step {
                Step::Note(at, len) => {
                    filled.note(at..at + len);
                    data[at as usize..(at + len) as usize].fill(true);
                }
                Step::Hole(first) => {
                    filled.hole_from(PageCount(first));
                    for pages in [&mut data, &mut durable] {
                        pages[first as usize..].fill(false);
                    }
                    // What the sync is yet to write.
                    if let Some((_, pages)) = &mut sync {
                        pages[first as usize..].fill(false);
                    }
                }
                Step::Begin => sync = Some((filled.mark(), data.clone())),
                Step::End => {
                    if let Some((mark, pages)) = sync.take() {
                        filled.is_durable(mark);
                        durable.iter_mut().zip(pages).for_each(|(known, now)| *known |= now);
                    }
                }
            }
            let prefix = |pages: &[bool]| pages.iter().take_while(|page| **page).count() as u64;
            prop_assert!(filled.prefix().0 <= prefix(&data));
            prop_assert!(filled.durable().0 <= prefix(&durable));
        }
    }
}
