use std::collections::HashSet;

use serde_json::{Map, Value, json};

use super::*;
use crate::kms::error::KmsErrorName;

fn all() -> impl Iterator<Item = &'static Operation> {
    operations().chain([&RE_ENCRYPT])
}

fn refusal(name: &str, parameters: &Value) -> (KmsErrorName, String) {
    let error = call(name, parameters).expect_err(&format!("{name} {parameters}"));
    (error.name, error.message)
}

/// A value of the kind; `other` is another one of it, where there is one.
fn value(kind: Kind, other: bool) -> Value {
    match kind {
        Kind::Text => if other { "another" } else { "text" }.into(),
        Kind::OneOf(values) => values[usize::from(other)].into(),
        Kind::Integer => if other { 8 } else { 7 }.into(),
        Kind::Boolean => other.into(),
        Kind::Time => {
            if other {
                json!(1.5)
            } else {
                json!("2027-01-31T12:00:00Z")
            }
        }
        Kind::Blob => if other { "Ymxv" } else { "Ymxi" }.into(),
        Kind::List(item) => json!([value(*item, other)]),
        Kind::Map => json!({ "key": if other { "b" } else { "a" } }),
        Kind::Structure(members) => {
            members.iter().map(|member| (member.name.to_owned(), value(member.kind, other))).collect()
        }
    }
}

/// All parameters that an operation takes.
fn full(operation: &Operation) -> Map<String, Value> {
    let taken = |member: &&Member| !matches!(member.support, Support::Refused(_));
    let value = |member: &Member| match (member.support, member.kind) {
        (Support::Only(only), Kind::Boolean) => (only == "true").into(),
        (Support::Only(only), _) => only.into(),
        (_, kind) => value(kind, false),
    };
    operation.members.iter().filter(taken).map(|m| (m.name.to_owned(), value(m))).collect()
}

#[test]
fn the_table_has_each_operation_once_by_the_name_of_its_call() {
    let names: HashSet<&str> = all().map(|operation| operation.name).collect();
    assert_eq!(names.len(), all().count());
    for operation in all() {
        let call = operation.call(&full(operation).into()).unwrap();
        assert_eq!(call.operation(), operation.name);
        assert_eq!(call.clone().page_mut().is_some(), operation.is_list(), "{}", operation.name);
        if operation.is_list() {
            let lists = operation.answer.iter().filter(|field| matches!(field.kind, Kind::List(_)));
            assert_eq!(lists.count(), 1, "{}", operation.name);
        }
        assert!(!ABSENT.iter().any(|absent| absent.operations.contains(&operation.name)));
    }
}

#[test]
fn every_parameter_that_is_used_reaches_the_call() {
    for operation in all() {
        let all = full(operation);
        let whole = operation.call(&all.clone().into()).unwrap();
        for member in operation.members {
            let mut changed = all.clone();
            changed.insert(member.name.to_owned(), value(member.kind, true));
            match (operation.call(&changed.into()), member.support) {
                (Ok(call), Support::Used) => assert_ne!(call, whole, "{} {}", operation.name, member.name),
                (Ok(call), Support::NoEffect) => {
                    assert_eq!(call, whole, "{} {}", operation.name, member.name)
                }
                (Err(error), Support::Only(_) | Support::Refused(_)) => {
                    assert_eq!(error.name, KmsErrorName::UnsupportedOperationException, "{error}");
                    assert!(error.message.contains(member.name), "{error}");
                }
                (called, support) => panic!("{} {} {support:?}: {called:?}", operation.name, member.name),
            }
        }
    }
}

#[test]
fn a_parameter_is_missing_only_where_aws_requires_it() {
    for operation in all() {
        let required: Vec<&Member> = operation.members.iter().filter(|member| member.required).collect();
        let least: Map<String, Value> =
            required.iter().map(|member| (member.name.to_owned(), value(member.kind, false))).collect();
        assert!(operation.call(&least.clone().into()).is_ok(), "{}", operation.name);
        for member in required {
            for absent in [None, Some(Value::Null)] {
                let mut without = least.clone();
                without.shift_remove(member.name);
                without.extend(absent.map(|null| (member.name.to_owned(), null)));
                let (name, message) = refusal(operation.name, &without.into());
                assert_eq!(name, KmsErrorName::ValidationException);
                let expected = format!(
                    "1 validation error detected: Value null at '{}' failed to satisfy constraint: Member must not \
                     be null",
                    member.in_messages()
                );
                assert_eq!(message, expected);
            }
        }
    }
}

