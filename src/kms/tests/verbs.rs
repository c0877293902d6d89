//! The KMS interface on a real keyring: names, states, errors, lists; what is due rotates and stays readable.
use super::*;

const YEAR: i64 = 365 * 86_400_000;

fn refused(keys: &Keys, call: Call) -> (KmsErrorName, String) {
    let error = keys.call(&call).map_err(|error| KmsError::of(error).unwrap()).expect_err("it was done");
    (error.name, error.message)
}

fn created(keys: &Keys) -> String {
    let made = keys.call(&Call::CreateKey { key: NewKey::default() }).unwrap();
    made["KeyMetadata"]["KeyId"].as_str().unwrap().to_owned()
}

fn create_alias(name: &str, key: &str) -> Call {
    Call::CreateAlias { alias_name: name.into(), target_key_id: key.into() }
}

fn update_alias(name: &str, key: &str) -> Call {
    Call::UpdateAlias { alias_name: name.into(), target_key_id: key.into() }
}

fn describe(keys: &Keys, key: &str) -> Value {
    keys.call(&Call::DescribeKey { key_id: key.into() }).unwrap()["KeyMetadata"].clone()
}

fn put_policy(keys: &Keys, key: &str, policy: &Value) -> Result<Value, CallError> {
    keys.call(&Call::PutKeyPolicy {
        key_id: key.into(),
        policy_name: Some("default".into()),
        policy: policy.to_string(),
        bypass_policy_lockout_safety_check: false,
    })
}

#[test]
fn keys_are_made_described_and_listed_in_pages() {
    let f = Fixture::new();
    let keys = f.create(&[&key_file(1)]).keys;
    let new = NewKey {
        description: "for finance".into(),
        tags: vec![Tag { tag_key: "a".into(), tag_value: "b".into() }],
        ..NewKey::default()
    };
    let made = keys.call(&Call::CreateKey { key: new }).unwrap()["KeyMetadata"].clone();
    let id = made["KeyId"].as_str().unwrap();
    assert_eq!(made["Arn"], format!("arn:rekeyfs:kms:local:000000000000:key/{id}"));
    assert_eq!((&made["CreationDate"], &made["Description"]), (&json!(1000.0), &json!("for finance")));
    assert_eq!((&made["KeyState"], &made["Enabled"]), (&json!("Enabled"), &json!(true)));
    let reopened = f.open(&key_file(1)).unwrap().keys;
    for by in [id, made["Arn"].as_str().unwrap()] {
        assert_eq!(describe(&reopened, by), made);
    }
    assert_eq!(describe(&keys, "alias/rekeyfs/tree")["KeyManager"], "AWS");
    let arn = "arn:rekeyfs:kms:local:000000000000:alias/default";
    assert_eq!(describe(&keys, arn)["KeyManager"], "CUSTOMER");

    let mut page = Page { limit: Some(2), marker: None };
    let first = keys.call(&Call::ListKeys { page: page.clone() }).unwrap();
    assert_eq!((first["Keys"].as_array().unwrap().len(), &first["Truncated"]), (2, &json!(true)));
    page.marker = first["NextMarker"].as_str().map(str::to_owned);
    let last = keys.call(&Call::ListKeys { page }).unwrap();
    assert_eq!(last["Keys"], json!([{ "KeyId": id, "KeyArn": made["Arn"] }]));
    assert_eq!((&last["Truncated"], last.get("NextMarker")), (&json!(false), None));
    for limit in [0, 1001] {
        let page = Page { limit: Some(limit), marker: None };
        assert_eq!(refused(&keys, Call::ListKeys { page }).0, KmsErrorName::ValidationException);
    }
    let page = Page { limit: None, marker: Some("x".into()) };
    assert_eq!(refused(&keys, Call::ListKeys { page }).0, KmsErrorName::InvalidMarkerException);
}

