//! Blobs that name what the vault doesn't have.
use data_encoding::BASE64;

use super::*;

#[test]
fn a_blob_that_names_an_unknown_version_or_key_is_as_one_that_is_forged() {
    let f = Fixture::new();
    let keys = f.create(&[&key_file(1)]).keys;
    let good = BASE64.decode(blob(&keys, NAME).as_bytes()).unwrap();
    // docs/format.md, "Blobs".
    let (key, version) = (21, 37);
    let forged = |at: usize| {
        let mut bytes = good.clone();
        bytes[at] ^= 0x40;
        BASE64.encode(&bytes)
    };
    let ask = |text: &str| refused(&keys, Call::Decrypt(decrypt(text)));
    // The version, its data, and the key.
    assert_eq!(ask(&forged(version)), KmsErrorName::InvalidCiphertextException);
    assert_eq!(ask(&forged(good.len() - 1)), KmsErrorName::InvalidCiphertextException);
    assert_eq!(ask(&forged(key)), KmsErrorName::AccessDeniedException);
    let moved = Call::ReEncrypt(re_encrypt(&forged(version), NAME));
    assert_eq!(refused(&keys, moved), KmsErrorName::InvalidCiphertextException);
}
