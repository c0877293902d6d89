//! This host's membership: registering, renewing its lease, leaving.

use std::sync::Arc;

use super::files::{Found, HostsDir, SlotFile};
use super::{lease, stillness};
use crate::crypto::keys::HostRecordKey;
use crate::hosts::{Beat, BootId, Epoch, EpochNonce, HostName, Member, Mode, SlotNumber};
use crate::ids::{Generation, MemberId};
use crate::storage::{self, Errno};
use crate::sys::boottime::BootTime;

/// Who registers.
#[derive(Clone, Debug)]
pub struct Identity {
    /// This host, by the name that is in the vault's lock too.
    pub host: HostName,
    /// Its boot.
    pub boot: BootId,
    /// What it may do.
    pub mode: Mode,
}

/// A slot that is this member's, before it has read the keyring.
pub(in crate::keyring) struct Registration {
    dir: HostsDir,
    file: SlotFile,
    key: Arc<HostRecordKey>,
    member: Member,
}

/// A mount that is a member of those that share its vault.
pub struct Membership {
    dir: HostsDir,
    /// Its lock lasts as long as the membership.
    file: SlotFile,
    key: Arc<HostRecordKey>,
    member: Member,
    /// That in force.
    epoch: Epoch,
    /// When the last renewal began.
    began: BootTime,
    lease_end: BootTime,
}

