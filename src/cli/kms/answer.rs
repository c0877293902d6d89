//! The three ways in which the AWS CLI prints an answer: JSON, tab-separated text, boxes.

use serde::Serialize;
use serde_json::ser::{PrettyFormatter, Serializer};
use serde_json::{Map, Value};
use unicode_width::UnicodeWidthStr;

use crate::cli::args::Output;
use crate::cli::exit::{Exit, Failure, Outcome};
use crate::cli::output;
use crate::printable;

/// Columns of the text form that AWS's documentation doesn't show: its lines of ALIASES end in the key id.
const NOT_IN_TEXT: [(&str, &str); 2] = [("ALIASES", "CreationDate"), ("ALIASES", "LastUpdatedDate")];

/// Prints an answer; nothing if there is none.
///
/// # Errors
/// If standard output can't be written.
pub(super) fn print(operation: &str, answer: &Value, how: Output) -> Outcome {
    if answer.is_null() {
        return Ok(());
    }
    match how {
        Output::Json => output::print_json_text(&json(answer)?),
        Output::Text => output::print(&text(answer)),
        Output::Table => output::print(&table(operation, answer)),
    }
}

fn json(answer: &Value) -> Outcome<String> {
    let failed = |error: &dyn std::fmt::Display| Failure::new(Exit::Other, "standard output", error);
    let mut bytes = Vec::new();
    let mut serializer = Serializer::with_formatter(&mut bytes, PrettyFormatter::with_indent(b"    "));
    answer.serialize(&mut serializer).map_err(|error| failed(&error))?;
    bytes.push(b'\n');
    String::from_utf8(bytes).map_err(|error| failed(&error))
}

/// A line for each object: the name of the list it is in, then its values by the order of their names.
fn text(answer: &Value) -> String {
    let mut out = String::new();
    text_of(None, answer, &mut out);
    out
}

fn text_of(name: Option<&str>, value: &Value, out: &mut String) {
    match value {
        Value::Object(object) => {
            let scalars = columns(std::iter::once(object), name);
            text_row(name, object, &scalars, out);
        }
        Value::Array(items) => {
            let objects = || items.iter().filter_map(Value::as_object);
            let scalars = columns(objects(), name);
            for object in objects() {
                text_row(name, object, &scalars, out);
            }
            for scalar in items.iter().filter(|item| !item.is_object()) {
                line(name, std::iter::once(plain(scalar)), out);
            }
        }
        scalar => line(name, std::iter::once(plain(scalar)), out),
    }
}

fn text_row(name: Option<&str>, object: &Map<String, Value>, scalars: &[String], out: &mut String) {
    if !scalars.is_empty() {
        line(
            name,
            scalars.iter().map(|field| object.get(field).map(|v| cell(field, v)).unwrap_or_default()),
            out,
        );
    }
    let mut nested: Vec<_> = object.iter().filter(|(_, value)| is_nested(value)).collect();
    nested.sort_unstable_by_key(|(field, _)| *field);
    for (field, value) in nested {
        text_of(Some(&field.to_uppercase()), value, out);
    }
}

fn line(name: Option<&str>, values: impl Iterator<Item = String>, out: &mut String) {
    let whole: Vec<String> = name.map(str::to_owned).into_iter().chain(values).collect();
    out.push_str(&whole.join("\t"));
    out.push('\n');
}

/// A field's value. A policy is a text of several lines, which goes into a file as it is.
fn cell(field: &str, value: &Value) -> String {
    match value {
        Value::String(policy) if field == "Policy" => policy.clone(),
        value => plain(value),
    }
}

/// The names of the scalar fields that any of them has, sorted.
fn columns<'a>(objects: impl Iterator<Item = &'a Map<String, Value>>, name: Option<&str>) -> Vec<String> {
    let shown = |field: &&String| !NOT_IN_TEXT.iter().any(|(n, f)| name == Some(n) && f == field);
    let scalar = objects.flat_map(|object| object.iter().filter(|(_, v)| !is_nested(v)).map(|(f, _)| f));
    let mut fields: Vec<String> = scalar.filter(shown).cloned().collect();
    fields.sort_unstable();
    fields.dedup();
    fields
}

fn is_nested(value: &Value) -> bool {
    value.is_object() || value.is_array()
}

/// A scalar as the AWS CLI, a Python program, writes it, on one line.
fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => printable::line(text).into_owned(),
        Value::Bool(true) => "True".to_owned(),
        Value::Bool(false) => "False".to_owned(),
        Value::Null => "None".to_owned(),
        other => other.to_string(),
    }
}

/// A box for each object or list of objects, under the operation's name.
fn table(operation: &str, answer: &Value) -> String {
    let mut boxes = Vec::new();
    boxes_of(operation, answer, &mut boxes);
    let mut out = String::new();
    for (title, rows) in boxes {
        draw(&title, &rows, &mut out);
    }
    out
}

type Rows = Vec<Vec<String>>;

