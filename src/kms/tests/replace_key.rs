//! Manual rotation in one generation; tags and descriptions.
use super::*;

fn tag(key: &str, value: &str) -> Tag {
    Tag { tag_key: key.into(), tag_value: value.into() }
}

fn made(keys: &Keys, key: NewKey) -> String {
    let made = keys.call(&Call::CreateKey { key }).unwrap();
    made["KeyMetadata"]["KeyId"].as_str().unwrap().to_owned()
}

fn tags(keys: &Keys, key: &str) -> Value {
    keys.call(&Call::ListResourceTags { key_id: key.into(), page: Page::default() }).unwrap()["Tags"].clone()
}

fn refused(keys: &Keys, call: &Call) -> KmsErrorName {
    KmsError::of(keys.call(call).unwrap_err()).unwrap().name
}

#[test]
fn a_new_key_takes_all_but_the_files_of_the_old_one() {
    let f = Fixture::new();
    // 2026-11-22
    f.clock.0.store(1_795_305_600_000, Ordering::Relaxed);
    let keys = f.create(&[&key_file(1)]).keys;
    let policy = r#"{"Version":"2012-10-17","Statement":{"Effect":"Allow","Principal":"*","Action":"kms:*","Resource":"*"}}"#;
    let new = NewKey {
        description: "application".into(),
        policy: Some(policy.into()),
        tags: vec![tag("a", "b")],
        ..NewKey::default()
    };
    let old = made(&keys, new);
    let alias: AliasName = "alias/application-current".parse().unwrap();
    let (alias_name, target_key_id) = (alias.to_string(), old.clone());
    keys.call(&Call::CreateAlias { alias_name, target_key_id }).unwrap();
    let rotation = Call::EnableKeyRotation { key_id: old.clone(), rotation_period_in_days: Some(90) };
    keys.call(&rotation).unwrap();
    let before = keys.generation().0;
    let renewal = keys.replace_key(&alias).unwrap();
    assert_eq!(keys.generation().0, before + 1, "one generation");
    let (new, dated) = (renewal.new.to_string(), renewal.dated.to_string());
    assert_eq!((renewal.old.to_string(), dated.as_str()), (old.clone(), "alias/application-20261122"));
    let reopened = f.open(&key_file(1)).unwrap().keys;
    assert_eq!(reopened.current(&alias).unwrap().key, renewal.new);
    assert_eq!(reopened.current(&renewal.dated).unwrap().key, renewal.old);
    let of = |call: Call| reopened.call(&call).unwrap();
    let policy_of = |key_id: &str| of(Call::GetKeyPolicy { key_id: key_id.into(), policy_name: None });
    assert_eq!(policy_of(&new), policy_of(&old));
    assert_eq!(tags(&reopened, &new), tags(&reopened, &old));
    assert_eq!(of(Call::DescribeKey { key_id: new.clone() })["KeyMetadata"]["Description"], "application");
    let status = of(Call::GetKeyRotationStatus { key_id: new });
    assert_eq!(status["RotationPeriodInDays"], 90);

    assert_eq!(keys.replace_key(&alias).unwrap().dated.as_str(), "alias/application-20261122-2");
    assert_eq!(keys.replace_key(&alias).unwrap().dated.as_str(), "alias/application-20261122-3");
    let default = keys.replace_key(&AliasName::default_alias()).unwrap();
    assert_eq!(default.dated.as_str(), "alias/default-20261122");
    let keys_before = keys.keys().len();
    assert!(matches!(keys.replace_key(&AliasName::tree()), Err(KeyringError::ServiceManaged(_))));
    let none: AliasName = "alias/none".parse().unwrap();
    assert!(matches!(keys.replace_key(&none), Err(KeyringError::Key(KeyError::UnknownAlias(_)))));
    let long: AliasName = format!("alias/{}", "x".repeat(250)).parse().unwrap();
    keys.create_key_for_test(long.clone());
    assert!(keys.replace_key(&long).unwrap_err().to_string().contains("too long"));
    assert_eq!(keys.keys().len(), keys_before + 1);
}

#[test]
fn tags_descriptions_and_policies_are_changed_and_listed() {
    let f = Fixture::new();
    let keys = f.create(&[&key_file(1)]).keys;
    let key = made(&keys, NewKey::default());
    let id = || key.clone();
    let add = |tags: Vec<Tag>| Call::TagResource { key_id: id(), tags };
    keys.call(&add(vec![tag("a", "1"), tag("b", "2")])).unwrap();
    keys.call(&add(vec![tag("a", "3")])).unwrap();
    let listed = json!([{ "TagKey": "a", "TagValue": "3" }, { "TagKey": "b", "TagValue": "2" }]);
    assert_eq!(tags(&f.open(&key_file(1)).unwrap().keys, &key), listed);
    let remove = Call::UntagResource { key_id: id(), tag_keys: vec!["a".into(), "none".into()] };
    keys.call(&remove).unwrap();
    assert_eq!(tags(&keys, &key), json!([{ "TagKey": "b", "TagValue": "2" }]));
    assert_eq!(refused(&keys, &add(vec![tag("", "1")])), KmsErrorName::ValidationException);
    let many = (0..50).map(|n| tag(&n.to_string(), "")).collect();
    assert_eq!(refused(&keys, &add(many)), KmsErrorName::LimitExceededException);
    let describe = |text: &str| Call::UpdateKeyDescription { key_id: id(), description: text.into() };
    keys.call(&describe("new")).unwrap();
    assert_eq!(refused(&keys, &describe(&"x".repeat(8193))), KmsErrorName::ValidationException);
    let metadata = keys.call(&Call::DescribeKey { key_id: id() }).unwrap();
    assert_eq!(metadata["KeyMetadata"]["Description"], "new");
    let policies = keys.call(&Call::ListKeyPolicies { key_id: id(), page: Page::default() }).unwrap();
    assert_eq!(policies, json!({ "PolicyNames": ["default"], "Truncated": false }));

    let schedule = Call::ScheduleKeyDeletion { key_id: id(), pending_window_in_days: None, force: None };
    keys.call(&schedule).unwrap();
    for call in [add(vec![tag("c", "")]), remove, describe("late")] {
        assert_eq!(refused(&keys, &call), KmsErrorName::KMSInvalidStateException);
    }
    let tree = keys.current(&AliasName::tree()).unwrap().key.to_string();
    let call = Call::TagResource { key_id: tree, tags: vec![tag("a", "")] };
    assert_eq!(refused(&keys, &call), KmsErrorName::UnsupportedOperationException);
}