#[test]
fn keys_that_can_not_be_made_are_refused() {
    let f = Fixture::new();
    let keys = f.create(&[&key_file(1)]).keys;
    let tag = |key: &str| Tag { tag_key: key.into(), tag_value: String::new() };
    for (key, name) in [
        (
            NewKey { origin: Some("AWS_CLOUDHSM".into()), ..NewKey::default() },
            KmsErrorName::UnsupportedOperationException,
        ),
        (
            NewKey { key_usage: Some("SIGN_VERIFY".into()), ..NewKey::default() },
            KmsErrorName::UnsupportedOperationException,
        ),
        (
            NewKey { policy: Some("{}".into()), ..NewKey::default() },
            KmsErrorName::MalformedPolicyDocumentException,
        ),
        (NewKey { tags: vec![tag("a"), tag("a")], ..NewKey::default() }, KmsErrorName::TagException),
        (NewKey { tags: vec![tag("")], ..NewKey::default() }, KmsErrorName::ValidationException),
        (NewKey { description: "x".repeat(8193), ..NewKey::default() }, KmsErrorName::ValidationException),
    ] {
        assert_eq!(refused(&keys, Call::CreateKey { key }).0, name);
    }
    assert_eq!(keys.keys().len(), 2);
}

#[test]
fn names_of_keys_and_aliases_are_checked() {
    let f = Fixture::new();
    let keys = f.create(&[&key_file(1)]).keys;
    let key = created(&keys);
    for (call, name) in [
        (create_alias("TestCMK", &key), KmsErrorName::ValidationException),
        (create_alias("alias/a b", &key), KmsErrorName::ValidationException),
        (create_alias("alias/", &key), KmsErrorName::ValidationException),
        (create_alias(&format!("alias/{}", "x".repeat(251)), &key), KmsErrorName::ValidationException),
        (create_alias("alias/aws/x", &key), KmsErrorName::InvalidAliasNameException),
        (create_alias("alias/rekeyfs/x", &key), KmsErrorName::InvalidAliasNameException),
        (create_alias("alias/default", &key), KmsErrorName::AlreadyExistsException),
        (create_alias("alias/x", "alias/default"), KmsErrorName::ValidationException),
        (create_alias("alias/x", "1234"), KmsErrorName::NotFoundException),
        (create_alias("alias/x", &KeyId::random().to_string()), KmsErrorName::NotFoundException),
        (update_alias("alias/none", &key), KmsErrorName::NotFoundException),
        (update_alias("alias/rekeyfs/tree", &key), KmsErrorName::InvalidAliasNameException),
        (Call::DeleteAlias { alias_name: "alias/default".into() }, KmsErrorName::ConflictException),
        (Call::DeleteAlias { alias_name: "alias/none".into() }, KmsErrorName::NotFoundException),
        (
            Call::DeleteAlias { alias_name: "alias/rekeyfs/tree".into() },
            KmsErrorName::InvalidAliasNameException,
        ),
        (Call::DisableKey { key_id: "alias/default".into() }, KmsErrorName::NotFoundException),
        (Call::DescribeKey { key_id: "alias/none".into() }, KmsErrorName::NotFoundException),
    ] {
        let text = format!("{call:?}");
        assert_eq!(refused(&keys, call).0, name, "{text}");
    }
    keys.call(&create_alias(&format!("alias/{}", "x".repeat(250)), &key)).unwrap();
    let tree = describe(&keys, "alias/rekeyfs/tree")["KeyId"].as_str().unwrap().to_owned();
    let (name, _) = refused(&keys, create_alias("alias/x", &tree));
    assert_eq!(name, KmsErrorName::UnsupportedOperationException);
}

#[test]
fn manual_rotation_and_its_rollback_by_alias() {
    let f = Fixture::new();
    let keys = f.create(&[&key_file(1)]).keys;
    let (old, new) = (created(&keys), created(&keys));
    let current: AliasName = "alias/application-current".parse().unwrap();
    let key_of = |alias: &AliasName| keys.current(alias).unwrap().key.to_string();
    keys.call(&create_alias("alias/application-current", &old)).unwrap();
    keys.call(&create_alias("alias/application-20180606", &old)).unwrap();
    f.clock.0.fetch_add(5000, Ordering::Relaxed);
    keys.call(&update_alias("application-current", &new)).unwrap();
    assert_eq!(key_of(&current), new);
    let list = |key_id: Option<String>| {
        let aliases = keys.call(&Call::ListAliases { key_id, page: Page::default() }).unwrap();
        aliases["Aliases"].as_array().unwrap().clone()
    };
    let all: Vec<Value> = list(None).iter().map(|alias| alias["AliasName"].clone()).collect();
    let expected =
        ["alias/application-20180606", "alias/application-current", "alias/default", "alias/rekeyfs/tree"];
    assert_eq!(all, expected);
    let of_new = list(Some(new));
    assert_eq!(of_new.len(), 1);
    assert_eq!((&of_new[0]["CreationDate"], &of_new[0]["LastUpdatedDate"]), (&json!(1000.0), &json!(1005.0)));
    keys.call(&update_alias("alias/application-current", &old)).unwrap();
    assert_eq!(key_of(&current), old);
    keys.call(&Call::DeleteAlias { alias_name: current.to_string() }).unwrap();
    assert_eq!(keys.current(&current), Err(KeyError::UnknownAlias(current)));
}

