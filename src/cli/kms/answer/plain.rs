//! Scalars in text and tables.

use serde_json::Value;

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
