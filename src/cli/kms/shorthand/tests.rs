use proptest::prelude::*;
use serde_json::json;

use super::*;

fn no_file(text: &str) -> Result<String, String> {
    match text.strip_prefix("file://") {
        None => Ok(text.to_owned()),
        Some("there") => Ok("content".to_owned()),
        Some(path) => Err(format!("{path} isn't there")),
    }
}

fn parsed(text: &str) -> Value {
    parse(text, &no_file).unwrap_or_else(|error| panic!("{text}: {error}")).into()
}

#[test]
fn shorthand_is_read_as_the_aws_cli_reads_it() {
    for (text, value) in [
        ("TagKey=a,TagValue=b", json!({ "TagKey": "a", "TagValue": "b" })),
        ("TagKey=a,TagValue=", json!({ "TagKey": "a", "TagValue": "" })),
        ("TagKey=,TagValue=b", json!({ "TagKey": "", "TagValue": "b" })),
        ("TagKey = a , TagValue = b c ", json!({ "TagKey": "a", "TagValue": "b c" })),
        ("TagKey='a b',TagValue=\"c, d=e\"", json!({ "TagKey": "a b", "TagValue": "c, d=e" })),
        (r"TagKey='it\'s',TagValue=1\,2", json!({ "TagKey": "it's", "TagValue": "1,2" })),
        (r#"a="\"b\" \\",c=d"#, json!({ "a": "\"b\" \\", "c": "d" })),
        (r"a='b\'", json!({ "a": "b\\" })),
        ("a=b=c,d=e", json!({ "a": "b=c", "d": "e" })),
        ("a=1,2,b=3", json!({ "a": ["1", "2"], "b": "3" })),
        ("a=1,'b=2',c=3", json!({ "a": ["1", "b=2"], "c": "3" })),
        ("a=[1,2],b=[]", json!({ "a": ["1", "2"], "b": [] })),
        ("a=[ 1 , 'x y' ]", json!({ "a": ["1", "x y"] })),
        ("a={b=c,d=[{e=f}]}", json!({ "a": { "b": "c", "d": [{ "e": "f" }] } })),
        ("a={}", json!({ "a": {} })),
        ("a@=file://there,b=file://there", json!({ "a": "content", "b": "file://there" })),
        ("a@=plain", json!({ "a": "plain" })),
        ("TagKey=größe,TagValue=鍵", json!({ "TagKey": "größe", "TagValue": "鍵" })),
        ("aws:a/b.c#d=e", json!({ "aws:a/b.c#d": "e" })),
    ] {
        assert_eq!(parsed(text), value, "{text}");
    }
}

#[test]
fn what_is_no_shorthand_is_told_by_what_was_expected() {
    for (text, told) in [
        ("", "Expected: '=', received: 'EOF'"),
        ("TagKey", "Expected: '=', received: 'EOF'"),
        ("TagKey:a", "Expected: '=', received: 'EOF'"),
        ("a=b,", "Expected: 'a value', received: 'EOF'"),
        ("a=b c=d e", ""),
        ("a='b", "Expected: ''', received: 'EOF'"),
        ("a=\"b", "Expected: '\"', received: 'EOF'"),
        ("a='b'c", "Expected: ',', received: 'c' at character 6"),
        ("a=[b", "Expected: ',', received: 'EOF'"),
        ("a={b", "Expected: '=', received: 'EOF'"),
        ("a={b=c", "Expected: ',', received: 'EOF'"),
        ("a=b,a=c", "Second instance of key \"a\""),
        ("a@=file://gone", "gone isn't there"),
        (&format!("a={}", "[".repeat(100_000)), "more than 32"),
    ] {
        match parse(text, &no_file) {
            Err(error) => assert!(error.to_string().contains(told) && !told.is_empty(), "{text}: {error}"),
            Ok(value) => assert_eq!((told, Value::from(value)), ("", json!({ "a": "b c=d e" })), "{text}"),
        }
    }
}

/// A text in quotes.
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

proptest! {
    #[test]
    fn any_text_is_shorthand_or_is_not(text in "[a-c=,@\\[\\]{}'\"\\\\ ]{0,24}|\\PC{0,24}") {
        let _ = parse(&text, &no_file);
    }

    #[test]
    fn what_is_written_in_quotes_is_read_as_it_was(
        pairs in proptest::collection::btree_map("[a-zA-Z0-9_.#/:-]{1,6}", "\\PC{0,12}[^\\\\]", 1..5),
        list in proptest::collection::vec("\\PC{0,8}[^\\\\]", 0..4),
    ) {
        let mut text: Vec<String> = pairs.iter().map(|(key, value)| format!("{key}={}", quoted(value))).collect();
        text.push(format!("the-list=[{}]", list.iter().map(|item| quoted(item)).collect::<Vec<_>>().join(" , ")));
        let mut expected = serde_json::to_value(&pairs).unwrap();
        expected["the-list"] = json!(list);
        prop_assert_eq!(parsed(&text.join(",")), expected);
    }
}
