use std::ffi::OsString;
use std::path::Path;

use serde_json::json;

use super::*;
use crate::cli::args::kms::{Kms, Verb};
use crate::cli::args::{self, Command, Invocation};

const KEY: &str = "1234abcd-12ab-34cd-56ef-1234567890ab";
const ARN: &str = "arn:aws:kms:us-west-2:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab";
const LINES: &str = include_str!("../../../../tests/kms/aws-lines.txt");

/// What a line for the aws command is for `rekeyfs`; nothing if it only shows something.
fn typed(words: &[String]) -> Option<Box<VerbArgs>> {
    let line = words.iter().map(OsString::from);
    match args::parse(line).unwrap_or_else(|failure| panic!("{words:?}: {failure}")) {
        Invocation::Show(_) => None,
        Invocation::Command(command) => match *command {
            Command::Kms(Kms { verb: Verb::Operation(args) }) => Some(args),
            other => panic!("{words:?}: {other:?}"),
        },
        other => panic!("{words:?}: {other:?}"),
    }
}

fn words(line: &str) -> Vec<String> {
    let mut words = shlex::split(line).unwrap_or_else(|| panic!("{line}"));
    words[0] = "rekeyfs".to_owned();
    words
}

fn result(line: &str) -> Outcome<Value> {
    json(&typed(&words(line)).unwrap())
}

#[track_caller]
fn parameters(line: &str) -> Value {
    result(line).unwrap_or_else(|failure| panic!("{line}: {failure}"))
}

fn files() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (name, content) in [
        ("tags.json", &br#"[{"TagKey": "a", "TagValue": "b"}]"#[..]),
        ("policy.json", b"{\"Version\": \"2012-10-17\",\n \"Statement\": []}\n"),
        ("key.json", br#"{"Description": "in a file", "MultiRegion": false}"#),
        ("key.yaml", b"# A key\nDescription: in YAML\nTags:\n- TagKey: a\n  TagValue: '1'\n"),
        ("description.txt", b"from a file"),
        ("EncryptedKeyMaterial.bin", &[0, 1, 255]),
        ("EncryptedKeyMaterial.b64", b"AAH/\n"),
        ("ImportToken.bin", b"token"),
        ("latin1", &[0xe9]),
        ("large", &vec![b'x'; (1 << 20) + 1]),
    ] {
        std::fs::write(dir.path().join(name), content).unwrap();
    }
    dir
}

fn in_dir(line: &str, dir: &Path) -> String {
    line.replace("DIR", dir.to_str().unwrap())
}

#[test]
fn lines_for_the_aws_command_are_taken_as_they_are() {
    let dir = files();
    let mut count = 0;
    for line in LINES.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let line = in_dir(line, dir.path()).replace("KEY ", &format!("{KEY} ")).replace("ARN", ARN);
        let line = line.strip_suffix("KEY").map(|begin| format!("{begin}{KEY}")).unwrap_or(line);
        count += 1;
        let Some(args) = typed(&words(&line)) else { continue };
        if args.skeleton.is_some() {
            continue;
        }
        let parameters = json(&args).unwrap_or_else(|failure| panic!("{line}: {failure}"));
        args.operation.call(&parameters).unwrap_or_else(|error| panic!("{line}: {error}"));
    }
    assert!(count > 80, "{count}");
}

#[test]
fn a_value_that_names_a_file_is_its_content() {
    let dir = files();
    let of = |line: &str| parameters(&in_dir(line, dir.path()));
    assert_eq!(
        of("aws kms create-key --description file://DIR/description.txt")["Description"],
        "from a file"
    );
    let policy = of("aws kms create-key --policy file://DIR/policy.json")["Policy"].clone();
    assert_eq!(policy, "{\"Version\": \"2012-10-17\",\n \"Statement\": []}\n");
    let tags = json!([{ "TagKey": "a", "TagValue": "b" }]);
    assert_eq!(of("aws kms tag-resource --key-id k --tags file://DIR/tags.json")["Tags"], tags);
    let shorthand = "aws kms tag-resource --key-id k --tags TagKey=a,TagValue@=file://DIR/description.txt";
    assert_eq!(of(shorthand)["Tags"][0]["TagValue"], "from a file");
    let import =
        |more: &str| of(&format!("aws kms import-key-material --key-id k --import-token AAH/ {more}"));
    for file in ["fileb://DIR/EncryptedKeyMaterial.bin", "file://DIR/EncryptedKeyMaterial.b64", "AAH/"] {
        let found = import(&format!("--encrypted-key-material {file}"));
        assert_eq!(found["EncryptedKeyMaterial"], "AAH/", "{file}");
    }
    let raw = import("--encrypted-key-material abc --cli-binary-format raw-in-base64-out");
    assert_eq!(raw["EncryptedKeyMaterial"], "YWJj");
}