fn boxes_of(title: &str, value: &Value, boxes: &mut Vec<(String, Rows)>) {
    let objects: Vec<&Map<String, Value>> = match value {
        Value::Object(object) => vec![object],
        Value::Array(items) => items.iter().filter_map(Value::as_object).collect(),
        _ => return,
    };
    let fields = columns(objects.iter().copied(), None);
    if !fields.is_empty() {
        let row = |object: &&Map<String, Value>| {
            fields.iter().map(|field| object.get(field).map(plain).unwrap_or_default()).collect()
        };
        // One object is a column of fields, several are lines under a heading.
        let rows: Rows = if value.is_object() {
            let values: Rows = objects.iter().map(row).collect();
            fields.iter().zip(values.concat()).map(|(field, value)| vec![field.clone(), value]).collect()
        } else {
            std::iter::once(fields.clone()).chain(objects.iter().map(row)).collect()
        };
        boxes.push((title.to_owned(), rows));
    }
    for object in objects {
        for (field, nested) in object.iter().filter(|(_, value)| is_nested(value)) {
            match nested.as_array() {
                Some(items) if items.iter().all(|item| !is_nested(item)) => {
                    let rows = items.iter().map(|item| vec![plain(item)]).collect();
                    boxes.push((field.clone(), rows));
                }
                _ => boxes_of(field, nested, boxes),
            }
        }
    }
}

fn draw(title: &str, rows: &Rows, out: &mut String) {
    let count = rows.iter().map(Vec::len).max().unwrap_or_default();
    let mut widths: Vec<usize> = (0..count)
        .map(|i| rows.iter().filter_map(|row| row.get(i)).map(|cell| cell.width()).max().unwrap_or_default())
        .collect();
    let inside = |widths: &[usize]| widths.iter().map(|w| w + 3).sum::<usize>().saturating_sub(1);
    let missing = (title.width() + 2).saturating_sub(inside(&widths));
    match widths.last_mut() {
        Some(last) => *last += missing,
        None => return,
    }
    let total = inside(&widths);
    out.push_str(&format!("+{}+\n|{}|\n", "-".repeat(total), centred(title, total)));
    let rule: Vec<String> = widths.iter().map(|w| "-".repeat(w + 2)).collect();
    let rule = format!("+{}+\n", rule.join("+"));
    out.push_str(&rule);
    for row in rows {
        for (cell, width) in row.iter().zip(&widths) {
            out.push_str(&format!("| {cell}{} ", " ".repeat(width.saturating_sub(cell.width()))));
        }
        out.push_str("|\n");
    }
    out.push_str(&rule);
}

/// `text` in the middle of so many columns of a terminal.
fn centred(text: &str, columns: usize) -> String {
    let around = columns.saturating_sub(text.width());
    format!("{}{text}{}", " ".repeat(around / 2), " ".repeat(around - around / 2))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn text_is_what_the_aws_cli_prints() {
        let alias = |name: &str, key: &str| json!({ "AliasName": name, "AliasArn": format!("arn:{name}"), "TargetKeyId": key, "CreationDate": 1.5 });
        let list = json!({ "Aliases": [alias("alias/a", "k1"), alias("alias/b", "k2")], "Truncated": false });
        let expected = "False\nALIASES\tarn:alias/a\talias/a\tk1\nALIASES\tarn:alias/b\talias/b\tk2\n";
        assert_eq!(text(&list), expected);
        let key = json!({ "KeyMetadata": { "KeyId": "k", "Enabled": true, "EncryptionAlgorithms": ["S"] } });
        assert_eq!(text(&key), "KEYMETADATA\tTrue\tk\nENCRYPTIONALGORITHMS\tS\n");
    }

    #[test]
    fn json_is_indented_by_four() {
        assert_eq!(json(&json!({ "a": [1.5] })).unwrap(), "{\n    \"a\": [\n        1.5\n    ]\n}\n");
    }

    #[test]
    fn a_table_is_as_wide_as_its_widest_line() {
        let drawn = table("ListKeys", &json!({ "Keys": [{ "KeyId": "é" }], "Truncated": false }));
        let widths: Vec<usize> = drawn.lines().map(|line| line.chars().count()).collect();
        assert_eq!(drawn.lines().count(), 5 + 6);
        assert!(widths[..5].iter().all(|w| *w == widths[0]) && widths[5..].iter().all(|w| *w == widths[5]));
        assert!(drawn.contains("| Truncated | False |") && drawn.contains("| KeyId |"), "{drawn}");
    }

    #[test]
    fn a_table_with_wide_characters_has_straight_edges() {
        let keys = json!({ "Keys": [{ "KeyId": "鍵", "Tag": "a" }, { "KeyId": "e\u{301}", "Tag": "b" }] });
        let drawn = table("鍵の一覧", &keys);
        let widths: Vec<usize> = drawn.lines().map(UnicodeWidthStr::width).collect();
        assert!(widths.iter().all(|width| *width == widths[0]), "{drawn}");
        assert!(drawn.contains("| 鍵    | a   |") && drawn.contains("| e\u{301}     | b   |"), "{drawn}");
    }
}
