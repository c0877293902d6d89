//! The common form of symlink targets and xattr values: a version byte, then what XChaCha20-Poly1305 sealed.

use zeroize::Zeroizing;

use crate::crypto::AuthError;
use crate::crypto::keys::SealKey;
use crate::crypto::seal;

/// The version that this program writes.
const VERSION: u8 = 1;

/// Bytes that sealing adds.
pub(super) const OVERHEAD: usize = 1 + seal::OVERHEAD;

/// Why something can't be opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// It isn't what was written, or was written for another place.
    #[error("damaged, or moved here from another place")]
    Damaged,
    /// Its version or an incompatible feature is of a newer program (or that byte is damaged).
    #[error("written by a newer rekeyfs; use that one")]
    Newer,
}

impl From<AuthError> for OpenError {
    fn from(AuthError: AuthError) -> Self {
        Self::Damaged
    }
}

pub(super) fn seal(key: &SealKey, aad: &[u8], plaintext: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(plaintext.len() + OVERHEAD);
    out.push(VERSION);
    out.extend_from_slice(&key.seal(aad, plaintext));
    out
}

pub(super) fn open(key: &SealKey, aad: &[u8], lower: &[u8]) -> Result<Vec<u8>, OpenError> {
    let (version, sealed) = lower.split_first().ok_or(OpenError::Damaged)?;
    if *version != VERSION {
        return Err(OpenError::Newer);
    }
    let mut plaintext: Zeroizing<Vec<u8>> = key.open(aad, sealed)?;
    Ok(std::mem::take(&mut *plaintext))
}
