//! Tags of keys: checked as AWS checks them, and listed as it lists them. Tags that were stored before a check was made are
//! listed, and can be removed.

use std::collections::HashSet;
use std::sync::LazyLock;

use regex::Regex;
use serde_json::{Value, json};

use super::error::{KmsError, KmsErrorName};
use super::request::Tag;
use crate::keyring::{self, TAGS_MAX};

/// The longest key of a tag, in characters.
const KEY_MAX: usize = 128;
/// The longest value of a tag, in characters.
const VALUE_MAX: usize = 256;
/// What keys of AWS's own tags begin with, in any case.
const RESERVED: &str = "aws:";

/// What AWS's tags are made of: letters, separators and numbers of any script, and some punctuation; no control characters.
static CHARACTERS: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r"\A[\p{L}\p{Z}\p{N}_.:/=+\-@]*\z").ok());

/// The tags of one call, as the keyring has them.
///
/// # Errors
/// `ValidationException` for a length, `TagException` for all else.
pub(super) fn checked(tags: &[Tag]) -> Result<Vec<keyring::Tag>, KmsError> {
    let mut seen = HashSet::new();
    for (index, tag) in tags.iter().enumerate() {
        KmsError::check_length(&tag.tag_key, 1, KEY_MAX, &member(index, "tagKey"))?;
        KmsError::check_length(&tag.tag_value, 0, VALUE_MAX, &member(index, "tagValue"))?;
        let is_made_of_those = |text: &str| CHARACTERS.as_ref().is_some_and(|those| those.is_match(text));
        if !is_made_of_those(&tag.tag_key) || !is_made_of_those(&tag.tag_value) {
            return Err(refused(
                "Tag keys and values may have letters, digits, spaces and the characters _ . : / = + - @",
            ));
        }
        if tag.tag_key.get(..RESERVED.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(RESERVED)) {
            return Err(refused("Tags beginning with aws: are reserved"));
        }
        if !seen.insert(&tag.tag_key) {
            return Err(refused("Duplicate tag keys"));
        }
    }
    if tags.len() > TAGS_MAX {
        return Err(refused("Too many tags"));
    }
    let stored = |tag: &Tag| keyring::Tag { key: tag.tag_key.clone(), value: tag.tag_value.clone() };
    Ok(tags.iter().map(stored).collect())
}

/// Checks the keys of tags that are to be removed; those that no tag has are none's.
///
/// # Errors
/// `ValidationException` for a length.
pub(super) fn check_keys(keys: &[String]) -> Result<(), KmsError> {
    keys.iter().enumerate().try_for_each(|(index, key)| {
        KmsError::check_length(key, 1, KEY_MAX, &format!("tagKeys.{}.member", index + 1))
    })
}

/// Tags as AWS lists them, by key.
pub(super) fn list(tags: &[keyring::Tag]) -> Vec<(String, Value)> {
    let item = |tag: &keyring::Tag| (tag.key.clone(), json!({ "TagKey": tag.key, "TagValue": tag.value }));
    tags.iter().map(item).collect()
}

fn member(index: usize, field: &str) -> String {
    format!("tags.{}.member.{field}", index + 1)
}

fn refused(message: &str) -> KmsError {
    KmsError::new(KmsErrorName::TagException, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(tags: &[(&str, &str)]) -> Option<(KmsErrorName, String)> {
        let tag = |(key, value): &(&str, &str)| Tag { tag_key: (*key).into(), tag_value: (*value).into() };
        let tags: Vec<Tag> = tags.iter().map(tag).collect();
        checked(&tags).err().map(|error| (error.name, error.message))
    }

    #[test]
    fn tags_are_what_awss_are() {
        let long = |n: usize| "\u{e9}".repeat(n);
        for fine in [
            &[("team", "ledger"), ("Team", "")][..],
            &[("a b_c.d:e/f=g+h-i@j", "\u{4e16}\u{754c} \u{663}\u{a0}\u{2167}")],
            &[(&long(KEY_MAX), &long(VALUE_MAX))],
            &[("laws:x", "aws:")],
        ] {
            assert_eq!(refusal(fine), None, "{fine:?}");
        }
        for (tags, words) in [
            (&[("aws:x", "")][..], "Tags beginning with aws: are reserved"),
            (&[("AWS:x", "")], "Tags beginning with aws: are reserved"),
            (&[("a", "1"), ("b", ""), ("a", "1")], "Duplicate tag keys"),
        ] {
            assert_eq!(refusal(tags), Some((KmsErrorName::TagException, words.to_owned())), "{tags:?}");
        }
        for text in [
            "a\n",
            "\n",
            "a\u{7}b",
            "\u{1b}[31m",
            "a\u{85}",
            "a\u{200b}",
            "\u{202e}",
            "a,b",
            "a\"",
            "<b>",
            "\u{0}",
            "a;",
        ] {
            for tags in [[(text, "")], [("a", text)]] {
                assert_eq!(
                    refusal(&tags).map(|(name, _)| name),
                    Some(KmsErrorName::TagException),
                    "{tags:?}"
                );
            }
        }
        for (tags, words) in [
            (
                &[("", "")][..],
                "'tags.1.member.tagKey' failed to satisfy constraint: Member must have length greater than or equal to 1",
            ),
            (
                &[("a", ""), (&long(KEY_MAX + 1), "")],
                "'tags.2.member.tagKey' failed to satisfy constraint: Member must have length less than or equal to 128",
            ),
            (
                &[("a", &long(VALUE_MAX + 1))],
                "'tags.1.member.tagValue' failed to satisfy constraint: Member must have length less than or equal to 256",
            ),
        ] {
            let (name, said) = refusal(tags).unwrap();
            assert!(name == KmsErrorName::ValidationException && said.contains(words), "{said}");
        }
    }

    #[test]
    fn a_call_takes_fifty_tags() {
        let keys: Vec<String> = (0..=TAGS_MAX).map(|n| n.to_string()).collect();
        let tags: Vec<(&str, &str)> = keys.iter().map(|key| (key.as_str(), "")).collect();
        assert_eq!(refusal(&tags[1..]), None);
        assert_eq!(refusal(&tags), Some((KmsErrorName::TagException, "Too many tags".to_owned())));
        assert!(check_keys(&keys).is_ok() && check_keys(&[String::new()]).is_err());
    }
}
