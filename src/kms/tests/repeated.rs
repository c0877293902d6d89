//! A client that got no answer asks again, by itself: what an operation answers that was done already. Most change nothing
//! then; the others say, as AWS does, what the first call left.
use super::*;

/// What the second of two equal calls gives.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Again {
    /// The same answer, and the same keyring.
    Same,
    /// One more: these are things to count, with AWS too.
    OneMore,
    /// A refusal.
    Refused(KmsErrorName),
}

const POLICY: &str = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":"*","Action":"kms:*","Resource":"*"}]}"#;

fn table(key: &str, other: &str) -> Vec<(Call, Again)> {
    use Again::{OneMore, Refused, Same};
    let id = || key.to_owned();
    let tag = || vec![Tag { tag_key: "a".into(), tag_value: "1".into() }];
    let page = Page::default;
    vec![
        (Call::CreateKey { key: NewKey::default() }, OneMore),
        (Call::DescribeKey { key_id: id() }, Same),
        (Call::ListKeys { page: page() }, Same),
        (
            Call::CreateAlias { alias_name: "alias/a".into(), target_key_id: id() },
            Refused(KmsErrorName::AlreadyExistsException),
        ),
        (Call::UpdateAlias { alias_name: "alias/a".into(), target_key_id: other.into() }, Same),
        (Call::ListAliases { key_id: None, page: page() }, Same),
        (Call::DeleteAlias { alias_name: "alias/a".into() }, Refused(KmsErrorName::NotFoundException)),
        (Call::EnableKeyRotation { key_id: id(), rotation_period_in_days: Some(90) }, Same),
        (Call::GetKeyRotationStatus { key_id: id() }, Same),
        (Call::DisableKeyRotation { key_id: id() }, Same),
        (Call::RotateKeyOnDemand { key_id: id() }, OneMore),
        (Call::ListKeyRotations { key_id: id(), materials: Materials::All, page: page() }, Same),
        (Call::TagResource { key_id: id(), tags: tag() }, Same),
        (Call::ListResourceTags { key_id: id(), page: page() }, Same),
        (Call::UntagResource { key_id: id(), tag_keys: vec!["a".into(), "absent".into()] }, Same),
        (Call::UpdateKeyDescription { key_id: id(), description: "x".into() }, Same),
        (
            Call::PutKeyPolicy {
                key_id: id(),
                policy_name: None,
                policy: POLICY.into(),
                bypass_policy_lockout_safety_check: false,
            },
            Same,
        ),
        (Call::GetKeyPolicy { key_id: id(), policy_name: None }, Same),
        (Call::ListKeyPolicies { key_id: id(), page: page() }, Same),
        (Call::DisableKey { key_id: id() }, Same),
        (Call::EnableKey { key_id: id() }, Same),
        (
            Call::ScheduleKeyDeletion { key_id: id(), pending_window_in_days: Some(7), force: None },
            Refused(KmsErrorName::KMSInvalidStateException),
        ),
        (Call::CancelKeyDeletion { key_id: id() }, Refused(KmsErrorName::KMSInvalidStateException)),
    ]
}

/// All that the interface shows of a vault.
fn shown(keys: &Keys) -> Value {
    let ids: Vec<String> = keys.keys().iter().map(|key| key.id.to_string()).collect();
    let of_key = |id: &String| {
        let (id, page) = (|| id.clone(), Page::default);
        [
            Call::DescribeKey { key_id: id() },
            Call::GetKeyRotationStatus { key_id: id() },
            Call::ListKeyRotations { key_id: id(), materials: Materials::All, page: page() },
            Call::ListResourceTags { key_id: id(), page: page() },
            Call::GetKeyPolicy { key_id: id(), policy_name: None },
        ]
        .map(|call| keys.call(&call).unwrap())
    };
    let aliases = keys.call(&Call::ListAliases { key_id: None, page: Page::default() }).unwrap();
    json!([ids.iter().map(of_key).collect::<Vec<_>>(), aliases])
}

#[test]
fn a_call_that_is_repeated_is_answered_as_aws_answers_it() {
    let f = Fixture::new();
    let keys = f.create(&[&key_file(1)]).keys;
    let made = || {
        let made = keys.call(&Call::CreateKey { key: NewKey::default() }).unwrap();
        made["KeyMetadata"]["KeyId"].as_str().unwrap().to_owned()
    };
    let (key, other) = (made(), made());
    for (call, again) in table(&key, &other) {
        let first = keys.call(&call).unwrap();
        let before = shown(&keys);
        let second = keys.call(&call);
        let name = call.operation();
        match again {
            Again::Same => {
                assert_eq!(second.unwrap(), first, "{name}");
                assert_eq!(shown(&keys), before, "{name}");
            }
            Again::OneMore => {
                second.unwrap();
                assert_ne!(shown(&keys), before, "{name}");
            }
            Again::Refused(expected) => {
                let error = KmsError::of(second.unwrap_err()).unwrap();
                assert_eq!(error.name, expected, "{name}: {}", error.message);
                assert_eq!(shown(&keys), before, "{name}");
            }
        }
    }
}

/// What `aws kms describe-key` prints of a key, field by field in AWS's order.
#[test]
fn the_metadata_of_a_key_is_awss() {
    let f = Fixture::new();
    let keys = f.create(&[&key_file(1)]).keys;
    let metadata = |key: NewKey| keys.call(&Call::CreateKey { key }).unwrap()["KeyMetadata"].clone();
    let fields =
        |metadata: &Value| metadata.as_object().unwrap().keys().cloned().collect::<Vec<_>>().join(" ");
    let local = metadata(NewKey::default());
    assert_eq!(
        fields(&local),
        "AWSAccountId KeyId Arn CreationDate Enabled Description KeyUsage KeyState Origin KeyManager \
         CustomerMasterKeySpec KeySpec EncryptionAlgorithms MultiRegion CurrentKeyMaterialId"
    );
    assert_eq!(
        (&local["CustomerMasterKeySpec"], &local["KeySpec"]),
        (&json!("SYMMETRIC_DEFAULT"), &json!("SYMMETRIC_DEFAULT"))
    );
    let external = metadata(NewKey { origin: Some("EXTERNAL".into()), ..NewKey::default() });
    assert!(external.get("CurrentKeyMaterialId").is_none(), "there is none before the first import");
    let key_id = || local["KeyId"].as_str().unwrap().to_owned();
    let described = || keys.call(&Call::DescribeKey { key_id: key_id() }).unwrap()["KeyMetadata"].clone();
    keys.call(&Call::RotateKeyOnDemand { key_id: key_id() }).unwrap();
    assert_ne!(described()["CurrentKeyMaterialId"], local["CurrentKeyMaterialId"]);
    let list = Call::ListKeyRotations { key_id: key_id(), materials: Materials::All, page: Page::default() };
    let rotations = keys.call(&list).unwrap();
    assert_eq!(described()["CurrentKeyMaterialId"], rotations["Rotations"][0]["KeyMaterialId"]);
    assert_eq!(
        fields(&rotations["Rotations"][0]),
        "KeyId KeyMaterialId KeyMaterialState RotationDate RotationType"
    );
    keys.call(&Call::ScheduleKeyDeletion { key_id: key_id(), pending_window_in_days: None, force: None })
        .unwrap();
    assert!(fields(&described()).contains("KeyState DeletionDate Origin"));
    let page = keys.call(&Call::ListKeys { page: Page { limit: Some(1), marker: None } }).unwrap();
    assert_eq!(fields(&page), "Keys NextMarker Truncated");
}
