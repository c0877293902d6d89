//! `rekeyfs kms` as a user of `aws kms` runs it: the commands of two of AWS's documents, word for word with
//! real ids, and what goes wrong.
#![allow(clippy::unwrap_used)]

use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};

/// The commands as the documents print them.
const MANUAL: &str = include_str!("kms/manual-rotation.txt");
const AUTOMATIC: &str = include_str!("kms/automatic-rotation.txt");

const ARN: &str = "arn:rekeyfs:kms:local:000000000000:";

/// A vault that opens with a key file, named by the environment.
struct Account {
    dir: tempfile::TempDir,
}

impl Account {
    fn new() -> Self {
        let account = Self { dir: tempfile::tempdir().unwrap() };
        for name in ["run", "state"] {
            std::fs::create_dir(account.path(name)).unwrap();
        }
        std::fs::write(account.path("key"), [7; 32]).unwrap();
        let made = account.command(&["init", "vault", "--keyfile", "key", "--no-recovery-key"]);
        assert!(made.status.success(), "{made:?}");
        account
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn command(&self, args: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_rekeyfs"))
            .args(args)
            .current_dir(&self.dir)
            .env("XDG_RUNTIME_DIR", self.path("run"))
            .env("XDG_STATE_HOME", self.path("state"))
            .env("REKEYFS_VAULT", "vault")
            .stdin(Stdio::null())
            .output()
            .unwrap()
    }

    /// `rekeyfs kms …` with the words of a line.
    fn run(&self, line: &str) -> Output {
        let words = line.split_whitespace();
        self.command(&["kms"].into_iter().chain(words).chain(["--keyfile", "key"]).collect::<Vec<_>>())
    }

    #[track_caller]
    fn text(&self, line: &str) -> String {
        let done = self.run(line);
        assert!(done.status.success() && done.stderr.is_empty(), "{line}: {done:?}");
        String::from_utf8(done.stdout).unwrap()
    }

    #[track_caller]
    fn json(&self, line: &str) -> Value {
        serde_json::from_str(&self.text(line)).unwrap()
    }

    #[track_caller]
    fn refused(&self, line: &str, operation: &str, name: &str) {
        let done = self.run(line);
        let said = String::from_utf8(done.stderr).unwrap();
        let begins = format!("An error occurred ({name}) when calling the {operation} operation: ");
        assert!(said.starts_with(&begins) && said.lines().count() == 1, "{line}: {said}");
        assert_eq!((done.status.code(), done.stdout.len()), (Some(254), 0), "{line}");
    }

    fn new_key(&self) -> String {
        self.json("create-key")["KeyMetadata"]["KeyId"].as_str().unwrap().to_owned()
    }
}

/// A document's commands without `aws kms`, with ids put in, each once it is asked for.
struct Script<'a>(std::iter::Filter<std::str::Lines<'a>, fn(&&str) -> bool>);

impl<'a> Script<'a> {
    fn of(document: &'a str) -> Self {
        Self(document.lines().filter(|line| !line.starts_with('#')))
    }

    fn next(&mut self, ids: &[(&str, &str)]) -> String {
        let line = self.0.next().unwrap().strip_prefix("aws kms ").unwrap();
        ids.iter().fold(line.to_owned(), |line, (theirs, ours)| line.replace(theirs, ours))
    }
}

/// The lines of a `… | grep application`, each as its fields.
fn grep_application(account: &Account, line: &str) -> Vec<Vec<String>> {
    let command = line.strip_suffix(" | grep application").unwrap();
    let text = account.text(command);
    let lines = text.lines().filter(|line| line.contains("application"));
    lines.map(|line| line.split('\t').map(str::to_owned).collect()).collect()
}

fn alias_line(alias: &str, key: &str) -> Vec<String> {
    ["ALIASES".to_owned(), format!("{ARN}{alias}"), alias.to_owned(), key.to_owned()].to_vec()
}

