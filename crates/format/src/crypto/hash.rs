//! SHA-256 (FIPS 180-4, crate `sha2`) and HMAC with it (RFC 2104, crate `hmac`).

use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};

use super::stack;

/// SHA-256 of `data`.
pub fn sha256(data: &[u8]) -> [u8; 32] {
    Sha256::digest(data).into()
}

/// HMAC-SHA256 of `data`. What it leaves of the key on the stack is wiped.
pub(super) fn hmac_sha256(key: &[u8; 32], data: &[u8]) -> [u8; 32] {
    stack::wiped(|| {
        let Ok(mut mac) = <Hmac<Sha256> as KeyInit>::new_from_slice(key) else {
            panic!("HMAC takes keys of any length (RFC 2104)")
        };
        mac.update(data);
        mac.finalize().into_bytes().into()
    })
}
