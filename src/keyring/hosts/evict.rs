//! Taking readers that are gone out of those that a change waits for, where the cluster keeps the locks of their slots.
//!
//! **Order.** A slot that is clean is waited for by nobody, so its member's lease has to be over before. First the record stands
//! still for longer than a lease; then another member's takes its place, of which no change has heard either: a member that comes
//! back finds that, and ends. Once a lease that was renewed in between is over, too, the slot is made clean. A crash leaves a slot whose
//! member is gone.

use std::time::Duration;

use super::files::{Found, HostsDir};
use super::{lease, patience};
use crate::crypto::keys::HostRecordKey;
use crate::hosts::{Beat, EpochNonce, Member, Mode, SlotNumber};
use crate::ids::MemberId;
use crate::storage;
use crate::sys::boottime::BootTime;

/// What became of an eviction.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(in crate::keyring) enum Eviction {
    /// The host has no reader.
    NoReader,
    /// Those that it has renew their leases.
    Lives,
    /// These slots are free.
    Done(Vec<SlotNumber>),
}

/// Frees the slots of a host's readers that renew no lease; `first` is called once it is known that there are some.
pub(in crate::keyring) fn evict_readers(
    dir: &HostsDir,
    key: &HostRecordKey,
    host: &str,
    first: impl FnOnce(),
) -> storage::Result<Eviction> {
    evict_waiting(dir, key, host, first, || wait(patience()))
}

pub(super) fn evict_waiting(
    dir: &HostsDir,
    key: &HostRecordKey,
    host: &str,
    first: impl FnOnce(),
    mut wait: impl FnMut(),
) -> storage::Result<Eviction> {
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
    wait();
    let mut stand_still = Vec::new();
    for (slot, before) in slots {
        if dir.slot(slot, key)? == before {
            stand_still.extend(before.member(slot).map(|member| (slot, member)));
        }
    }
    if stand_still.is_empty() {
        return Ok(Eviction::Lives);
    }
    first();
    let mut replaced = Vec::new();
    for (slot, member) in stand_still {
        let (id, in_force) = (MemberId::random(), EpochNonce::default());
        let stands_in = Member { id, in_force, beat: Beat(0), left: false, ..member };
        dir.overrule(slot)?.write(&stands_in, key)?;
        replaced.push((slot, stands_in));
    }
    wait();
    let mut freed = Vec::new();
    for (slot, stands_in) in replaced {
        match dir.slot(slot, key)? {
            Found::Member(there) if *there == stands_in => {
                dir.overrule(slot)?.write(&Member { left: true, ..stands_in }, key)?;
                freed.push(slot);
            }
            // A change has freed it meanwhile.
            Found::Clean => freed.push(slot),
            // It has come back, or another member has the slot.
            Found::Member(_) | Found::Unproven(_) => {}
        }
    }
    Ok(if freed.is_empty() { Eviction::Lives } else { Eviction::Done(freed) })
}

/// On the clock that goes on while the machine is suspended.
fn wait(time: Duration) {
    let began = BootTime::now();
    while began.elapsed() < time {
        std::thread::sleep(lease() / 20);
    }
}
