//! Tables of the AWS CLI, drawn by its own code (awscli 1.46.3).
use serde_json::json;

use super::*;

#[test]
fn tables_are_drawn_as_the_aws_cli_draws_them() {
    for (title, columns, answer, expected) in [
        (
            "ListKeys",
            200,
            json!({"Keys": [{"KeyId": "1234abcd-12ab-34cd-56ef-1234567890ab", "KeyArn": "arn:aws:kms:us-east-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab"}, {"KeyId": "0987dcba-09fe-87dc-65ba-ab0987654321", "KeyArn": "arn:aws:kms:us-east-1:111122223333:key/0987dcba-09fe-87dc-65ba-ab0987654321"}]}),
            r#"
---------------------------------------------------------------------------------------------------------------------------
|                                                        ListKeys                                                         |
+-------------------------------------------------------------------------------------------------------------------------+
||                                                         Keys                                                          ||
|+------------------------------------------------------------------------------+----------------------------------------+|
||                                    KeyArn                                    |                 KeyId                  ||
|+------------------------------------------------------------------------------+----------------------------------------+|
||  arn:aws:kms:us-east-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab |  1234abcd-12ab-34cd-56ef-1234567890ab  ||
||  arn:aws:kms:us-east-1:111122223333:key/0987dcba-09fe-87dc-65ba-ab0987654321 |  0987dcba-09fe-87dc-65ba-ab0987654321  ||
|+------------------------------------------------------------------------------+----------------------------------------+|
"#,
        ),
        (
            "DescribeKey",
            80,
            json!({"KeyMetadata": {"KeyId": "1234abcd-12ab-34cd-56ef-1234567890ab", "Arn": "arn:aws:kms:us-east-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab", "Enabled": true, "EncryptionAlgorithms": ["SYMMETRIC_DEFAULT"]}}),
            r#"
----------------------------------------------------------------------------------------------
|                                         DescribeKey                                        |
+--------------------------------------------------------------------------------------------+
||                                        KeyMetadata                                       ||
|+---------+--------------------------------------------------------------------------------+|
||  Arn    |  arn:aws:kms:us-east-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab   ||
||  Enabled|  True                                                                          ||
||  KeyId  |  1234abcd-12ab-34cd-56ef-1234567890ab                                          ||
|+---------+--------------------------------------------------------------------------------+|
|||                                  EncryptionAlgorithms                                  |||
||+----------------------------------------------------------------------------------------+||
|||  SYMMETRIC_DEFAULT                                                                     |||
||+----------------------------------------------------------------------------------------+||
"#,
        ),
        (
            "DescribeKey",
            200,
            json!({"KeyMetadata": {"KeyId": "1234abcd-12ab-34cd-56ef-1234567890ab", "Enabled": true, "Description": "", "EncryptionAlgorithms": ["SYMMETRIC_DEFAULT"]}}),
            r#"
----------------------------------------------------------------------
|                             DescribeKey                            |
+--------------------------------------------------------------------+
||                            KeyMetadata                           ||
|+-------------+----------+-----------------------------------------+|
|| Description | Enabled  |                  KeyId                  ||
|+-------------+----------+-----------------------------------------+|
||             |  True    |  1234abcd-12ab-34cd-56ef-1234567890ab   ||
|+-------------+----------+-----------------------------------------+|
|||                      EncryptionAlgorithms                      |||
||+----------------------------------------------------------------+||
|||  SYMMETRIC_DEFAULT                                             |||
||+----------------------------------------------------------------+||
"#,
        ),
        (
            "GetKeyRotationStatus",
            80,
            json!({"KeyRotationEnabled": false, "KeyId": "1234abcd-12ab-34cd-56ef-1234567890ab"}),
            r#"
----------------------------------------------------------------
|                     GetKeyRotationStatus                     |
+---------------------------------------+----------------------+
|                 KeyId                 | KeyRotationEnabled   |
+---------------------------------------+----------------------+
|  1234abcd-12ab-34cd-56ef-1234567890ab |  False               |
+---------------------------------------+----------------------+
"#,
        ),
        (
            "ListKeyPolicies",
            80,
            json!({"PolicyNames": ["default"]}),
            r#"
-----------------
|ListKeyPolicies|
+---------------+
|| PolicyNames ||
|+-------------+|
||  default    ||
|+-------------+|
"#,
        ),
        (
            "RotateKeyOnDemand",
            80,
            json!({"KeyId": "1234abcd-12ab-34cd-56ef-1234567890ab"}),
            r#"
---------------------------------------------------
|                RotateKeyOnDemand                |
+-------+-----------------------------------------+
|  KeyId|  1234abcd-12ab-34cd-56ef-1234567890ab   |
+-------+-----------------------------------------+
"#,
        ),
        (
            "ListKeys",
            80,
            json!({"Keys": [{"KeyId": "a", "KeyArn": "b"}], "NextToken": "eyJNYXJrZXIiOiAiYSJ9"}),
            r#"
---------------------------------------
|              ListKeys               |
+------------+------------------------+
|  NextToken |  eyJNYXJrZXIiOiAiYSJ9  |
+------------+------------------------+
||               Keys                ||
|+-----------------+-----------------+|
||     KeyArn      |      KeyId      ||
|+-----------------+-----------------+|
||  b              |  a              ||
|+-----------------+-----------------+|
"#,
        ),
        (
            "DescribeKey",
            80,
            json!("1234abcd-12ab-34cd-56ef-1234567890ab"),
            r#"
-------------
|DescribeKey|
+-----------+
"#,
        ),
        (
            "ListAliases",
            80,
            json!([["alias/a", "1234abcd-12ab-34cd-56ef-1234567890ab"], ["alias/b", null]]),
            r#"
-----------------------------------------------------
|                    ListAliases                    |
+---------+-----------------------------------------+
|  alias/a|  1234abcd-12ab-34cd-56ef-1234567890ab   |
|  alias/b|  None                                   |
+---------+-----------------------------------------+
"#,
        ),
        (
            "ListAliases",
            80,
            json!(["alias/a", "alias/b", 3.5]),
            r#"
-------------
|ListAliases|
+-----------+
|  alias/a  |
|  alias/b  |
|  3.5      |
+-----------+
"#,
        ),
        (
            "ListAliases",
            80,
            json!([{"Name": "alias/a", "Tags": [{"Key": "x"}, {"Key": "yy", "Value": "z"}]}, {"Name": "b", "Tags": []}]),
            r#"
--------------------
|    ListAliases   |
+------------------+
|       Name       |
+------------------+
|  alias/a         |
+------------------+
||      Tags      ||
|+------+---------+|
||  Key |  Value  ||
|+------+---------+|
||  x   |         ||
||  yy  |  z      ||
|+------+---------+|
|    ListAliases   |
+------------------+
|       Name       |
+------------------+
|  b               |
+------------------+
"#,
        ),
        (
            "X",
            80,
            json!({"A": "1", "B": "22", "C": "333"}),
            r#"
--------------------
|         X        |
+---+------+-------+
| A |  B   |   C   |
+---+------+-------+
|  1|  22  |  333  |
+---+------+-------+
"#,
        ),
        (
            "ListKeys",
            80,
            json!([]),
            r#"
"#,
        ),
        (
            "ListKeys",
            80,
            json!(null),
            r#"
"#,
        ),
    ] {
        let expected = expected.strip_prefix('\n').unwrap();
        assert_eq!(table(title, &answer, columns, Paint::Plain), expected, "{answer}");
    }
}

