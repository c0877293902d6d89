//! Scalars and fields in text and tables.

use serde_json::{Map, Value};

use crate::printable;

/// A scalar as the AWS CLI, a Python program, writes it, on one line.
pub(super) fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => printable::line(text).into_owned(),
        Value::Bool(true) => "True".to_owned(),
        Value::Bool(false) => "False".to_owned(),
        Value::Null => "None".to_owned(),
        other => other.to_string(),
    }
}

/// Whether it is no scalar.
pub(super) fn is_nested(value: &Value) -> bool {
    value.is_object() || value.is_array()
}

/// The names of the scalar fields that any of the objects has, and of the others, each sorted.
pub(super) fn fields<'a>(
    objects: impl Iterator<Item = &'a Map<String, Value>>,
) -> (Vec<&'a str>, Vec<&'a str>) {
    let all = objects.flatten().map(|(name, value)| (name.as_str(), value));
    let (nested, scalar): (Vec<_>, Vec<_>) = all.partition(|(_, value)| is_nested(value));
    let names = |fields: Vec<(&'a str, &Value)>| {
        let mut names: Vec<&str> = fields.into_iter().map(|(name, _)| name).collect();
        names.sort_unstable();
        names.dedup();
        names
    };
    (names(scalar), names(nested))
}
