//! Ids by their beginning, as people type them. A whole id is never taken for the beginning of another one: it is
//! parsed as such first, so that what gives whole ids always means these.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Hexadecimal digits of a whole id.
const DIGITS: usize = 32;

/// The beginning of an id: some of its hexadecimal digits, in lower case and without hyphens.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct IdPrefix(String);

/// A text that is the beginning of no id.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("'{}' is no id, nor {} or more digits of one", .0.escape_debug(), IdPrefix::SHORTEST)]
pub struct NoId(pub String);

/// Why a beginning names no id.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum NotOne<I> {
    /// None begins like this.
    None,
    /// Several do, in order.
    Several(Vec<I>),
}

impl IdPrefix {
    /// The fewest digits: fewer would soon begin several ids.
    pub const SHORTEST: usize = 4;

    /// Whether the id that this text is begins like this.
    pub fn begins(&self, id: &str) -> bool {
        digits(id).starts_with(&self.0)
    }

    /// The one of these ids that begins like this.
    ///
    /// # Errors
    /// None does, or several.
    pub fn find<I: Copy + Ord + fmt::Display>(
        &self,
        ids: impl IntoIterator<Item = I>,
    ) -> Result<I, NotOne<I>> {
        let mut found: Vec<I> = ids.into_iter().filter(|id| self.begins(&id.to_string())).collect();
        found.sort();
        found.dedup();
        match found[..] {
            [] => Err(NotOne::None),
            [id] => Ok(id),
            _ => Err(NotOne::Several(found)),
        }
    }
}

/// The id that a text names: a whole one, known or not, or the beginning of one of `ids`.
///
/// # Errors
/// The text is neither a whole id nor the beginning of one; else why it names none.
pub fn named<I>(text: &str, ids: impl IntoIterator<Item = I>) -> Result<Result<I, NotOne<I>>, NoId>
where
    I: Copy + Ord + fmt::Display + FromStr,
{
    match text.parse() {
        Ok(whole) => Ok(Ok(whole)),
        Err(_) => Ok(text.parse::<IdPrefix>()?.find(ids)),
    }
}

fn digits(text: &str) -> String {
    text.chars().filter(|c| *c != '-').map(|c| c.to_ascii_lowercase()).collect()
}

impl FromStr for IdPrefix {
    type Err = NoId;
    fn from_str(text: &str) -> Result<Self, NoId> {
        let digits = digits(text);
        let fits = (Self::SHORTEST..DIGITS).contains(&digits.len());
        if fits && digits.bytes().all(|b| b.is_ascii_hexdigit()) {
            Ok(Self(digits))
        } else {
            Err(NoId(text.to_owned()))
        }
    }
}

impl TryFrom<String> for IdPrefix {
    type Error = NoId;
    fn try_from(text: String) -> Result<Self, NoId> {
        text.parse()
    }
}

impl From<IdPrefix> for String {
    fn from(prefix: IdPrefix) -> Self {
        prefix.0
    }
}

impl fmt::Display for IdPrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The ids that a beginning could mean, for a message: "a, b".
impl<I: fmt::Display> fmt::Display for NotOne<I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("no id begins like this"),
            Self::Several(ids) => {
                let ids: Vec<String> = ids.iter().map(I::to_string).collect();
                write!(f, "several begin like this: {}", ids.join(", "))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::KeyId;

    const A: &str = "44d8dc31-fa24-42b6-b006-6dae0ab64958";
    const B: &str = "44d8dc32-fa24-42b6-b006-6dae0ab64958";
    const C: &str = "aad8dc32-fa24-42b6-b006-6dae0ab64958";

    fn id(text: &str) -> KeyId {
        text.parse().unwrap()
    }

    #[test]
    fn a_beginning_names_the_only_id_that_has_it() {
        let ids = [A, B, C].map(id);
        let found = |text: &str| named(text, ids).unwrap();
        for (text, wanted) in [("44d8dc31", A), ("44D8DC31-FA", A), ("44d8dc31fa", A), ("aad8", C), (C, C)] {
            assert_eq!(found(text), Ok(id(wanted)), "{text}");
        }
        assert_eq!(found("44d8"), Err(NotOne::Several(vec![id(A), id(B)])));
        assert_eq!(found("44d8dc3"), Err(NotOne::Several(vec![id(A), id(B)])));
        assert_eq!(found("bbbb"), Err(NotOne::None));
        let unknown = "bbbbbbbb-fa24-42b6-b006-6dae0ab64958";
        assert_eq!(found(unknown), Ok(id(unknown)), "a whole id stands for itself");
        assert_eq!(found("44d8").unwrap_err().to_string(), format!("several begin like this: {A}, {B}"));
    }

    #[test]
    fn what_is_no_beginning_is_refused() {
        for text in [
            "",
            "44d",
            "4-4-d",
            "xyzw",
            "44d8 ",
            "alias/44d8",
            "44d8dc31-fa24-42b6-b006-6dae0ab649580",
            "é4d8a",
        ] {
            assert!(named(text, [id(A)]).is_err(), "{text}");
        }
        assert!(serde_json::from_str::<IdPrefix>("\"44d\"").is_err());
        let prefix: IdPrefix = serde_json::from_str("\"44D8-dc\"").unwrap();
        assert_eq!(serde_json::to_string(&prefix).unwrap(), "\"44d8dc\"");
    }
}
