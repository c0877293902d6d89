//! Passphrases to slot keys: Argon2id (RFC 9106, crate `argon2`).

use argon2::{Algorithm, Argon2, Params, Version};
use serde::{Deserialize, Serialize};

use super::keys::SlotKek;
use crate::locked::Locked;

/// Argon2id cost parameters.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct KdfParams {
    /// Memory in KiB.
    pub memory_kib: u32,
    /// Passes over the memory.
    pub passes: u32,
    /// Lanes.
    pub lanes: u32,
}

impl KdfParams {
    /// Highest memory that parameters from disk may ask for: 4 GiB.
    pub const MAX_MEMORY_KIB: u32 = 4 << 20;
    /// Highest number of passes.
    pub const MAX_PASSES: u32 = 64;
    /// Highest number of lanes.
    pub const MAX_LANES: u32 = 16;

    /// These costs, but none of them lower than in `other`: what replaces a slot is no easier to guess.
    #[must_use]
    pub fn at_least(self, other: Self) -> Self {
        Self {
            memory_kib: self.memory_kib.max(other.memory_kib),
            passes: self.passes.max(other.passes),
            lanes: self.lanes.max(other.lanes),
        }
    }

    /// Whether these are within the caps; parameters from disk are checked before they are run, else a
    /// changed keyring could take all memory.
    pub fn within_caps(&self) -> bool {
        (8 * self.lanes.max(1)..=Self::MAX_MEMORY_KIB).contains(&self.memory_kib)
            && (1..=Self::MAX_PASSES).contains(&self.passes)
            && (1..=Self::MAX_LANES).contains(&self.lanes)
    }
}

/// Why a passphrase could not be run through Argon2id.
#[derive(Debug, thiserror::Error)]
#[error("Argon2id can't run with memory {} KiB, {} passes, {} lanes", .0.memory_kib, .0.passes, .0.lanes)]
pub struct KdfError(KdfParams);

/// Runs a passphrase through Argon2id (version 0x13, 32 bytes out).
///
/// # Errors
/// Parameters beyond the caps, or that Argon2 itself refuses.
pub fn derive_kek(passphrase: &[u8], salt: &[u8; 16], params: KdfParams) -> Result<SlotKek, KdfError> {
    if !params.within_caps() {
        return Err(KdfError(params));
    }
    let argon_params = Params::new(params.memory_kib, params.passes, params.lanes, Some(32))
        .map_err(|_| KdfError(params))?;
    let argon = Argon2::new(Algorithm::Argon2id, Version::V0x13, argon_params);
    Locked::<32>::try_init(|out| {
        argon.hash_password_into(passphrase, salt, out).map_err(|_| KdfError(params))
    })
    .map(|kek| SlotKek::from_bytes(kek.expose()))
}
