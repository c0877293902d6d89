//! Keys by the beginning of their ids, in every verb.
use super::*;

const ID: &str = "abcd1111-0000-4000-8000-000000000001";
const OTHER: &str = "abcd1112-0000-4000-8000-000000000002";

fn keys_with_ids(f: &Fixture) -> std::sync::Arc<Keys> {
    let keys = f.create(&[&key_file(1)]).keys;
    [ID, OTHER].iter().for_each(|id| keys.create_key_with_id_for_test(id.parse().unwrap()));
    keys
}

fn refused(keys: &Keys, call: &Call) -> (KmsErrorName, String) {
    let error = keys.call(call).map_err(|error| KmsError::of(error).unwrap()).expect_err("it was done");
    (error.name, error.message)
}

/// A call of each operation on a key, each of which can be done after the ones before it.
fn calls(id: &str) -> Vec<Call> {
    let (key_id, page) = (id.to_owned(), Page::default);
    let key = || key_id.clone();
    let tag = Tag { tag_key: "k".into(), tag_value: "v".into() };
    vec![
        Call::DescribeKey { key_id: key() },
        Call::CreateAlias { alias_name: "alias/short".into(), target_key_id: key() },
        Call::UpdateAlias { alias_name: "alias/short".into(), target_key_id: key() },
        Call::ListAliases { key_id: Some(key()), page: page() },
        Call::DisableKey { key_id: key() },
        Call::EnableKey { key_id: key() },
        Call::EnableKeyRotation { key_id: key(), rotation_period_in_days: None },
        Call::GetKeyRotationStatus { key_id: key() },
        Call::DisableKeyRotation { key_id: key() },
        Call::RotateKeyOnDemand { key_id: key() },
        Call::ListKeyRotations { key_id: key(), materials: Materials::All, page: page() },
        Call::TagResource { key_id: key(), tags: vec![tag] },
        Call::ListResourceTags { key_id: key(), page: page() },
        Call::UntagResource { key_id: key(), tag_keys: vec!["k".into()] },
        Call::UpdateKeyDescription { key_id: key(), description: "d".into() },
        Call::ListKeyPolicies { key_id: key(), page: page() },
        Call::GetKeyPolicy { key_id: key(), policy_name: None },
        Call::ScheduleKeyDeletion { key_id: key(), pending_window_in_days: None, force: None },
        Call::CancelKeyDeletion { key_id: key() },
    ]
}

#[test]
fn a_verb_takes_the_beginning_of_an_id_as_the_whole_one() {
    let (whole, short) = (Fixture::new(), Fixture::new());
    let (of_whole, of_short) = (keys_with_ids(&whole), keys_with_ids(&short));
    for (by_whole, by_short) in calls(ID).iter().zip(calls("abcd1111")) {
        let text = |call: &Call| serde_json::to_string(call).unwrap();
        let wanted = of_whole.call(by_whole).unwrap_or_else(|e| panic!("{}: {e}", text(by_whole)));
        let given = of_short.call(&by_short).unwrap_or_else(|e| panic!("{}: {e}", text(&by_short)));
        // Its material differs, and so does what is derived from that.
        if !matches!(by_whole, Call::ListKeyRotations { .. } | Call::DescribeKey { .. }) {
            assert_eq!(given, wanted, "{}", text(&by_short));
        }
    }
    assert_eq!(of_short.key_named("ABCD1111-00").unwrap().to_string(), ID);
    let rotated = of_short.rotate(&KeyRef::parse_key("abcd1112").unwrap()).unwrap();
    assert_eq!(rotated.key.to_string(), OTHER);
}

#[test]
fn one_that_begins_no_id_is_not_found_and_one_that_begins_several_names_them() {
    let f = Fixture::new();
    let keys = keys_with_ids(&f);
    for call in calls("beef") {
        assert_eq!(refused(&keys, &call).0, KmsErrorName::NotFoundException);
    }
    // Whether there is the alias is asked first.
    for call in calls("abcd111").iter().filter(|call| !matches!(call, Call::UpdateAlias { .. })) {
        let (name, message) = refused(&keys, call);
        assert_eq!(name, KmsErrorName::ValidationException);
        assert!(message.contains(ID) && message.contains(OTHER), "{message}");
    }
    // As before there were beginnings.
    for text in ["abc", "zzzz", "", "arn:rekeyfs:kms:local:000000000000:key/abcd1111"] {
        let describe = Call::DescribeKey { key_id: text.into() };
        assert_eq!(
            refused(&keys, &describe),
            (KmsErrorName::NotFoundException, format!("Invalid keyId '{text}'"))
        );
    }
}