#[test]
fn what_is_not_as_aws_has_it_is_refused_and_never_ignored() {
    let key = "1234abcd-12ab-34cd-56ef-1234567890ab";
    for (operation, parameters, name, about) in [
        ("DescribeKey", json!([]), "SerializationException", "no JSON object"),
        ("DescribeKey", json!({ "KeyId": 7 }), "SerializationException", "NUMBER_VALUE at 'keyId'"),
        (
            "DescribeKey",
            json!({ "keyId": key }),
            "SerializationException",
            "must be one of: KeyId, GrantTokens",
        ),
        ("ListKeys", json!({ "Limit": "7" }), "SerializationException", "an Integer"),
        ("ListKeys", json!({ "Limit": 7.5 }), "SerializationException", "an Integer"),
        ("ListKeys", json!({ "Limit": 1e30 }), "SerializationException", "an Integer"),
        ("TagResource", json!({ "KeyId": key, "Tags": {} }), "SerializationException", "a List"),
        ("TagResource", json!({ "KeyId": key, "Tags": [1] }), "SerializationException", "'tags.1.member'"),
        (
            "TagResource",
            json!({ "KeyId": key, "Tags": [{ "TagKey": "a" }] }),
            "ValidationException",
            "Value null at 'tagValue'",
        ),
        (
            "TagResource",
            json!({ "KeyId": key, "Tags": [{ "TagKey": "a", "TagValue": "b", "Extra": 1 }] }),
            "SerializationException",
            "\"Extra\"",
        ),
        ("UntagResource", json!({ "KeyId": key, "TagKeys": "a" }), "SerializationException", "a List"),
        ("CreateKey", json!({ "MultiRegion": true }), "UnsupportedOperationException", "MultiRegion true"),
        ("CreateKey", json!({ "KeySpec": "RSA_2048" }), "UnsupportedOperationException", "SYMMETRIC_DEFAULT"),
        (
            "CreateKey",
            json!({ "KeySpec": "none" }),
            "ValidationException",
            "enum value set: [SYMMETRIC_DEFAULT",
        ),
        ("CreateKey", json!({ "XksKeyId": "x" }), "UnsupportedOperationException", "XksKeyId"),
        (
            "ImportKeyMaterial",
            json!({ "KeyId": key, "ImportToken": "*", "EncryptedKeyMaterial": "" }),
            "SerializationException",
            "'importToken'",
        ),
        ("CreateGrant", json!({}), "UnsupportedOperationException", "no grants"),
        ("Encrypt", json!({ "KeyId": key }), "ValidationException", "Value null at 'plaintext'"),
        ("Encrypt", json!({ "KeyId": key, "Plaintext": "*" }), "SerializationException", "'plaintext'"),
        (
            "Decrypt",
            json!({ "CiphertextBlob": "AA==", "EncryptionContext": { "a": 1 } }),
            "SerializationException",
            "'encryptionContext.a'",
        ),
        (
            "Decrypt",
            json!({ "CiphertextBlob": "", "Recipient": {} }),
            "UnsupportedOperationException",
            "no enclaves",
        ),
        (
            "GenerateDataKey",
            json!({ "KeyId": key, "KeySpec": "AES_512" }),
            "ValidationException",
            "[AES_256, AES_128]",
        ),
        ("ReplicateKey", json!({ "KeyId": key }), "UnsupportedOperationException", "no regions"),
        ("DescribeKeys", json!({}), "UnknownOperationException", "DescribeKeys"),
    ] {
        let (found, message) = refusal(operation, &parameters);
        assert_eq!(found.to_string(), name, "{operation} {parameters}: {message}");
        assert!(message.contains(about), "{operation} {parameters}: {message}");
    }
}

#[test]
fn numbers_and_texts_are_times() {
    let valid_to = |time: Value| {
        let parameters =
            json!({ "KeyId": "k", "ImportToken": "", "EncryptedKeyMaterial": "", "ValidTo": time });
        match call("ImportKeyMaterial", &parameters).unwrap() {
            Call::ImportKeyMaterial { valid_to, .. } => valid_to,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(valid_to(json!(1_800_000_000)).as_deref(), Some("1800000000"));
    assert_eq!(valid_to(json!(1_800_000_000.25)).as_deref(), Some("1800000000.25"));
    assert_eq!(valid_to(json!("2027-01-31T12:00")).as_deref(), Some("2027-01-31T12:00"));
    assert_eq!(valid_to(Value::Null), None);
}

#[test]
fn names_are_written_as_the_aws_cli_and_the_service_write_them() {
    let member = operation("CreateKey").unwrap().member("CustomerMasterKeySpec").unwrap();
    assert_eq!(
        (member.flag().as_str(), &*member.in_messages()),
        ("customer-master-key-spec", "customerMasterKeySpec")
    );
    assert_eq!(operation("RotateKeyOnDemand").unwrap().verb(), "rotate-key-on-demand");
}
