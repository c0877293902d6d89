use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::acks::Unconfirmed;
use super::evict::{evict_readers, evict_waiting};
use super::files::{Found, HostsDir};
use super::*;
use crate::crypto::keys::{HostRecordKey, RootKey};
use crate::hosts::{BootId, Epoch, HostName, Mode, SlotNumber};
use crate::ids::{Generation, VaultId};
use crate::monitor::{Cancellation, Cancelled};
use crate::storage::{RoCompat, Writable};
use crate::sys::boottime::BootTime;

fn key() -> HostRecordKey {
    RootKey::from_bytes(&[7; 32]).host_record_key(VaultId::from_bytes([1; 16]))
}

fn leave() -> Writable {
    RoCompat::default().writable().unwrap()
}

fn vault(path: &Path) -> OwnedFd {
    std::fs::File::open(path).unwrap().into()
}

fn who(host: &str, mode: Mode) -> Identity {
    Identity { host: HostName::new(host).unwrap(), boot: BootId([0; 16]), mode }
}

/// A member of the vault in this directory, as of its own host.
fn join(path: &Path, host: &str, mode: Mode) -> Membership {
    join_beside(path, host, mode, &[]).unwrap()
}

fn join_beside(path: &Path, host: &str, mode: Mode, gone: &[Gone]) -> Option<Membership> {
    let dir = HostsDir::make(vault(path).as_fd(), leave()).unwrap();
    let generation = dir.epoch(&key()).unwrap().map_or(Generation(1), |epoch| epoch.generation);
    let registered = Registration::take(dir, Arc::new(key()), &who(host, mode), generation, gone).unwrap()?;
    let epoch = registered.epoch_of(generation).unwrap();
    Some(registered.begin(epoch).unwrap())
}

fn hosts(path: &Path) -> HostsDir {
    HostsDir::open(vault(path).as_fd()).unwrap().unwrap()
}

fn change(path: &Path, generation: u64) -> Announced {
    announce(vault(path).as_fd(), leave(), key(), Generation(generation)).unwrap()
}

/// Whether it waits for nobody. More than once, since a busy machine may take as long by itself.
fn returns_at_once(announced: &Announced, us: Option<crate::ids::MemberId>) -> bool {
    (0..5).any(|_| {
        let began = BootTime::now();
        assert!(announced.wait(us).is_empty());
        began.elapsed() < patience()
    })
}

fn named(unconfirmed: &[Unconfirmed]) -> Vec<String> {
    unconfirmed.iter().map(ToString::to_string).collect()
}

fn record(path: &Path, slot: u8) -> Vec<u8> {
    std::fs::read(path.join(DIR_NAME).join(format!("{slot:02}"))).unwrap()
}

fn put_record(path: &Path, slot: u8, bytes: &[u8]) {
    std::fs::write(path.join(DIR_NAME).join(format!("{slot:02}")), bytes).unwrap();
}

fn slots(path: &Path) -> Vec<u8> {
    list(vault(path).as_fd()).unwrap().iter().map(|listed| listed.member.slot.get()).collect()
}

#[test]
fn a_slot_is_used_again_once_its_member_has_left() {
    let dir = tempfile::tempdir().unwrap();
    let mut one = join(dir.path(), "one", Mode::Reader);
    let two = join(dir.path(), "two", Mode::Reader);
    assert_eq!((one.slot().get(), two.slot().get()), (0, 1));
    one.leave().unwrap();
    drop(one);
    assert_eq!(slots(dir.path()), [1]);
    assert_eq!(join(dir.path(), "three", Mode::Reader).slot().get(), 0);
}

#[test]
fn a_member_that_was_killed_keeps_its_slot_until_a_change_has_waited_for_it() {
    let dir = tempfile::tempdir().unwrap();
    drop(join(dir.path(), "one", Mode::Reader));
    assert_eq!(join(dir.path(), "two", Mode::Reader).slot().get(), 1);
    let began = BootTime::now();
    assert_eq!(named(&change(dir.path(), 2).wait(None)), ["one", "two"]);
    assert!(began.elapsed() >= patience());
    assert!(slots(dir.path()).is_empty());
    assert!(change(dir.path(), 3).wait(None).is_empty());
}

