use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::crypto::keys::{Dek, WrapContext};
use crate::ids::{FileId, Format};

fn backing(version: u32) -> BackingKeyId {
    BackingKeyId { key: KeyId::from_bytes([3; 16]), version: KeyVersion(version) }
}

fn material() -> KeyMaterial {
    KeyMaterial::from_bytes(&[9; 32])
}

fn plain(bytes: &[u8]) -> Plaintext<'_> {
    Plaintext::new(bytes).unwrap()
}

fn vault() -> VaultId {
    VaultId::from_bytes([1; 16])
}

fn context(pairs: &[(&str, &str)]) -> EncryptionContext {
    let pairs = pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
    EncryptionContext::new(pairs.collect()).unwrap()
}

#[test]
fn a_blob_opens_only_under_its_key_version_vault_and_context() {
    let key = BlobKey::new(vault(), backing(2), &material());
    let bound = context(&[("purpose", "test"), ("a", "")]);
    let blob = key.seal(plain(b"secret"), &bound);
    assert_eq!(blob.len(), 81 + 6);
    let parsed = UnverifiedBlob::parse(&blob).unwrap();
    assert_eq!((parsed.vault(), parsed.backing()), (vault(), backing(2)));
    assert_eq!(parsed.open(&key, &bound).unwrap().as_slice(), b"secret");
    for other in [
        BlobKey::new(vault(), backing(3), &material()),
        BlobKey::new(VaultId::from_bytes([2; 16]), backing(2), &material()),
        BlobKey::new(vault(), backing(2), &KeyMaterial::from_bytes(&[8; 32])),
    ] {
        assert_eq!(parsed.open(&other, &bound).map(drop), Err(AuthError));
    }
    for other in [
        context(&[]),
        context(&[("purpose", "test")]),
        context(&[("purpose", ""), ("a", "test")]),
        context(&[("purpose", "testa"), ("", "")]),
        context(&[("purpose", "test"), ("a", ""), ("b", "")]),
    ] {
        assert_eq!(parsed.open(&key, &other).map(drop), Err(AuthError));
    }
}

#[test]
fn no_byte_of_a_blob_can_be_changed_or_left_out() {
    let key = BlobKey::new(vault(), backing(2), &material());
    let blob = key.seal(plain(b"x"), &EncryptionContext::default());
    let opens = |bytes: &[u8]| {
        UnverifiedBlob::parse(bytes).is_ok_and(|blob| blob.open(&key, &EncryptionContext::default()).is_ok())
    };
    assert!(opens(&blob));
    for at in 0..blob.len() {
        let mut changed = blob.clone();
        changed[at] ^= 1;
        assert!(!opens(&changed), "byte {at}");
        assert!(!opens(&blob[..at]), "cut at {at}");
    }
    assert!(!opens(&[blob.as_slice(), b"x"].concat()));
}

#[test]
fn a_blob_has_1_to_4096_bytes() {
    let key = BlobKey::new(vault(), backing(1), &material());
    let none = EncryptionContext::default();
    for (len, fits) in [(0, false), (1, true), (4096, true), (4097, false)] {
        assert_eq!(Plaintext::new(&vec![7; len]).is_ok(), fits, "{len}");
        let mut bytes = key.seal(plain(b"x"), &none);
        bytes.resize(81 + len, 0);
        assert_eq!(UnverifiedBlob::parse(&bytes).is_ok(), fits, "{len}");
    }
}

/// A holder of blobs' oracle must not be one of files: the two derivations share nothing but the material.
#[test]
fn a_wrapped_dek_is_no_blob_and_a_blob_is_no_wrapped_dek() {
    let (key, wrapping) =
        (BlobKey::new(vault(), backing(2), &material()), material().wrapping_key(vault(), backing(2)));
    let (file, none) = (FileId::from_bytes([4; 16]), EncryptionContext::default());
    let wrap = WrapContext { vault: vault(), file, backing: backing(2), suite: 1, format: Format::CURRENT };
    let wrapped = wrapping.wrap_dek(&wrap, &Dek::generate());
    let forged = [prefix_of(vault(), backing(2)).as_slice(), &wrapped].concat();
    assert_eq!(UnverifiedBlob::parse(&forged).unwrap().open(&key, &none).map(drop), Err(AuthError));
    let blob = key.seal(plain(&[5; 32]), &none);
    let sealed = blob[PREFIX..].try_into().unwrap();
    assert!(wrapping.unwrap_dek(&wrap, &sealed).is_err());
}

#[test]
fn a_context_has_at_most_8192_bytes() {
    let of = |len: usize| EncryptionContext::new(BTreeMap::from([("k".to_owned(), "v".repeat(len))]));
    assert!(of(8191).is_ok() && of(8192).is_err());
}

proptest! {
    #[test]
    fn two_contexts_never_have_one_canonical_form(
        a in proptest::collection::btree_map("\\PC{0,3}", "\\PC{0,3}", 0..4),
        b in proptest::collection::btree_map("\\PC{0,3}", "\\PC{0,3}", 0..4),
    ) {
        let form = |pairs: &BTreeMap<String, String>| EncryptionContext::new(pairs.clone()).unwrap().bound_to(b"p");
        prop_assert_eq!(form(&a) == form(&b), a == b);
    }
}
