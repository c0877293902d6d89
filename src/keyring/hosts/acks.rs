//! Telling the members of a change of the keyring, and waiting until it is in force on each.

use std::os::fd::BorrowedFd;
use std::time::Duration;

use super::files::{Found, HostsDir};
use super::patience;
use crate::crypto::keys::HostRecordKey;
use crate::hosts::{Epoch, EpochNonce, HostName, SlotNumber};
use crate::ids::{Generation, MemberId};
use crate::storage::{self, Writable};
use crate::sys::boottime::BootTime;

/// How often the slots are looked at.
const POLL: Duration = Duration::from_millis(100);

/// An epoch that is durable, and that is waited for.
pub(in crate::keyring) struct Announced {
    dir: HostsDir,
    key: HostRecordKey,
    epoch: Epoch,
}

/// A member that didn't say in time that it has a change in force. Its lease is over: it shows nothing more under a key until
/// it has.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(in crate::keyring) struct Unconfirmed {
    slot: SlotNumber,
    /// Its host, if its record is authentic.
    host: Option<HostName>,
}

impl std::fmt::Display for Unconfirmed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.host {
            Some(host) => write!(f, "{}", host.as_str().escape_default()),
            None => write!(f, "the member in slot {}", self.slot),
        }
    }
}

/// Makes the epoch of a keyring that was saved durable. Under the keyring's lock.
pub(in crate::keyring) fn announce(
    vault: BorrowedFd<'_>,
    leave: Writable,
    key: HostRecordKey,
    generation: Generation,
) -> storage::Result<Announced> {
    let dir = HostsDir::make(vault, leave)?;
    let epoch = Epoch::after(dir.epoch(&key)?.as_ref(), generation);
    dir.set_epoch(&epoch, &key)?;
    Ok(Announced { dir, key, epoch })
}

impl Announced {
    /// Waits until each member but `us` has it in force, or its lease is over. Returns those that didn't say so. A slot whose
    /// member is gone is free then.
    pub(in crate::keyring) fn wait(&self, us: Option<MemberId>) -> Vec<Unconfirmed> {
        self.wait_from(self.look(), us)
    }

    /// What the slots hold.
    pub(super) fn look(&self) -> Vec<(SlotNumber, Option<Found>)> {
        SlotNumber::all().map(|slot| (slot, self.dir.slot(slot, &self.key).ok())).collect()
    }

    /// As [`Self::wait`], after a first look.
    pub(super) fn wait_from(
        &self,
        mut waiting: Vec<(SlotNumber, Option<Found>)>,
        us: Option<MemberId>,
    ) -> Vec<Unconfirmed> {
        let mut good = vec![self.epoch.nonce];
        // After that look: a record that stands still from then on is of a lease that began before.
        let began = BootTime::now();
        loop {
            // Read before the slots: what is waiting afterwards had all of the time.
            let over = began.elapsed() >= patience();
            // A later change's: who has that in force has this one too.
            if let Ok(Some(later)) = self.dir.epoch(&self.key)
                && later.generation >= self.epoch.generation
                && !good.contains(&later.nonce)
            {
                good.push(later.nonce);
            }
            waiting.retain(|(slot, _)| !self.is_done(*slot, us, &good));
            if waiting.is_empty() || over {
                return waiting.into_iter().map(|(slot, first)| self.give_up(slot, first.as_ref())).collect();
            }
            std::thread::sleep(POLL.min(patience() / 20));
        }
    }

    /// Whether nothing of an earlier keyring is in use by a slot's member. A slot that is clean has none whose lease isn't over, though somebody
    /// may hold it: a member that registers does so under the keyring's lock, and reads the keyring that is there then.
    fn is_done(&self, slot: SlotNumber, us: Option<MemberId>, good: &[EpochNonce]) -> bool {
        match self.dir.slot(slot, &self.key) {
            Ok(Found::Clean) => true,
            Ok(Found::Member(member)) => Some(member.id) == us || good.contains(&member.in_force),
            Ok(Found::Unproven(_)) | Err(_) => false,
        }
    }

    /// Leaves off waiting for a slot, and frees it if nobody holds it and its record has stood still since `first`: its member's lease is over,
    /// and should that live nevertheless, it sees that it was evicted. One that has renewed its lease meanwhile may have this
    /// change in force, and show things: a later change has to wait for it.
    fn give_up(&self, slot: SlotNumber, first: Option<&Found>) -> Unconfirmed {
        let found = self.dir.slot(slot, &self.key);
        if let Ok(before) = &found
            && first == Some(before)
            && let Ok(Some(file)) = self.dir.hold(slot)
            && self.dir.slot(slot, &self.key).is_ok_and(|now| now == *before)
            && let Err(error) = file.free(before, &self.key)
        {
            tracing::debug!(%error, %slot, "the slot of a member that is gone stays");
        }
        let host = match found {
            Ok(Found::Member(member)) => Some(member.host),
            Ok(Found::Clean | Found::Unproven(_)) | Err(_) => None,
        };
        Unconfirmed { slot, host }
    }
}