#[test]
fn the_document_on_manual_rotation_runs_as_written() {
    let account = Account::new();
    let old = account.new_key();
    let mut script = Script::of(MANUAL);
    let ids = [("0987dcba-09fe-87dc-65ba-ab0987654321", old.as_str())];
    assert_eq!(account.text(&script.next(&ids)), "");
    let current = || alias_line("alias/application-current", &old);
    assert_eq!(grep_application(&account, &script.next(&ids)), [current()]);
    assert_eq!(account.text(&script.next(&ids)), "");
    let dated = || alias_line("alias/application-20180606", &old);
    assert_eq!(grep_application(&account, &script.next(&ids)), [dated(), current()]);

    let made = account.json(&script.next(&ids));
    let metadata = &made["KeyMetadata"];
    let new = metadata["KeyId"].as_str().unwrap();
    let as_printed = json!({
        "Origin": "AWS_KMS",
        "KeyId": new,
        "Description": "",
        "KeyManager": "CUSTOMER",
        "Enabled": true,
        "KeyUsage": "ENCRYPT_DECRYPT",
        "KeyState": "Enabled",
        "CreationDate": metadata["CreationDate"],
        "Arn": format!("{ARN}key/{new}"),
        "AWSAccountId": "000000000000",
    });
    for (field, value) in as_printed.as_object().unwrap() {
        assert_eq!(&metadata[field], value, "{field}");
    }
    // ISO 8601 with an offset; in version 1 of the AWS CLI, whose answers the document prints, seconds with a fraction
    // (1528289057.531).
    let created: jiff::Timestamp = metadata["CreationDate"].as_str().unwrap().parse().unwrap();
    assert!(created.as_second() > 1_528_289_057);
    let wire = account.json(&format!("describe-key --key-id {new} --cli-timestamp-format wire"));
    let seconds = wire["KeyMetadata"]["CreationDate"].as_f64().unwrap();
    assert_eq!((seconds * 1000.0).round() as i64, created.as_millisecond());

    let ids = [("NEW_KMS_KEY_ID", new)];
    assert_eq!(account.text(&script.next(&ids)), "");
    let moved = alias_line("alias/application-current", new);
    assert_eq!(grep_application(&account, &script.next(&ids)), [dated(), moved]);
    assert_eq!(script.0.next(), None);

    // What it does by hand in a console: the old key's policy to the new one; and the way back.
    let policy = account.json(&format!("get-key-policy --key-id {old} --policy-name default"));
    std::fs::write(account.path("policy"), policy["Policy"].as_str().unwrap()).unwrap();
    account.text(&format!("put-key-policy --key-id {new} --policy-name default --policy file://policy"));
    assert_eq!(account.json(&format!("get-key-policy --key-id {new}")), policy);
    account.text(&format!("update-alias --alias-name alias/application-current --target-key-id {old}"));
    assert_eq!(
        grep_application(&account, "list-aliases --output text | grep application"),
        [dated(), current()]
    );
}

#[test]
fn the_document_on_automatic_rotation_runs_as_written() {
    let account = Account::new();
    let (first, second) = (account.new_key(), account.new_key());
    account.text(&format!("create-alias --alias-name alias/TestCMK --target-key-id {first}"));
    let ids = [
        ("1234abcd-12ab-34cd-56ef-1234567890ab", first.as_str()),
        ("0987dcba-09fe-87dc-65ba-ab0987654321", second.as_str()),
    ];
    let mut script = Script::of(AUTOMATIC);
    for on in [true, false] {
        assert_eq!(account.text(&script.next(&ids)), "");
        let line = script.next(&ids);
        assert_eq!(account.json(&line)["KeyRotationEnabled"], on);
        let text = account.text(&line);
        assert!(text.starts_with(&format!("{{\n    \"KeyRotationEnabled\": {on}")), "{text}");
    }
    let check = |line: String, key: &str| {
        let aliases = account.json(&line);
        assert_eq!(aliases.as_object().unwrap().keys().collect::<Vec<_>>(), ["Aliases"]);
        let mut named = aliases["Aliases"].as_array().unwrap().iter();
        let found = named.find(|alias| alias["AliasName"] == "alias/TestCMK").unwrap();
        assert_eq!(found["AliasArn"], format!("{ARN}alias/TestCMK"));
        assert_eq!(found["TargetKeyId"], key);
    };
    check(script.next(&ids), &first);
    assert_eq!(account.text(&script.next(&ids)), "");
    check(script.next(&ids), &second);
    assert_eq!(script.0.next(), None);
}

