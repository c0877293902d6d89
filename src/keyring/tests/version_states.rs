//! The state of each kind of key version, as `inspect`, `status` and `fsck` show it.
use super::super::retire::{RetireOrder, Retirement};
use super::*;
use crate::crypto::keys::KeyMaterial;
use crate::ids::BackingKeyId;
use crate::keyring::format::model::Key;
use crate::keyring::rules::import::ImportType;

/// The state of a version, in words.
fn shown(keys: &Keys, key: KeyId, version: u32) -> String {
    keys.state_of(BackingKeyId { key, version: KeyVersion(version) }).to_string()
}

#[test]
fn each_state_is_told_apart() {
    let f = Fixture::new();
    let Opened { keys, .. } = f.create(&[&key_file(1)]);
    let key = keys.keys()[0].id;
    for _ in 0..2 {
        keys.rotate(&default_alias()).unwrap();
    }
    assert_eq!([1, 2, 3, 4].map(|v| shown(&keys, key, v)), ["old", "old", "current", "unknown version"]);
    assert_eq!(shown(&keys, KeyId::random(), 1), "unknown key");
    assert_eq!(keys.lose_last_version_for_test(key), KeyVersion(3));
    assert_eq!([2, 3, 4].map(|v| shown(&keys, key, v)), ["current", "lost", "unknown version"]);
    assert_eq!(keys.keys()[0].lost, [VersionRange { first: KeyVersion(3), last: KeyVersion(3) }]);

    let order = |what| RetireOrder { key, below: KeyVersion(2), what };
    keys.retire(&order(Retirement::Retire), None).unwrap();
    assert_eq!(shown(&keys, key, 1), "unusable (retired)");
    keys.retire(&order(Retirement::Trim), None).unwrap();
    keys.retire(&order(Retirement::Restore), None).unwrap();
    assert_eq!(shown(&keys, key, 1), "unusable (missing material)");
    keys.disable_key(key).unwrap();
    assert_eq!(shown(&keys, key, 2), "unusable (disabled)");
    keys.schedule_deletion(key, None, None).unwrap();
    assert_eq!(shown(&keys, key, 2), "unusable (pending deletion)");
    // The same to who opens it again.
    let again = f.open(&key_file(1)).unwrap().keys;
    let states = [1, 2, 3].map(|v| again.state_of(BackingKeyId { key, version: KeyVersion(v) }));
    assert_eq!(states, [1, 2, 3].map(|v| keys.state_of(BackingKeyId { key, version: KeyVersion(v) })));
}

#[test]
fn imported_material_is_missing_or_has_expired() {
    let f = Fixture::new();
    let Opened { keys, .. } = f.create(&[&key_file(1)]);
    let now = Timestamp(1_000_000);
    let key = Key::external("", now);
    let id = key.id;
    keys.change(Saves::Once, |draft| {
        draft.body.keys.push(key);
        Ok(())
    })
    .unwrap();
    assert_eq!(shown(&keys, id, 1), "unusable (missing material)");
    let import = |byte, kind, expires| {
        keys.change(Saves::Once, |draft| {
            let key = draft.body.key_mut(id).unwrap();
            key.import(KeyMaterial::from_bytes(&[byte; 32]), kind, expires, now)
        })
        .unwrap();
    };
    import(1, None, Some(Timestamp(2_000_000)));
    import(2, Some(ImportType::New), None);
    assert_eq!([1, 2].map(|v| shown(&keys, id, v)), ["current", "old"]);
    f.clock.0.store(3_000_000, Ordering::Relaxed);
    keys.expire_due().unwrap();
    assert_eq!([1, 2].map(|v| shown(&keys, id, v)), ["unusable (expired)", "unusable (pending import)"]);
}
