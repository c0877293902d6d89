//! Tables: which texts are policies, and what they allow whom.
use serde_json::{Value, json};

use super::*;

const KEY: [u8; 16] = [7; 16];

fn key() -> KeyId {
    KeyId::from_bytes(KEY)
}

fn policy(statements: Value) -> String {
    json!({ "Version": "2012-10-17", "Id": "x", "Statement": statements }).to_string()
}

fn statement(effect: &str, principal: Value, action: Value) -> Value {
    json!({ "Sid": "s", "Effect": effect, "Principal": principal, "Action": action, "Resource": "*" })
}

/// Encrypt and decrypt for these users: "ed", "e", "d" or "".
fn may(text: &str, uid: u32) -> String {
    let policy = Policy::parse(text, key()).unwrap();
    let letters = [(KeyUse::Encrypt, 'e'), (KeyUse::Decrypt, 'd')];
    letters.iter().filter(|(used_for, _)| policy.allows(uid, *used_for)).map(|(_, letter)| letter).collect()
}

#[test]
fn a_policy_allows_what_a_statement_allows_and_none_denies() {
    let all = json!("kms:*");
    let table = [
        (json!([statement("Allow", json!("*"), all.clone())]), ["ed", "ed", "ed"]),
        (statement("Allow", json!({"AWS": "*"}), json!("*")), ["ed", "ed", "ed"]),
        (json!([]), ["", "", ""]),
        (json!([statement("Allow", json!({"AWS": "uid:1000"}), all.clone())]), ["", "ed", ""]),
        (json!([statement("Allow", json!({"AWS": ["uid:0", "uid:1000"]}), all.clone())]), ["ed", "ed", ""]),
        (json!([statement("Allow", json!({"AWS": ["uid:7", "*"]}), all.clone())]), ["ed", "ed", "ed"]),
        (json!([statement("Allow", json!("*"), json!("kms:Decrypt"))]), ["d", "d", "d"]),
        (json!([statement("Allow", json!("*"), json!(["kms:Encrypt"]))]), ["e", "e", "e"]),
        (json!([statement("Allow", json!("*"), json!(["KMS:decrypt", "kms:Describe*"]))]), ["d", "d", "d"]),
        (json!([statement("Allow", json!("*"), json!(["kms:*crypt"]))]), ["ed", "ed", "ed"]),
        (json!([statement("Allow", json!("*"), json!(["kms:En*"]))]), ["e", "e", "e"]),
        (json!([statement("Allow", json!("*"), json!(["kms:?ecrypt"]))]), ["d", "d", "d"]),
        (
            json!([statement("Allow", json!("*"), json!(["kms:ReEncrypt*", "kms:GenerateDataKey*"]))]),
            ["", "", ""],
        ),
        (
            // Deny wins, before and after.
            json!([
                statement("Deny", json!({"AWS": "uid:1000"}), json!("kms:Encrypt")),
                statement("Allow", json!("*"), all.clone()),
                statement("Deny", json!({"AWS": ["uid:1001"]}), json!("kms:De*")),
            ]),
            ["ed", "d", "e"],
        ),
        (
            json!([
                statement("Allow", json!({"AWS": "uid:1000"}), json!("kms:Decrypt")),
                statement("Allow", json!({"AWS": "uid:1000"}), json!("kms:Encrypt")),
                statement("Allow", json!({"AWS": "uid:1001"}), json!("kms:Decrypt")),
            ]),
            ["", "ed", "d"],
        ),
        (json!([statement("Deny", json!("*"), all.clone())]), ["", "", ""]),
    ];
    for (statements, expected) in table {
        let text = policy(statements);
        assert_eq!([0, 1000, 1001].map(|uid| may(&text, uid)), expected, "{text}");
    }
}

