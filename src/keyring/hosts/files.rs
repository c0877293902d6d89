//! The directory `hosts` of a vault, and the records in it.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::fs::{FlockOperation, flock};

use crate::crypto::keys::HostRecordKey;
use crate::hosts::{Epoch, Member, RECORD, SlotNumber, UnverifiedEpoch, UnverifiedMember};
use crate::ids::LowerOffset;
use crate::storage::{self, Access, Errno, Writable};

/// The directory's name.
pub const DIR_NAME: &str = "hosts";
const EPOCH: &[u8] = b"epoch";

/// The directory of the records.
pub(in crate::keyring) struct HostsDir(OwnedFd);

/// What a slot holds.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Found {
    /// Nobody's record, or that of a member that has left.
    Clean,
    /// That of a member.
    Member(Box<Member>),
    /// Bytes that no holder of the root key wrote for this slot: of a member under another root key, or forged.
    Unproven(Vec<u8>),
}

impl Found {
    /// The member, whose record may prove nothing; none of a slot that is free, or holds no record.
    pub(super) fn member(&self, slot: SlotNumber) -> Option<Member> {
        match self {
            Self::Clean => None,
            Self::Member(member) => Some(Member::clone(member)),
            Self::Unproven(bytes) => {
                UnverifiedMember::parse(bytes, slot).ok().map(|read| read.unproven().clone())
            }
        }
    }
}

/// A slot's file, opened for its member.
pub(super) struct SlotFile(OwnedFd);

impl HostsDir {
    /// That of a vault; none if it was never shared.
    pub(in crate::keyring) fn open(vault: BorrowedFd<'_>) -> storage::Result<Option<Self>> {
        match storage::open_dir(vault, DIR_NAME.as_bytes()) {
            Ok(dir) => Ok(Some(Self(dir))),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// That of a vault, made durably where it isn't there, for the vault's owner.
    pub(in crate::keyring) fn make(vault: BorrowedFd<'_>, _leave: Writable) -> storage::Result<Self> {
        if let Some(there) = Self::open(vault)? {
            return Ok(there);
        }
        match storage::mkdir(vault, DIR_NAME.as_bytes(), 0o700) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(error),
        }
        let dir = storage::open_dir(vault, DIR_NAME.as_bytes())?;
        let (owner, made) = (storage::fstat(vault)?, storage::fstat(dir.as_fd())?);
        if (owner.uid, owner.gid) != (made.uid, made.gid) {
            // If this fails it stays its maker's, which is safe.
            let _ = storage::chown(dir.as_fd(), Some(owner.uid), Some(owner.gid));
        }
        storage::fsync_dir(vault)?;
        Ok(Self(dir))
    }

    #[cfg(test)]
    pub(super) fn clone_for_test(&self) -> Self {
        Self(self.0.try_clone().unwrap())
    }

    fn read(&self, name: &[u8]) -> storage::Result<Vec<u8>> {
        let file = match storage::open_file(self.0.as_fd(), name, Access::ReadOnly) {
            Err(Errno::NOENT) => return Ok(Vec::new()),
            opened => opened?,
        };
        // A cluster's client may serve a new descriptor from pages of before, for good (GlusterFS does).
        storage::drop_cached(file.as_fd());
        // A longer file is no record; the byte more says so.
        let mut bytes = vec![0; RECORD + 1];
        let read = storage::pread(file.as_fd(), &mut bytes, LowerOffset(0))?;
        bytes.truncate(read);
        Ok(bytes)
    }

    /// What a slot holds.
    pub(super) fn slot(&self, slot: SlotNumber, key: &HostRecordKey) -> storage::Result<Found> {
        let bytes = self.read(slot.to_string().as_bytes())?;
        if bytes.is_empty() {
            return Ok(Found::Clean);
        }
        let member = UnverifiedMember::parse(&bytes, slot).ok().and_then(|read| read.verify(key).ok());
        Ok(match member {
            Some(member) if member.left => Found::Clean,
            Some(member) => Found::Member(Box::new(member)),
            None => Found::Unproven(bytes),
        })
    }

    /// As [`Self::slot`], of a slot whose member looks whether it is still there: with a record that says that it left.
    pub(super) fn own_slot(&self, slot: SlotNumber, key: &HostRecordKey) -> storage::Result<Option<Member>> {
        let bytes = self.read(slot.to_string().as_bytes())?;
        Ok(UnverifiedMember::parse(&bytes, slot).ok().and_then(|read| read.verify(key).ok()))
    }

    /// Opens a slot's file, made if need be, and locks it; none if somebody else has it.
    pub(super) fn hold(&self, slot: SlotNumber) -> storage::Result<Option<SlotFile>> {
        let file = storage::open_lock(self.0.as_fd(), slot.to_string().as_bytes())?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(SlotFile(file))),
            Err(Errno::WOULDBLOCK) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Opens a slot's file though its member may hold it: who writes into it then evicts that member.
    pub(super) fn overrule(&self, slot: SlotNumber) -> storage::Result<SlotFile> {
        storage::open_lock(self.0.as_fd(), slot.to_string().as_bytes()).map(SlotFile)
    }

    /// The epoch; none if there is none that a holder of this root key wrote.
    pub(super) fn epoch(&self, key: &HostRecordKey) -> storage::Result<Option<Epoch>> {
        let bytes = self.read(EPOCH)?;
        Ok(UnverifiedEpoch::parse(&bytes).ok().and_then(|read| read.verify(key).ok()))
    }

    /// Whether an epoch can be written, as far as can be told without writing one: what is there may be newer than what this host is shown.
    pub(in crate::keyring) fn check_writable(&self) -> storage::Result<()> {
        match storage::open_file(self.0.as_fd(), EPOCH, Access::ReadWrite) {
            Err(Errno::NOENT) => Ok(()),
            opened => storage::fdatasync(opened?.as_fd()),
        }
    }

    /// Makes an epoch durable. Under the keyring's lock.
    pub(super) fn set_epoch(&self, epoch: &Epoch, key: &HostRecordKey) -> storage::Result<()> {
        let file = storage::open_lock(self.0.as_fd(), EPOCH)?;
        storage::pwrite_all(file.as_fd(), &epoch.encode(key), LowerOffset(0))?;
        storage::fsync(file.as_fd())?;
        storage::fsync_dir(self.0.as_fd())
    }
}

impl SlotFile {
    /// Writes a record, durably.
    pub(super) fn write(&self, member: &Member, key: &HostRecordKey) -> storage::Result<()> {
        storage::pwrite_all(self.0.as_fd(), &member.encode(key), LowerOffset(0))?;
        storage::fdatasync(self.0.as_fd())
    }

