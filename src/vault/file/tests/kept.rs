//! The blocks in which writes began or ended, in memory until something else changes the file. That nothing was read back shows where
//! what is below was damaged meanwhile.

use super::*;
use crate::vault::Damage;

const FIRST: Op = Op::Write { at: 0, len: 5000, seed: 1 };
const ON: Op = Op::WriteOn { len: 200, seed: 2 };

fn done(run: &mut Run, op: &Op) {
    run.apply(op).unwrap();
    run.expect(op);
}

/// Flips a bit of the block in which the last write ended.
fn damage(run: &Run) {
    damage_at(run, run.ended);
}

fn damage_at(run: &Run, at: u64) {
    let lower = std::fs::read_dir(run.test.tree()).unwrap().next().unwrap().unwrap().path();
    let mut bytes = std::fs::read(&lower).unwrap();
    let page = layout::locate(PlainOffset(at)).0;
    bytes[layout::page_offset(page).0 as usize + 2000] ^= 1;
    std::fs::write(&lower, bytes).unwrap();
}

#[test]
fn a_write_that_goes_on_where_the_last_one_ended_reads_nothing_back() {
    for remote in [false, true] {
        let suite = Suite::Aes256Gcm;
        let mut run = Run::of(if remote { TestVault::remote(suite) } else { TestVault::with_suite(suite) });
        done(&mut run, &FIRST);
        damage(&run);
        done(&mut run, &ON);
        run.check();
        // Inside the file too.
        done(&mut run, &Op::Write { at: 3000, len: 1000, seed: 3 });
        damage(&run);
        done(&mut run, &ON);
        run.check();
    }
}

#[test]
fn writes_that_the_kernel_sends_in_any_order_read_nothing_back_where_that_is_a_round_trip() {
    let mut run = Run::of(TestVault::remote(Suite::Aes256Gcm));
    let write = |part: u64| Op::Write { at: part * 10_000, len: 10_000, seed: part as u8 };
    for part in [1, 0, 3, 4] {
        done(&mut run, &write(part));
    }
    damage_at(&run, 20_000);
    damage_at(&run, 30_000);
    run.content().unwrap_err();
    done(&mut run, &write(2));
    run.check();
}

#[test]
fn the_first_write_behind_the_end_reads_the_last_block_once() {
    let mut run = Run::new(Suite::Aes256Gcm);
    done(&mut run, &FIRST);
    done(&mut run, &Op::Close);
    done(&mut run, &Op::WriteOn { len: 1, seed: 2 });
    damage(&run);
    done(&mut run, &ON);
    run.check();
}

#[test]
fn what_else_changes_a_file_has_its_last_block_read_again() {
    let punch = Op::Punch { at: 4990, len: 10 };
    let zero = Op::Zero { at: 4000, len: 500, keep_size: true };
    let allocate = Op::Allocate { at: 0, len: 6000, keep_size: false };
    let cut = Op::Truncate { size: 4999 };
    let grown = Op::Truncate { size: 5001 };
    for change in [punch, zero, allocate, cut, grown, Op::Close, Op::Reopen] {
        let mut run = Run::new(Suite::Aes256Gcm);
        done(&mut run, &FIRST);
        done(&mut run, &change);
        damage(&run);
        let read = run.apply(&ON);
        assert!(matches!(read, Err(Error::Corrupt(Damage::Page(1)))), "{change:?}: {read:?}");
    }
}

#[test]
fn a_write_that_fails_leaves_no_block_of_it_in_memory() {
    let mut run = Run::new(Suite::Aes256Gcm);
    done(&mut run, &Op::Write { at: 0, len: 20_000, seed: 1 });
    done(&mut run, &Op::Write { at: 0, len: 5000, seed: 1 });
    {
        let _scope = Faults::fail_once(0, rustix::io::Errno::IO).on_this_thread();
        run.apply(&ON).unwrap_err();
    }
    damage(&run);
    assert!(matches!(run.apply(&ON), Err(Error::Corrupt(Damage::Page(1)))));
}

#[test]
fn after_a_write_out_that_failed_a_block_is_read_again() {
    let mut run = Run::new(Suite::Aes256Gcm);
    done(&mut run, &FIRST);
    {
        let _scope = Faults::fail_once(0, rustix::io::Errno::IO).on_this_thread();
        run.apply(&Op::Sync).unwrap_err();
    }
    damage(&run);
    assert!(matches!(run.apply(&ON), Err(Error::Corrupt(Damage::Page(1)))));
}
