//! Deterministic encryption of names: AES-256-SIV (RFC 5297, crate `aes-siv`). Output is the 16-byte
//! synthetic IV, then the ciphertext. The benchmark build with the null cipher leaves names as they are.

use aes_siv::KeyInit;
use aes_siv::siv::Aes256Siv;
use zeroize::Zeroizing;

use super::error::AuthError;
use crate::locked::Locked;

/// Bytes of the synthetic IV, which comes first.
pub const IV: usize = 16;

/// A 64-byte AES-256-SIV key.
pub struct SivKey(Locked<64>);

impl SivKey {
    pub(super) fn init(fill: impl FnOnce(&mut [u8; 64])) -> Self {
        Self(Locked::init(fill))
    }

    /// Encrypts with at most one AAD string; `None` is RFC 5297's S2V over the plaintext alone.
    pub fn encrypt(&self, aad: Option<&[u8]>, plaintext: &[u8]) -> Vec<u8> {
        if cfg!(feature = "null-cipher") {
            return [&[0xff; IV], plaintext].concat();
        }
        match Aes256Siv::new(self.0.expose().into()).encrypt(aad, plaintext) {
            Ok(out) => out,
            Err(_) => panic!("AES-SIV refuses only more than 126 AAD strings, and here there is one"),
        }
    }

    /// Decrypts what [`SivKey::encrypt`] made.
    ///
    /// # Errors
    /// [`AuthError`] if the key, the AAD or any byte is another one.
    pub fn decrypt(&self, aad: Option<&[u8]>, ciphertext: &[u8]) -> Result<Zeroizing<Vec<u8>>, AuthError> {
        if cfg!(feature = "null-cipher") {
            return ciphertext.get(IV..).map(|name| Zeroizing::new(name.to_vec())).ok_or(AuthError);
        }
        Aes256Siv::new(self.0.expose().into())
            .decrypt(aad, ciphertext)
            .map(Zeroizing::new)
            .map_err(|_| AuthError)
    }
}