#[test]
fn where_all_slots_are_taken_one_whose_beat_stands_still_is_used_again() {
    let dir = tempfile::tempdir().unwrap();
    let alive: Vec<_> = (1..SlotNumber::COUNT).map(|_| join(dir.path(), "alive", Mode::Reader)).collect();
    drop(join(dir.path(), "gone", Mode::Reader));
    assert!(join_beside(dir.path(), "new", Mode::Reader, &[]).is_none());
    let began = BootTime::now();
    let seen = gone(&hosts(dir.path()), &key()).unwrap();
    assert!(seen.len() == 1 && began.elapsed() >= stillness());
    let new = join_beside(dir.path(), "new", Mode::Reader, &seen).unwrap();
    assert_eq!(new.slot().get(), SlotNumber::COUNT - 1);
    // Another one has it by then.
    drop(new);
    assert!(join_beside(dir.path(), "late", Mode::Reader, &seen).is_none());
    drop(alive);
}

#[test]
fn a_writer_that_was_killed_is_in_no_other_writers_way() {
    let dir = tempfile::tempdir().unwrap();
    drop(join(dir.path(), "one", Mode::Writer));
    let reader = join(dir.path(), "reader", Mode::Reader);
    let two = join(dir.path(), "two", Mode::Writer);
    assert_eq!(slots(dir.path()), [reader.slot().get(), two.slot().get()]);
}

#[test]
fn a_renewal_gives_a_lease_from_its_beginning_on() {
    let dir = tempfile::tempdir().unwrap();
    let mut one = join(dir.path(), "one", Mode::Writer);
    let (first, before) = (one.lease_end(), BootTime::now());
    std::thread::sleep(Duration::from_millis(5));
    assert_eq!(one.renew().unwrap(), None);
    assert!(one.lease_end() > first && one.lease_end() >= before.after(lease()));
    assert!(one.lease_end() <= BootTime::now().after(lease()));
}

#[test]
fn changes_that_come_one_after_the_other_keep_no_member_from_a_lease() {
    let dir = tempfile::tempdir().unwrap();
    let mut one = join(dir.path(), "one", Mode::Writer);
    for generation in 2..10 {
        change(dir.path(), generation);
        let (end, before) = (one.lease_end(), BootTime::now());
        let epoch = one.renew().unwrap().unwrap();
        assert_eq!(one.lease_end(), end);
        one.acknowledge(epoch, Generation(generation));
        assert!(one.lease_end() >= before.after(lease()));
    }
}

#[test]
fn a_change_returns_once_each_member_has_acknowledged_it() {
    let dir = tempfile::tempdir().unwrap();
    let (mut reader, writer) =
        (join(dir.path(), "reader", Mode::Reader), join(dir.path(), "writer", Mode::Writer));
    let announced = change(dir.path(), 2);
    let end = reader.lease_end();
    let epoch = reader.renew().unwrap().unwrap();
    // Without the epoch in force there is no new lease.
    assert_eq!((reader.lease_end(), epoch.generation), (end, Generation(2)));
    reader.acknowledge(epoch, Generation(2));
    assert_eq!(reader.renew().unwrap(), None);
    assert!(returns_at_once(&announced, Some(writer.id())));
    assert!(reader.lease_end() > end);
}

#[test]
fn who_has_a_later_change_in_force_has_the_one_before() {
    let dir = tempfile::tempdir().unwrap();
    let mut reader = join(dir.path(), "reader", Mode::Reader);
    let (first, second) = (change(dir.path(), 2), change(dir.path(), 3));
    let epoch = reader.renew().unwrap().unwrap();
    assert_eq!(epoch.generation, Generation(3));
    reader.acknowledge(epoch, Generation(3));
    reader.renew().unwrap();
    assert!(returns_at_once(&first, None) && returns_at_once(&second, None));
}

