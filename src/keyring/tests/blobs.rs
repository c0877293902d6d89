//! That a key has encrypted data is known in every keyring that comes from the one that says so.
use super::super::retire::{RetireOrder, Retirement};
use super::*;
use crate::blob::{EncryptionContext, Plaintext, UnverifiedBlob};

fn sealed(keys: &Keys) -> Vec<u8> {
    let data = Plaintext::new(b"data").unwrap();
    keys.seal_blob(default_key(keys), data, &EncryptionContext::default()).unwrap().1
}

fn default_key(keys: &Keys) -> KeyId {
    keys.current(&AliasName::default_alias()).unwrap().key
}

fn opens(keys: &Keys, blob: &[u8]) -> bool {
    keys.open_blob(&UnverifiedBlob::parse(blob).unwrap(), &EncryptionContext::default()).is_ok()
}

fn retire(keys: &Keys, below: u32) -> Result<(), KeyringError> {
    let order = RetireOrder { key: default_key(keys), below: KeyVersion(below), what: Retirement::Retire };
    keys.retire(&order, None).map(drop)
}

#[test]
fn a_merge_takes_over_that_a_key_has_encrypted_data_though_nothing_else_is_new() {
    let f = Fixture::new();
    let keys = f.create(&[&key_file(1)]).keys;
    rotate(&keys);
    let old = f.read(FILE_NAME);
    let blob = sealed(&keys);
    let newest = f.save_as("newest");
    f.write(FILE_NAME, &old);
    let keys = f.accept().keys;
    assert!(opens(&keys, &blob));
    keys.merge(&f.found(&newest).keys).unwrap();
    for keys in [&keys, &f.open(&key_file(1)).unwrap().keys] {
        assert!(retire(keys, 2).is_ok(), "version 1 encrypted none");
        keys.retire(
            &RetireOrder { key: default_key(keys), below: KeyVersion(2), what: Retirement::Restore },
            None,
        )
        .unwrap();
        assert!(retire(keys, rotate(keys)).is_err());
        assert!(opens(keys, &blob));
    }
    let generation = keys.generation();
    keys.merge(&f.found(&newest).keys).unwrap();
    assert_eq!(keys.generation(), generation, "there is nothing to merge any more");
}

#[test]
fn a_revocation_and_a_key_backup_keep_that_a_key_has_encrypted_data() {
    let f = Fixture::new();
    let opened = f.create(&[&key_file(1)]);
    let blob = sealed(&opened.keys);
    opened.keys.revoke(&opened.proof, &[&key_file(1)], &[], KDF).unwrap();
    assert!(opens(&opened.keys, &blob), "the versions of before open");
    assert!(retire(&opened.keys, 2).is_err());
    let (backup, opened) = (f.dir.path().join("backup"), f.open(&key_file(1)).unwrap());
    opened.export_for_test("paper", &backup).unwrap();
    drop(opened);
    std::fs::remove_file(f.vault().join(FILE_NAME)).unwrap();
    let new = key_file(7);
    f.import_backup(&backup, "paper", &new, replacing(Replace::Always)).unwrap();
    let keys = f.open(&new).unwrap().keys;
    assert!(opens(&keys, &blob) && retire(&keys, 2).is_err());
}
