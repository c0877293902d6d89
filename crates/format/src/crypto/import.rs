//! Import of key material that was made elsewhere: RSA-OAEP (RFC 8017) of the crate `aws-lc-rs`, whose
//! decryption takes the same time for good and bad ciphertexts. Without the feature `aws-lc` there is none: the
//! RustCrypto crate for RSA has a timing leak (RUSTSEC-2023-0071).

use zeroize::Zeroizing;

use super::error::AuthError;
use super::keys::KeyMaterial;

/// How imported material is wrapped.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Oaep {
    /// SHA-256 with MGF1 of SHA-256.
    Sha256,
    /// SHA-1 with MGF1 of SHA-1.
    Sha1,
}

/// The key pair of one import.
pub struct ImportKey {
    /// The private key as PKCS #8 (RFC 5958) in DER.
    pub private: Zeroizing<Vec<u8>>,
    /// The public key as SubjectPublicKeyInfo (RFC 5280) in DER.
    pub public: Vec<u8>,
}

#[cfg(feature = "aws-lc")]
mod engine {
    use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der, PublicKeyX509Der};
    use aws_lc_rs::rsa::{
        KeySize, OAEP_SHA1_MGF1SHA1, OAEP_SHA256_MGF1SHA256, OaepAlgorithm, OaepPrivateDecryptingKey,
        OaepPublicEncryptingKey, PrivateDecryptingKey, PublicEncryptingKey,
    };

    use super::{AuthError, ImportKey, KeyMaterial, Oaep, Zeroizing};

    fn algorithm(oaep: Oaep) -> &'static OaepAlgorithm {
        match oaep {
            Oaep::Sha256 => &OAEP_SHA256_MGF1SHA256,
            Oaep::Sha1 => &OAEP_SHA1_MGF1SHA1,
        }
    }

    pub(super) fn generate(bits: u16) -> Option<ImportKey> {
        let size = match bits {
            2048 => KeySize::Rsa2048,
            3072 => KeySize::Rsa3072,
            4096 => KeySize::Rsa4096,
            _ => return None,
        };
        let key = PrivateDecryptingKey::generate(size).ok()?;
        let private: Pkcs8V1Der<'_> = key.as_der().ok()?;
        let public: PublicKeyX509Der<'_> = key.public_key().as_der().ok()?;
        let private = Zeroizing::new(private.as_ref().to_vec());
        Some(ImportKey { private, public: public.as_ref().to_vec() })
    }

    pub(super) fn wrap(public: &[u8], oaep: Oaep, material: &[u8; 32]) -> Result<Vec<u8>, AuthError> {
        let key = PublicEncryptingKey::from_der(public).map_err(|_| AuthError)?;
        let key = OaepPublicEncryptingKey::new(key).map_err(|_| AuthError)?;
        let mut out = vec![0; key.ciphertext_size()];
        let sealed = key.encrypt(algorithm(oaep), material, &mut out, None).map_err(|_| AuthError)?;
        Ok(sealed.to_vec())
    }

    pub(super) fn unwrap(private: &[u8], oaep: Oaep, wrapped: &[u8]) -> Result<KeyMaterial, AuthError> {
        let key = PrivateDecryptingKey::from_pkcs8(private).map_err(|_| AuthError)?;
        let key = OaepPrivateDecryptingKey::new(key).map_err(|_| AuthError)?;
        let mut out = Zeroizing::new(vec![0; key.min_output_size()]);
        let opened = key.decrypt(algorithm(oaep), wrapped, &mut out, None).map_err(|_| AuthError)?;
        let material: &[u8; 32] = (&*opened).try_into().map_err(|_| AuthError)?;
        Ok(KeyMaterial::from_bytes(material))
    }
}

#[cfg(not(feature = "aws-lc"))]
mod engine {
    use super::{AuthError, ImportKey, KeyMaterial, Oaep};

    pub(super) fn generate(_bits: u16) -> Option<ImportKey> {
        None
    }

    pub(super) fn wrap(_: &[u8], _: Oaep, _: &[u8; 32]) -> Result<Vec<u8>, AuthError> {
        Err(AuthError)
    }

    pub(super) fn unwrap(_: &[u8], _: Oaep, _: &[u8]) -> Result<KeyMaterial, AuthError> {
        Err(AuthError)
    }
}

impl ImportKey {
    /// A new pair of 2048, 3072 or 4096 bits; none for other lengths, and in a build without `aws-lc`.
    pub fn generate(bits: u16) -> Option<Self> {
        engine::generate(bits)
    }
}

/// Wraps material for the holder of a public key, as its owner does.
///
/// # Errors
/// [`AuthError`] if that is no RSA public key in DER.
pub fn wrap(public: &[u8], oaep: Oaep, material: &[u8; 32]) -> Result<Vec<u8>, AuthError> {
    engine::wrap(public, oaep, material)
}

/// Unwraps material of 32 bytes.
///
/// # Errors
/// [`AuthError`], whatever the reason.
pub fn unwrap(private: &[u8], oaep: Oaep, wrapped: &[u8]) -> Result<KeyMaterial, AuthError> {
    engine::unwrap(private, oaep, wrapped)
}