#[test]
fn the_states_of_a_key_allow_what_kms_allows() {
    let f = Fixture::new();
    let keys = f.create(&[&key_file(1)]).keys;
    let (key, other) = (created(&keys), created(&keys));
    let id = || key.clone();
    keys.call(&create_alias("alias/x", &key)).unwrap();
    keys.call(&Call::DisableKey { key_id: id() }).unwrap();
    let arn = describe(&keys, &key)["Arn"].as_str().unwrap().to_owned();
    let enable_rotation = || Call::EnableKeyRotation { key_id: id(), rotation_period_in_days: None };
    for call in [
        enable_rotation(),
        Call::DisableKeyRotation { key_id: id() },
        Call::RotateKeyOnDemand { key_id: id() },
    ] {
        let expected = (KmsErrorName::DisabledException, format!("{arn} is disabled."));
        assert_eq!(refused(&keys, call), expected);
    }
    keys.call(&create_alias("alias/y", &key)).unwrap();
    keys.call(&Call::GetKeyRotationStatus { key_id: id() }).unwrap();
    let cancel = || Call::CancelKeyDeletion { key_id: id() };
    let not_pending = (KmsErrorName::KMSInvalidStateException, format!("{arn} is not pending deletion."));
    assert_eq!(refused(&keys, cancel()), not_pending);
    let schedule =
        || Call::ScheduleKeyDeletion { key_id: id(), pending_window_in_days: Some(7), force: None };
    let scheduled = keys.call(&schedule()).unwrap();
    let date = json!(1000.0 + 7.0 * 86_400.0);
    let expected = json!({
        "KeyId": arn, "DeletionDate": date, "KeyState": "PendingDeletion", "PendingWindowInDays": 7,
    });
    assert_eq!(scheduled, expected);
    assert_eq!(describe(&keys, &key)["DeletionDate"], date);
    for call in [
        Call::EnableKey { key_id: id() },
        Call::DisableKey { key_id: id() },
        schedule(),
        create_alias("alias/z", &key),
        update_alias("alias/default", &key),
        enable_rotation(),
    ] {
        let pending = (KmsErrorName::KMSInvalidStateException, format!("{arn} is pending deletion."));
        assert_eq!(refused(&keys, call), pending);
    }
    keys.call(&update_alias("alias/x", &other)).unwrap();
    keys.call(&Call::DeleteAlias { alias_name: "alias/y".into() }).unwrap();
    keys.call(&Call::GetKeyPolicy { key_id: id(), policy_name: None }).unwrap();
    // Until it is deleted, a key whose date has passed can be brought back.
    f.clock.0.fetch_add(YEAR, Ordering::Relaxed);
    assert!(keys.rotate_due().unwrap().is_empty());
    assert_eq!(keys.call(&cancel()).unwrap(), json!({ "KeyId": arn }));
    assert_eq!(describe(&keys, &key)["KeyState"], "Disabled");
    keys.call(&Call::EnableKey { key_id: id() }).unwrap();
    assert_eq!(describe(&keys, &key)["KeyState"], "Enabled");
}

