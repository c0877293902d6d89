//! The parameters of one operation, once they are known to be its own, each of its type.

use serde_json::{Map, Value};

use crate::kms::data::{Pairs, SecretText};
use crate::kms::request::{Page, Tag};

/// Checked parameters. What is read from them is in the table; a name that isn't reads as left out.
#[derive(Debug)]
pub(super) struct Parameters(Map<String, Value>);

impl Parameters {
    /// Those that were checked.
    pub(super) fn of(checked: Map<String, Value>) -> Self {
        Self(checked)
    }

    /// A text; empty if it is left out.
    pub(super) fn text(&self, name: &str) -> String {
        self.text_if_any(name).unwrap_or_default()
    }

    /// A text, a blob in base64, or a time as it was written.
    pub(super) fn text_if_any(&self, name: &str) -> Option<String> {
        match self.0.get(name)? {
            Value::String(text) => Some(text.clone()),
            Value::Number(number) => Some(number.to_string()),
            _ => None,
        }
    }

    /// A number.
    pub(super) fn integer(&self, name: &str) -> Option<i64> {
        self.0.get(name)?.as_i64()
    }

    /// Whether it is there and true.
    pub(super) fn is_true(&self, name: &str) -> bool {
        self.0.get(name).and_then(Value::as_bool).unwrap_or_default()
    }

    /// Texts.
    pub(super) fn texts(&self, name: &str) -> Vec<String> {
        self.items(name).filter_map(Value::as_str).map(str::to_owned).collect()
    }

    /// A text that is secret from here on.
    pub(super) fn secret(&self, name: &str) -> SecretText {
        SecretText::new(self.text(name))
    }

    /// Texts by texts.
    pub(super) fn pairs(&self, name: &str) -> Pairs {
        let entries = self.0.get(name).and_then(Value::as_object).into_iter().flatten();
        entries.filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned()))).collect()
    }

    /// Tags.
    pub(super) fn tags(&self, name: &str) -> Vec<Tag> {
        let text = |tag: &Value, field: &str| tag[field].as_str().unwrap_or_default().to_owned();
        self.items(name)
            .map(|tag| Tag { tag_key: text(tag, "TagKey"), tag_value: text(tag, "TagValue") })
            .collect()
    }

    /// The part of a list that is asked for.
    pub(super) fn page(&self) -> Page {
        Page { limit: self.integer("Limit"), marker: self.text_if_any("Marker") }
    }

    fn items(&self, name: &str) -> impl Iterator<Item = &Value> {
        self.0.get(name).and_then(Value::as_array).into_iter().flatten()
    }
}
