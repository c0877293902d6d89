//! The only importer of cipher crates: key roles, key derivation, wrapping, sealing, random bytes.
//! No primitive is made here; each file says which crate or document it rests on. No secret type has
//! Debug, Clone, Copy or serde, and all are wiped when dropped.

pub mod derive;
pub mod import;
pub mod keys;
pub mod labels;
pub mod page;
pub mod password;
pub mod random;
pub mod seal;
pub mod siv;
mod stack;
pub mod suite;

/// Authentication failed. Says nothing about why, on purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("authentication failed")]
pub struct AuthError;

/// SHA-256 of `data`.
pub fn sha256(data: &[u8]) -> [u8; 32] {
    use sha2::Digest;
    sha2::Sha256::digest(data).into()
}

/// HMAC-SHA256 of `data` under `key`.
pub fn hmac_sha256(key: &[u8; 32], data: &[u8]) -> [u8; 32] {
    keys::mac(key, data)
}

#[cfg(test)]
mod tests;
