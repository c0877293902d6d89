//! Content keys: one segment's pages, sealed block by block. Runs on AWS-LC by default, on the RustCrypto
//! crates without the feature `aws-lc`; both are always compiled into the tests and checked against each other.

use aes_gcm::Aes256Gcm;
use chacha20poly1305::ChaCha20Poly1305;
use chacha20poly1305::aead::inout::InOutBuf;
use chacha20poly1305::aead::{AeadInOut, KeyInit};

use super::error::AuthError;
use super::random;
use super::suite::Suite;

/// A block's nonce.
pub type Nonce = [u8; 12];
/// A block's tag.
pub type Tag = [u8; 16];

/// The content key of one segment of one file.
pub struct ContentKey(Engine);

enum Engine {
    #[cfg(feature = "aws-lc")]
    AwsLc(aws_lc_rs::aead::LessSafeKey),
    #[cfg_attr(all(feature = "aws-lc", not(test)), allow(dead_code))]
    Gcm(Box<Aes256Gcm>),
    #[cfg_attr(all(feature = "aws-lc", not(test)), allow(dead_code))]
    ChaCha(Box<ChaCha20Poly1305>),
    #[cfg(feature = "null-cipher")]
    Null,
}

/// Fills `out` with nonces, one after the other, in one call of the kernel's random generator.
pub fn fresh_nonces(out: &mut [Nonce]) {
    // A null cipher needs none, but a block that begins with zeros would pass for a hole.
    if cfg!(feature = "null-cipher") { out.fill([0xff; 12]) } else { random::fill(out.as_flattened_mut()) }
}

impl ContentKey {
    pub(super) fn new(suite: Suite, key: &[u8; 32]) -> Self {
        #[cfg(feature = "aws-lc")]
        return Self::aws_lc(suite, key);
        #[cfg(not(feature = "aws-lc"))]
        return Self::rust_crypto(suite, key);
    }

    #[cfg(feature = "aws-lc")]
    pub(super) fn aws_lc(suite: Suite, key: &[u8; 32]) -> Self {
        use aws_lc_rs::aead::{AES_256_GCM, CHACHA20_POLY1305, LessSafeKey, UnboundKey};
        let algorithm = match suite {
            Suite::Aes256Gcm => &AES_256_GCM,
            Suite::ChaCha20Poly1305 => &CHACHA20_POLY1305,
            #[cfg(feature = "null-cipher")]
            Suite::Null => return Self(Engine::Null),
        };
        match UnboundKey::new(algorithm, key) {
            Ok(key) => Self(Engine::AwsLc(LessSafeKey::new(key))),
            Err(_) => panic!("AWS-LC refuses only keys that aren't 32 bytes, or when memory is out"),
        }
    }

    #[cfg_attr(all(feature = "aws-lc", not(test)), allow(dead_code))]
    pub(super) fn rust_crypto(suite: Suite, key: &[u8; 32]) -> Self {
        Self(match suite {
            Suite::Aes256Gcm => Engine::Gcm(Box::new(Aes256Gcm::new(key.into()))),
            Suite::ChaCha20Poly1305 => Engine::ChaCha(Box::new(ChaCha20Poly1305::new(key.into()))),
            #[cfg(feature = "null-cipher")]
            Suite::Null => Engine::Null,
        })
    }

    /// Seals `payload` in place and returns its tag. The AAD is the block's index as u64.
    /// A nonce must be fresh from [`fresh_nonces`].
    pub fn seal(&self, nonce: &Nonce, block: u64, payload: &mut [u8]) -> Tag {
        let aad = block.to_le_bytes();
        let sealed = match &self.0 {
            #[cfg(feature = "aws-lc")]
            Engine::AwsLc(key) => {
                use aws_lc_rs::aead;
                let nonce = aead::Nonce::assume_unique_for_key(*nonce);
                let mut tag = [0; 16];
                key.seal_in_place_scatter(nonce, aead::Aad::from(aad), payload, &[], &mut tag)
                    .map(|()| tag)
                    .map_err(|_| AuthError)
            }
            Engine::Gcm(key) => key
                .encrypt_inout_detached(nonce.into(), &aad, InOutBuf::from(payload))
                .map(Into::into)
                .map_err(|_| AuthError),
            Engine::ChaCha(key) => key
                .encrypt_inout_detached(nonce.into(), &aad, InOutBuf::from(payload))
                .map(Into::into)
                .map_err(|_| AuthError),
            #[cfg(feature = "null-cipher")]
            Engine::Null => Ok([0xff; 16]),
        };
        match sealed {
            Ok(tag) => tag,
            Err(AuthError) => panic!("sealing fails only above 64 GiB, and a block has 4 KiB"),
        }
    }

    /// Opens `ciphertext` into `out`, which has the same length.
    ///
    /// # Errors
    /// [`AuthError`]; `out` then holds bytes that aren't authentic and must not be given to anyone.
    pub fn open(
        &self,
        nonce: &Nonce,
        block: u64,
        ciphertext: &[u8],
        tag: &Tag,
        out: &mut [u8],
    ) -> Result<(), AuthError> {
        let aad = block.to_le_bytes();
        match &self.0 {
            #[cfg(feature = "aws-lc")]
            Engine::AwsLc(key) => {
                use aws_lc_rs::aead;
                let nonce = aead::Nonce::assume_unique_for_key(*nonce);
                key.open_separate_gather(nonce, aead::Aad::from(aad), ciphertext, tag, out)
                    .map_err(|_| AuthError)
            }
            Engine::Gcm(key) => {
                let both = inout(ciphertext, out)?;
                key.decrypt_inout_detached(nonce.into(), &aad, both, tag.into()).map_err(|_| AuthError)
            }
            Engine::ChaCha(key) => {
                let both = inout(ciphertext, out)?;
                key.decrypt_inout_detached(nonce.into(), &aad, both, tag.into()).map_err(|_| AuthError)
            }
            #[cfg(feature = "null-cipher")]
            Engine::Null => {
                out.copy_from_slice(ciphertext);
                Ok(())
            }
        }
    }
}

fn inout<'a>(from: &'a [u8], into: &'a mut [u8]) -> Result<InOutBuf<'a, 'a, u8>, AuthError> {
    InOutBuf::new(from, into).map_err(|_| AuthError)
}
