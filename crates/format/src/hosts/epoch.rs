//! The record of the keyring that all members are to have in force.

use super::{RECORD, RecordError, authenticate, begun, checked, field, is_authentic, put};
use crate::crypto::AuthError;
use crate::crypto::keys::HostRecordKey;
use crate::crypto::random;
use crate::ids::Generation;

const MAGIC: &[u8; 4] = b"RKHE";
const NONCE: usize = 16;
const NUMBER: usize = 32;
const GENERATION: usize = 40;

/// Drawn for each epoch: an acknowledgement that names it was made after it.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct EpochNonce(pub [u8; 16]);

/// Counts epochs: one that is lower than another came before it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Debug)]
pub struct EpochNumber(pub u64);

/// What keyring is to be in force, once its predecessor is durable.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Epoch {
    /// What members acknowledge it by.
    pub nonce: EpochNonce,
    /// One more than that before.
    pub number: EpochNumber,
    /// The keyring's generation.
    pub generation: Generation,
}

impl Epoch {
    /// The next one after `before`, for a keyring of this generation.
    pub fn after(before: Option<&Self>, generation: Generation) -> Self {
        let number = before.map_or(1, |before| before.number.0.saturating_add(1));
        Self { nonce: EpochNonce(random::array()), number: EpochNumber(number), generation }
    }

    /// The record.
    pub fn encode(&self, key: &HostRecordKey) -> [u8; RECORD] {
        let mut bytes = begun(MAGIC);
        put(&mut bytes, NONCE, &self.nonce.0);
        put(&mut bytes, NUMBER, &self.number.0.to_le_bytes());
        put(&mut bytes, GENERATION, &self.generation.0.to_le_bytes());
        authenticate(&mut bytes, key);
        bytes
    }
}

/// An epoch's record of which nothing is proven.
#[derive(Clone, Debug)]
pub struct UnverifiedEpoch {
    bytes: [u8; RECORD],
    epoch: Epoch,
}

impl UnverifiedEpoch {
    /// Takes a record apart.
    ///
    /// # Errors
    /// [`RecordError`]; never a panic, whatever the bytes.
    pub fn parse(bytes: &[u8]) -> Result<Self, RecordError> {
        let bytes = checked(bytes, MAGIC)?;
        let epoch = Epoch {
            nonce: EpochNonce(field(bytes, NONCE)),
            number: EpochNumber(u64::from_le_bytes(field(bytes, NUMBER))),
            generation: Generation(u64::from_le_bytes(field(bytes, GENERATION))),
        };
        Ok(Self { bytes: *bytes, epoch })
    }

    /// What it says, if a holder of the root key wrote it.
    ///
    /// # Errors
    /// [`AuthError`].
    pub fn verify(self, key: &HostRecordKey) -> Result<Epoch, AuthError> {
        if is_authentic(&self.bytes, key) { Ok(self.epoch) } else { Err(AuthError) }
    }
}
