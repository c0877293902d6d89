//! Blobs, which anybody hands in who may ask the vault.

use super::{edited, golden, golden_json, take};
use crate::blob::{BlobKey, EncryptionContext, PLAINTEXT_MAX, Plaintext, UnverifiedBlob};
use crate::crypto::keys::KeyMaterial;
use crate::ids::{BackingKeyId, KeyId, KeyVersion, VaultId};

/// A blob: what opens was sealed, byte for byte; sealed and opened it is the same; changed in any way, or under another
/// context, it is refused.
pub fn blob(data: &[u8]) {
    let all = &golden_json()["blobs"];
    let text = |field: &str| all[field].as_str().unwrap();
    let bytes = |text: &str| data_encoding::HEXLOWER.decode(text.as_bytes()).unwrap();
    let id = BackingKeyId {
        key: KeyId::from_bytes(bytes(text("key")).try_into().unwrap()),
        version: KeyVersion(all["version"].as_u64().unwrap() as u32),
    };
    let vault = VaultId::from_bytes(bytes(text("vault")).try_into().unwrap());
    let key = BlobKey::new(vault, id, &golden().material);
    let none = EncryptionContext::default();
    if let Ok(parsed) = UnverifiedBlob::parse(data) {
        assert!(data.starts_with(b"\x01RKC\x01") && (82..=81 + PLAINTEXT_MAX).contains(&data.len()));
        if parsed.open(&key, &none).is_ok() {
            let sealed = all["blobs"].as_array().unwrap().iter();
            assert!(sealed.map(|row| bytes(row["blob"].as_str().unwrap())).any(|blob| blob == data));
        }
    }

    // Under another key: libFuzzer learns from comparisons, and would hand what is sealed here back as input.
    let key = BlobKey::new(vault, id, &KeyMaterial::from_bytes(&[7; 32]));
    let ([value], rest) = take::<1>(data);
    let context = |value: u8| {
        let pairs = [("name".to_owned(), char::from(value).to_string())];
        EncryptionContext::new(pairs.into()).unwrap()
    };
    let plain = &rest[..rest.len().min(PLAINTEXT_MAX)];
    let Ok(fitting) = Plaintext::new(plain) else { return assert!(plain.is_empty()) };
    let sealed = key.seal(fitting, &context(value));
    let opened = |bytes: &[u8], value| {
        UnverifiedBlob::parse(bytes).ok().and_then(|blob| blob.open(&key, &context(value)).ok())
    };
    assert_eq!(opened(&sealed, value).unwrap().as_slice(), plain);
    assert!(opened(&sealed, value ^ 1).is_none(), "a blob opened under another context");
    let changed = edited(&sealed, rest);
    assert_eq!(opened(&changed, value).is_some(), changed == sealed, "a changed blob opened");
}
