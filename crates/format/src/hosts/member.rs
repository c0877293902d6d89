//! The record of one mount.

use std::fmt;

use super::epoch::EpochNonce;
use super::{RECORD, RecordError, authenticate, begun, checked, field, is_authentic, put};
use crate::crypto::AuthError;
use crate::crypto::keys::HostRecordKey;
use crate::ids::{Generation, MemberId};

const MAGIC: &[u8; 4] = b"RKHM";
const SLOT: usize = 6;
const MODE: usize = 7;
const LEFT: usize = 8;
const NAME_LEN: usize = 9;
const ID: usize = 16;
const BOOT: usize = 32;
const PID: usize = 48;
const BEAT: usize = 56;
const GENERATION: usize = 64;
const IN_FORCE: usize = 72;
const NAME: usize = 96;

/// The longest name of a host that Linux has (HOST_NAME_MAX).
const NAME_MAX: usize = 64;

/// A place for a member's record.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct SlotNumber(u8);

impl SlotNumber {
    /// How many there are.
    pub const COUNT: u8 = 64;

    /// All of them, in order.
    pub fn all() -> impl Iterator<Item = Self> {
        (0..Self::COUNT).map(Self)
    }

    /// Its number.
    pub const fn get(self) -> u8 {
        self.0
    }
}

impl fmt::Display for SlotNumber {
    /// As its file is named: two digits.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02}", self.0)
    }
}

/// What a member may do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mode {
    /// Change the vault. One does.
    Writer,
    /// Read it.
    Reader,
}

/// Counts renewals: that of a member that lives goes on.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Beat(pub u64);

/// The kernel's id of a boot, for people: the kernels of containers and clones share one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BootId(pub [u8; 16]);

/// The name by which a host is told from others.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HostName(String);

impl HostName {
    /// A name; none if it is empty or longer than any that Linux has.
    pub fn new(name: &str) -> Option<Self> {
        (1..=NAME_MAX).contains(&name.len()).then(|| Self(name.to_owned()))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A mount of a vault that several share.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Member {
    /// Where its record lies.
    pub slot: SlotNumber,
    /// Which mount it is.
    pub id: MemberId,
    /// What it may do.
    pub mode: Mode,
    /// Whether it ended in order, or was evicted: the slot is free.
    pub left: bool,
    /// Its host.
    pub host: HostName,
    /// That host's boot.
    pub boot: BootId,
    /// Its process there.
    pub pid: u32,
    /// How often it has renewed its lease.
    pub beat: Beat,
    /// The generation of the keyring that it has in use.
    pub generation: Generation,
    /// The epoch that it has in force.
    pub in_force: EpochNonce,
}

impl Member {
    /// The record.
    pub fn encode(&self, key: &HostRecordKey) -> [u8; RECORD] {
        let (mut bytes, name) = (begun(MAGIC), self.host.0.as_bytes());
        bytes[SLOT] = self.slot.0;
        bytes[MODE] = match self.mode {
            Mode::Writer => 1,
            Mode::Reader => 2,
        };
        bytes[LEFT] = u8::from(self.left);
        // At most 64, by the type.
        bytes[NAME_LEN] = name.len() as u8;
        put(&mut bytes, ID, self.id.as_bytes());
        put(&mut bytes, BOOT, &self.boot.0);
        put(&mut bytes, PID, &self.pid.to_le_bytes());
        put(&mut bytes, BEAT, &self.beat.0.to_le_bytes());
        put(&mut bytes, GENERATION, &self.generation.0.to_le_bytes());
        put(&mut bytes, IN_FORCE, &self.in_force.0);
        put(&mut bytes, NAME, name);
        authenticate(&mut bytes, key);
        bytes
    }
}

/// A member's record of which nothing is proven.
#[derive(Clone, Debug)]
pub struct UnverifiedMember {
    bytes: [u8; RECORD],
    member: Member,
}

impl UnverifiedMember {
    /// Takes a record apart that lies in this slot.
    ///
    /// # Errors
    /// [`RecordError`]; never a panic, whatever the bytes.
    pub fn parse(bytes: &[u8], slot: SlotNumber) -> Result<Self, RecordError> {
        let bytes = checked(bytes, MAGIC)?;
        let mode = match bytes[MODE] {
            1 => Mode::Writer,
            2 => Mode::Reader,
            _ => return Err(RecordError::Malformed),
        };
        let left = match bytes[LEFT] {
            0 => false,
            1 => true,
            _ => return Err(RecordError::Malformed),
        };
        let name: [u8; NAME_MAX] = field(bytes, NAME);
        let name = name.get(..usize::from(bytes[NAME_LEN])).and_then(|name| std::str::from_utf8(name).ok());
        let host = name.and_then(HostName::new).ok_or(RecordError::Malformed)?;
        if bytes[SLOT] != slot.0 {
            return Err(RecordError::OfAnotherSlot(bytes[SLOT]));
        }
        let member = Member {
            slot,
            id: MemberId::from_bytes(field(bytes, ID)),
            mode,
            left,
            host,
            boot: BootId(field(bytes, BOOT)),
            pid: u32::from_le_bytes(field(bytes, PID)),
            beat: Beat(u64::from_le_bytes(field(bytes, BEAT))),
            generation: Generation(u64::from_le_bytes(field(bytes, GENERATION))),
            in_force: EpochNonce(field(bytes, IN_FORCE)),
        };
        Ok(Self { bytes: *bytes, member })
    }

    /// What it says, for people who are told that nothing of it is proven.
    pub fn unproven(&self) -> &Member {
        &self.member
    }

    /// What it says, if a holder of the root key wrote it for this slot.
    ///
    /// # Errors
    /// [`AuthError`].
    pub fn verify(self, key: &HostRecordKey) -> Result<Member, AuthError> {
        if is_authentic(&self.bytes, key) { Ok(self.member) } else { Err(AuthError) }
    }
}
