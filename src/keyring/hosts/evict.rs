//! Taking readers that are gone out of those that a change waits for, where the cluster keeps the locks of their slots.
//!
//! **Order.** A slot that is clean is waited for by nobody, so its member's lease has to be over before. First the record stands
//! still for longer than a lease; then another member's takes its place, of which no change has heard either: a member that comes
//! back finds that, and ends. Once a lease that was renewed in between is over, too, the slot is made clean. A crash leaves a slot whose
//! member is gone.

use std::io;
use std::time::Duration;

use super::files::{Found, HostsDir};
use super::{lease, patience};
use crate::crypto::keys::HostRecordKey;
use crate::hosts::{Beat, EpochNonce, Member, Mode, SlotNumber};
use crate::ids::MemberId;
use crate::monitor::{Cancellation, Cancelled};
use crate::storage;
use crate::sys::boottime::BootTime;

/// What became of an eviction.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(in crate::keyring) enum Eviction {
    /// The host has no reader.
    NoReader,
    /// Those that it has renew their leases.
    Lives,
    /// Their slots have other records by now: another eviction is under way, or other members took them.
    Replaced,
    /// These slots are free.
    Done(Vec<SlotNumber>),
    /// It was cancelled: a slot may have a record that stands in for its member's, which the next one takes away.
    Stopped,
}

/// What an eviction asks of its caller.
pub(in crate::keyring) struct Steps<First, Alone> {
    /// Called before the first slot is freed, once it is known that there is one.
    pub(in crate::keyring) first: First,
    /// Keeps changes and other members' registrations out until what it returns is dropped: a slot that was looked at is still that
    /// one when it is written.
    pub(in crate::keyring) alone: Alone,
}

/// Frees the slots of a host's readers that renew no lease, unless it is cancelled before that is known.
pub(in crate::keyring) fn evict_readers<Guard>(
    dir: &HostsDir,
    key: &HostRecordKey,
    host: &str,
    steps: Steps<impl FnOnce(), impl FnMut() -> io::Result<Guard>>,
    cancellation: &Cancellation,
) -> io::Result<Eviction> {
    evict_waiting(dir, key, host, steps, || wait(patience(), cancellation))
}

pub(super) fn evict_waiting<Guard>(
    dir: &HostsDir,
    key: &HostRecordKey,
    host: &str,
    mut steps: Steps<impl FnOnce(), impl FnMut() -> io::Result<Guard>>,
    mut wait: impl FnMut() -> Result<(), Cancelled>,
) -> io::Result<Eviction> {
    let mut slots = Vec::new();
    for slot in SlotNumber::all() {
        let found = dir.slot(slot, key)?;
        if found
            .member(slot)
            .is_some_and(|member| member.mode == Mode::Reader && member.host.as_str() == host)
        {
            slots.push((slot, found));
        }
    }
    if slots.is_empty() {
        return Ok(Eviction::NoReader);
    }
    if wait().is_err() {
        return Ok(Eviction::Stopped);
    }
    let (mut freed, mut replaced, mut elsewhere) = (Vec::new(), Vec::new(), false);
    let alone = (steps.alone)()?;
    for (slot, before) in slots {
        match dir.slot(slot, key)? {
            // It has left, or a change has freed it.
            Found::Clean => freed.push(slot),
            now if now == before => {
                let Some(member) = before.member(slot) else { continue };
                let (id, in_force) = (MemberId::random(), EpochNonce::default());
                let stands_in = Member { id, in_force, beat: Beat(0), left: false, ..member };
                dir.overrule(slot)?.write(&stands_in, key)?;
                replaced.push((slot, stands_in));
            }
            Found::Member(now) => {
                elsewhere |= before.member(slot).is_some_and(|member| member.id != now.id);
            }
            Found::Unproven(_) => {}
        }
    }
    drop(alone);
    if !replaced.is_empty() {
        if wait().is_err() {
            return Ok(Eviction::Stopped);
        }
        free(dir, key, replaced, steps, &mut freed)?;
    }
    Ok(match (freed.is_empty(), elsewhere) {
        (false, _) => Eviction::Done(freed),
        (true, true) => Eviction::Replaced,
        (true, false) => Eviction::Lives,
    })
}

/// Makes the slots clean in which another record stands still in for their member's.
fn free<Guard>(
    dir: &HostsDir,
    key: &HostRecordKey,
    replaced: Vec<(SlotNumber, Member)>,
    mut steps: Steps<impl FnOnce(), impl FnMut() -> io::Result<Guard>>,
    freed: &mut Vec<SlotNumber>,
) -> io::Result<()> {
    let there = |slot, stands_in: &Member| -> storage::Result<Option<bool>> {
        Ok(match dir.slot(slot, key)? {
            Found::Member(member) if *member == *stands_in => Some(true),
            // A change has freed it meanwhile.
            Found::Clean => Some(false),
            // It has come back, or another member has the slot.
            Found::Member(_) | Found::Unproven(_) => None,
        })
    };
    let mut any = false;
    for (slot, stands_in) in &replaced {
        any |= there(*slot, stands_in)?.is_some();
    }
    if any {
        (steps.first)();
    }
    let _alone = (steps.alone)()?;
    for (slot, stands_in) in replaced {
        let Some(stands) = there(slot, &stands_in)? else { continue };
        if stands {
            dir.overrule(slot)?.write(&Member { left: true, ..stands_in }, key)?;
        }
        freed.push(slot);
    }
    Ok(())
}

/// On the clock that goes on while the machine is suspended.
fn wait(time: Duration, cancellation: &Cancellation) -> Result<(), Cancelled> {
    let began = BootTime::now();
    while began.elapsed() < time {
        cancellation.check()?;
        std::thread::sleep(lease() / 20);
    }
    Ok(())
}