    #[cfg(test)]
    pub(super) fn unlock_for_test(&self) {
        flock(&self.0, FlockOperation::Unlock).unwrap();
    }

    #[cfg(test)]
    pub(super) fn clone_for_test(&self) -> Self {
        Self(self.0.try_clone().unwrap())
    }

    #[cfg(test)]
    pub(super) fn put_for_test(&self, bytes: &[u8]) {
        storage::pwrite_all(self.0.as_fd(), bytes, LowerOffset(0)).unwrap();
    }

    /// Makes the slot free that holds this, and whose member is gone.
    pub(super) fn free(&self, found: &Found, key: &HostRecordKey) -> storage::Result<()> {
        match found {
            Found::Clean => Ok(()),
            Found::Member(member) => self.write(&Member { left: true, ..Member::clone(member) }, key),
            Found::Unproven(_) => {
                storage::truncate(self.0.as_fd(), LowerOffset(0))?;
                storage::fdatasync(self.0.as_fd())
            }
        }
    }
}

/// A member's record, as anyone can read it: nothing of it is proven.
#[derive(Clone, Debug)]
pub struct Listed {
    /// What it says.
    pub member: Member,
    /// Whether somebody holds its slot locked.
    pub holds: bool,
    /// How long ago it was written, by the clocks of this host and of who keeps the file's times.
    pub age: Option<Duration>,
}

/// The members of a vault that haven't left, as their records say.
///
/// # Errors
/// Those of `openat(2)` and `pread(2)`.
pub fn list(vault: BorrowedFd<'_>) -> storage::Result<Vec<Listed>> {
    let Some(dir) = HostsDir::open(vault)? else { return Ok(Vec::new()) };
    let mut listed = Vec::new();
    for slot in SlotNumber::all() {
        let name = slot.to_string();
        let Ok(read) = UnverifiedMember::parse(&dir.read(name.as_bytes())?, slot) else { continue };
        let member = read.unproven().clone();
        if member.left {
            continue;
        }
        let file = storage::open_file(dir.0.as_fd(), name.as_bytes(), Access::ReadOnly)?;
        // Released at once. A member that registers in this instant takes another slot.
        let holds = flock(&file, FlockOperation::NonBlockingLockShared).is_err();
        let written = storage::fstat(file.as_fd())?.mtime.secs;
        let written = UNIX_EPOCH + Duration::from_secs(written.max(0).unsigned_abs());
        let age = SystemTime::now().duration_since(written).ok();
        listed.push(Listed { member, holds, age });
    }
    Ok(listed)
}
