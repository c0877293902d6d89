//! Tables: which texts are policies, and what they allow whom.
use serde_json::{Value, json};

use super::*;
use crate::events::arn;

const KEY: [u8; 16] = [7; 16];
const OWNER: Owner = Owner(1000);

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
    let policy = Policy::parse(text, key(), OWNER).unwrap();
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
fn a_policy_about_data_keys_restricts_no_file() {
    let everybody = |actions: Value| statement("Allow", json!("*"), actions);
    let of = |statements: Value| Policy::stored(&policy(statements), key(), OWNER);
    let letters = |policy: &Policy| -> String {
        let each = KeyUse::ALL.iter().zip("edgwft".chars());
        each.filter(|(used_for, _)| policy.allows(7, **used_for)).map(|(_, letter)| letter).collect()
    };
    let table = [
        (json!([everybody(json!(["kms:Encrypt", "kms:Decrypt"]))]), false, "ed"),
        (json!([everybody(json!(["kms:*crypt", "kms:GenerateDataKey"]))]), false, "edg"),
        (json!([everybody(json!(["kms:*crypt", "kms:GenerateDataKey*"]))]), false, "edgw"),
        (json!([everybody(json!(["kms:*crypt", "kms:ReEncrypt*"]))]), false, "edft"),
        (
            json!([
                everybody(json!("*")),
                statement("Deny", json!({"AWS": "uid:7"}), json!("kms:ReEncryptFrom"))
            ]),
            false,
            "edgwt",
        ),
        (json!([everybody(json!(["kms:Encrypt", "kms:GenerateDataKey"]))]), true, "eg"),
        (
            json!([everybody(json!("*")), statement("Deny", json!({"AWS": "uid:8"}), json!("kms:Decrypt"))]),
            true,
            "edgwft",
        ),
    ];
    for (statements, of_files, allowed) in table {
        let stored = of(statements.clone()).unwrap_or_else(|| panic!("{statements} denies nothing"));
        assert_eq!(
            (stored.restricts_files(), letters(&stored).as_str()),
            (of_files, allowed),
            "{statements}"
        );
    }
    assert_eq!(of(json!([everybody(json!(["kms:*crypt", "kms:GenerateDataKey*", "kms:ReEncrypt*"]))])), None);
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
        with("Principal", json!({"AWS": "admin"})),
        with("Principal", json!({"AWS": "uid:"})),
        with("Principal", json!({"AWS": "uid:-1"})),
        with("Principal", json!({"AWS": "uid:+1"})),
        with("Principal", json!({"AWS": "uid:4294967295"})),
        with("Principal", json!({"AWS": "uid:4294967296"})),
        with("Principal", json!({"AWS": "arn:aws:iam::000000000000:user/root"})),
        with("Principal", json!({"AWS": "arn:aws:iam::00000000000:root"})),
        with("Principal", json!({"AWS": "arn:aws:iam::0000000000000:root"})),
        with("Principal", json!({"AWS": "arn:azure:iam::000000000000:root"})),
        with("Principal", json!({"AWS": "arn:aws:sts::000000000000:root"})),
        with("Principal", json!({"AWS": "00000000000x"})),
        with("Principal", json!("arn:aws:iam::000000000000:root")),
        with("Action", json!([])),
        with("Action", json!("s3:GetObject")),
        with("Action", json!("kms:Decrpyt")),
        with("Action", json!("")),
        with("Resource", json!([])),
        with("Resource", json!("arn:rekeyfs:kms:local:000000000000:key/another")),
    ];
    for text in texts {
        let error = Policy::parse(&text, key(), OWNER).map(drop).unwrap_err();
        assert!(matches!(error, PolicyError::Malformed(_)), "{text}");
    }
    Policy::parse(&with("Resource", json!([arn(key()), "*"])), key(), OWNER).unwrap();
    let long = policy(json!([fine.clone(), statement(&"x".repeat(MAX_LEN), json!("*"), json!("kms:*"))]));
    let error = Policy::parse(&long, key(), OWNER).unwrap_err();
    assert_eq!(error, PolicyError::TooLong(long.len()));
}

#[test]
fn the_default_costs_nothing_and_what_is_not_understood_allows_nothing() {
    let all = |effect| policy(json!([statement(effect, json!("*"), json!("kms:*"))]));
    assert_eq!(Policy::stored("", key(), OWNER), None);
    assert_eq!(Policy::stored(DEFAULT, key(), OWNER), None);
    assert_eq!(Policy::stored(&all("Allow"), key(), OWNER), None);
    assert_eq!(Policy::stored("of a newer program", key(), OWNER), Some(Policy(Vec::new())));
    let denies = Policy::stored(&all("Deny"), key(), OWNER).unwrap();
    assert!(!denies.allows(0, KeyUse::Decrypt), "root is no exception");
}

#[test]
fn a_policy_that_locks_its_writer_out_has_to_be_meant() {
    let for_one = policy(json!([statement("Allow", json!({"AWS": "uid:1000"}), json!("kms:*"))]));
    let half = policy(json!([statement("Allow", json!("*"), json!("kms:Decrypt"))]));
    check(&for_one, key(), OWNER, LockOut::Refused).unwrap();
    for (text, owner) in [(&for_one, Owner(0)), (&half, OWNER)] {
        let error = check(text, key(), owner, LockOut::Refused).unwrap_err();
        assert_eq!(error, PolicyError::LocksOut(owner.0));
        assert!(error.to_string().contains(&format!("uid:{}", owner.0)), "{error}");
        check(text, key(), owner, LockOut::Meant).unwrap();
    }
    assert!(check("{}", key(), OWNER, LockOut::Meant).is_err(), "malformed is malformed");
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
        assert!(Policy::parse(&text, key(), OWNER).is_err(), "{text}");
    }
}