#[test]
fn a_slow_member_is_waited_for_and_named_with_its_slot_left_to_it() {
    let dir = tempfile::tempdir().unwrap();
    let mut slow = join(dir.path(), "slow", Mode::Reader);
    let announced = change(dir.path(), 2);
    assert_eq!(named(&announced.wait(None)), ["slow"]);
    // It lives: when it comes back it takes the change into force.
    let epoch = slow.renew().unwrap().unwrap();
    slow.acknowledge(epoch, Generation(2));
    assert_eq!(slow.renew().unwrap(), None);
    assert!(announced.wait(None).is_empty());
}

#[test]
fn an_acknowledgement_that_is_forged_or_replayed_is_none() {
    let dir = tempfile::tempdir().unwrap();
    let mut reader = join(dir.path(), "reader", Mode::Reader);
    let first = change(dir.path(), 2);
    let epoch = reader.renew().unwrap().unwrap();
    reader.acknowledge(epoch, Generation(2));
    reader.renew().unwrap();
    let old = record(dir.path(), 0);
    assert!(first.wait(None).is_empty());
    let second = change(dir.path(), 3);
    // The record of an epoch before.
    put_record(dir.path(), 0, &old);
    assert_eq!(named(&second.wait(None)), ["reader"]);
    // This epoch's nonce, by somebody who has no key.
    let nonce = std::fs::read(dir.path().join(DIR_NAME).join("epoch")).unwrap()[16..32].to_vec();
    let mut forged = old.clone();
    forged[72..88].copy_from_slice(&nonce);
    put_record(dir.path(), 0, &forged);
    assert_eq!(named(&second.wait(None)), ["the member in slot 00"]);
    // An acknowledgement in another member's slot.
    let mut other = join(dir.path(), "other", Mode::Reader);
    other.renew().unwrap();
    put_record(dir.path(), 0, &record(dir.path(), other.slot().get()));
    assert_eq!(named(&second.wait(None)), ["the member in slot 00"]);
}

#[test]
fn a_member_that_finds_another_record_in_its_slot_was_evicted_or_cloned() {
    let dir = tempfile::tempdir().unwrap();
    let one = join(dir.path(), "one", Mode::Writer);
    let mine = hosts(dir.path());
    let Found::Member(ours) = mine.slot(one.slot(), &key()).unwrap() else { panic!() };
    let mut left = crate::hosts::Member::clone(&ours);
    left.left = true;
    let mut later = crate::hosts::Member::clone(&ours);
    later.beat.0 += 10;
    let mut other = crate::hosts::Member::clone(&ours);
    other.id = crate::ids::MemberId::from_bytes([9; 16]);
    // What it reads back is what another host wrote since.
    for (what, theirs) in [("left", left), ("clone", later), ("other", other)] {
        let theirs = theirs.encode(&key());
        let read = one.look_for_test(&theirs);
        assert!(matches!(read, Err(NotRenewed::Evicted(_))), "{what}");
    }
    assert!(one.look_for_test(&ours.encode(&key())).unwrap());
    // Bytes that nobody with the key wrote evict nobody.
    assert!(!one.look_for_test(&[1; 512]).unwrap());
}

#[test]
fn a_member_that_comes_back_to_a_slot_of_another_one_ends_and_leaves_it_alone() {
    let dir = tempfile::tempdir().unwrap();
    let mut one = join(dir.path(), "one", Mode::Reader);
    // The cluster gives its lock up, and a change frees its slot.
    one.lose_lock_for_test();
    assert_eq!(named(&change(dir.path(), 2).wait(None)), ["one"]);
    let mut two = join(dir.path(), "two", Mode::Reader);
    assert_eq!(two.slot(), one.slot());
    let theirs = record(dir.path(), 0);
    assert!(matches!(one.renew(), Err(NotRenewed::Evicted(_))));
    assert_eq!(record(dir.path(), 0), theirs);
    two.renew().unwrap();
}

#[test]
fn of_two_machines_that_go_on_from_one_the_second_to_renew_ends() {
    let dir = tempfile::tempdir().unwrap();
    let mut one = join(dir.path(), "one", Mode::Writer);
    let mut clone = one.clone_for_test();
    one.renew().unwrap();
    assert!(matches!(clone.renew(), Err(NotRenewed::Evicted(_))));
    one.renew().unwrap();
}