#[test]
fn refusals_have_awss_names_and_status() {
    let account = Account::new();
    let key = account.new_key();
    let none = "00000000-0000-4000-8000-000000000000";
    account.refused(&format!("describe-key --key-id {none}"), "DescribeKey", "NotFoundException");
    let period = format!("enable-key-rotation --key-id {key} --rotation-period-in-days");
    account.refused(&format!("{period} 89"), "EnableKeyRotation", "ValidationException");
    account.refused(&format!("{period} 2561"), "EnableKeyRotation", "ValidationException");
    account.text(&format!("{period} 2560"));
    account.text(&format!("disable-key --key-id {key}"));
    account.refused(&format!("{period} 90"), "EnableKeyRotation", "DisabledException");
    account.refused(
        &format!("rotate-key-on-demand --key-id {key}"),
        "RotateKeyOnDemand",
        "DisabledException",
    );
    let alias = |name: &str| format!("create-alias --alias-name {name} --target-key-id {key}");
    account.refused(&alias("alias/aws/x"), "CreateAlias", "InvalidAliasNameException");
    account.refused(&alias("alias/default"), "CreateAlias", "AlreadyExistsException");
    let days = "--pending-window-in-days";
    let schedule = format!("schedule-key-deletion --key-id {key} {days}");
    account.refused(&format!("{schedule} 6"), "ScheduleKeyDeletion", "ValidationException");
    let scheduled = account.json(&format!("{schedule} 7"));
    assert_eq!(
        (&scheduled["KeyState"], &scheduled["PendingWindowInDays"]),
        (&"PendingDeletion".into(), &7.into())
    );
    account.refused(&format!("enable-key --key-id {key}"), "EnableKey", "KMSInvalidStateException");
    account.text(&format!("cancel-key-deletion --key-id {key}"));
    assert_eq!(account.json(&format!("describe-key --key-id {key}"))["KeyMetadata"]["KeyState"], "Disabled");
    let policy = format!("put-key-policy --key-id {key} --policy {{}}");
    account.refused(&policy, "PutKeyPolicy", "MalformedPolicyDocumentException");
}

#[test]
fn lists_are_whole_unless_a_limit_is_given() {
    let account = Account::new();
    let key = account.new_key();
    for _ in 0..2 {
        account.text(&format!("rotate-key-on-demand --key-id {key}"));
    }
    let keys = account.json("list-keys");
    assert_eq!((keys["Keys"].as_array().unwrap().len(), keys.as_object().unwrap().len()), (3, 1));
    let page = account.json("list-keys --no-paginate");
    assert_eq!((&page["Keys"], &page["Truncated"]), (&keys["Keys"], &json!(false)));
    let first = account.json("list-keys --limit 1");
    let marker = first["NextMarker"].as_str().unwrap();
    let rest = account.json(&format!("list-keys --limit 5 --marker {marker}"));
    assert_eq!(rest["Keys"].as_array().unwrap()[..], keys["Keys"].as_array().unwrap()[1..]);
    let rotations = format!("list-key-rotations --key-id {key}");
    assert_eq!(account.json(&rotations)["Rotations"].as_array().unwrap().len(), 2);
    let all = account.json(&format!("{rotations} --include-key-material ALL_KEY_MATERIAL"));
    assert_eq!(all["Rotations"].as_array().unwrap().len(), 3);
    let two = account.json("list-keys --max-items 2 --page-size 1");
    assert_eq!(two["Keys"].as_array().unwrap()[..], keys["Keys"].as_array().unwrap()[..2]);
    let token = two["NextToken"].as_str().unwrap();
    let last = account.json(&format!("list-keys --starting-token {token}"));
    assert_eq!((&last["Keys"], last.get("NextToken")), (&json!([keys["Keys"][2]]), None));
    for (list, named) in [
        ("list-aliases".to_owned(), "Aliases"),
        (format!("list-key-policies --key-id {key}"), "PolicyNames"),
        (format!("{rotations} --page-size 1"), "Rotations"),
        (format!("list-resource-tags --key-id {key}"), "Tags"),
    ] {
        let whole = account.json(&list);
        let first = account.json(&format!("{list} --max-items 1"));
        let (all, one) = (whole[named].as_array().unwrap(), first[named].as_array().unwrap());
        assert_eq!(one[..], all[..all.len().min(1)], "{list}");
        assert_eq!(first.get("NextToken").is_some(), all.len() > 1, "{list}");
    }
    let due = account.command(&["rotate", "vault", "--keyfile", "key", "--due"]);
    assert!(due.status.success() && due.stdout.is_empty(), "{due:?}");
}

