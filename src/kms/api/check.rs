//! What came as parameters, checked against the table.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Map, Value};
use zeroize::Zeroizing;

use super::parameters::Parameters;
use super::shape::{Kind, Member, Support};
use crate::kms::error::{KmsError, KmsErrorName as Name};

/// Checks parameters as they came.
///
/// # Errors
/// As [`super::call`].
pub(super) fn parameters(members: &[Member], typed: &Value) -> Result<Parameters, KmsError> {
    let Value::Object(typed) = typed else {
        return Err(KmsError::new(Name::SerializationException, "The parameters are no JSON object."));
    };
    let mut kept = structure(members, typed)?;
    for member in members {
        if let Some(value) = kept.get(member.name)
            && !goes_into_the_call(member, value)?
        {
            kept.shift_remove(member.name);
        }
    }
    Ok(Parameters::of(kept))
}

/// What of a structure is there, each member of its type.
fn structure(members: &[Member], typed: &Map<String, Value>) -> Result<Map<String, Value>, KmsError> {
    if let Some(unknown) = typed.keys().find(|name| !members.iter().any(|member| member.name == **name)) {
        let known: Vec<&str> = members.iter().map(|member| member.name).collect();
        let message = format!(
            "Unknown parameter in input: \"{}\", must be one of: {}",
            unknown.escape_debug(),
            known.join(", ")
        );
        return Err(KmsError::new(Name::SerializationException, message));
    }
    let mut kept = Map::new();
    for member in members {
        match typed.get(member.name) {
            None | Some(Value::Null) if member.required => {
                return Err(KmsError::constraint("null", &member.in_messages(), "Member must not be null"));
            }
            None | Some(Value::Null) => {}
            Some(value) => {
                kept.insert(member.name.to_owned(), checked(member.kind, value, &member.in_messages())?);
            }
        }
    }
    Ok(kept)
}

fn checked(kind: Kind, value: &Value, place: &str) -> Result<Value, KmsError> {
    let wrong = |wanted: &str| {
        let found = match value {
            Value::Null => "NULL_VALUE",
            Value::Bool(true) => "TRUE_VALUE",
            Value::Bool(false) => "FALSE_VALUE",
            Value::Number(_) => "NUMBER_VALUE",
            Value::String(_) => "STRING_VALUE",
            Value::Array(_) => "A list",
            Value::Object(_) => "A structure",
        };
        let message = format!("{found} at '{place}' can not be converted to {wanted}");
        KmsError::new(Name::SerializationException, message)
    };
    match (kind, value) {
        (Kind::Text, Value::String(_)) | (Kind::Boolean, Value::Bool(_)) => Ok(value.clone()),
        (Kind::Time, Value::String(_) | Value::Number(_)) => Ok(value.clone()),
        (Kind::OneOf(values), Value::String(text)) => {
            if values.contains(&text.as_str()) {
                return Ok(value.clone());
            }
            Err(KmsError::not_one_of(text, place, values))
        }
        (Kind::Integer, Value::Number(number)) if number.is_i64() => Ok(value.clone()),
        // It may be secret.
        (Kind::Blob, Value::String(text)) => match BASE64.decode(text).map(Zeroizing::new) {
            Ok(_) => Ok(value.clone()),
            Err(_) => Err(wrong("a Blob: it isn't base64")),
        },
        (Kind::List(item), Value::Array(items)) => {
            let member = |at: usize| format!("{place}.{}.member", at + 1);
            let items = items.iter().enumerate().map(|(at, value)| checked(*item, value, &member(at)));
            items.collect::<Result<Vec<Value>, KmsError>>().map(Value::Array)
        }
        (Kind::Map, Value::Object(entries)) => {
            for (key, value) in entries {
                checked(Kind::Text, value, &format!("{place}.{}", key.escape_debug()))?;
            }
            Ok(value.clone())
        }
        (Kind::Structure(members), Value::Object(typed)) => structure(members, typed).map(Value::Object),
        (kind, _) => Err(wrong(match kind {
            Kind::Text | Kind::OneOf(_) => "a String",
            Kind::Integer => "an Integer",
            Kind::Boolean => "a Boolean",
            Kind::Time => "a Timestamp",
            Kind::Blob => "a Blob",
            Kind::List(_) => "a List",
            Kind::Map => "a Map",
            Kind::Structure(_) => "a Structure",
        })),
    }
}

/// Whether a value goes into the call.
fn goes_into_the_call(member: &Member, value: &Value) -> Result<bool, KmsError> {
    let unsupported = |why: String| KmsError::new(Name::UnsupportedOperationException, why);
    let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    match member.support {
        Support::Used => Ok(true),
        Support::NoEffect => Ok(false),
        Support::Only(only) if text == only => Ok(false),
        Support::Only(only) => {
            let shown = text.escape_debug();
            Err(unsupported(format!("{} {shown} isn't supported; it is {only}.", member.name)))
        }
        Support::Refused(why) => Err(unsupported(format!("{} isn't supported: {why}.", member.name))),
    }
}
