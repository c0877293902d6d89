//! The encryption context: pairs of texts that aren't secret, and without which a blob doesn't open.
//!
//! Its canonical form is, for each pair in the order of the keys' UTF-8 bytes:
//!
//! ```text
//! | length of the key u32 | key, UTF-8 | length of the value u32 | value, UTF-8 |
//! ```
//!
//! Behind a prefix of a fixed length no two contexts have the same bytes.

use std::collections::BTreeMap;

/// Why pairs are no encryption context.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an encryption context has at most {} bytes", EncryptionContext::MAX)]
pub struct ContextError;

/// Pairs of texts that a blob is bound to; may have none.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct EncryptionContext(BTreeMap<String, String>);

impl EncryptionContext {
    /// The most bytes of all keys and values together.
    pub const MAX: usize = 8192;

    /// The context of these pairs.
    ///
    /// # Errors
    /// [`ContextError`]: more than [`EncryptionContext::MAX`] bytes.
    pub fn new(pairs: BTreeMap<String, String>) -> Result<Self, ContextError> {
        let bytes: usize = pairs.iter().map(|(key, value)| key.len() + value.len()).sum();
        if bytes <= Self::MAX { Ok(Self(pairs)) } else { Err(ContextError) }
    }

    /// The AAD of a blob: its prefix, and the canonical form.
    pub(super) fn bound_to(&self, prefix: &[u8]) -> Vec<u8> {
        let mut aad = prefix.to_vec();
        for text in self.0.iter().flat_map(|(key, value)| [key, value]) {
            // At most 8,192.
            aad.extend_from_slice(&(text.len() as u32).to_le_bytes());
            aad.extend_from_slice(text.as_bytes());
        }
        aad
    }
}
