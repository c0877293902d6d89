//! Sealing and wrapping of small things: XChaCha20-Poly1305 (draft-irtf-cfrg-xchacha, crate
//! `chacha20poly1305`) for wraps, records and the keyring; AES-256-GCM (SP 800-38D, crate `aes-gcm`) for
//! the root key in unlock slots, whose key is used once.
//!
//! ```text
//! sealed          0 nonce (24) | 24 ciphertext (as long as the plaintext) | tag (16)
//! wrapped key     0 nonce (24) | 24 ciphertext (32) | 56 tag (16)
//! wrapped root    0 nonce (12) | 12 ciphertext (32) | 44 tag (16)
//! ```

use aes_gcm::Aes256Gcm;
use chacha20poly1305::XChaCha20Poly1305;
use chacha20poly1305::aead::inout::InOutBuf;
use chacha20poly1305::aead::{AeadInOut, KeyInit};
use zeroize::Zeroizing;

use super::error::AuthError;
use super::random;

/// Bytes that sealing adds: nonce and tag.
pub const OVERHEAD: usize = NONCE + TAG;
/// Bytes of a nonce, which comes first and is random for each sealing.
pub const NONCE: usize = 24;
pub(super) type Nonce = [u8; NONCE];
/// Bytes of a tag, which comes last.
pub const TAG: usize = 16;
const KEY: usize = 32;
/// Bytes of the nonce of AES-256-GCM.
const GCM_NONCE: usize = 12;
const GCM_TAG: usize = GCM_NONCE + KEY;

/// A DEK or tree key that is wrapped by XChaCha20-Poly1305.
pub type Wrapped = [u8; NONCE + KEY + TAG];
/// A root key that is wrapped by AES-256-GCM, in an unlock slot.
pub type WrappedRoot = [u8; GCM_NONCE + KEY + TAG];

pub(super) fn seal(key: &[u8; 32], aad: &[u8], plaintext: &[u8]) -> Vec<u8> {
    let nonce: [u8; NONCE] = random::array();
    let mut out = Vec::with_capacity(plaintext.len() + OVERHEAD);
    out.extend_from_slice(&nonce);
    out.extend_from_slice(plaintext);
    let cipher = XChaCha20Poly1305::new(key.into());
    let sealed = cipher.encrypt_inout_detached(&nonce.into(), aad, InOutBuf::from(&mut out[NONCE..]));
    match sealed {
        Ok(tag) => out.extend_from_slice(&tag),
        Err(_) => panic!("XChaCha20-Poly1305 refuses only more than 256 GiB, which is never given to it"),
    }
    out
}

pub(super) fn open(key: &[u8; 32], aad: &[u8], sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, AuthError> {
    let (nonce, rest) = sealed.split_first_chunk::<NONCE>().ok_or(AuthError)?;
    let (ciphertext, tag) = rest.split_last_chunk::<TAG>().ok_or(AuthError)?;
    let mut out = Zeroizing::new(ciphertext.to_vec());
    let cipher = XChaCha20Poly1305::new(key.into());
    cipher
        .decrypt_inout_detached(nonce.into(), aad, InOutBuf::from(out.as_mut_slice()), tag.into())
        .map_err(|_| AuthError)?;
    Ok(out)
}

pub(super) fn wrap32(key: &[u8; 32], aad: &[u8], secret: &[u8; 32]) -> Wrapped {
    wrap32_with(key, aad, secret, random::array())
}

/// As [`wrap32`], with a nonce that was drawn for it and is used for nothing else.
pub(super) fn wrap32_with(key: &[u8; 32], aad: &[u8], secret: &[u8; 32], nonce: Nonce) -> Wrapped {
    let mut out = [0; size_of::<Wrapped>()];
    out[..NONCE].copy_from_slice(&nonce);
    out[NONCE..NONCE + KEY].copy_from_slice(secret);
    let cipher = XChaCha20Poly1305::new(key.into());
    let inner = InOutBuf::from(&mut out[NONCE..NONCE + KEY]);
    match cipher.encrypt_inout_detached(&nonce.into(), aad, inner) {
        Ok(tag) => out[NONCE + KEY..].copy_from_slice(&tag),
        Err(_) => panic!("XChaCha20-Poly1305 refuses only more than 256 GiB, which is never given to it"),
    }
    out
}

pub(super) fn unwrap32(
    key: &[u8; 32],
    aad: &[u8],
    wrapped: &Wrapped,
    out: &mut [u8; 32],
) -> Result<(), AuthError> {
    let (nonce, rest) = wrapped.split_first_chunk::<NONCE>().ok_or(AuthError)?;
    let (ciphertext, tag) = rest.split_last_chunk::<TAG>().ok_or(AuthError)?;
    out.copy_from_slice(ciphertext);
    let cipher = XChaCha20Poly1305::new(key.into());
    cipher
        .decrypt_inout_detached(nonce.into(), aad, InOutBuf::from(out.as_mut_slice()), tag.into())
        .map_err(|_| AuthError)
}

pub(super) fn gcm_wrap(key: &[u8; 32], aad: &[u8], secret: &[u8; 32]) -> WrappedRoot {
    let nonce: [u8; GCM_NONCE] = random::array();
    let mut out = [0; size_of::<WrappedRoot>()];
    out[..GCM_NONCE].copy_from_slice(&nonce);
    out[GCM_NONCE..GCM_TAG].copy_from_slice(secret);
    let cipher = Aes256Gcm::new(key.into());
    match cipher.encrypt_inout_detached(&nonce.into(), aad, InOutBuf::from(&mut out[GCM_NONCE..GCM_TAG])) {
        Ok(tag) => out[GCM_TAG..].copy_from_slice(&tag),
        Err(_) => panic!("AES-GCM refuses only more than 64 GiB, which is never given to it"),
    }
    out
}

pub(super) fn gcm_unwrap(
    key: &[u8; 32],
    aad: &[u8],
    wrapped: &WrappedRoot,
    out: &mut [u8; 32],
) -> Result<(), AuthError> {
    let (nonce, rest) = wrapped.split_first_chunk::<GCM_NONCE>().ok_or(AuthError)?;
    let (ciphertext, tag) = rest.split_last_chunk::<TAG>().ok_or(AuthError)?;
    out.copy_from_slice(ciphertext);
    let cipher = Aes256Gcm::new(key.into());
    cipher
        .decrypt_inout_detached(nonce.into(), aad, InOutBuf::from(out.as_mut_slice()), tag.into())
        .map_err(|_| AuthError)
}