#[test]
fn what_is_due_rotates_and_all_stays_readable() {
    let f = Fixture::new();
    let keys = f.create(&[&key_file(1)]).keys;
    let (file, dek) = (FileId::random(), Dek::generate());
    let guard = keys.begin_wrap(&AliasName::default_alias()).unwrap();
    let (backing, wrapped) = (guard.backing(), guard.wrap(file, Suite::Aes256Gcm, &dek));
    drop(guard);
    let enable = Call::EnableKeyRotation { key_id: "alias/default".into(), rotation_period_in_days: None };
    keys.call(&enable).unwrap();
    let status = || keys.call(&Call::GetKeyRotationStatus { key_id: "alias/default".into() }).unwrap();
    let next = json!(1000.0 + YEAR as f64 / 1000.0);
    assert_eq!(status().as_object().unwrap().keys().next().unwrap(), "KeyRotationEnabled");
    let shown = json!({
        "KeyRotationEnabled": true, "KeyId": backing.key.to_string(),
        "RotationPeriodInDays": 365, "NextRotationDate": next,
    });
    assert_eq!(status(), shown);
    let generation = keys.generation();
    f.clock.0.fetch_add(YEAR - 1, Ordering::Relaxed);
    assert!(keys.rotate_due().unwrap().is_empty());
    assert_eq!(keys.generation(), generation, "nothing due, nothing saved");

    // Three years without anybody looking: both keys, once.
    f.clock.0.fetch_add(2 * YEAR + 1, Ordering::Relaxed);
    let rotated: Vec<_> = keys.rotate_due().unwrap().into_iter().map(|r| (r.alias.unwrap(), r.new)).collect();
    let (default, tree) = (AliasName::default_alias(), AliasName::tree());
    assert_eq!(rotated, [(default.clone(), KeyVersion(2)), (tree, KeyVersion(2))]);
    let reopened = f.open(&key_file(1)).unwrap().keys;
    assert_eq!(reopened.tree_key().expose(), keys.tree_key().expose(), "re-wrapped, not changed");
    for keys in [&keys, &reopened] {
        let opened = keys.unwrap(backing, file, Suite::Aes256Gcm, Format::CURRENT, &wrapped).unwrap();
        assert_eq!(print_of(&opened), print_of(&dek));
        assert_eq!(keys.current(&default).unwrap().version, KeyVersion(2));
    }
    let log = String::from_utf8(f.read("events.jsonl")).unwrap();
    assert_eq!(log.matches("KMS CMK Rotation").count(), 2);

    let rotations = |materials| {
        let key_id = "alias/default".to_owned();
        keys.call(&Call::ListKeyRotations { key_id, materials, page: Page::default() }).unwrap()
    };
    keys.call(&Call::RotateKeyOnDemand { key_id: "alias/default".into() }).unwrap();
    let all = rotations(Materials::All)["Rotations"].clone();
    let field = |name: &str| -> Vec<Value> {
        all.as_array().unwrap().iter().map(|r| r.get(name).cloned().unwrap_or(Value::Null)).collect()
    };
    assert_eq!(field("RotationType"), [json!("ON_DEMAND"), json!("AUTOMATIC"), Value::Null]);
    assert_eq!(field("KeyMaterialState"), ["CURRENT", "NON_CURRENT", "NON_CURRENT"]);
    assert_eq!(rotations(Materials::RotationsOnly)["Rotations"].as_array().unwrap().len(), 2);
}

#[test]
fn a_key_that_is_enabled_overdue_rotates_at_once() {
    let f = Fixture::new();
    let keys = f.create(&[&key_file(1)]).keys;
    let key_id = || keys.current(&AliasName::default_alias()).unwrap().key.to_string();
    let version = || keys.current(&AliasName::default_alias()).unwrap().version;
    keys.call(&Call::EnableKeyRotation { key_id: key_id(), rotation_period_in_days: Some(90) }).unwrap();
    keys.call(&Call::DisableKey { key_id: key_id() }).unwrap();
    f.clock.0.fetch_add(YEAR, Ordering::Relaxed);
    assert!(keys.rotate_due().unwrap().is_empty());
    keys.call(&Call::EnableKey { key_id: key_id() }).unwrap();
    assert_eq!(version(), KeyVersion(2));
    assert!(keys.rotate_due().unwrap().is_empty());
}