#[test]
fn what_is_not_understood_is_no_policy() {
    let fine = statement("Allow", json!("*"), json!("kms:*"));
    let with = |name: &str, value: Value| {
        let mut changed = fine.clone();
        changed[name] = value;
        policy(json!([changed]))
    };
    let without = |name: &str| {
        let mut changed = fine.clone();
        changed.as_object_mut().unwrap().remove(name);
        policy(json!([changed]))
    };
    let texts = [
        "".to_owned(),
        "{".to_owned(),
        "{}".to_owned(),
        "[]".to_owned(),
        json!({ "Statement": [fine.clone()] }).to_string(),
        json!({ "Version": "1999", "Statement": [fine.clone()] }).to_string(),
        json!({ "Version": "2012-10-17", "Statement": [fine.clone()], "More": 1 }).to_string(),
        format!("{} {{}}", policy(json!([fine.clone()]))),
        r#"{"Version":"2012-10-17","Version":"2012-10-17","Statement":[]}"#.to_owned(),
        without("Effect"),
        without("Principal"),
        without("Action"),
        without("Resource"),
        with("Effect", json!("allow")),
        with("Effect", json!("Perhaps")),
        with("Condition", json!({})),
        with("NotPrincipal", json!("*")),
        with("NotAction", json!("kms:*")),
        with("NotResource", json!("*")),
        with("Principal", json!("uid:7")),
        with("Principal", json!({})),
        with("Principal", json!({"AWS": []})),
        with("Principal", json!({"AWS": 7})),
        with("Principal", json!({"Service": "x"})),
        with("Principal", json!({"AWS": "*", "Service": "x"})),
        with("Principal", json!({"AWS": "gid:7"})),
        with("Principal", json!({"AWS": "uid:"})),
        with("Principal", json!({"AWS": "uid:-1"})),
        with("Principal", json!({"AWS": "uid:+1"})),
        with("Principal", json!({"AWS": "uid:4294967295"})),
        with("Principal", json!({"AWS": "uid:4294967296"})),
        with("Principal", json!({"AWS": "arn:aws:iam::000000000000:root"})),
        with("Action", json!([])),
        with("Action", json!("s3:GetObject")),
        with("Action", json!("kms:Decrpyt")),
        with("Action", json!("")),
        with("Resource", json!([])),
        with("Resource", json!("arn:rekeyfs:kms:local:000000000000:key/another")),
    ];
    for text in texts {
        let error = Policy::parse(&text, key()).map(drop).unwrap_err();
        assert!(matches!(error, PolicyError::Malformed(_)), "{text}");
    }
    Policy::parse(&with("Resource", json!([arn(key()), "*"])), key()).unwrap();
    let long = policy(json!([fine.clone(), statement(&"x".repeat(MAX_LEN), json!("*"), json!("kms:*"))]));
    let error = Policy::parse(&long, key()).unwrap_err();
    assert_eq!(error, PolicyError::TooLong(long.len()));
}

#[test]
fn the_default_costs_nothing_and_what_is_not_understood_allows_nothing() {
    let all = |effect| policy(json!([statement(effect, json!("*"), json!("kms:*"))]));
    assert_eq!(Policy::stored("", key()), None);
    assert_eq!(Policy::stored(DEFAULT, key()), None);
    assert_eq!(Policy::stored(&all("Allow"), key()), None);
    assert_eq!(Policy::stored("of a newer program", key()), Some(Policy(Vec::new())));
    let denies = Policy::stored(&all("Deny"), key()).unwrap();
    assert!(!denies.allows(0, KeyUse::Decrypt), "root is no exception");
}

#[test]
fn a_policy_that_locks_its_writer_out_has_to_be_meant() {
    let for_one = policy(json!([statement("Allow", json!({"AWS": "uid:1000"}), json!("kms:*"))]));
    let half = policy(json!([statement("Allow", json!("*"), json!("kms:Decrypt"))]));
    check(&for_one, key(), LockOut::RefusedFor(1000)).unwrap();
    for (text, writer) in [(&for_one, 0), (&half, 1000)] {
        let error = check(text, key(), LockOut::RefusedFor(writer)).unwrap_err();
        assert_eq!(error, PolicyError::LocksOut(writer));
        assert!(error.to_string().contains(&format!("uid:{writer}")), "{error}");
        check(text, key(), LockOut::Meant).unwrap();
    }
    assert!(check("{}", key(), LockOut::Meant).is_err(), "malformed is malformed");
}

#[test]
fn patterns_end_whatever_they_are() {
    let stars = "*a".repeat(40);
    assert!(!matches(&stars, &"a".repeat(60).replace("aaaaa", "b")));
    for (pattern, name, expected) in [
        ("", "", true),
        ("*", "", true),
        ("?", "", false),
        ("a*b*c", "aXbYc", true),
        ("a*b*c", "aXbY", false),
    ] {
        assert_eq!(matches(pattern, name), expected, "{pattern} {name}");
    }
}

#[test]
fn lists_of_values_without_names_are_no_policies() {
    let listed = json!(["s", "Allow", "*", "kms:*", "*"]);
    let texts = [
        json!(["2012-10-17", null, []]).to_string(),
        json!(["2012-10-17", null, [listed]]).to_string(),
        policy(listed.clone()),
        policy(json!([listed])),
        policy(statement("Allow", json!([["uid:0"]]), json!("kms:*"))),
    ];
    for text in texts {
        assert!(Policy::parse(&text, key()).is_err(), "{text}");
    }
}
