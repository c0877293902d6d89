//! Writes that overlap, from several threads.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::*;

/// A large write that is done is there, whole, but for what a small one in the middle of it has put in its place:
/// the small one reads a block, changes some bytes, and must not put back what the block held before the large one.
#[test]
fn a_small_write_inside_a_large_one_changes_its_own_bytes_alone() {
    const LEN: usize = 256 << 10;
    const OWN: std::ops::Range<usize> = 90_000..90_008;
    let test = TestVault::in_memory();
    test.make("f");
    let (ino, handle) = test.open("f").unwrap();
    let vault = &test.vault;
    vault.write(ino, PlainOffset(0), &[1; LEN], false).unwrap();
    let stop = AtomicBool::new(false);
    let mut lost = 0;
    std::thread::scope(|threads| {
        threads.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                vault.write(ino, PlainOffset(OWN.start as u64), &[0; 8], false).unwrap();
            }
        });
        let mut seen = vec![0; LEN];
        let end = Instant::now() + Duration::from_secs(2);
        for generation in (2..=255u8).cycle() {
            vault.write(ino, PlainOffset(0), &[generation; LEN], false).unwrap();
            assert_eq!(vault.read(ino, PlainOffset(0), &mut seen).unwrap(), LEN);
            let outside = seen[..OWN.start].iter().chain(&seen[OWN.end..]);
            lost += u32::from(outside.into_iter().any(|byte| *byte != generation));
            if Instant::now() > end {
                break;
            }
        }
        stop.store(true, Ordering::Relaxed);
    });
    assert_eq!(lost, 0, "large writes of which a small one brought old bytes back");
    vault.release(ino, handle).unwrap();
}