#[test]
fn policies_are_kept_or_refused_never_ignored() {
    let f = Fixture::new();
    let keys = f.create(&[&key_file(1)]).keys;
    let (key, other) = (created(&keys), created(&keys));
    let get = |key: &str| {
        let got = keys.call(&Call::GetKeyPolicy { key_id: key.into(), policy_name: None }).unwrap();
        assert_eq!(got["PolicyName"], "default");
        got["Policy"].as_str().unwrap().to_owned()
    };
    let statement = |effect: &str, principal: Value, action: Value| json!({ "Sid": "s", "Effect": effect, "Principal": principal, "Action": action, "Resource": "*" });
    let policy = |statements: Value| json!({ "Version": "2012-10-17", "Statement": statements });
    let everybody = statement("Allow", json!("*"), json!(["kms:Encrypt", "kms:Decrypt"]));
    let fine =
        policy(json!([everybody.clone(), statement("Allow", json!({"AWS": "uid:7"}), json!("kms:*"))]));
    put_policy(&keys, &key, &fine).unwrap();
    assert_eq!(get(&key), fine.to_string());
    // Row 17: the new key gets the old one's.
    put_policy(&keys, &other, &serde_json::from_str(&get(&key)).unwrap()).unwrap();
    assert_eq!(get(&default_key(&keys)), get(&default_key(&f.open(&key_file(1)).unwrap().keys)));

    let owner = rustix::process::geteuid().as_raw();
    let others = json!({ "AWS": format!("uid:{}", owner.wrapping_add(1)) });
    for refused in [json!({}), policy(json!([statement("Allow", others, json!("kms:*"))]))] {
        let error = KmsError::of(put_policy(&keys, &key, &refused).unwrap_err()).unwrap();
        assert_eq!(error.name, KmsErrorName::MalformedPolicyDocumentException, "{refused}");
    }
    assert_eq!(get(&key), fine.to_string());

    let denied =
        policy(json!([everybody, statement("Deny", json!({"AWS": ["uid:7"]}), json!("kms:Decrypt"))]));
    let id: KeyId = key.parse().unwrap();
    assert!(!keys.restricts() && keys.permits(id, 7, &[KeyUse::Encrypt, KeyUse::Decrypt]));
    put_policy(&keys, &key, &denied).unwrap();
    for keys in [&keys, &f.open(&key_file(1)).unwrap().keys] {
        assert!(keys.restricts() && keys.permits(id, 7, &[KeyUse::Encrypt]));
        assert!(!keys.permits(id, 7, &[KeyUse::Encrypt, KeyUse::Decrypt]));
        assert!(keys.permits(id, 8, &[KeyUse::Decrypt]));
        assert!(keys.permits(other.parse().unwrap(), 7, &[KeyUse::Decrypt]), "another key's");
    }
    put_policy(&keys, &key, &fine).unwrap();
    assert!(!keys.restricts());
}

fn default_key(keys: &Keys) -> String {
    keys.current(&AliasName::default_alias()).unwrap().key.to_string()
}

/// A mount may be of another version than the command that asks it.
#[test]
fn what_is_sent_to_a_mount_keeps_its_names() {
    let call =
        |force| Call::ScheduleKeyDeletion { key_id: "k".into(), pending_window_in_days: Some(7), force };
    let sent = json!({ "operation": "ScheduleKeyDeletion", "key_id": "k", "pending_window_in_days": 7, "insist": null });
    assert_eq!(serde_json::to_value(call(None)).unwrap(), sent);
    let f = Fixture::new();
    let opened = f.create(&[&key_file(1)]);
    let token = opened.keys.force_token(&opened.proof, "an order");
    let sent = serde_json::to_value(call(Some(token.clone()))).unwrap();
    assert_eq!(sent["insist"].as_str().map(str::len), Some(64));
    assert_eq!(serde_json::from_value::<Call>(sent).unwrap(), call(Some(token)));
    let retirements = [Retirement::Retire, Retirement::Restore, Retirement::Trim];
    assert_eq!(serde_json::to_value(retirements).unwrap(), json!(["shut", "open", "trim"]));
    let named = [KeyRef::Alias("alias/x".parse().unwrap()), KeyRef::Key(KeyId::from_bytes([1; 16]))];
    let id = KeyId::from_bytes([1; 16]).to_string();
    assert_eq!(serde_json::to_value(named).unwrap(), json!([{ "alias": "alias/x" }, { "key": id }]));
}