#[test]
fn an_epoch_that_is_older_missing_or_forged_renews_no_lease() {
    let dir = tempfile::tempdir().unwrap();
    let mut one = join(dir.path(), "one", Mode::Reader);
    let path = dir.path().join(DIR_NAME).join("epoch");
    let first = std::fs::read(&path).unwrap();
    change(dir.path(), 2);
    let epoch = one.renew().unwrap().unwrap();
    one.acknowledge(epoch, Generation(2));
    one.renew().unwrap();
    let (end, second) = (one.lease_end(), std::fs::read(&path).unwrap());
    let mut forged = second.clone();
    forged[32] += 1;
    forged[16] ^= 1;
    for bytes in [first, forged, Vec::new()] {
        std::fs::write(&path, bytes).unwrap();
        assert!(matches!(one.renew(), Err(NotRenewed::Epoch)));
    }
    assert_eq!(one.lease_end(), end);
    std::fs::write(&path, second).unwrap();
    assert_eq!(one.renew().unwrap(), None);
}

#[test]
fn epochs_are_made_after_the_one_before_under_each_root_key() {
    let dir = tempfile::tempdir().unwrap();
    change(dir.path(), 2);
    change(dir.path(), 3);
    let hosts = hosts(dir.path());
    let epoch = hosts.epoch(&key()).unwrap().unwrap();
    assert_eq!((epoch.number.0, epoch.generation), (2, Generation(3)));
    let other = RootKey::from_bytes(&[8; 32]).host_record_key(VaultId::from_bytes([1; 16]));
    assert_eq!(hosts.epoch(&other).unwrap(), None);
    let after = Epoch::after(None, Generation(4));
    hosts.set_epoch(&after, &other).unwrap();
    assert_eq!(hosts.epoch(&other).unwrap(), Some(after));
}

#[test]
fn a_member_that_renewed_its_lease_while_it_was_waited_for_keeps_its_slot() {
    let dir = tempfile::tempdir().unwrap();
    let mut one = join(dir.path(), "one", Mode::Reader);
    // The cluster has given its lock up, and it lives.
    one.lose_lock_for_test();
    let announced = change(dir.path(), 2);
    let looked = announced.look();
    let epoch = one.renew().unwrap().unwrap();
    one.acknowledge(epoch, Generation(2));
    // It is cut off before it says so, with a lease under this change.
    assert_eq!(named(&announced.wait_from(looked, None)), ["one"]);
    assert_eq!(slots(dir.path()), [0]);
    let began = BootTime::now();
    assert_eq!(named(&change(dir.path(), 3).wait(None)), ["one"]);
    assert!(BootTime::now() > one.lease_end() && began.elapsed() >= patience());
    assert!(slots(dir.path()).is_empty());
}

#[test]
fn a_slot_that_is_held_and_clean_is_waited_for_by_nobody() {
    let dir = tempfile::tempdir().unwrap();
    join(dir.path(), "one", Mode::Reader).leave().unwrap();
    // As who registers has it: the keyring is read after that.
    let held = hosts(dir.path()).hold(SlotNumber::all().next().unwrap()).unwrap().unwrap();
    assert!(returns_at_once(&change(dir.path(), 2), None));
    drop(held);
}

fn evict(path: &Path, host: &str, mut wait: impl FnMut()) -> (Eviction, bool) {
    let mut begun = false;
    let steps = Steps { first: || begun = true, alone: || Ok(()) };
    let wait = || {
        wait();
        Ok(())
    };
    let evicted = evict_waiting(&hosts(path), &key(), host, steps, wait).unwrap();
    (evicted, begun)
}

/// An eviction that is cancelled at its n-th wait.
fn give_up(path: &Path, host: &str, at: usize) -> Eviction {
    let mut waits = 0;
    let wait = || {
        waits += 1;
        if waits < at { Ok(()) } else { Err(Cancelled) }
    };
    let steps = Steps { first: || unreachable!("nothing is freed"), alone: || Ok(()) };
    evict_waiting(&hosts(path), &key(), host, steps, wait).unwrap()
}

