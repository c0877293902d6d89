//! `--output yaml` and `yaml-stream`: block style with the names of each object sorted, as the AWS CLI writes it, but that
//! long texts stay on one line. A text is quoted where a reader of YAML 1.1 or 1.2 would take it for something else.
//!
//! It is written here because no crate writes it so. serde-saphyr, which reads YAML for this program, quotes with double quotes
//! where the AWS CLI has single ones, quotes more and less (`1.2.3`, `-a`), and leaves marks that turn the direction of writing as
//! they are; it has no options for that. serde_yaml and its forks aren't kept up.

use std::borrow::Cow;
use std::sync::LazyLock;

use regex::Regex;
use serde_json::Value;

use crate::printable;

/// Texts that are a null, a truth value, a number, a date or a merge key.
static MEANS_SOMETHING_ELSE: LazyLock<Option<Regex>> = LazyLock::new(|| {
    let patterns = [
        "~|null|Null|NULL|=|<<",
        "(?i:y|yes|n|no|on|off|true|false)",
        "[-+]?(?:0b[01_]+|0o?[0-7_]+|0x[0-9a-fA-F_]+|[0-9][0-9_]*(?::[0-5]?[0-9])*)",
        r"[-+]?[0-9][0-9_]*(?::[0-5]?[0-9])*\.?[0-9_]*(?:[eE][-+]?[0-9]+)?",
        r"[-+]?\.[0-9_]+(?:[eE][-+]?[0-9]+)?",
        r"[-+]?\.(?i:inf|nan)",
        r"[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}(?:(?:[Tt]|[ \t]+)[0-9]{1,2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]*)?[ \t]*(?:Z|[-+][0-9]{1,2}(?::?[0-9]{2})?)?)?",
    ];
    Regex::new(&format!(r"\A(?:{})\z", patterns.join("|"))).ok()
});

/// One document.
pub(super) fn document(value: &Value) -> String {
    let mut out = String::new();
    if is_block(value) {
        block(value, 0, &mut out);
    } else {
        // A bare scalar as in JSON: in YAML it would need an end mark.
        out.push_str(&printable::json(&value.to_string()));
        out.push('\n');
    }
    out
}

/// Whether a value takes lines of its own.
fn is_block(value: &Value) -> bool {
    match value {
        Value::Array(items) => !items.is_empty(),
        Value::Object(object) => !object.is_empty(),
        _ => false,
    }
}

/// Lines that are indented by so many columns, but for the first: that begins where the last line has come to.
fn block(value: &Value, indent: usize, out: &mut String) {
    let mut first = true;
    let mut begin = |out: &mut String| {
        if !std::mem::take(&mut first) {
            out.push_str(&" ".repeat(indent));
        }
    };
    match value {
        Value::Array(items) => {
            for item in items {
                begin(out);
                out.push_str("- ");
                nested(item, indent + 2, out);
            }
        }
        Value::Object(object) => {
            let mut members: Vec<_> = object.iter().collect();
            members.sort_unstable_by_key(|(name, _)| *name);
            for (name, value) in members {
                begin(out);
                out.push_str(&scalar(name));
                out.push(':');
                if is_block(value) {
                    // The items of a list begin where the name of the list does.
                    let below = if value.is_array() { indent } else { indent + 2 };
                    out.push('\n');
                    out.push_str(&" ".repeat(below));
                    block(value, below, out);
                } else {
                    out.push(' ');
                    nested(value, indent + 2, out);
                }
            }
        }
        _ => {}
    }
}

fn nested(value: &Value, indent: usize, out: &mut String) {
    match value {
        value if is_block(value) => return block(value, indent, out),
        Value::String(text) => out.push_str(&scalar(text)),
        // Numbers, truth values, null and what is empty are written as in JSON.
        other => out.push_str(&other.to_string()),
    }
    out.push('\n');
}

fn scalar(text: &str) -> Cow<'_, str> {
    let quoted = Value::from(text).to_string();
    // What has to be escaped is written as in JSON, whose strings are YAML's in double quotes.
    if quoted.len() != text.len() + 2 + text.matches(['"', '\\']).count()
        || matches!(printable::json(text), Cow::Owned(_))
    {
        return Cow::Owned(printable::json(&quoted).into_owned());
    }
    if is_plain(text) { Cow::Borrowed(text) } else { Cow::Owned(format!("'{}'", text.replace('\'', "''"))) }
}

