//! Symlink targets: base64url of a version byte and the sealed target, no AAD.

use super::versioned::{self, OVERHEAD, OpenError};
use super::{TooLong, decode64, encode64};
use crate::crypto::keys::{SealKey, TreeKey};

/// Seals and opens the symlink targets of a tree.
pub struct SymlinkCipher(SealKey);

impl SymlinkCipher {
    /// The longest target in bytes: its lower form has 4095, the most that ext4 takes.
    pub const MAX_TARGET: usize = 3030;

    /// Under the symlink key of this tree key.
    pub fn new(tree: &TreeKey) -> Self {
        Self(tree.symlink_key())
    }

    /// The lower target.
    ///
    /// # Errors
    /// [`TooLong`] over [`Self::MAX_TARGET`] bytes: ENAMETOOLONG.
    pub fn encode(&self, target: &[u8]) -> Result<Vec<u8>, TooLong> {
        if target.len() > Self::MAX_TARGET {
            return Err(TooLong);
        }
        Ok(encode64(&versioned::seal(&self.0, &[], target)))
    }

    /// The inverse of [`SymlinkCipher::encode`].
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn decode(&self, lower: &[u8]) -> Result<Vec<u8>, OpenError> {
        versioned::open(&self.0, &[], &decode64(lower).ok_or(OpenError::Damaged)?)
    }

    /// The length of the target whose lower form has `lower_size` bytes: what `stat` shows without opening it.
    /// `None`: no target's lower form has this length.
    pub fn plain_len(lower_size: u64) -> Option<u64> {
        if lower_size % 4 == 1 {
            return None;
        }
        (lower_size / 4 * 3 + (lower_size % 4).saturating_sub(1)).checked_sub(OVERHEAD as u64)
    }
}
