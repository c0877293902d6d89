//! `--generate-cli-skeleton`: all parameters of an operation with values to be replaced, for `--cli-input-json` and
//! `--cli-input-yaml`, and an answer as it would look.

use serde_json::{Map, Value, json};

use crate::kms::api::{Kind, Member, Operation, Support};

/// Parameters as JSON.
pub(super) fn input(operation: &Operation) -> Value {
    members(operation.members, &|kind, _| input_of(kind))
}

/// An answer; null if the operation has none.
pub(super) fn output(operation: &Operation) -> Value {
    if operation.answer.is_empty() {
        return Value::Null;
    }
    members(operation.answer, &output_of)
}

fn members(members: &[Member], value: &dyn Fn(Kind, &str) -> Value) -> Value {
    let pair = |member: &Member| (member.name.to_owned(), value(member.kind, member.name));
    members.iter().map(pair).collect::<Map<String, Value>>().into()
}

fn input_of(kind: Kind) -> Value {
    match kind {
        Kind::Text | Kind::Blob => "".into(),
        Kind::OneOf(values) => values.first().copied().unwrap_or_default().into(),
        Kind::Integer => 0.into(),
        Kind::Boolean => true.into(),
        Kind::Time => "1970-01-01T00:00:00".into(),
        Kind::List(item) => json!([input_of(*item)]),
        Kind::Map => json!({ "KeyName": "" }),
        Kind::Structure(fields) => members(fields, &|kind, _| input_of(kind)),
    }
}

fn output_of(kind: Kind, name: &str) -> Value {
    match kind {
        Kind::Text => name.into(),
        Kind::Blob => "YmxvYg==".into(),
        Kind::Time => json!(0.0),
        Kind::List(item) => json!([output_of(*item, name)]),
        Kind::Structure(fields) => members(fields, &output_of),
        kind => input_of(kind),
    }
}

/// Parameters as YAML, each with a comment that says what it is.
pub(super) fn input_as_yaml(operation: &Operation) -> String {
    let mut out = String::new();
    yaml(operation.members, "", "", &mut out);
    out
}

/// The members as lines; `first` begins the first of them and `rest` the others.
fn yaml(members: &[Member], first: &str, rest: &str, out: &mut String) {
    for (at, member) in members.iter().enumerate() {
        let comment = comment(member);
        let begin = if at == 0 { first } else { rest };
        let name = member.name;
        match member.kind {
            Kind::List(Kind::Structure(fields)) => {
                out.push_str(&format!("{begin}{name}:  # {comment}\n"));
                yaml(fields, &format!("{rest}- "), &format!("{rest}  "), out);
            }
            Kind::List(item) => {
                out.push_str(&format!("{begin}{name}:  # {comment}\n{rest}- {}\n", scalar(*item)));
            }
            Kind::Structure(fields) => {
                out.push_str(&format!("{begin}{name}:  # {comment}\n"));
                let deeper = format!("{rest}  ");
                yaml(fields, &deeper, &deeper, out);
            }
            Kind::Map => {
                out.push_str(&format!("{begin}{name}:  # {comment}\n{rest}  KeyName: ''\n"));
            }
            kind => out.push_str(&format!("{begin}{name}: {}  # {comment}\n", scalar(kind))),
        }
    }
}

fn scalar(kind: Kind) -> String {
    match input_of(kind) {
        Value::String(text) if matches!(kind, Kind::OneOf(_)) => text,
        Value::String(text) => format!("'{text}'"),
        other => other.to_string(),
    }
}

fn comment(member: &Member) -> String {
    let required = if member.required { "[REQUIRED] " } else { "" };
    let values = match member.kind {
        Kind::OneOf(values) => format!(" Valid values are: {}.", values.join(", ")),
        _ => String::new(),
    };
    let help = match member.support {
        Support::Refused(why) => format!("Refused: {why}"),
        _ => member.help.trim_end_matches('.').to_owned(),
    };
    format!("{required}{help}.{values}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kms::api;

    #[test]
    fn both_skeletons_of_parameters_are_the_same_parameters() {
        for operation in api::operations() {
            let read: Value = serde_saphyr::from_str(&input_as_yaml(operation)).unwrap_or_else(|error| {
                panic!("{}: {error}\n{}", operation.name, input_as_yaml(operation));
            });
            if !operation.members.is_empty() {
                assert_eq!(read, input(operation), "{}", operation.name);
            }
        }
    }

    #[test]
    fn a_skeleton_has_the_parameters_and_fields_of_the_table() {
        let tag = api::operation("TagResource").unwrap();
        assert_eq!(input(tag), json!({ "KeyId": "", "Tags": [{ "TagKey": "", "TagValue": "" }] }));
        assert!(input_as_yaml(tag).starts_with("KeyId: ''  # [REQUIRED] "), "{}", input_as_yaml(tag));
        assert_eq!(output(tag), Value::Null);
        let list = api::operation("ListKeys").unwrap();
        let keys = json!([{ "KeyId": "KeyId", "KeyArn": "KeyArn" }]);
        assert_eq!(output(list), json!({ "Keys": keys, "NextMarker": "NextMarker", "Truncated": true }));
    }
}
