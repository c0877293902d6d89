//! From what was typed for a verb to the operation's parameters in AWS's JSON, as the AWS CLI makes them: `--cli-input-json`
//! or `--cli-input-yaml` first, which the options then complete and win over. The value of any option may be that of a file
//! (`file://PATH`, as bytes `fileb://PATH`); lists and structures are JSON or shorthand.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Map, Value};

use super::files;
use super::shorthand::{self, ShorthandError};
use crate::cli::args::kms::{BinaryFormat, CliInput, Typed, VerbArgs};
use crate::cli::exit::{Exit, Failure, Outcome};
use crate::ids::Timestamp;
use crate::kms::api::{Kind, Member};

/// The parameters of the call.
///
/// # Errors
/// [`Exit::Usage`] for a value that isn't of its type, a file that can't be read, a parameter that is missing.
pub(super) fn json(args: &VerbArgs) -> Outcome<Value> {
    let mut parameters = args.input.as_ref().map(input).transpose()?.unwrap_or_default();
    for (member, typed) in &args.values {
        let reading = Reading { member, binary: args.binary_format };
        parameters.insert(member.name.to_owned(), reading.value(typed)?);
    }
    let missing: Vec<String> = args
        .missing(|member| parameters.get(member.name).is_none_or(Value::is_null))
        .map(|member| format!("--{}", member.flag()))
        .collect();
    if !missing.is_empty() {
        let (missing, verb) = (missing.join(", "), args.operation.verb());
        let line = format!("the following arguments are required: {missing}; see `rekeyfs kms {verb} help`");
        return Err(Failure::new(Exit::Usage, "command line", line));
    }
    if args.key_material_file.is_some() {
        // Made of the file once the vault is open.
        for made in
            args.operation.members.iter().filter(|member| member.required && member.kind == Kind::Blob)
        {
            parameters.insert(made.name.to_owned(), "".into());
        }
    }
    Ok(parameters.into())
}

/// What `--cli-input-json` or `--cli-input-yaml` gives.
fn input(given: &CliInput) -> Outcome<Map<String, Value>> {
    let (option, text) = match given {
        CliInput::Json(text) => ("--cli-input-json", text),
        CliInput::Yaml(text) => ("--cli-input-yaml", text),
    };
    let text = files::text(text)?;
    let read: Result<Value, String> = match given {
        CliInput::Json(_) => serde_json::from_str(&text).map_err(|error| error.to_string()),
        CliInput::Yaml(_) => serde_saphyr::from_str(&text).map_err(|error| error.to_string()),
    };
    match read {
        Ok(Value::Object(parameters)) => Ok(parameters),
        Ok(_) => Err(Failure::new(Exit::Usage, option, "it must be an object of parameters")),
        Err(error) => Err(Failure::new(Exit::Usage, option, error)),
    }
}

/// How the value of one option is read.
struct Reading<'a> {
    member: &'a Member,
    binary: BinaryFormat,
}