#[test]
fn an_eviction_ends_when_it_is_cancelled_and_the_next_one_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let mut one = join(dir.path(), "one", Mode::Reader);
    for at in 1..=2 {
        assert_eq!(give_up(dir.path(), "one", at), Eviction::Stopped);
        assert_eq!(slots(dir.path()), [0], "changes wait for it still");
    }
    assert_eq!(evict(dir.path(), "one", || ()), (Eviction::Done(vec![one.slot()]), true));
    assert!(matches!(one.renew(), Err(NotRenewed::Evicted(_))));
    let (cancelled, began) = (Cancellation::default(), BootTime::now());
    cancelled.cancel();
    let _two = join(dir.path(), "two", Mode::Reader);
    let steps = Steps { first: || (), alone: || Ok(()) };
    let evicted = evict_readers(&hosts(dir.path()), &key(), "two", steps, &cancelled).unwrap();
    assert!(evicted == Eviction::Stopped && began.elapsed() < lease() / 4);
}

#[test]
fn an_eviction_beside_another_one_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let _one = join(dir.path(), "one", Mode::Reader);
    let evicted = evict(dir.path(), "one", || assert_eq!(give_up(dir.path(), "one", 2), Eviction::Stopped));
    assert_eq!(evicted, (Eviction::Replaced, false));
}

#[test]
fn a_reader_that_is_gone_is_evicted_though_the_cluster_keeps_its_lock() {
    let dir = tempfile::tempdir().unwrap();
    let (mut one, other) = (join(dir.path(), "one", Mode::Reader), join(dir.path(), "other", Mode::Reader));
    let mut waits = 0;
    let evicted = evict(dir.path(), "one", || {
        waits += 1;
        // Until it is sure that the lease is over, changes wait for the slot.
        assert_eq!(slots(dir.path()), [0, 1]);
    });
    assert_eq!((evicted, waits), ((Eviction::Done(vec![one.slot()]), true), 2));
    assert_eq!(slots(dir.path()), [1]);
    assert!(returns_at_once(&change(dir.path(), 2), Some(other.id())));
    // Should it come back it ends, and its slot isn't given away while it is held.
    assert!(matches!(one.renew(), Err(NotRenewed::Evicted(_))));
    assert_eq!(join(dir.path(), "new", Mode::Reader).slot().get(), 2);
}

#[test]
fn a_reader_that_renews_its_lease_is_not_evicted() {
    let dir = tempfile::tempdir().unwrap();
    let mut one = join(dir.path(), "one", Mode::Reader);
    let writer = join(dir.path(), "writer", Mode::Writer);
    assert_eq!(evict(dir.path(), "one", || assert_eq!(one.renew().unwrap(), None)), (Eviction::Lives, false));
    one.renew().unwrap();
    assert_eq!(evict(dir.path(), "writer", || ()), (Eviction::NoReader, false));
    drop(writer);
}

#[test]
fn a_reader_that_is_evicted_while_it_renews_its_lease_ends_or_stays() {
    let dir = tempfile::tempdir().unwrap();
    let mut one = join(dir.path(), "one", Mode::Reader);
    let mut ended = None;
    evict(dir.path(), "one", || {
        if ended.is_none() {
            ended = Some(true);
        } else {
            // Its record is replaced by now.
            ended = Some(matches!(one.renew(), Err(NotRenewed::Evicted(_))));
        }
    });
    assert_eq!(ended, Some(true));
    // Its write came after the one of who evicts it, having looked before: it is a member as ever.
    let mut two = join(dir.path(), "two", Mode::Reader);
    let slot = two.slot();
    let theirs = record(dir.path(), slot.get());
    let mut waits = 0;
    let evicted = evict(dir.path(), "two", || {
        waits += 1;
        if waits == 2 {
            put_record(dir.path(), slot.get(), &theirs);
        }
    });
    assert_eq!(evicted, (Eviction::Lives, false));
    assert_eq!(slots(dir.path()), [slot.get()]);
    two.renew().unwrap();
}
