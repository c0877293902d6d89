//! Keys used for data: what opens what, who may, and what is left of it in the log.
use std::collections::BTreeMap;

use super::*;
use crate::events::{Actor, Principal};
use crate::kms::{DataKey, Decrypt, Encrypt, Pairs, Random, ReEncrypt, SecretText};

mod forged;

const NAME: &str = "alias/default";
/// "attack at dawn".
const DAWN: &str = "YXR0YWNrIGF0IGRhd24=";

fn pairs(pairs: &[(&str, &str)]) -> Pairs {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

fn encrypt(key: &str) -> Encrypt {
    Encrypt {
        key_id: key.into(),
        plaintext: SecretText::new(DAWN.into()),
        encryption_context: BTreeMap::new(),
        encryption_algorithm: None,
        dry_run: false,
    }
}

fn decrypt(blob: &str) -> Decrypt {
    Decrypt {
        ciphertext_blob: blob.into(),
        encryption_context: BTreeMap::new(),
        key_id: None,
        encryption_algorithm: None,
        dry_run: false,
    }
}

fn re_encrypt(blob: &str, to: &str) -> ReEncrypt {
    ReEncrypt {
        ciphertext_blob: blob.into(),
        source_encryption_context: BTreeMap::new(),
        source_key_id: None,
        destination_key_id: to.into(),
        destination_encryption_context: BTreeMap::new(),
        source_encryption_algorithm: None,
        destination_encryption_algorithm: None,
        dry_run: false,
    }
}

fn data_key(key: &str) -> DataKey {
    DataKey {
        key_id: key.into(),
        encryption_context: BTreeMap::new(),
        number_of_bytes: None,
        key_spec: Some("AES_256".into()),
        dry_run: false,
    }
}

fn text(answer: &Value, field: &str) -> String {
    answer[field].as_str().unwrap_or_else(|| panic!("no {field} in {answer}")).to_owned()
}

fn blob(keys: &Keys, key: &str) -> String {
    text(&keys.call(&Call::Encrypt(encrypt(key))).unwrap(), "CiphertextBlob")
}

fn refused(keys: &Keys, call: Call) -> KmsErrorName {
    KmsError::of(keys.call(&call).expect_err("it was done")).unwrap().name
}

fn default_key(keys: &Keys) -> BackingKeyId {
    keys.current(&AliasName::default_alias()).unwrap()
}

fn generation(f: &Fixture) -> u64 {
    f.open(&key_file(1)).unwrap().keys.generation().0
}

fn events(f: &Fixture, kind: &str) -> Vec<Value> {
    let log = String::from_utf8(f.read(crate::events::FILE_NAME)).unwrap();
    let lines = log.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    lines.filter(|event| event["detail-type"] == kind).map(|event| event["detail"].clone()).collect()
}

#[test]
fn what_was_encrypted_is_decrypted_after_rotations_by_the_version_that_the_blob_names() {
    let f = Fixture::new();
    let keys = f.create(&[&key_file(1)]).keys;
    let first = blob(&keys, NAME);
    keys.rotate(&default_alias()).unwrap();
    let second = blob(&keys, NAME);
    assert_ne!(first, second);
    for keys in [keys, f.open(&key_file(1)).unwrap().keys] {
        let key = default_key(&keys).key;
        for blob in [&first, &second] {
            let answer = keys.call(&Call::Decrypt(decrypt(blob))).unwrap();
            assert_eq!(
                (text(&answer, "Plaintext"), text(&answer, "KeyId")),
                (DAWN.into(), crate::events::arn(key))
            );
            assert_eq!(answer["EncryptionAlgorithm"], "SYMMETRIC_DEFAULT");
            assert_eq!(text(&answer, "KeyMaterialId").len(), 64);
        }
    }
    let versions: Vec<_> = events(&f, "KMS Request").iter().map(|event| event["version"].clone()).collect();
    assert_eq!(versions, [1, 2, 1, 2, 1, 2].map(Value::from));
}

#[test]
fn a_blob_opens_with_its_context_its_key_and_its_vault_alone() {
    let f = Fixture::new();
    let keys = f.create(&[&key_file(1)]).keys;
    let other = keys.create_key_for_test("alias/other".parse().unwrap()).to_string();
    let context = pairs(&[("a", "1"), ("b", "2")]);
    let asked = Encrypt { encryption_context: context.clone(), ..encrypt(NAME) };
    let blob = text(&keys.call(&Call::Encrypt(asked)).unwrap(), "CiphertextBlob");
    let with = |encryption_context| Decrypt { encryption_context, ..decrypt(&blob) };
    for key_id in [None, Some(NAME.to_owned()), Some(default_key(&keys).key.to_string())] {
        keys.call(&Call::Decrypt(Decrypt { key_id, ..with(context.clone()) })).unwrap();
    }
    for context in [pairs(&[]), pairs(&[("a", "1")]), pairs(&[("a", "2"), ("b", "1")])] {
        assert_eq!(refused(&keys, Call::Decrypt(with(context))), KmsErrorName::InvalidCiphertextException);
    }
    let key_id = Some(other);
    let of_other = Call::Decrypt(Decrypt { key_id, ..with(context.clone()) });
    assert_eq!(refused(&keys, of_other), KmsErrorName::IncorrectKeyException);

    let g = Fixture::new();
    let others = g.create(&[&key_file(1)]).keys;
    assert_eq!(refused(&others, Call::Decrypt(with(context))), KmsErrorName::InvalidCiphertextException);
    for garbage in ["AAAA", DAWN] {
        assert_eq!(refused(&keys, Call::Decrypt(decrypt(garbage))), KmsErrorName::InvalidCiphertextException);
    }
    for no_blob in ["", "%", &"A".repeat(8200)] {
        assert_eq!(refused(&keys, Call::Decrypt(decrypt(no_blob))), KmsErrorName::ValidationException);
    }
}

#[test]
fn a_key_that_opens_no_file_decrypts_nothing() {
    let f = Fixture::new();
    let opened = f.create(&[&key_file(1)]);
    let keys = &opened.keys;
    let id = keys.create_key_for_test("alias/x".parse().unwrap());
    let key = id.to_string();
    let old = blob(keys, &key);
    keys.rotate(&KeyRef::Key(id)).unwrap();
    let new = blob(keys, &key);
    let both = |expected: KmsErrorName| {
        for call in [
            Call::Decrypt(decrypt(&new)),
            Call::Encrypt(encrypt(&key)),
            Call::GenerateDataKey(data_key(&key)),
        ] {
            assert_eq!(refused(keys, call), expected);
        }
    };
    keys.call(&Call::DisableKey { key_id: key.clone() }).unwrap();
    both(KmsErrorName::DisabledException);
    keys.call(&Call::EnableKey { key_id: key.clone() }).unwrap();
    keys.call(&Call::Decrypt(decrypt(&new))).unwrap();

    let force = |order: &str| Some(keys.force_token(&opened.proof, order));
    let order = RetireOrder { key: id, below: KeyVersion(2), what: Retirement::Retire };
    keys.retire(&order, force(&order.to_string()).as_ref()).unwrap();
    assert_eq!(refused(keys, Call::Decrypt(decrypt(&old))), KmsErrorName::KMSInvalidStateException);
    keys.call(&Call::Decrypt(decrypt(&new))).unwrap();
    keys.retire(&RetireOrder { what: Retirement::Restore, ..order }, None).unwrap();
    keys.call(&Call::Decrypt(decrypt(&old))).unwrap();

    keys.call(&Call::ScheduleKeyDeletion {
        key_id: key.clone(),
        pending_window_in_days: Some(7),
        force: force(&Keys::deletion_order(id)),
    })
    .unwrap();
    both(KmsErrorName::KMSInvalidStateException);
    f.clock.0.fetch_add(8 * 86_400_000, Ordering::Relaxed);
    keys.delete_due(&keys.pending_deletions()[0]).unwrap();
    let name = &*key;
    for call in [Call::Encrypt(encrypt(name)), Call::GenerateDataKey(data_key(name))] {
        assert_eq!(refused(keys, call), KmsErrorName::NotFoundException);
    }
    // As AWS has it: the blob's key may be one that is no business of who asks.
    assert_eq!(refused(keys, Call::Decrypt(decrypt(&new))), KmsErrorName::AccessDeniedException);
}

#[test]
fn data_keys_and_random_bytes_have_the_length_that_was_asked_for() {
    let f = Fixture::new();
    let keys = f.create(&[&key_file(1)]).keys;
    let bytes = |number_of_bytes| DataKey { number_of_bytes, key_spec: None, ..data_key(NAME) };
    let spec = |spec: &str| DataKey { key_spec: Some(spec.into()), ..data_key(NAME) };
    for (asked, length) in
        [(spec("AES_256"), 32), (spec("AES_128"), 16), (bytes(Some(1)), 1), (bytes(Some(1024)), 1024)]
    {
        let made = keys.call(&Call::GenerateDataKey(asked.clone())).unwrap();
        let again = keys.call(&Call::Decrypt(decrypt(&text(&made, "CiphertextBlob")))).unwrap();
        assert_eq!(again["Plaintext"], made["Plaintext"]);
        assert_eq!(text(&made, "Plaintext").trim_end_matches('=').len(), (length * 4_usize).div_ceil(3));
        let secret = keys.call(&Call::GenerateDataKeyWithoutPlaintext(asked)).unwrap();
        assert!(secret.get("Plaintext").is_none(), "{secret}");
        keys.call(&Call::Decrypt(decrypt(&text(&secret, "CiphertextBlob")))).unwrap();
    }
    for asked in [
        bytes(None),
        bytes(Some(0)),
        bytes(Some(1025)),
        bytes(Some(-1)),
        spec("AES_512"),
        DataKey { number_of_bytes: Some(32), ..data_key(NAME) },
    ] {
        assert_eq!(refused(&keys, Call::GenerateDataKey(asked)), KmsErrorName::ValidationException);
    }
    let random = |number_of_bytes| Call::GenerateRandom(Random { number_of_bytes });
    let [a, b] = [0; 2].map(|_| text(&keys.call(&random(Some(24))).unwrap(), "Plaintext"));
    assert!(a.len() == 32 && a != b);
    for length in [None, Some(0), Some(1025)] {
        assert_eq!(refused(&keys, random(length)), KmsErrorName::ValidationException);
    }
    let long = |bytes: usize| Encrypt {
        plaintext: SecretText::new("A".repeat(bytes.div_ceil(3) * 4)),
        ..encrypt(NAME)
    };
    let plaintext = |text: &str| Encrypt { plaintext: SecretText::new(text.into()), ..encrypt(NAME) };
    for asked in [long(4099), plaintext(""), plaintext("no base64")] {
        assert_eq!(refused(&keys, Call::Encrypt(asked)), KmsErrorName::ValidationException);
    }
    keys.call(&Call::Encrypt(long(4095))).unwrap();
    let algorithm = |name: &str| Encrypt { encryption_algorithm: Some(name.into()), ..encrypt(NAME) };
    keys.call(&Call::Encrypt(algorithm("SYMMETRIC_DEFAULT"))).unwrap();
    assert_eq!(
        refused(&keys, Call::Encrypt(algorithm("RSAES_OAEP_SHA_256"))),
        KmsErrorName::InvalidKeyUsageException
    );
    assert_eq!(refused(&keys, Call::Encrypt(algorithm("ROT13"))), KmsErrorName::ValidationException);
}

#[test]
fn a_blob_is_re_encrypted_under_another_key_and_context() {
    let f = Fixture::new();
    let keys = f.create(&[&key_file(1)]).keys;
    let other = keys.create_key_for_test("alias/other".parse().unwrap());
    let before = blob(&keys, NAME);
    let context = pairs(&[("to", "other")]);
    let asked =
        ReEncrypt { destination_encryption_context: context.clone(), ..re_encrypt(&before, "alias/other") };
    let answer = keys.call(&Call::ReEncrypt(asked.clone())).unwrap();
    assert_eq!(text(&answer, "KeyId"), crate::events::arn(other));
    assert_eq!(text(&answer, "SourceKeyId"), crate::events::arn(default_key(&keys).key));
    assert!(answer.get("Plaintext").is_none());
    let after = text(&answer, "CiphertextBlob");
    let opened =
        keys.call(&Call::Decrypt(Decrypt { encryption_context: context, ..decrypt(&after) })).unwrap();
    assert_eq!(text(&opened, "Plaintext"), DAWN);
    assert_eq!(refused(&keys, Call::Decrypt(decrypt(&after))), KmsErrorName::InvalidCiphertextException);
    let source_key_id = Some("alias/other".to_owned());
    let wrong = Call::ReEncrypt(ReEncrypt { source_key_id, ..asked });
    assert_eq!(refused(&keys, wrong), KmsErrorName::IncorrectKeyException);
}

#[test]
fn the_key_of_rekeyfs_itself_encrypts_no_data() {
    let f = Fixture::new();
    let keys = f.create(&[&key_file(1)]).keys;
    let tree = "alias/rekeyfs/tree";
    for call in [Call::Encrypt(encrypt(tree)), Call::GenerateDataKey(data_key(tree))] {
        assert_eq!(refused(&keys, call), KmsErrorName::UnsupportedOperationException);
    }
    let ours = blob(&keys, NAME);
    let to_tree = Call::ReEncrypt(re_encrypt(&ours, tree));
    assert_eq!(refused(&keys, to_tree), KmsErrorName::UnsupportedOperationException);
}

#[test]
fn a_dry_run_says_whether_it_could_be_done_and_does_nothing() {
    let f = Fixture::new();
    let keys = f.create(&[&key_file(1)]).keys;
    let before = generation(&f);
    let could = KmsErrorName::DryRunOperationException;
    assert_eq!(refused(&keys, Call::Encrypt(Encrypt { dry_run: true, ..encrypt(NAME) })), could);
    assert_eq!(refused(&keys, Call::GenerateDataKey(DataKey { dry_run: true, ..data_key(NAME) })), could);
    assert_eq!(generation(&f), before, "the key still counts as one that encrypted no data");
    let blob = blob(&keys, NAME);
    assert_eq!(refused(&keys, Call::Decrypt(Decrypt { dry_run: true, ..decrypt(&blob) })), could);
    assert_eq!(
        refused(&keys, Call::ReEncrypt(ReEncrypt { dry_run: true, ..re_encrypt(&blob, NAME) })),
        could
    );
    keys.disable_key(default_key(&keys).key).unwrap();
    let disabled = KmsErrorName::DisabledException;
    assert_eq!(refused(&keys, Call::Encrypt(Encrypt { dry_run: true, ..encrypt(NAME) })), disabled);
    assert_eq!(refused(&keys, Call::Decrypt(Decrypt { dry_run: true, ..decrypt(&blob) })), disabled);
}

#[test]
fn a_key_is_used_by_whom_its_policy_allows_for_what_it_allows() {
    let f = Fixture::new();
    let keys = f.create(&[&key_file(1)]).keys;
    let key = default_key(&keys).key.to_string();
    let statement = |who: u32, actions: Value| json!({ "Effect": "Allow", "Principal": {"AWS": format!("uid:{who}")}, "Action": actions, "Resource": "*" });
    let me = rustix::process::geteuid().as_raw();
    let policy = json!({ "Version": "2012-10-17", "Statement": [
        statement(me, json!("kms:*")),
        statement(7001, json!("kms:Decrypt")),
        statement(7002, json!(["kms:GenerateDataKeyWithoutPlaintext", "kms:Encrypt"])),
        statement(7003, json!("kms:ReEncrypt*")),
    ] });
    keys.call(&Call::PutKeyPolicy {
        key_id: key.clone(),
        policy_name: None,
        policy: policy.to_string(),
        bypass_policy_lockout_safety_check: false,
    })
    .unwrap();
    let blob = blob(&keys, &key);
    let calls = [
        ('e', Call::Encrypt(encrypt(&key))),
        ('d', Call::Decrypt(decrypt(&blob))),
        ('r', Call::ReEncrypt(re_encrypt(&blob, &key))),
        ('g', Call::GenerateDataKey(data_key(&key))),
        ('w', Call::GenerateDataKeyWithoutPlaintext(data_key(&key))),
        ('x', Call::GenerateRandom(Random { number_of_bytes: Some(1) })),
    ];
    let allowed = |principal| -> String {
        let _acting = Actor::own().on_behalf_of(principal).act();
        let may = |call: &Call| match keys.call(call).map_err(|error| KmsError::of(error).unwrap()) {
            Ok(_) => true,
            Err(error) => {
                assert_eq!(error.name, KmsErrorName::AccessDeniedException);
                let said =
                    format!("User: {principal} is not authorized to perform: kms:{}", call.operation());
                assert!(error.message.starts_with(&said), "{error}");
                assert!(error.message.contains(&key), "{error}");
                false
            }
        };
        calls.iter().filter(|(_, call)| may(call)).map(|(letter, _)| letter).collect()
    };
    assert_eq!(allowed(Principal::Admin), "edrgwx", "who asks uses keys as its own user");
    let users = [me, 7001, 7002, 7003, 7004].map(|uid| allowed(Principal::User(uid)));
    assert_eq!(users, ["edrgwx", "dx", "ewx", "rx", "x"]);
    for principal in [Principal::User(me), Principal::User(7001)] {
        for call in [
            Call::DescribeKey { key_id: key.clone() },
            Call::DisableKey { key_id: key.clone() },
            Call::CreateKey { key: NewKey::default() },
        ] {
            let error = call.allowed_to(principal).unwrap_err();
            assert_eq!(error.name, KmsErrorName::AccessDeniedException);
            assert!(
                error
                    .message
                    .contains(&format!("{principal} is not authorized to perform: kms:{}", call.operation()))
            );
            call.allowed_to(Principal::Admin).unwrap();
        }
        calls.iter().for_each(|(_, call)| call.allowed_to(principal).unwrap());
    }
}

#[test]
fn the_log_says_who_used_which_key_and_neither_data_nor_context() {
    let f = Fixture::new();
    let keys = f.create(&[&key_file(1)]).keys;
    let _acting = Actor::own().on_behalf_of(Principal::User(1234)).act();
    let asked = Encrypt { encryption_context: pairs(&[("confidential", "names")]), ..encrypt(NAME) };
    keys.call(&Call::Encrypt(asked.clone())).unwrap();
    keys.record_refused_call(&Call::DescribeKey { key_id: NAME.into() }, "AccessDeniedException");
    let found = events(&f, "KMS Request");
    let key = default_key(&keys).key.to_string();
    let of = |event: &Value| {
        ["event-name", "key-id", "principal", "outcome", "error-code"]
            .map(|field| event[field].as_str().unwrap_or("-").to_owned())
    };
    assert_eq!(
        found.iter().map(of).collect::<Vec<_>>(),
        [
            ["Encrypt", &key, "uid:1234", "success", "-"],
            ["DescribeKey", &key, "uid:1234", "refused", "AccessDeniedException"],
        ]
    );
    let log = String::from_utf8(f.read(crate::events::FILE_NAME)).unwrap();
    for secret in [DAWN, "attack at dawn", "confidential"] {
        assert!(!log.contains(secret), "{secret}");
    }
    assert!(!format!("{asked:?}").contains(DAWN), "nor what is shown of a call");
}

/// The key that was opened is what an audit asks for, though the answer is a blob of the other.
#[test]
fn a_re_encryption_is_in_the_log_with_both_its_keys() {
    let f = Fixture::new();
    let keys = f.create(&[&key_file(1)]).keys;
    let other = keys.create_key_for_test("alias/other".parse().unwrap());
    let before = blob(&keys, NAME);
    let known = events(&f, "KMS Request").len();
    keys.call(&Call::ReEncrypt(re_encrypt(&before, "alias/other"))).unwrap();
    // Under the same version again: one use of one version.
    keys.call(&Call::ReEncrypt(re_encrypt(&before, NAME))).unwrap();
    let found: Vec<_> = events(&f, "KMS Request")[known..]
        .iter()
        .map(|event| (event["event-name"].clone(), event["key-id"].clone(), event["version"].clone()))
        .collect();
    let (from, to) = (default_key(&keys).key.to_string(), other.to_string());
    let used = |key: &String| (json!("ReEncrypt"), json!(key), json!(1));
    assert_eq!(found, [used(&from), used(&to), used(&from)]);
}

/// Users cause such requests as fast as they like.
#[test]
fn a_flood_of_requests_is_counted_and_does_not_fill_the_log() {
    let f = Fixture::new();
    let keys = f.create(&[&key_file(1)]).keys;
    for uid in [1, 2] {
        let _acting = Actor::own().on_behalf_of(Principal::User(uid)).act();
        (0..200).for_each(|_| {
            drop(keys.call(&Call::GenerateRandom(Random { number_of_bytes: Some(1) })).unwrap())
        });
    }
    keys.events().catch_up();
    let found = events(&f, "KMS Request");
    assert!((100..120).contains(&found.len()), "50 at once for each of two users, not {}", found.len());
    let log = String::from_utf8(f.read(crate::events::FILE_NAME)).unwrap();
    assert!(log.contains("\"kms-requests\":"), "it says how many were held back");
}

#[test]
fn the_first_blob_of_a_key_is_given_out_once_the_keyring_says_so_and_later_ones_write_nothing() {
    let f = Fixture::new();
    let opened = f.create(&[&key_file(1)]);
    let keys = &opened.keys;
    let (key, before) = (default_key(keys).key, generation(&f));
    keys.rotate(&default_alias()).unwrap();
    keys.rotate(&default_alias()).unwrap();
    let of_files = RetireOrder { key, below: KeyVersion(3), what: Retirement::Trim };
    blob(keys, NAME);
    assert_eq!(generation(&f), before + 3);
    (0..3).for_each(|_| drop(blob(keys, NAME)));
    keys.rotate(&default_alias()).unwrap();
    blob(keys, NAME);
    assert_eq!(generation(&f), before + 4, "the rotation only");
    let begun = events(&f, "KMS Key Operation");
    assert_eq!(begun.iter().filter(|event| event["event-name"] == "BeginDataUse").count(), 1);

    // What a blob may need goes by force only; the versions before the first one are free to go.
    let schedule =
        |force| Call::ScheduleKeyDeletion { key_id: key.to_string(), pending_window_in_days: Some(7), force };
    assert_eq!(refused(keys, schedule(None)), KmsErrorName::ConflictException);
    for what in [Retirement::Retire, Retirement::Trim] {
        let order = RetireOrder { key, below: KeyVersion(4), what };
        for error in [keys.try_retire(&order, false).unwrap_err(), keys.retire(&order, None).unwrap_err()] {
            assert!(matches!(
                error,
                KeyringError::Rule(RuleError::HasEncryptedData { first: KeyVersion(3), .. })
            ));
            assert!(error.to_string().contains("--force"), "{error}");
        }
    }
    keys.retire(&of_files, None).unwrap();
    let order = RetireOrder { key, below: KeyVersion(4), what: Retirement::Trim };
    let token = keys.force_token(&opened.proof, &order.to_string());
    keys.retire(&order, Some(&token)).unwrap();
    let token = keys.force_token(&opened.proof, &Keys::deletion_order(key));
    keys.call(&schedule(Some(token))).unwrap();
    keys.call(&Call::CancelKeyDeletion { key_id: key.to_string() }).unwrap();
    assert_eq!(refused(keys, schedule(None)), KmsErrorName::ConflictException, "it is not forgotten");
}

#[test]
fn of_a_first_blob_and_a_deletion_at_once_one_is_refused() {
    let f = Fixture::in_memory();
    let keys = f.create(&[&key_file(1)]).keys;
    for n in 0..40 {
        let key = keys.create_key_for_test(format!("alias/x{n}").parse().unwrap()).to_string();
        let schedule =
            Call::ScheduleKeyDeletion { key_id: key.clone(), pending_window_in_days: Some(7), force: None };
        let start = std::sync::Barrier::new(2);
        let (encrypted, scheduled) = std::thread::scope(|threads| {
            let encrypting = threads.spawn(|| {
                start.wait();
                keys.call(&Call::Encrypt(encrypt(&key))).is_ok()
            });
            start.wait();
            let scheduled = keys.call(&schedule).is_ok();
            (encrypting.join().unwrap(), scheduled)
        });
        assert!(encrypted != scheduled, "round {n}: encrypted {encrypted}, scheduled {scheduled}");
    }
}