impl Reading<'_> {
    fn value(&self, typed: &Typed) -> Outcome<Value> {
        match (self.member.kind, typed) {
            (_, Typed::Is(truth)) => Ok((*truth).into()),
            (Kind::List(item), Typed::Several(values)) => self.list(*item, values),
            (kind, Typed::Several(values)) => {
                self.one(kind, values.first().map(String::as_str).unwrap_or_default())
            }
            (Kind::List(item), Typed::One(value)) => self.list(*item, std::slice::from_ref(value)),
            (kind, Typed::One(value)) => self.one(kind, value),
        }
    }

    fn one(&self, kind: Kind, typed: &str) -> Outcome<Value> {
        if kind == Kind::Blob {
            return self.blob(typed);
        }
        let text = files::text(typed)?;
        if kind.is_scalar() { self.scalar(kind, &text) } else { self.structure(kind, &text) }
    }

    fn scalar(&self, kind: Kind, text: &str) -> Outcome<Value> {
        match kind {
            Kind::Integer => match text.trim().parse::<i64>() {
                Ok(number) => Ok(number.into()),
                Err(_) => Err(self.wrong(format_args!("{text:?} is no whole number"))),
            },
            Kind::Boolean => match text.to_ascii_lowercase().as_str() {
                "true" => Ok(true.into()),
                "false" => Ok(false.into()),
                _ => Err(self.wrong(format_args!("{text:?} is neither true nor false"))),
            },
            Kind::Time => match Timestamp::parse(text.trim()) {
                Some(_) => Ok(text.trim().into()),
                None => Err(self.wrong(format_args!(
                    "{text:?} is no time; write seconds since 1970 or a date like 2027-01-31T12:00:00Z"
                ))),
            },
            Kind::Blob => self.blob_of(text),
            _ => Ok(text.into()),
        }
    }

    /// Bytes, in base64: those of a file (`fileb://`), or a text of which `--cli-binary-format` says what it is.
    fn blob(&self, typed: &str) -> Outcome<Value> {
        match files::bytes(typed)? {
            Some(bytes) => Ok(BASE64.encode(bytes).into()),
            None => self.blob_of(&files::text(typed)?),
        }
    }

    fn blob_of(&self, text: &str) -> Outcome<Value> {
        match self.binary {
            BinaryFormat::RawInBase64Out => Ok(BASE64.encode(text).into()),
            BinaryFormat::Base64 => {
                let text: String = text.split_ascii_whitespace().collect();
                match BASE64.decode(&text) {
                    Ok(_) => Ok(text.into()),
                    Err(_) => Err(self.wrong("it isn't base64; fileb://PATH takes the bytes of a file")),
                }
            }
        }
    }

    fn list(&self, item: Kind, values: &[String]) -> Outcome<Value> {
        let values: Vec<Cow<'_, str>> = match values {
            [value] => vec![files::text(value)?],
            values => values.iter().map(|value| Cow::Borrowed(value.as_str())).collect(),
        };
        if let [json] = values.as_slice()
            && json.trim_start().starts_with('[')
        {
            return self.json(json);
        }
        let read = |value: &Cow<'_, str>| {
            if item.is_scalar() { self.scalar(item, value) } else { self.structure(item, value) }
        };
        values.iter().map(read).collect::<Outcome<Vec<Value>>>().map(Value::Array)
    }

    fn structure(&self, kind: Kind, text: &str) -> Outcome<Value> {
        if text.trim_start().starts_with(['{', '[']) {
            return self.json(text);
        }
        let resolve = |value: &str| files::text(value).map(Cow::into_owned);
        match shorthand::parse(text, &resolve) {
            Ok(pairs) => self.of_kind(kind, pairs.into()),
            Err(ShorthandError::File(failure)) => Err(failure),
            Err(error) => Err(self.wrong(error)),
        }
    }

    fn json(&self, text: &str) -> Outcome<Value> {
        serde_json::from_str(text).map_err(|error| self.wrong(format_args!("Invalid JSON: {error}")))
    }

    /// Values of shorthand, all of which are texts, as what they are meant for: a list where one is wanted, numbers.
    fn of_kind(&self, kind: Kind, value: Value) -> Outcome<Value> {
        match (kind, value) {
            (Kind::Structure(members), Value::Object(pairs)) => {
                let pairs = pairs.into_iter().map(|(name, value)| {
                    let member = members.iter().find(|member| member.name == name);
                    let value =
                        member.map_or(Ok(value.clone()), |member| self.of_kind(member.kind, value))?;
                    Ok((name, value))
                });
                pairs.collect::<Outcome<Map<String, Value>>>().map(Value::Object)
            }
            (Kind::List(item), Value::Array(items)) => {
                let items = items.into_iter().map(|value| self.of_kind(*item, value));
                items.collect::<Outcome<Vec<Value>>>().map(Value::Array)
            }
            (Kind::List(item), value) => Ok(Value::Array(vec![self.of_kind(*item, value)?])),
            (kind, Value::String(text)) if kind.is_scalar() => self.scalar(kind, &text),
            (_, value) => Ok(value),
        }
    }

    fn wrong(&self, cause: impl std::fmt::Display) -> Failure {
        let option = format!("Error parsing parameter '--{}'", self.member.flag());
        Failure::new(Exit::Usage, option, cause)
    }
}

#[cfg(test)]
mod tests;
