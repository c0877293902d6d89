//! SHA-256: for a PIN of any length as a TPM takes it, and for what a key is for. Nothing is encrypted here.

use sha2::{Digest as _, Sha256};

pub(super) fn sha256(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}
