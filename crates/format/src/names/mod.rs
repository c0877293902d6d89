//! What is in lower directories besides content: names, directory records, symlink targets, extended
//! attributes (docs/format.md, "Names and directories"). Pure: bytes in, bytes out.
//!
//! Lower names that start with `.` are rekeyfs's own; all others are encrypted names. Everything that is decoded
//! here is authenticated, and every byte counts: a thing has one encoding under one key and nonce.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

mod cipher;
mod kind;
mod record;
mod symlink;
mod tree;
mod versioned;
mod xattr;

pub use cipher::{LowerName, NameCipher};
pub use kind::{
    BAD_PREFIX, DIR_RECORD, LONG_PREFIX, LONG_SUFFIX, LowerKind, MAX_NAME, NameError, TEMPORARY_PREFIX,
    bad_name, check_new, check_plain,
};
pub use record::{DirRecord, RecordCipher};
pub use symlink::SymlinkCipher;
pub use tree::TreeCiphers;
pub use versioned::OpenError;
pub use xattr::{XattrCipher, XattrSpace};

/// It has no form that the lower filesystem can hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("too long for the lower filesystem")]
pub struct TooLong;

/// base64url without padding.
fn encode64(bytes: &[u8]) -> Vec<u8> {
    URL_SAFE_NO_PAD.encode(bytes).into_bytes()
}

/// The inverse of [`encode64`]; `None` for any other text, other spellings of the same bytes included.
fn decode64(text: &[u8]) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text).ok()
}

#[cfg(test)]
mod tests;