#[test]
fn answers_are_printed_in_each_of_the_aws_clis_forms() {
    let account = Account::new();
    let key = account.new_key();
    let describe = format!("describe-key --key-id {key}");
    assert_eq!(
        account.text(&format!("{describe} --query KeyMetadata.KeyId --output text")),
        format!("{key}\n")
    );
    assert_eq!(account.text(&format!("{describe} --query KeyMetadata.Enabled")), "true\n");
    let yaml = account.text(&format!("{describe} --output yaml"));
    assert!(yaml.starts_with("KeyMetadata:\n  AWSAccountId: '000000000000'\n  Arn: arn:"), "{yaml}");
    let stream = account.text("list-keys --output yaml-stream --page-size 1");
    assert_eq!(stream.matches("- Keys:\n  - KeyArn: arn:").count(), 3, "{stream}");
    let table = account.text("list-keys --output table");
    assert!(
        table.contains("|                 KeyId                  ||") && table.contains("ListKeys"),
        "{table}"
    );
    assert_eq!(account.text(&format!("{describe} --output off")), "");
    assert_eq!(
        account.text(&format!("create-alias --alias-name alias/x --target-key-id {key} --query a")),
        "null\n"
    );
    assert_eq!(
        account.text(&format!("list-aliases --query Aliases[?TargetKeyId==`{key}`].AliasName")),
        "[\n    \"alias/x\"\n]\n"
    );
    assert!(account.text("list-aliases --output text").starts_with("ALIASES\tarn:"));
    // A wrong query changes nothing.
    let wrong = account.run(&format!("create-alias --alias-name alias/y --target-key-id {key} --query a["));
    let said = String::from_utf8(wrong.stderr).unwrap();
    assert!(said.contains("Bad value for --query a[: ") && said.lines().count() == 1, "{said}");
    assert_eq!(
        account.text("list-aliases --query Aliases[].AliasName --output text"),
        "alias/default\talias/rekeyfs/tree\talias/x\n"
    );
}

#[test]
fn data_is_encrypted_and_decrypted_as_with_the_aws_command() {
    let account = Account::new();
    let key = account.new_key();
    std::fs::write(account.path("plain"), [0, 1, 255]).unwrap();
    let blob = account.text(&format!(
        "encrypt --key-id {key} --plaintext fileb://plain --encryption-context a=b --query CiphertextBlob --output text"
    ));
    std::fs::write(account.path("blob.b64"), &blob).unwrap();
    let decrypt =
        "decrypt --ciphertext-blob file://blob.b64 --query Plaintext --output text --encryption-context";
    assert_eq!(account.text(&format!("{decrypt} a=b")), "AAH/\n");
    account.refused(&format!("{decrypt} a=c"), "Decrypt", "InvalidCiphertextException");
    let moved = account.json(
        "re-encrypt --ciphertext-blob file://blob.b64 --source-encryption-context a=b --destination-key-id alias/default",
    );
    let moved = moved["CiphertextBlob"].as_str().unwrap();
    let decrypted = account.json(&format!("decrypt --ciphertext-blob {moved}"));
    assert_eq!(decrypted["Plaintext"], "AAH/");
    let random = account.json("generate-random --number-of-bytes 3");
    assert_eq!(random["Plaintext"].as_str().unwrap().len(), 4);
}

