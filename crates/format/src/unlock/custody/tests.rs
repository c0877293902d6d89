//! A custodian's slot opens with the KEK that was wrapped for it, and only as long as nothing that it says was changed.

use serde_json::json;

use super::*;
use crate::crypto::keys::RootKey;
use crate::crypto::password::KdfParams;
use crate::ids::VaultId;
use crate::unlock::{CostBounds, Secret, SecretKind, Slot, Slots, UnlockError};

const USUAL: CostBounds = CostBounds::Usual { memory_kib: None };
const KDF: KdfParams = KdfParams { memory_kib: 64, passes: 1, lanes: 1 };

fn params(value: Value) -> Result<CustodyParams, CustodyError> {
    let Value::Object(map) = value else { panic!("no object") };
    map.try_into()
}

fn custody(blob: &[u8]) -> Custody {
    let params = params(json!({"recipient": "age1…", "pcrs": [7], "deep": {"b": null, "a": true}})).unwrap();
    Custody::new("age".parse().unwrap(), params, blob.to_vec(), Some("v7".to_owned())).unwrap()
}

fn held(slot: SlotId, kek: u8) -> Secret {
    Secret::Custodian(HeldKek::new(slot, custody(b"blob"), &CustodyKek::from_bytes(&[kek; 32])))
}

fn slots(vault: VaultId, root: &RootKey, secrets: &[&Secret]) -> Slots {
    let mut slots = Slots::default();
    for secret in secrets {
        slots.push(Slot::seal(vault, root, secret, KDF, Timestamp(7)).unwrap());
    }
    slots
}

#[test]
fn a_slot_opens_with_its_own_kek_and_no_other() {
    let (vault, root, id, other) =
        (VaultId::random(), RootKey::generate(), SlotId::random(), SlotId::random());
    let sealed = slots(vault, &root, &[&held(other, 1), &held(id, 1)]);
    let read: Slots = serde_json::from_str(&serde_json::to_string(&sealed).unwrap()).unwrap();
    assert_eq!(read.list(), sealed.list());
    assert_eq!(read.list()[1].custody, Some(custody(b"blob")));
    let (opened, by) = read.unlock(vault, &held(id, 1), USUAL).map_err(|e| e.to_string()).unwrap();
    assert_eq!((opened.expose(), by), (root.expose(), id));
    assert!(read.verify(vault, id, &held(id, 1), &root) && !read.verify(vault, other, &held(id, 1), &root));
    let wrong = Some(UnlockError::WrongSecret(SecretKind::Custodian));
    assert_eq!(read.unlock(vault, &held(id, 2), USUAL).err(), wrong);
    assert_eq!(read.unlock(VaultId::random(), &held(id, 1), USUAL).err(), wrong);
    assert_eq!(read.unlock(vault, &held(SlotId::random(), 1), USUAL).err(), wrong);
}

