//! Tags of keys: checked, changed, listed.

use std::collections::HashSet;

use serde_json::{Value, json};

use super::Tag;
use super::error::{KmsError, KmsErrorName};
use crate::keyring::error::KeyringError;
use crate::keyring::format::model;

/// Tags that a key takes.
const TAGS_MAX: usize = 50;
/// The longest key of a tag, in characters.
const KEY_MAX: usize = 128;
/// The longest value of a tag, in characters.
const VALUE_MAX: usize = 256;

/// Checks the tags of one call.
///
/// # Errors
/// `ValidationException`.
pub(super) fn check(tags: &[Tag]) -> Result<(), KeyringError> {
    let mut seen = HashSet::new();
    let fits = |tag: &Tag| {
        (1..=KEY_MAX).contains(&tag.tag_key.chars().count()) && tag.tag_value.chars().count() <= VALUE_MAX
    };
    if tags.len() > TAGS_MAX || !tags.iter().all(|tag| fits(tag) && seen.insert(&tag.tag_key)) {
        let message = format!(
            "A key takes {TAGS_MAX} tags with different keys of 1 to {KEY_MAX} characters and values of at most \
             {VALUE_MAX}."
        );
        return Err(KmsError::validation(message).into());
    }
    Ok(())
}

/// A tag as the keyring has it.
pub(super) fn stored(tag: &Tag) -> model::Tag {
    model::Tag { key: tag.tag_key.clone(), value: tag.tag_value.clone() }
}

/// Adds tags; one whose key is there gets the new value.
///
/// # Errors
/// As [`check`], and `LimitExceededException` for more than 50 in all.
pub(super) fn add(tags: &mut Vec<model::Tag>, new: &[Tag]) -> Result<(), KeyringError> {
    check(new)?;
    for tag in new {
        match tags.iter_mut().find(|old| old.key == tag.tag_key) {
            Some(old) => old.value.clone_from(&tag.tag_value),
            None => tags.push(stored(tag)),
        }
    }
    if tags.len() > TAGS_MAX {
        let message = format!("A key takes {TAGS_MAX} tags.");
        return Err(KmsError::new(KmsErrorName::LimitExceededException, message).into());
    }
    Ok(())
}

/// Tags as AWS lists them, by key.
pub(super) fn list(tags: &[model::Tag]) -> Vec<(String, Value)> {
    let item = |tag: &model::Tag| (tag.key.clone(), json!({ "TagKey": tag.key, "TagValue": tag.value }));
    tags.iter().map(item).collect()
}