#[test]
fn a_table_with_wide_characters_has_straight_edges() {
    let keys = json!({ "Keys": [{ "KeyId": "\u{9375}", "Tag": "a" }, { "KeyId": "e\u{301}", "Tag": "b" }] });
    let drawn = table("\u{9375}\u{306e}\u{4e00}\u{89a7}", &keys, 80, Paint::Plain);
    let widths: Vec<usize> = drawn.lines().map(UnicodeWidthStr::width).collect();
    assert!(widths.iter().all(|width| *width == widths[0]), "{drawn}");
    assert!(drawn.contains("||  \u{9375}") && drawn.contains("||  e\u{301}"), "{drawn}");
}

#[test]
fn rows_of_several_widths_have_sections_of_their_own() {
    let drawn = table("X", &json!([["a", "b"], ["c"], [{ "d": 1 }], { "e": 2 }]), 80, Paint::Plain);
    let widths: Vec<usize> = drawn.lines().map(UnicodeWidthStr::width).collect();
    assert!(widths.iter().all(|width| *width == widths[0]), "{drawn}");
    assert!(["a", "b", "c", "d", "e"].iter().all(|text| drawn.contains(text)), "{drawn}");
}

/// As aws-cli prints it with `--color on`.
#[test]
fn values_and_bars_are_coloured_as_those_of_aws() {
    let answer = json!({ "Keys": [{ "KeyId": "a\u{1b}[31m" }], "Truncated": false });
    let drawn = table("ListKeys", &answer, 80, Paint::Coloured);
    let plain = table("ListKeys", &answer, 80, Paint::Plain);
    assert!(!plain.contains('\u{1b}'), "what a value has is shown, not obeyed");
    let (cell, bar, end) = ("\u{1b}[1m\u{1b}[34m", "\u{1b}[2m\u{1b}[33m", "\u{1b}[0m");
    assert!(drawn.contains(&format!("|  {cell}Truncated{end}")), "{drawn}");
    assert!(drawn.contains(&format!("{bar}|{end}|")), "{drawn}");
    let uncoloured = [cell, bar, end].iter().fold(drawn, |text, code| text.replace(code, ""));
    assert_eq!(uncoloured, plain);
}