/// Why a lease was not renewed.
#[derive(Debug, thiserror::Error)]
pub enum NotRenewed {
    /// Its slot has another record.
    #[error("its record in hosts/{0} was replaced: it was evicted, or this machine is a copy of another one")]
    Evicted(SlotNumber),
    /// The records can't be read or written.
    #[error("hosts: {0}")]
    Io(#[from] Errno),
    /// What is there is older than what was there, is damaged, or is under another root key.
    #[error("hosts/epoch is older than before, damaged, or of another root key")]
    Epoch,
    /// The keyring of the epoch can't be taken into use.
    #[error(transparent)]
    Keyring(#[from] crate::keyring::error::KeyringError),
}

impl Registration {
    /// Takes a slot: one that is free, else one of those that were seen to have no member any more ([`gone`]). Under the keyring's
    /// lock. None: all have a member.
    ///
    /// # Errors
    /// The records can't be read or written.
    pub(in crate::keyring) fn take(
        dir: HostsDir,
        key: Arc<HostRecordKey>,
        who: &Identity,
        generation: Generation,
        gone: &[Gone],
    ) -> storage::Result<Option<Self>> {
        let mut held = None;
        for slot in SlotNumber::all() {
            if held.is_none() && dir.slot(slot, &key)? == Found::Clean {
                held = dir.hold(slot)?.map(|file| (slot, file));
            }
            if who.mode == Mode::Writer {
                retire_writer(&dir, slot, &key)?;
            }
        }
        for Gone(slot, before) in gone {
            if held.is_none()
                && let Some(file) = dir.hold(*slot)?
                && dir.slot(*slot, &key)? == *before
            {
                held = Some((*slot, file));
            }
        }
        let Some((slot, file)) = held else { return Ok(None) };
        let member = Member {
            slot,
            id: MemberId::random(),
            mode: who.mode,
            left: false,
            host: who.host.clone(),
            boot: who.boot,
            pid: std::process::id(),
            beat: Beat(0),
            generation,
            in_force: EpochNonce::default(),
        };
        file.write(&member, &key)?;
        Ok(Some(Self { dir, file, key, member }))
    }

    /// Which member it is.
    pub(in crate::keyring) fn id(&self) -> MemberId {
        self.member.id
    }

    /// Whether there is an epoch of a newer keyring than this generation's.
    pub(in crate::keyring) fn is_behind(&self, generation: Generation) -> bool {
        let there = self.dir.epoch(&self.key);
        there.ok().flatten().is_some_and(|epoch| epoch.generation > generation)
    }

    /// The epoch that there is, or, where it says less than this keyring, one that is made durable now. Under the keyring's lock.
    pub(in crate::keyring) fn epoch_of(&self, generation: Generation) -> storage::Result<Epoch> {
        let there = self.dir.epoch(&self.key)?;
        match there {
            Some(epoch) if epoch.generation == generation => Ok(epoch),
            before => {
                let epoch = Epoch::after(before.as_ref(), generation);
                self.dir.set_epoch(&epoch, &self.key)?;
                Ok(epoch)
            }
        }
    }

    /// Has this epoch in force, and gets a first lease.
    ///
    /// # Errors
    /// [`NotRenewed`].
    pub(in crate::keyring) fn begin(self, epoch: Epoch) -> Result<Membership, NotRenewed> {
        let Self { dir, file, key, member } = self;
        let now = BootTime::now();
        let mut member = Membership { dir, file, key, member, epoch, began: now, lease_end: now };
        member.member.in_force = epoch.nonce;
        member.member.generation = epoch.generation;
        match member.renew()? {
            None => Ok(member),
            // Under the keyring's lock nobody makes another one.
            Some(_) => Err(NotRenewed::Epoch),
        }
    }
}

/// Marks the record of a writer as left that is gone: there is one at most, and it has the vault's lock.
fn retire_writer(dir: &HostsDir, slot: SlotNumber, key: &HostRecordKey) -> storage::Result<()> {
    let found = dir.slot(slot, key)?;
    if matches!(&found, Found::Member(member) if member.mode == Mode::Writer)
        && let Some(file) = dir.hold(slot)?
    {
        file.free(&found, key)?;
    }
    Ok(())
}

/// A slot that nobody holds, and its record, which has stood still for as long as it takes to be sure that its member is gone.
pub(in crate::keyring) struct Gone(SlotNumber, Found);

/// The slots of members that are gone. Watches them for a while: call it without the keyring's lock.
///
/// # Errors
/// The records can't be read.
pub(in crate::keyring) fn gone(dir: &HostsDir, key: &HostRecordKey) -> storage::Result<Vec<Gone>> {
    let mut slots = Vec::new();
    for slot in SlotNumber::all() {
        if dir.hold(slot)?.is_some() {
            slots.push(Gone(slot, dir.slot(slot, key)?));
        }
    }
    let began = BootTime::now();
    while !slots.is_empty() && began.elapsed() < stillness() {
        std::thread::sleep(lease() / 10);
    }
    let mut gone = Vec::new();
    for Gone(slot, before) in slots {
        if dir.slot(slot, key)? == before {
            gone.push(Gone(slot, before));
        }
    }
    Ok(gone)
}

impl Membership {
    /// Which member it is.
    pub fn id(&self) -> MemberId {
        self.member.id
    }

    /// Its slot.
    pub fn slot(&self) -> SlotNumber {
        self.member.slot
    }

    /// When its lease is over.
    pub fn lease_end(&self) -> BootTime {
        self.lease_end
    }

    /// Renews its lease, unless there is another epoch: that one is to be taken into force first ([`Self::acknowledge`]).
    ///
    /// # Errors
    /// [`NotRenewed`]: the lease ends when it would have.
    pub(in crate::keyring) fn renew(&mut self) -> Result<Option<Epoch>, NotRenewed> {
        // Before the beat: who sees that stand still counts from the beat on.
        self.began = BootTime::now();
        // Before it writes: it would take the slot back from another member, whose record it had never seen then. Bytes that are
        // nobody's record are put right.
        self.look()?;
        self.member.beat = Beat(self.member.beat.0.saturating_add(1));
        self.file.write(&self.member, &self.key)?;
        if !self.look()? {
            return Err(NotRenewed::Io(Errno::IO));
        }
        let epoch = self.dir.epoch(&self.key)?.ok_or(NotRenewed::Epoch)?;
        if epoch.nonce == self.epoch.nonce {
            self.lease_end = self.began.after(lease());
            return Ok(None);
        }
        // Whoever made it may have been shown an older one before it, and counted on from that; the generation tells.
        if epoch.number <= self.epoch.number && epoch.generation <= self.epoch.generation {
            return Err(NotRenewed::Epoch);
        }
        Ok(Some(epoch))
    }

    /// Whether its record is in its slot; if not, what is there is nobody's.
    ///
    /// # Errors
    /// [`NotRenewed::Evicted`]: another member's is, or one of it that it didn't write.
    fn look(&self) -> Result<bool, NotRenewed> {
        match self.dir.own_slot(self.member.slot, &self.key)? {
            // An older beat is what a client of a cluster has cached. A newer one is of another machine that goes on from where this one
            // does.
            Some(there) if there.id == self.member.id && !there.left && there.beat <= self.member.beat => {
                Ok(true)
            }
            Some(_) => Err(NotRenewed::Evicted(self.member.slot)),
            None => Ok(false),
        }
    }

    /// What it says of its slot where another host has written this into it.
    #[cfg(test)]
    pub(super) fn look_for_test(&self, theirs: &[u8]) -> Result<bool, NotRenewed> {
        self.file.put_for_test(theirs);
        self.look()
    }

    /// As if the cluster had given its lock up.
    #[cfg(test)]
    pub(super) fn lose_lock_for_test(&self) {
        self.file.unlock_for_test();
    }

    /// The membership as a machine has it that was cloned.
    #[cfg(test)]
    pub(super) fn clone_for_test(&self) -> Self {
        let (dir, file) = (self.dir.clone_for_test(), self.file.clone_for_test());
        let Self { epoch, began, lease_end, .. } = *self;
        Self { dir, file, key: Arc::clone(&self.key), member: self.member.clone(), epoch, began, lease_end }
    }

    /// The generation that is to be in force.
    pub(in crate::keyring) fn generation(&self) -> Generation {
        self.epoch.generation
    }

    /// Has the epoch in force that the last renewal found, and says so with the next one. That renewal gives a lease now: whoever makes
    /// a later epoch waits for longer than it lasts. So changes that come one after the other keep nobody from a lease.
    pub(in crate::keyring) fn acknowledge(&mut self, epoch: Epoch, in_use: Generation) {
        self.lease_end = self.began.after(lease());
        self.epoch = epoch;
        self.member.in_force = epoch.nonce;
        self.member.generation = in_use;
    }

    /// Leaves: nobody waits for it any more.
    ///
    /// # Errors
    /// The record can't be written. Then others wait until its lease is over.
    pub fn leave(&mut self) -> storage::Result<()> {
        // A slot that was given to another member isn't touched.
        match self.dir.own_slot(self.member.slot, &self.key)? {
            Some(there) if there.id == self.member.id => {
                self.member.left = true;
                self.file.write(&self.member, &self.key)
            }
            _ => Ok(()),
        }
    }
}