#[test]
fn lists_and_structures_are_json_or_shorthand() {
    let keys = |typed: &str| {
        parameters(&format!("aws kms untag-resource --key-id k --tag-keys {typed}"))["TagKeys"].clone()
    };
    assert_eq!(keys("a b"), json!(["a", "b"]));
    assert_eq!(keys("a,b"), json!(["a,b"]));
    assert_eq!(keys("'[\"a\", \"b\"]'"), json!(["a", "b"]));
    assert_eq!(keys("''"), json!([""]));
    let tags =
        |typed: &str| parameters(&format!("aws kms tag-resource --key-id k --tags {typed}"))["Tags"].clone();
    let two = json!([{ "TagKey": "a", "TagValue": "b c" }, { "TagKey": "d", "TagValue": "" }]);
    assert_eq!(tags(r#"TagKey=a,TagValue='"b c"' TagKey=d,TagValue="#), two);
    assert_eq!(tags(r#"'[{"TagKey": "a", "TagValue": "b c"}, {"TagKey": "d", "TagValue": ""}]'"#), two);
    assert_eq!(tags(r#"'{"TagKey": "a", "TagValue": "b c"}' '{"TagKey": "d", "TagValue": ""}'"#), two);
    let context = "aws kms decrypt --ciphertext-blob AAH/ --encryption-context";
    let pairs = json!({ "a": "1", "b": "x y" });
    assert_eq!(parameters(&format!("{context} a=1,b='x y'"))["EncryptionContext"], pairs);
    assert_eq!(parameters(&format!("{context} '{pairs}'"))["EncryptionContext"], pairs);
    // The last of several counts, as with the aws command.
    assert_eq!(
        tags("TagKey=a,TagValue=1 --tags TagKey=b,TagValue=2"),
        json!([{ "TagKey": "b", "TagValue": "2" }])
    );
}

#[test]
fn flags_win_over_what_is_given_in_one_piece() {
    let json = r#"--cli-input-json '{"Description": "j", "KeyUsage": "ENCRYPT_DECRYPT"}'"#;
    let found = parameters(&format!("aws kms create-key {json} --description d"));
    assert_eq!(found, json!({ "Description": "d", "KeyUsage": "ENCRYPT_DECRYPT" }));
    let yaml = "aws kms describe-key --cli-input-yaml 'KeyId: \"123\"'";
    assert_eq!(parameters(yaml), json!({ "KeyId": "123" }));
    let both = parameters("aws kms create-key --no-multi-region --bypass-policy-lockout-safety-check");
    assert_eq!(both, json!({ "MultiRegion": false, "BypassPolicyLockoutSafetyCheck": true }));
}

#[test]
fn what_is_not_of_its_type_is_a_usage_error_that_names_the_option() {
    let dir = files();
    for (line, told) in [
        (
            "encrypt --key-id k --plaintext AAH/ --encryption-context a",
            "'--encryption-context': Expected: '='",
        ),
        ("list-keys --cli-input-json nothing", "--cli-input-json: "),
        ("list-keys --cli-input-json '[]'", "--cli-input-json: it must be an object"),
        ("list-keys --cli-input-yaml 'a: ]'", "--cli-input-yaml: "),
        ("describe-key --cli-input-json '{}'", "the following arguments are required: --key-id"),
        ("create-key --tags Name=", ""),
        ("create-key --tags a", "'--tags': Expected: '=', received: 'EOF'"),
        ("create-key --tags '[1'", "'--tags': Invalid JSON: "),
        ("create-key --tags TagKey=a,TagKey=b", "'--tags': Second instance of key"),
        ("create-key --description file://DIR/none", "/none: No such file"),
        ("create-key --description file://DIR/latin1", "/latin1: it isn't UTF-8"),
        ("create-key --description file://DIR/large", "/large: it is larger than 1 MiB"),
        ("create-key --tags TagKey@=file://DIR/none", "/none: No such file"),
        ("enable-key-rotation --key-id k --rotation-period-in-days many", "\"many\" is no whole number"),
        (
            "import-key-material --key-id k --import-token - --encrypted-key-material AAH/",
            "'--import-token': it isn't base64",
        ),
        (
            "import-key-material --key-id k --import-token AA== --encrypted-key-material AA== --valid-to soon",
            "\"soon\" is no time",
        ),
    ] {
        match result(&in_dir(&format!("aws kms {line}"), dir.path())) {
            Ok(found) => assert_eq!((told, &found), ("", &json!({ "Tags": [{ "Name": "" }] })), "{line}"),
            Err(failure) => {
                assert_eq!(failure.exit, Exit::Usage, "{line}");
                assert!(failure.to_string().contains(told) && !told.is_empty(), "{line}: {failure}");
            }
        }
    }
}

#[test]
fn yaml_that_grows_when_it_is_read_is_refused() {
    let mut bomb = String::from("a: &a [x,x,x,x,x,x,x,x,x,x]\n");
    for (name, of) in [('b', 'a'), ('c', 'b'), ('d', 'c'), ('e', 'd'), ('f', 'e'), ('g', 'f'), ('h', 'g')] {
        bomb += &format!("{name}: &{name} [{}]\n", vec![format!("*{of}"); 10].join(","));
    }
    let line = ["rekeyfs", "kms", "create-key", "--cli-input-yaml", &bomb].map(str::to_owned);
    assert!(json(&typed(&line).unwrap()).is_err());
}
