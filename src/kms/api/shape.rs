//! What an entry of the table consists of.

use std::borrow::Cow;

use super::parameters::Parameters;
use crate::kms::request::Call;

/// The type of a parameter, or of a field of an answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// A text.
    Text,
    /// One of these texts.
    OneOf(&'static [&'static str]),
    /// A whole number.
    Integer,
    /// True or false.
    Boolean,
    /// A point in time.
    Time,
    /// Bytes: base64 in JSON.
    Blob,
    /// Several of a kind.
    List(&'static Kind),
    /// Texts by texts of the caller's choice.
    Map,
    /// Named members.
    Structure(&'static [Member]),
}

impl Kind {
    /// A single value, which needs no syntax of its own on a command line.
    pub fn is_scalar(self) -> bool {
        !matches!(self, Self::List(_) | Self::Map | Self::Structure(_))
    }
}

/// What becomes of a parameter.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Support {
    /// It is used.
    Used,
    /// It is accepted and has no effect.
    NoEffect,
    /// One value is accepted: what holds anyway. It is the text, or the word for the truth value.
    Only(&'static str),
    /// AWS has it and rekeyfs can't do it; the reason is a clause.
    Refused(&'static str),
}

/// A parameter, or a field of a structure.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Member {
    /// AWS's name.
    pub name: &'static str,
    /// Its type.
    pub kind: Kind,
    /// Whether it can't be left out.
    pub required: bool,
    /// What becomes of it.
    pub support: Support,
    /// What a user is told of it: a line, empty for a field of an answer and what is refused.
    pub help: &'static str,
}

impl Member {
    /// One that may be left out.
    pub(super) const fn optional(name: &'static str, kind: Kind, help: &'static str) -> Self {
        Self { name, kind, required: false, support: Support::Used, help }
    }

    /// One that may not.
    pub(super) const fn required(name: &'static str, kind: Kind, help: &'static str) -> Self {
        Self { required: true, ..Self::optional(name, kind, help) }
    }

    /// A field of an answer.
    pub(super) const fn field(name: &'static str, kind: Kind) -> Self {
        Self::optional(name, kind, "")
    }

    pub(super) const fn without_effect(self) -> Self {
        Self { support: Support::NoEffect, ..self }
    }

    pub(super) const fn only(self, value: &'static str) -> Self {
        Self { support: Support::Only(value), ..self }
    }

    /// One that is refused if it is given; the reason is a clause.
    pub(super) const fn refused(name: &'static str, kind: Kind, why: &'static str) -> Self {
        Self { support: Support::Refused(why), ..Self::optional(name, kind, "") }
    }

    /// The name as the AWS CLI writes it, without hyphens before it: `KeyId` is `key-id`.
    pub fn flag(&self) -> String {
        kebab(self.name)
    }

    /// The name as AWS's service writes it in its messages: `KeyId` is `keyId`.
    pub(super) fn in_messages(&self) -> Cow<'static, str> {
        let mut chars = self.name.chars();
        chars
            .next()
            .map_or(Cow::Borrowed(self.name), |first| Cow::Owned(first.to_lowercase().chain(chars).collect()))
    }
}

/// An operation.
#[derive(Clone, Copy, Debug)]
pub struct Operation {
    /// AWS's name.
    pub name: &'static str,
    /// What it does: a line.
    pub help: &'static str,
    /// Its parameters.
    pub members: &'static [Member],
    /// The fields of its answer; empty if there is no answer.
    pub answer: &'static [Member],
    /// Makes the call, of parameters that were checked.
    pub(super) make: fn(&Parameters) -> Call,
}

impl Operation {
    /// The verb of the AWS CLI: `ListKeys` is `list-keys`.
    pub fn verb(&self) -> String {
        kebab(self.name)
    }

    /// Whether it gives a list, which is asked for in parts: with the parameters `Limit` and `Marker`, and the field
    /// `NextMarker` of the answer before.
    pub fn is_list(&self) -> bool {
        self.member("Marker").is_some()
    }

    /// The parameter of that name.
    pub fn member(&self, name: &str) -> Option<&'static Member> {
        self.members.iter().find(|member| member.name == name)
    }
}

/// A name in AWS's capitals, as words with hyphens.
pub(super) fn kebab(name: &str) -> String {
    let mut out = String::with_capacity(name.len() + 4);
    for (at, letter) in name.char_indices() {
        if at > 0 && letter.is_ascii_uppercase() {
            out.push('-');
        }
        out.push(letter.to_ascii_lowercase());
    }
    out
}