#[test]
fn the_whole_account_is_the_vaults_owner() {
    // The default policy of AWS's documents and of Terraform's.
    let names = [
        "arn:aws:iam::111122223333:root",
        "arn:aws-us-gov:iam::111122223333:root",
        "arn:rekeyfs:iam::000000000000:root",
        "111122223333",
    ];
    for name in names {
        let text = policy(json!([statement("Allow", json!({"AWS": name}), json!("kms:*"))]));
        assert_eq!([0, 1000, 1001].map(|uid| may(&text, uid)), ["", "ed", ""], "{name}");
        check(&text, key(), OWNER, LockOut::Refused).unwrap();
        let other = Policy::stored(&text, key(), Owner(7)).unwrap();
        assert!(other.allows(7, KeyUse::Decrypt) && !other.allows(1000, KeyUse::Decrypt));
        let more = policy(json!([statement("Allow", json!({"AWS": [name, "uid:7"]}), json!("kms:*"))]));
        assert_eq!([0, 7, 1000].map(|uid| may(&more, uid)), ["", "ed", "ed"], "{name}");
        // With AWS that is every user of the account: fewer must not be denied.
        let denied = policy(json!([statement("Deny", json!({"AWS": name}), json!("kms:*"))]));
        let error = Policy::parse(&denied, key(), OWNER).unwrap_err().to_string();
        assert!(error.contains("write \"*\""), "{error}");
    }
}

#[test]
fn what_is_not_understood_is_named_with_its_statement() {
    let fine = statement("Allow", json!("*"), json!("kms:*"));
    let second = |name: &str, value: Value| {
        let mut changed = fine.clone();
        changed["Sid"] = "Allow use of the key".into();
        changed[name] = value;
        policy(json!([fine.clone(), changed]))
    };
    let iam = "arn:aws:iam::111122223333:user/KMSAdminUser";
    let table = [
        (
            second("Condition", json!({"Bool": {"kms:GrantIsForAWSResource": true}})),
            "Condition isn't understood; there are no",
        ),
        (
            second("NotPrincipal", json!({"AWS": "*"})),
            "NotPrincipal isn't understood; name the users in Principal",
        ),
        (second("NotAction", json!("kms:*")), "NotAction isn't understood; name the actions in Action"),
        (second("NotResource", json!("*")), "NotResource isn't understood; write"),
        (second("Principals", json!("*")), "the element \"Principals\" isn't known"),
        (
            second("Principal", json!({"Service": "logs.amazonaws.com"})),
            "a Principal of the sort Service isn't understood",
        ),
        (
            second("Principal", json!({"AWS": "*", "Federated": "x"})),
            "a Principal of the sort Federated isn't understood",
        ),
        (second("Principal", json!({"User": "x"})), "a Principal of the sort \"User\" isn't known"),
        (
            second("Principal", json!({"AWS": iam})),
            "users of IAM aren't known here; it is \"*\", {\"AWS\": \"uid:NUMBER\"} or",
        ),
        (second("Effect", json!("allow")), "Effect \"allow\" isn't known; it is \"Allow\" or \"Deny\""),
        (second("Action", json!("s3:*")), "Action \"s3:*\" is no action of KMS"),
        (second("Action", json!(7)), "Action 7 isn't a text"),
        (second("Resource", json!(["*", "x"])), "Resource \"x\" isn't understood"),
        (second("Sid", json!(["x"])), "Sid isn't a text"),
    ];
    for (text, expected) in table {
        let error = Policy::parse(&text, key(), OWNER).unwrap_err().to_string();
        let (_, what) =
            error.split_once("statement 2").unwrap_or_else(|| panic!("no statement is named: {error}"));
        assert!(what.contains(expected), "{error}");
        assert!(error.contains("(\"Allow use of the key\"): ") || text.contains("\"Sid\":["), "{error}");
        assert!(error.starts_with("The policy is malformed: ") && error.lines().count() == 1, "{error}");
    }
    for (text, expected) in [
        ("{\"Version\":".to_owned(), "it isn't JSON"),
        ("[]".to_owned(), "it isn't an object with Version and Statement"),
        (json!({ "Statement": [] }).to_string(), "it has no Version"),
        (json!({ "Version": "2012-10-17" }).to_string(), "it has no Statement"),
        (
            r#"{"Version":"2012-10-17","Statement":[{"Effect":"Deny","Effect":"Allow"}]}"#.to_owned(),
            "\"Effect\" is given twice",
        ),
    ] {
        let error = Policy::parse(&text, key(), OWNER).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn a_new_policy_has_the_characters_of_awss_and_an_old_one_stays_in_force() {
    let named = |sid: &str| {
        let mut statement = statement("Allow", json!({"AWS": "uid:1000"}), json!("kms:*"));
        statement["Sid"] = sid.into();
        serde_json::to_string_pretty(&json!({ "Version": "2012-10-17", "Statement": [statement] })).unwrap()
    };
    check(&named("Zugriff f\u{fc}r alle"), key(), OWNER, LockOut::Refused).unwrap();
    for other in ['\u{100}', '\u{2028}', '\u{1f600}'] {
        let text = named(&format!("a{other}"));
        assert_eq!(check(&text, key(), OWNER, LockOut::Meant).unwrap_err(), PolicyError::Character(other));
        assert!(Policy::stored(&text, key(), OWNER).unwrap().allows(1000, KeyUse::Decrypt));
    }
}
