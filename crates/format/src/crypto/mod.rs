//! The only importer of cipher crates: key roles, key derivation, wrapping, sealing, random bytes.
//! No primitive is implemented here; each file names the crate and the document that it rests on. No secret type has
//! Debug, Clone, Copy or serde, and all are wiped when dropped.

pub mod derive;
mod error;
mod hash;
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

pub use error::AuthError;
pub use hash::sha256;

#[cfg(test)]
mod tests;
