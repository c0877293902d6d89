//! The records by which hosts that share a vault know of each other: one of each mount, in a slot with a number that is used
//! again, and the epoch, which says what keyring all of them are to have in force.
//!
//! ```text
//! member   0 "RKHM" | 4 format u16 | 6 slot u8 | 7 mode u8 (1 writer, 2 reader) | 8 left u8 | 9 length of the host's name u8
//!         10 reserved (6) | 16 member id (16) | 32 boot id (16) | 48 pid u32 | 52 reserved (4) | 56 beat u64
//!         64 generation in use u64 | 72 nonce of the epoch in force (16) | 88 reserved (8) | 96 host's name (64), zeros behind it
//!        160 reserved
//!        480 HMAC-SHA256 (32) over 0..480 under the host record key
//!
//! epoch    0 "RKHE" | 4 format u16 | 6 reserved (10) | 16 nonce (16) | 32 number u64 | 40 generation u64 | 48 reserved
//!        480 HMAC-SHA256 (32) over 0..480
//! ```
//!
//! Integers are little-endian. A record has the number of its slot under the MAC: copied into another slot it is none. Without
//! the root key nobody makes one; who can write the ciphertext can bring an older one back, which the beat, the number and the
//! nonces show to those who have seen a newer one.

mod epoch;
mod member;

pub use epoch::{Epoch, EpochNonce, EpochNumber, UnverifiedEpoch};
pub use member::{Beat, BootId, HostName, Member, Mode, SlotNumber, UnverifiedMember};

use crate::crypto::keys::HostRecordKey;

/// Bytes of a record.
pub const RECORD: usize = 512;

/// The format of both records.
const FORMAT: u16 = 1;
const FORMAT_AT: usize = 4;
const MAC_AT: usize = 480;

/// Why bytes are no record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// They don't begin like one, or a field has a value that none has.
    #[error("it is no record of a host")]
    Malformed,
    /// A newer program wrote them.
    #[error("a newer rekeyfs wrote it (format {0}); use that one")]
    Newer(u16),
    /// They are the record of another slot.
    #[error("it is the record of slot {0}")]
    OfAnotherSlot(u8),
}

/// A record's bytes and whether they are whole and of a format that is known.
fn checked<'a>(bytes: &'a [u8], magic: &[u8; 4]) -> Result<&'a [u8; RECORD], RecordError> {
    let bytes: &[u8; RECORD] = bytes.try_into().map_err(|_| RecordError::Malformed)?;
    if !bytes.starts_with(magic) {
        return Err(RecordError::Malformed);
    }
    match u16::from_le_bytes(field(bytes, FORMAT_AT)) {
        FORMAT => Ok(bytes),
        newer => Err(RecordError::Newer(newer)),
    }
}

/// A record that has its magic and its format, and nothing else yet.
fn begun(magic: &[u8; 4]) -> [u8; RECORD] {
    let mut bytes = [0; RECORD];
    put(&mut bytes, 0, magic);
    put(&mut bytes, FORMAT_AT, &FORMAT.to_le_bytes());
    bytes
}

fn authenticate(bytes: &mut [u8; RECORD], key: &HostRecordKey) {
    let mac = key.mac(&bytes[..MAC_AT]);
    put(bytes, MAC_AT, &mac);
}

fn is_authentic(bytes: &[u8; RECORD], key: &HostRecordKey) -> bool {
    key.verify(&bytes[..MAC_AT], &field(bytes, MAC_AT)).is_ok()
}

fn put(bytes: &mut [u8; RECORD], at: usize, field: &[u8]) {
    bytes[at..at + field.len()].copy_from_slice(field);
}

fn field<const N: usize>(bytes: &[u8; RECORD], at: usize) -> [u8; N] {
    std::array::from_fn(|index| bytes[at + index])
}

#[cfg(test)]
mod tests;
