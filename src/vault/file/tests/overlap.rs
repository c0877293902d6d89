//! Writes that overlap, from several threads.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::*;
use crate::vault::file::floor::Rewrapping;
use crate::vault::{Privileges, SyncScope};

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
    vault.write(ino, PlainOffset(0), &[1; LEN], Privileges::Keep).unwrap();
    let stop = AtomicBool::new(false);
    let mut lost = 0;
    std::thread::scope(|threads| {
        threads.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                vault.write(ino, PlainOffset(OWN.start as u64), &[0; 8], Privileges::Keep).unwrap();
            }
        });
        let mut seen = vec![0; LEN];
        let end = Instant::now() + Duration::from_secs(2);
        for generation in (2..=255u8).cycle() {
            vault.write(ino, PlainOffset(0), &[generation; LEN], Privileges::Keep).unwrap();
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

/// Each thread has bytes of its own, which share blocks with those of the others: what it wrote or zeroed is what it
/// reads, while the others write, make holes, read and sync, and one makes the file longer and shorter again.
#[test]
fn bytes_of_ones_own_stay_whatever_others_do_beside() {
    const THREADS: usize = 4;
    const OWN: usize = 700;
    const TURNS: usize = 12;
    const LEN: usize = THREADS * OWN * TURNS;
    let test = TestVault::in_memory();
    test.make("f");
    let (ino, handle) = test.open("f").unwrap();
    let vault = &test.vault;
    vault.write(ino, PlainOffset(0), &[7; LEN], Privileges::Keep).unwrap();
    let end = Instant::now() + Duration::from_secs(2);
    let at = |thread: usize, turn: usize| ((turn * THREADS + thread) * OWN) as u64;
    let check = |thread: usize, model: &[Vec<u8>], turn: usize| {
        let mut seen = [0; OWN];
        assert_eq!(vault.read(ino, PlainOffset(at(thread, turn)), &mut seen).unwrap(), OWN);
        assert!(seen == model[turn][..], "thread {thread}, its range {turn}");
    };
    std::thread::scope(|threads| {
        for thread in 0..THREADS {
            threads.spawn(move || {
                let mut random = 0x9e37_79b9_7f4a_7c15_u64.wrapping_mul(thread as u64 + 1);
                let mut below = move |n: usize| {
                    random ^= random << 13;
                    random ^= random >> 7;
                    random ^= random << 17;
                    (random >> 20) as usize % n
                };
                let mut model = vec![vec![7; OWN]; TURNS];
                while Instant::now() < end {
                    let (turn, from) = (below(TURNS), below(OWN));
                    let to = from + 1 + below(OWN - from);
                    let start = PlainOffset(at(thread, turn) + from as u64);
                    if below(4) == 0 {
                        let (keep_size, punch_hole) = (true, below(2) == 0);
                        let mode = FallocMode { keep_size, punch_hole, zero_range: !punch_hole };
                        vault.fallocate(ino, start, (to - from) as u64, mode, Privileges::Keep).unwrap();
                        model[turn][from..to].fill(0);
                    } else {
                        let data = bytes(below(256) as u8, to - from);
                        vault.write(ino, start, &data, Privileges::Keep).unwrap();
                        model[turn][from..to].copy_from_slice(&data);
                    }
                    check(thread, &model, turn);
                    check(thread, &model, below(TURNS));
                }
                (0..TURNS).for_each(|turn| check(thread, &model, turn));
            });
        }
        for size in [LEN as u64 + 1, LEN as u64 + 9000, LEN as u64].into_iter().cycle() {
            test.vault.write(ino, PlainOffset(LEN as u64 + 3000), b"longer", Privileges::Keep).unwrap();
            test.vault.fsync(ino, SyncScope::Data).unwrap();
            let set = SetAttr { size: Some(size), ..SetAttr::default() };
            test.vault.setattr(ino, &set, &me()).unwrap();
            if Instant::now() > end {
                break;
            }
        }
    });
    vault.release(ino, handle).unwrap();
}

/// A re-wrap holds no lock while it syncs its new slot; the old slot beside it is none that was left.
#[test]
fn a_look_at_a_quiesced_file_waits_for_the_rewrap_of_the_file() {
    let test = TestVault::in_memory();
    test.make("f");
    let (ino, _handle) = test.open("f").unwrap();
    let vault = &test.vault;
    let file = vault.inode(ino).unwrap().opened().unwrap();
    let rewrap = Rewrapping::of(file.clone());
    let ended = AtomicBool::new(false);
    std::thread::scope(|threads| {
        threads.spawn(|| {
            std::thread::sleep(Duration::from_millis(50));
            ended.store(true, Ordering::Relaxed);
            drop(rewrap);
        });
        assert!(vault.with_file_quiesced(file.fd(), || ended.load(Ordering::Relaxed)).unwrap());
    });
}
