//! Tags of keys: checked, and listed as AWS lists them.

use std::collections::HashSet;

use serde_json::{Value, json};

use super::error::KmsError;
use super::request::Tag;
use crate::keyring::{self, TAGS_MAX};

/// The longest key of a tag, in characters.
const KEY_MAX: usize = 128;
/// The longest value of a tag, in characters.
const VALUE_MAX: usize = 256;

/// The tags of one call, as the keyring has them.
///
/// # Errors
/// `ValidationException`.
pub(super) fn checked(tags: &[Tag]) -> Result<Vec<keyring::Tag>, KmsError> {
    let mut seen = HashSet::new();
    let fits = |tag: &Tag| {
        (1..=KEY_MAX).contains(&tag.tag_key.chars().count()) && tag.tag_value.chars().count() <= VALUE_MAX
    };
    if tags.len() > TAGS_MAX || !tags.iter().all(|tag| fits(tag) && seen.insert(&tag.tag_key)) {
        let message = format!(
            "A key takes {TAGS_MAX} tags with different keys of 1 to {KEY_MAX} characters and values of at most \
             {VALUE_MAX}."
        );
        return Err(KmsError::validation(message));
    }
    let stored = |tag: &Tag| keyring::Tag { key: tag.tag_key.clone(), value: tag.tag_value.clone() };
    Ok(tags.iter().map(stored).collect())
}

/// Tags as AWS lists them, by key.
pub(super) fn list(tags: &[keyring::Tag]) -> Vec<(String, Value)> {
    let item = |tag: &keyring::Tag| (tag.key.clone(), json!({ "TagKey": tag.key, "TagValue": tag.value }));
    tags.iter().map(item).collect()
}