/// Whether a text of characters that need no escape can be written without quotes.
fn is_plain(text: &str) -> bool {
    let indicator = |c: char| "-?:,[]{}#&*!|>'\"%@`".contains(c);
    let means_itself = || MEANS_SOMETHING_ELSE.as_ref().is_some_and(|else_| !else_.is_match(text));
    !text.starts_with(|c: char| indicator(c) || c.is_whitespace())
        && !text.ends_with(|c: char| c == ':' || c.is_whitespace())
        && ![": ", " #"].iter().any(|mark| text.contains(mark))
        && !text.is_empty()
        && means_itself()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// As PyYAML writes it for the AWS CLI.
    #[test]
    fn yaml_is_what_the_aws_cli_prints() {
        let keys = json!({ "Keys": [
            { "KeyId": "1234abcd-12ab-34cd-56ef-1234567890ab", "KeyArn": "arn:aws:kms:us-east-1:111122223333:key/1234abcd" },
            { "KeyId": "b", "KeyArn": "c" },
        ] });
        let expected = "\
Keys:
- KeyArn: arn:aws:kms:us-east-1:111122223333:key/1234abcd
  KeyId: 1234abcd-12ab-34cd-56ef-1234567890ab
- KeyArn: c
  KeyId: b
";
        assert_eq!(document(&keys), expected);
        let metadata = json!({ "KeyMetadata": {
            "AWSAccountId": "111122223333", "CreationDate": "2026-11-30T03:00:00.123000+00:00", "Enabled": true,
            "Description": "", "EncryptionAlgorithms": ["SYMMETRIC_DEFAULT"], "None": null, "Tags": [], "Days": 365,
        } });
        let expected = "\
KeyMetadata:
  AWSAccountId: '111122223333'
  CreationDate: '2026-11-30T03:00:00.123000+00:00'
  Days: 365
  Description: ''
  Enabled: true
  EncryptionAlgorithms:
  - SYMMETRIC_DEFAULT
  None: null
  Tags: []
";
        // The name is no null in any YAML, the word alone is.
        assert_eq!(document(&metadata), expected);
        assert_eq!(
            document(&json!([["a", "b"], ["c"], { "d": { "e": [1] } }])),
            "- - a\n  - b\n- - c\n- d:\n    e:\n    - 1\n"
        );
        for (scalar, expected) in [
            (json!("a: b"), "\"a: b\"\n"),
            (json!(null), "null\n"),
            (json!([]), "[]\n"),
            (json!(1.5), "1.5\n"),
        ] {
            assert_eq!(document(&scalar), expected);
        }
    }

    #[test]
    fn what_would_be_read_as_something_else_is_quoted() {
        let quoted = [
            "",
            " a",
            "a ",
            "yes",
            "No",
            "ON",
            "y",
            "null",
            "~",
            "=",
            "<<",
            "12",
            "-1",
            "0x1F",
            "0b1",
            "0o7",
            "1_000",
            "1e5",
            "1.5",
            ".5",
            ".inf",
            "-.NaN",
            "12:30",
            "12:30:45",
            "2026-11-30",
            "2026-11-30 12:00:00Z",
            "- a",
            "-a",
            "? a",
            ": a",
            ", a",
            "[a",
            "{a",
            "# a",
            "&a",
            "*a",
            "!a",
            "|",
            "> a",
            "'a",
            "\"a",
            "%a",
            "@a",
            "`a",
            "a: b",
            "a:",
            "a #b",
            "it's: so",
        ];
        for text in quoted {
            let expected = format!("a: '{}'\n", text.replace('\'', "''"));
            assert_eq!(document(&json!({ "a": text })), expected, "{text:?}");
        }
        for text in [
            "a", "a b", "alias/x", "a:b", "a#b", "12ab", "1.2.3", "it's", "a-b", "x, y", "4e\u{e9}", "\\",
            "a\\nb", "a\"b", "nulls",
        ] {
            assert_eq!(document(&json!({ "a": text })), format!("a: {text}\n"), "{text:?}");
        }
        for (text, expected) in [
            ("a\nb", r#""a\nb""#),
            ("\t", r#""\t""#),
            ("\u{1b}[31m", r#""\u001b[31m""#),
            ("\u{202e}'\"", r#""\u202e'\"""#),
            ("\u{7f}", r#""\u007f""#),
            ("\u{85}", r#""\u0085""#),
        ] {
            assert_eq!(document(&json!([text])), format!("- {expected}\n"), "{text:?}");
        }
    }
}
