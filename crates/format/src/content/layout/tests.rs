//! Every size around a boundary, and the arithmetic against itself.
use proptest::prelude::*;

use super::*;

fn interesting() -> Vec<u64> {
    let mut sizes: Vec<u64> = (0..3).chain(3042..=3046).collect();
    for k in (1..40).chain([SEGMENT_PAGES - 1, SEGMENT_PAGES, SEGMENT_PAGES + 1, 1 << 30, 1 << 40]) {
        for d in [-2i64, -1, 0, 1, 2] {
            sizes.push((BLOCK0_PAYLOAD + PAYLOAD * k).wrapping_add_signed(d));
        }
    }
    sizes
}

#[test]
fn geometry_is_the_documented_one() {
    assert_eq!((BLOCK0_PAYLOAD, PAYLOAD), (3044, 4068));
    assert_eq!(lower_size(PlainOffset(1)), LowerOffset(4097));
    assert_eq!(lower_size(PlainOffset(3044)), LowerOffset(4096 + 3044));
    assert_eq!(lower_size(PlainOffset(3045)), LowerOffset(8192 + 1));
    assert_eq!(lower_size(PlainOffset(3044 + 4068)), LowerOffset(8192 + 4068));
    assert_eq!(block_range(PageIndex(0)), 1024..4096);
    assert_eq!(block_range(PageIndex(2)), 8192..12288);
}

#[test]
fn sizes_around_every_boundary_survive_the_lower_size() {
    for size in interesting() {
        let lower = lower_size(PlainOffset(size));
        assert_eq!(plain_size(lower), Ok(PlainOffset(size)), "size {size}");
        assert_eq!(page_count(PlainOffset(size)).0, lower.0 / PAGE);
    }
    assert!(lower_size(MAX_SIZE).0 < i64::MAX as u64);
}

#[test]
fn every_lower_size_of_the_first_pages_is_read_or_refused() {
    let mut last = 0;
    for lower in 0..PAGE * 5 {
        match plain_size(LowerOffset(lower)) {
            Ok(PlainOffset(0)) => assert_eq!(lower, 0),
            Ok(size) if lower % PAGE == 0 => {
                // A copy by another tool, without the hole: the last block is full.
                assert_eq!(size.0, block_start(PageIndex(lower / PAGE)).0);
            }
            Ok(size) => {
                assert_eq!(lower_size(size), LowerOffset(lower));
                assert!(size.0 > last, "sizes ascend");
                last = size.0;
            }
            Err(ImpossibleSize) => {
                let (n, t) = (lower / PAGE, lower % PAGE);
                assert!(n == 0 || t > if n == 1 { 3044 } else { 4068 });
            }
        }
    }
}

proptest! {
    #[test]
    fn locate_is_the_inverse_of_block_start(offset in 0u64..1 << 50) {
        let (page, within) = locate(PlainOffset(offset));
        prop_assert!(within < payload(page));
        prop_assert_eq!(block_start(page).0 + within, offset);
    }

    #[test]
    fn any_size_survives(size in 0..MAX_SIZE.0) {
        prop_assert_eq!(plain_size(lower_size(PlainOffset(size))), Ok(PlainOffset(size)));
    }

    #[test]
    fn pieces_tile_the_request(offset in 0u64..1 << 40, len in 0usize..100_000) {
        let mut at = 0;
        for piece in pieces(PlainOffset(offset), len) {
            prop_assert_eq!(piece.buffer.start, at);
            prop_assert_eq!(piece.buffer.len(), piece.within.len());
            prop_assert!(piece.within.end as u64 <= payload(piece.page));
            prop_assert_eq!(block_start(piece.page).0 + piece.within.start as u64, offset + at as u64);
            at = piece.buffer.end;
        }
        prop_assert_eq!(at, len);
    }
}