#[test]
fn what_is_not_kmss_refusal_has_the_aws_commands_status_for_it() {
    let account = Account::new();
    let wrong = account.command(&["kms", "list-keys", "--keyfile", "vault/keyring"]);
    assert_eq!(wrong.status.code(), Some(253), "{wrong:?}");
    let elsewhere = account.command(&["kms", "list-keys", "--vault", "run"]);
    assert_eq!(elsewhere.status.code(), Some(253), "{elsewhere:?}");
    let unnamed = Command::new(env!("CARGO_BIN_EXE_rekeyfs"))
        .args(["kms", "list-keys"])
        .env_remove("REKEYFS_VAULT")
        .current_dir("/")
        .output()
        .unwrap();
    assert_eq!(unnamed.status.code(), Some(253), "{unnamed:?}");
    for line in [
        "",
        "dance",
        "describe-key",
        "list-keys --no-such-flag",
        "create-key --tags [",
        "create-key --policy file://none",
        "create-key --cli-input-json {\"Surprise\":1}",
        "create-key --cli-input-json {\"Description\":1}",
    ] {
        assert_eq!(account.run(line).status.code(), Some(252), "{line}");
    }
    account.refused("create-grant --key-id k", "CreateGrant", "UnsupportedOperationException");
    account.refused("create-key --key-spec RSA_2048", "CreateKey", "UnsupportedOperationException");
}

#[test]
fn keys_of_an_unmounted_vault_are_imported_renewed_retired_and_deleted() {
    let account = Account::new();
    let run = |args: &[&str]| account.command(&[args, &["--keyfile", "key"]].concat());
    let made = account.json("create-key --origin EXTERNAL --tags TagKey=a,TagValue=1");
    let key = made["KeyMetadata"]["KeyId"].as_str().unwrap();
    assert_eq!(account.json(&format!("list-resource-tags --key-id {key}"))["Tags"][0]["TagValue"], "1");
    std::fs::write(account.path("material"), [3; 32]).unwrap();
    std::fs::write(account.path("short"), [3; 31]).unwrap();
    let import = |file: &str| {
        let model = "--expiration-model KEY_MATERIAL_DOES_NOT_EXPIRE";
        format!("import-key-material --key-id {key} --key-material-file {file} {model}")
    };
    assert_eq!(account.run(&import("short")).status.code(), Some(253));
    let state = || account.json(&format!("describe-key --key-id {key}"))["KeyMetadata"]["KeyState"].clone();
    assert_eq!(state(), "PendingImport");
    let done = account.run(&import("material"));
    if cfg!(feature = "aws-lc") {
        assert!(done.status.success(), "{done:?}");
        assert_eq!(state(), "Enabled");
        account.json(&format!("delete-imported-key-material --key-id {key}"));
        assert_eq!(state(), "PendingImport");
    } else {
        let said = String::from_utf8(done.stderr).unwrap();
        assert!(said.contains("UnsupportedOperationException"), "{said}");
    }

    let renewed = run(&["rotate", "vault", "--new-key", "--json"]);
    let renewed: Value = serde_json::from_slice(&renewed.stdout).unwrap();
    let old = renewed["old_key_id"].as_str().unwrap();
    let by_alias = account.json("describe-key --key-id alias/default");
    assert_eq!(by_alias["KeyMetadata"]["KeyId"], renewed["new_key_id"]);

    // There are no files, so nothing needs it.
    assert!(run(&["rotate", "vault", "--key-id", old]).status.success());
    let retire = |more: &[&str]| run(&[&["key", "retire", "vault", "--key-id", old], more].concat());
    for refused in [&["--below", "3"][..], &["--below", "1"]] {
        assert_eq!(retire(refused).status.code(), Some(44), "{refused:?}");
    }
    let trimmed = retire(&["--below", "2", "--trim", "--json"]);
    let trimmed: Value = serde_json::from_slice(&trimmed.stdout).unwrap();
    assert_eq!((&trimmed["min_decryption"], &trimmed["trimmed"]), (&json!(2), &json!(1)));
    assert!(retire(&["--below", "2", "--undo"]).status.success());

    // A file of which it can't be determined is in the way, unless --force is given.
    std::fs::write(account.path("vault/tree/x"), [b"RKFS".as_slice(), &[1; 5000]].concat()).unwrap();
    account.refused(
        &format!("schedule-key-deletion --key-id {old}"),
        "ScheduleKeyDeletion",
        "ConflictException",
    );
    let forced = account.run(&format!("schedule-key-deletion --key-id {old} --force"));
    assert!(forced.status.success() && !forced.stderr.is_empty(), "{forced:?}");
    let status = run(&["status", "vault"]);
    assert!(String::from_utf8(status.stdout).unwrap().contains(&format!("key {} is deleted", &old[..8])));
}
