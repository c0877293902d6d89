//! What a custodian finds its key by, and the one form in which it is hashed.
//!
//! What is hard in RFC 8785 is numbers that aren't integers, and the order of names beyond ASCII. Parameters have neither:
//! names are printable ASCII, numbers are integers below 2^53. For these, sorted names and the compact form of `serde_json`,
//! which escapes as RFC 8785 does, are the canonical form. That is less to trust than a crate that formats floats.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::error::{CustodyError, MAX_DEPTH, MAX_PARAM_NAME, MAX_PARAMS};

/// Integers up to here are the same in every JSON implementation.
const MAX_INTEGER: i64 = (1 << 53) - 1;

/// What a custodian finds its key by, in its own words: a JSON object. No secrets.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
#[serde(try_from = "Map<String, Value>", into = "Map<String, Value>")]
pub struct CustodyParams(Map<String, Value>);

impl CustodyParams {
    /// As a JSON object.
    pub fn as_map(&self) -> &Map<String, Value> {
        &self.0
    }

    /// On one line, as RFC 8785 writes it.
    pub fn to_line(&self) -> String {
        let mut line = String::new();
        canonical_object(members(&self.0), &mut line);
        line
    }
}

impl TryFrom<Map<String, Value>> for CustodyParams {
    type Error = CustodyError;

    fn try_from(params: Map<String, Value>) -> Result<Self, CustodyError> {
        check_object(&params, 1)?;
        let params = Self(params);
        if params.to_line().len() > MAX_PARAMS { Err(CustodyError::Params) } else { Ok(params) }
    }
}

impl From<CustodyParams> for Map<String, Value> {
    fn from(params: CustodyParams) -> Self {
        params.0
    }
}

fn check_object(object: &Map<String, Value>, depth: usize) -> Result<(), CustodyError> {
    if depth > MAX_DEPTH {
        return Err(CustodyError::Depth);
    }
    object.iter().try_for_each(|(name, value)| {
        let printable = name.bytes().all(|byte| (b' '..=b'~').contains(&byte));
        if !printable || !(1..=MAX_PARAM_NAME).contains(&name.len()) {
            return Err(CustodyError::ParamName);
        }
        check(value, depth)
    })
}

fn check(value: &Value, depth: usize) -> Result<(), CustodyError> {
    match value {
        Value::Null | Value::Bool(_) | Value::String(_) => Ok(()),
        Value::Number(number) => match number.as_i64() {
            Some(integer) if (-MAX_INTEGER..=MAX_INTEGER).contains(&integer) => Ok(()),
            _ => Err(CustodyError::Number),
        },
        Value::Array(_) if depth == MAX_DEPTH => Err(CustodyError::Depth),
        Value::Array(items) => items.iter().try_for_each(|item| check(item, depth + 1)),
        Value::Object(object) => check_object(object, depth + 1),
    }
}

/// Appends the form of RFC 8785, of values that [`check`] lets pass.
fn canonical(value: &Value, out: &mut String) {
    match value {
        Value::Null | Value::Bool(_) | Value::String(_) | Value::Number(_) => {
            out.push_str(&value.to_string())
        }
        Value::Array(items) => {
            out.push('[');
            for (at, item) in items.iter().enumerate() {
                out.push_str(if at > 0 { "," } else { "" });
                canonical(item, out);
            }
            out.push(']');
        }
        Value::Object(object) => canonical_object(members(object), out),
    }
}

fn members(object: &Map<String, Value>) -> Vec<(&str, &Value)> {
    object.iter().map(|(name, value)| (name.as_str(), value)).collect()
}

pub(super) fn canonical_object(mut members: Vec<(&str, &Value)>, out: &mut String) {
    // Of ASCII names, the order of bytes is the order of UTF-16 units, which RFC 8785 has.
    members.sort_unstable_by_key(|(name, _)| *name);
    out.push('{');
    for (at, (name, value)) in members.into_iter().enumerate() {
        out.push_str(if at > 0 { "," } else { "" });
        canonical(&Value::from(name), out);
        out.push(':');
        canonical(value, out);
    }
    out.push('}');
}
