//! Blobs: what a key encrypts outside of files, at most 4,096 bytes at a time (docs/format.md, "Blobs").
//!
//! ```text
//! 0      1       4           5            21         37            41         65           65 + n
//! | 0x01 | "RKC" | format u8 | vault id   | key id   | version u32 | nonce 24 | ciphertext | tag 16 |
//! |<------------------------ prefix ------------------------------>|<---------- sealed ----------->|
//! ```
//!
//! A blob's key is derived from the material of a key version under a label of its own, not from the wrapping key: who may
//! have blobs encrypted and decrypted learns nothing of the DEKs of files, and no wrapped DEK can be handed in as a blob. The AAD is the
//! prefix and the encryption context, so that a blob opens only as what it was sealed as.
//!
//! Nonces are random: after 2^64 blobs of one key version the odds of two equal ones are 2^-65.

mod context;

use zeroize::Zeroizing;

pub use self::context::{ContextError, EncryptionContext};
use crate::crypto::AuthError;
use crate::crypto::keys::{KeyMaterial, SealKey};
use crate::crypto::seal::OVERHEAD;
use crate::ids::{BackingKeyId, KeyId, KeyVersion, VaultId};

/// The most bytes that one blob encrypts.
pub const PLAINTEXT_MAX: usize = 4096;

const MAGIC: [u8; 4] = *b"\x01RKC";
/// The one format there is.
const FORMAT: u8 = 1;
const FORMAT_AT: usize = 4;
const VAULT_AT: usize = 5;
const KEY_AT: usize = 21;
const VERSION_AT: usize = 37;
const PREFIX: usize = 41;

/// What is encrypted into one blob: 1 to [`PLAINTEXT_MAX`] bytes.
#[derive(Clone, Copy)]
pub struct Plaintext<'a>(&'a [u8]);

impl<'a> Plaintext<'a> {
    /// These bytes.
    ///
    /// # Errors
    /// [`PlaintextLength`].
    pub fn new(bytes: &'a [u8]) -> Result<Self, PlaintextLength> {
        if (1..=PLAINTEXT_MAX).contains(&bytes.len()) { Ok(Self(bytes)) } else { Err(PlaintextLength) }
    }
}

/// Bytes that no blob has: none, or more than [`PLAINTEXT_MAX`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a blob has 1 to {PLAINTEXT_MAX} bytes")]
pub struct PlaintextLength;

/// Bytes that are no blob of a format that this program knows. Deliberately without a reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no blob")]
pub struct NoBlob;

/// The key of the blobs of one key version.
pub struct BlobKey {
    vault: VaultId,
    id: BackingKeyId,
    key: SealKey,
}

impl BlobKey {
    /// That of this version, whose material this is.
    pub fn new(vault: VaultId, id: BackingKeyId, material: &KeyMaterial) -> Self {
        Self { vault, id, key: material.blob_key(vault, id) }
    }

    /// Encrypts into a blob.
    pub fn seal(&self, plaintext: Plaintext<'_>, context: &EncryptionContext) -> Vec<u8> {
        let prefix = prefix_of(self.vault, self.id);
        let sealed = self.key.seal(&context.bound_to(&prefix), plaintext.0);
        [prefix.as_slice(), &sealed].concat()
    }
}

fn prefix_of(vault: VaultId, id: BackingKeyId) -> [u8; PREFIX] {
    let mut prefix = [0; PREFIX];
    prefix[..FORMAT_AT].copy_from_slice(&MAGIC);
    prefix[FORMAT_AT] = FORMAT;
    prefix[VAULT_AT..KEY_AT].copy_from_slice(vault.as_bytes());
    prefix[KEY_AT..VERSION_AT].copy_from_slice(id.key.as_bytes());
    prefix[VERSION_AT..].copy_from_slice(&id.version.0.to_le_bytes());
    prefix
}

/// A blob as somebody handed it in: which key it names is known, and nothing is authenticated.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct UnverifiedBlob<'a> {
    prefix: &'a [u8; PREFIX],
    sealed: &'a [u8],
}

impl<'a> UnverifiedBlob<'a> {
    /// The parts of a blob.
    ///
    /// # Errors
    /// [`NoBlob`]: another format, too short or too long.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, NoBlob> {
        let (prefix, sealed) = bytes.split_first_chunk::<PREFIX>().ok_or(NoBlob)?;
        let known = prefix[..FORMAT_AT] == MAGIC && prefix[FORMAT_AT] == FORMAT;
        let fits = (OVERHEAD + 1..=OVERHEAD + PLAINTEXT_MAX).contains(&sealed.len());
        if known && fits { Ok(Self { prefix, sealed }) } else { Err(NoBlob) }
    }

    /// The vault that it names.
    pub fn vault(&self) -> VaultId {
        VaultId::from_bytes(self.id_at(VAULT_AT))
    }

    /// The key version that it names.
    pub fn backing(&self) -> BackingKeyId {
        let mut version = [0; 4];
        version.copy_from_slice(&self.prefix[VERSION_AT..]);
        let version = KeyVersion(u32::from_le_bytes(version));
        BackingKeyId { key: KeyId::from_bytes(self.id_at(KEY_AT)), version }
    }

    fn id_at(&self, at: usize) -> [u8; 16] {
        let mut id = [0; 16];
        id.copy_from_slice(&self.prefix[at..at + 16]);
        id
    }

    /// Decrypts it.
    ///
    /// # Errors
    /// [`AuthError`] for a blob of another key, another context, or a byte that was changed.
    pub fn open(&self, key: &BlobKey, context: &EncryptionContext) -> Result<Zeroizing<Vec<u8>>, AuthError> {
        key.key.open(&context.bound_to(self.prefix), self.sealed)
    }
}

#[cfg(test)]
mod tests;
