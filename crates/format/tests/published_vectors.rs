//! The primitives that the format rests on, against published vectors (tests/golden/published.json names
//! their sources): both content engines, wrapping, names, derivation and MACs. A test of the crate runs
//! each engine over the other's output; tests/golden_vectors.rs pins what is built from these.

#![allow(clippy::unwrap_used)]

use aes_gcm::Aes256Gcm;
use aes_siv::siv::Aes256Siv;
use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{ChaCha20Poly1305, XChaCha20Poly1305};
use data_encoding::HEXLOWER;
use hmac::{Hmac, Mac};
use sha2::Sha256;

struct Row(serde_json::Value);

impl Row {
    fn bytes(&self, field: &str) -> Vec<u8> {
        HEXLOWER.decode(self.0[field].as_str().unwrap().as_bytes()).unwrap()
    }

    /// False for a vector that must be refused.
    fn valid(&self) -> bool {
        self.0.get("result").is_none_or(|r| r == "valid")
    }
}

/// All rows of one algorithm, the RFCs' and Wycheproof's.
fn rows(algorithm: &str) -> Vec<Row> {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/published.json");
    let all: serde_json::Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let rows: Vec<Row> = ["rfc", "wycheproof"]
        .iter()
        .filter_map(|source| all[source][algorithm].as_array())
        .flatten()
        .map(|row| Row(row.clone()))
        .collect();
    assert!(rows.len() > 30, "{algorithm}");
    rows
}

/// Runs `seal` and `open` (ciphertext ‖ tag) over all rows; a refused row must not open.
fn check_aead(
    algorithm: &str,
    seal: impl Fn(&Row, &[u8], &[u8]) -> Vec<u8>,
    open: impl Fn(&Row, &[u8], &[u8]) -> Option<Vec<u8>>,
) {
    for row in rows(algorithm) {
        let (aad, plain) = (row.bytes("aad"), row.bytes("msg"));
        let sealed = [row.bytes("ct"), row.bytes("tag")].concat();
        if row.valid() {
            assert_eq!(seal(&row, &aad, &plain), sealed, "{algorithm} {}", row.0);
            assert_eq!(open(&row, &aad, &sealed).as_ref(), Some(&plain), "{algorithm} {}", row.0);
        } else {
            assert_eq!(open(&row, &aad, &sealed), None, "{algorithm} {}", row.0);
        }
    }
}

macro_rules! check_rust_crypto {
    ($algorithm:literal, $cipher:ty) => {
        check_aead(
            $algorithm,
            |row, aad, msg| {
                let nonce = row.bytes("iv");
                let cipher = <$cipher>::new_from_slice(&row.bytes("key")).unwrap();
                cipher.encrypt(nonce.as_slice().try_into().unwrap(), Payload { msg, aad }).unwrap()
            },
            |row, aad, msg| {
                let nonce = row.bytes("iv");
                let cipher = <$cipher>::new_from_slice(&row.bytes("key")).unwrap();
                cipher.decrypt(nonce.as_slice().try_into().unwrap(), Payload { msg, aad }).ok()
            },
        )
    };
}

#[test]
fn rust_crypto_aes_256_gcm() {
    check_rust_crypto!("aes_256_gcm", Aes256Gcm);
}

#[test]
fn rust_crypto_chacha20_poly1305() {
    check_rust_crypto!("chacha20_poly1305", ChaCha20Poly1305);
}

#[test]
fn rust_crypto_xchacha20_poly1305() {
    check_rust_crypto!("xchacha20_poly1305", XChaCha20Poly1305);
}

#[cfg(feature = "aws-lc")]
mod aws_lc {
    use aws_lc_rs::aead::{AES_256_GCM, Aad, Algorithm, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};

    use super::{Row, check_aead};

    fn check(name: &str, algorithm: &'static Algorithm) {
        let key = |row: &Row| LessSafeKey::new(UnboundKey::new(algorithm, &row.bytes("key")).unwrap());
        let nonce = |row: &Row| Nonce::try_assume_unique_for_key(&row.bytes("iv")).unwrap();
        check_aead(
            name,
            |row, aad, msg| {
                let mut out = msg.to_vec();
                key(row).seal_in_place_append_tag(nonce(row), Aad::from(aad), &mut out).unwrap();
                out
            },
            |row, aad, sealed| {
                let mut out = sealed.to_vec();
                key(row).open_in_place(nonce(row), Aad::from(aad), &mut out).ok().map(|p| p.to_vec())
            },
        );
    }

    #[test]
    fn aes_256_gcm() {
        check("aes_256_gcm", &AES_256_GCM);
    }

    #[test]
    fn chacha20_poly1305() {
        check("chacha20_poly1305", &CHACHA20_POLY1305);
    }
}

#[test]
fn aes_256_siv() {
    // RFC 5297 section 6: the nonce is the last AAD string; the tag comes first on the wire.
    for row in rows("aes_256_siv") {
        let siv = || Aes256Siv::new_from_slice(&row.bytes("key")).unwrap();
        let headers = [row.bytes("aad"), row.bytes("iv")];
        let sealed = [row.bytes("tag"), row.bytes("ct")].concat();
        if row.valid() {
            assert_eq!(siv().encrypt(&headers, &row.bytes("msg")).unwrap(), sealed, "{}", row.0);
            assert_eq!(siv().decrypt(&headers, &sealed).unwrap(), row.bytes("msg"), "{}", row.0);
        } else {
            assert!(siv().decrypt(&headers, &sealed).is_err(), "{}", row.0);
        }
    }
}

#[test]
fn hkdf_sha256() {
    for row in rows("hkdf_sha256") {
        let expected = row.bytes("okm");
        let mut out = vec![0; expected.len()];
        let hkdf = hkdf::Hkdf::<Sha256>::new(Some(&row.bytes("salt")), &row.bytes("ikm"));
        hkdf.expand(&row.bytes("info"), &mut out).unwrap();
        assert_eq!(out, expected, "{}", row.0);
    }
}

#[test]
fn hmac_sha256() {
    for row in rows("hmac_sha256") {
        let mut mac = <Hmac<Sha256> as hmac::KeyInit>::new_from_slice(&row.bytes("key")).unwrap();
        mac.update(&row.bytes("msg"));
        assert_eq!(mac.verify_slice(&row.bytes("tag")).is_ok(), row.valid(), "{}", row.0);
    }
}