#[test]
fn whatever_was_changed_in_what_a_slot_says_it_does_not_open() {
    let (vault, root, id) = (VaultId::random(), RootKey::generate(), SlotId::random());
    let good = serde_json::to_value(slots(vault, &root, &[&held(id, 1)])).unwrap();
    let opens = |slots: &Value| {
        let slots = serde_json::from_value::<Slots>(slots.clone()).unwrap();
        slots.unlock(vault, &held(id, 1), USUAL).is_ok()
    };
    assert!(opens(&good));
    for (field, value) in [
        ("custodian", json!("aws-kms")),
        ("params", json!({})),
        ("params", json!({"recipient": "age1…", "pcrs": [8], "deep": {"b": null, "a": true}})),
        ("params", json!({"recipient": "age1…", "pcrs": [7], "deep": {"b": null, "a": true}, "more": ""})),
        ("blob", json!("YmxvYmI=")),
        ("blob", json!("YmxvYQ==")),
        ("key_version", json!("v8")),
        ("key_version", Value::Null),
    ] {
        let mut bad = good.clone();
        bad[0][field] = value;
        assert!(!opens(&bad), "{field}: {}", bad[0][field]);
    }
    // The order of names means nothing.
    let reordered = good.to_string().replace(r#""a":true,"b":null"#, r#""b":null,"a":true"#);
    assert!(opens(&serde_json::from_str(&reordered).unwrap()));
}

#[test]
fn a_slot_of_other_fields_or_beyond_its_bounds_is_refused() {
    let (vault, root, id) = (VaultId::random(), RootKey::generate(), SlotId::random());
    let good = serde_json::to_value(slots(vault, &root, &[&held(id, 1)])).unwrap();
    let refused = |field: &str, value: Value| {
        let mut bad = good.clone();
        bad[0][field] = value;
        serde_json::from_value::<Slots>(bad).is_err()
    };
    let long = |bytes: usize| json!(data_encoding::BASE64.encode(&vec![1; bytes]));
    assert!(!refused("blob", long(MAX_CUSTODY_BLOB)) && refused("blob", long(MAX_CUSTODY_BLOB + 1)));
    for (field, value) in [
        ("blob", json!("")),
        ("wrapped", json!("AAAA")),
        ("custodian", json!("../age")),
        ("params", json!([])),
        ("params", json!({"n": 1.5})),
        ("key_version", json!("")),
        ("salt", json!("AAAAAAAAAAAAAAAAAAAAAA==")),
        ("type", json!("keyfile")),
    ] {
        assert!(refused(field, value.clone()), "{field} {value}");
    }
}

#[test]
fn parameters_have_one_form_and_bounds() {
    let line = |value| params(value).map(|params| params.to_line());
    assert_eq!(
        line(json!({"b": [1, -2, true, null], "a": {"z": "ä\u{1}\"\\/\u{7f}", "A": {}}})).unwrap(),
        "{\"a\":{\"A\":{},\"z\":\"ä\\u0001\\\"\\\\/\u{7f}\"},\"b\":[1,-2,true,null]}"
    );
    assert!(line(json!({"n": 9_007_199_254_740_991_i64})).is_ok());
    for number in [json!(9_007_199_254_740_992_i64), json!(u64::MAX), json!(0.5), json!(1e3)] {
        assert_eq!(line(json!({ "n": number })), Err(CustodyError::Number));
    }
    let several =
        json!({"plugin": "sss", "config": {"t": 1, "pins": {"tang": [{"url": "http://a", "thp": "x"}, {}]}}});
    assert!(line(several).is_ok());
    assert!(line(json!({"a": [[[[[1]]]]]})).is_ok());
    for deep in [json!({"a": [[[[[[1]]]]]]}), json!({"a": {"a": {"a": {"a": {"a": {"a": {}}}}}}})] {
        assert_eq!(line(deep), Err(CustodyError::Depth));
    }
    for name in [String::new(), "ä".to_owned(), "a\n".to_owned(), "a".repeat(65)] {
        assert_eq!(line(json!({ name: 1 })), Err(CustodyError::ParamName));
    }
    assert_eq!(line(json!({"a": "x".repeat(8 << 10)})), Err(CustodyError::Params));
}

#[test]
fn names_of_custodians_are_no_paths() {
    for good in ["age", "aws-kms", "pkcs11", "a", &"a".repeat(32)] {
        assert!(good.parse::<CustodianName>().is_ok(), "{good}");
    }
    for bad in ["", "A", "1a", "-a", "a/b", "..", "a.b", "a\0", "ä", &"a".repeat(33)] {
        assert_eq!(bad.parse::<CustodianName>(), Err(CustodyError::Name), "{bad:?}");
    }
}

#[test]
fn a_keyring_gets_no_more_custodians_than_are_tried() {
    let (vault, root) = (VaultId::random(), RootKey::generate());
    let secrets: Vec<Secret> = (0..MAX_CUSTODIAN_SLOTS).map(|_| held(SlotId::random(), 1)).collect();
    let full = slots(vault, &root, &secrets.iter().collect::<Vec<_>>());
    let one_more = |secret: &Secret| Slot::seal(vault, &root, secret, KDF, Timestamp(0)).unwrap();
    let custodian = one_more(&held(SlotId::random(), 1));
    assert_eq!(full.can_add(&custodian, USUAL), Err(UnlockError::TooManyCustodians));
    assert_eq!(full.can_add(&one_more(&Secret::KeyFile([1; 32].into())), USUAL), Ok(()));
    assert_eq!(slots(vault, &root, &[&secrets[0]]).can_add(&custodian, USUAL), Ok(()));
}

#[test]
fn a_wrapped_key_has_bounds() {
    let custody = |blob: usize, version: Option<&str>| {
        let name = "age".parse().unwrap();
        Custody::new(name, CustodyParams::default(), vec![0; blob], version.map(str::to_owned)).map(|_| ())
    };
    assert_eq!(custody(MAX_CUSTODY_BLOB, Some("PCR 7, sha256")), Ok(()));
    assert_eq!(custody(0, None), Err(CustodyError::Blob));
    assert_eq!(custody(MAX_CUSTODY_BLOB + 1, None), Err(CustodyError::Blob));
    for version in ["", "\x1b[31m", "é", &"v".repeat(257)] {
        assert_eq!(custody(1, Some(version)), Err(CustodyError::Version), "{version:?}");
    }
}
