//! Why a custodian didn't do what it was asked for. Code branches on the kind; people read the line.

use std::fmt;
use std::time::Duration;

use crate::printable;

/// The longest text of a helper's that is kept for people.
const MAX_SAID: usize = 400;

/// The kinds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RefusalKind {
    /// It can't be reached, or didn't answer in time.
    Offline,
    /// It has too much to do.
    Busy {
        /// When it wants to be asked again.
        retry_after: Option<Duration>,
    },
    /// It doesn't let this caller use the key.
    Denied,
    /// The key is disabled, or about to be deleted.
    Disabled,
    /// It has no such key.
    NotFound,
    /// The machine isn't in the state that the key is bound to (PCRs).
    WrongState,
    /// The PIN is wrong.
    Pin {
        /// How often another one may still be tried.
        tries: Option<u32>,
        /// Whether it was one that the helper has stored, and would ask for where it shouldn't try that.
        stored: bool,
    },
    /// Somebody must enter a PIN or touch a device, and nobody can be asked, or nobody did.
    NeedsUser,
    /// The blob was changed, or is another key's.
    Damaged,
    /// There is no helper for it.
    Missing,
    /// This host's list doesn't have it.
    NotAllowed,
    /// The helper, the list or what they lie in can be changed by others.
    Untrusted,
    /// The helper can't do that.
    Unsupported,
    /// The helper broke down, or doesn't keep to the protocol.
    Internal,
}

impl RefusalKind {
    /// As events and JSON name it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Offline => "offline",
            Self::Busy { .. } => "busy",
            Self::Denied => "denied",
            Self::Disabled => "disabled",
            Self::NotFound => "not-found",
            Self::WrongState => "wrong-state",
            Self::Pin { .. } => "pin",
            Self::NeedsUser => "needs-user",
            Self::Damaged => "damaged",
            Self::Missing => "missing",
            Self::NotAllowed => "not-allowed",
            Self::Untrusted => "untrusted",
            Self::Unsupported => "unsupported",
            Self::Internal => "internal",
        }
    }

    const fn sentence(self) -> &'static str {
        match self {
            Self::Offline => "can't be reached",
            Self::Busy { .. } => "has too many requests",
            Self::Denied => "doesn't let you use the key",
            Self::Disabled => "has disabled the key",
            Self::NotFound => "has no such key",
            Self::WrongState => "finds the machine in another state than the key is bound to",
            Self::Pin { .. } => "refuses the PIN",
            Self::NeedsUser => "needs a PIN or a touch",
            Self::Damaged => "finds the wrapped key changed, or another key's",
            Self::Missing => "has no helper here",
            Self::NotAllowed => "isn't allowed on this host",
            Self::Untrusted => "isn't used, since others could change what runs",
            Self::Unsupported => "can't do that",
            Self::Internal => "broke down",
        }
    }
}

/// A refusal: the kind, and what there is to say besides.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Refusal {
    /// The kind.
    pub kind: RefusalKind,
    /// One line, printable; may be empty.
    said: String,
}

impl Refusal {
    /// With a text from wherever: it is escaped, and made one line of bounded length.
    pub fn new(kind: RefusalKind, said: impl fmt::Display) -> Self {
        Self { kind, said: shown(&said.to_string()) }
    }
}

/// A text of a helper's for people: escaped, and one line of bounded length.
pub(super) fn shown(said: &str) -> String {
    let line = printable::line(said.trim());
    match line.char_indices().nth(MAX_SAID) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line.into_owned(),
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind.sentence())?;
        match self.kind {
            RefusalKind::Pin { tries: Some(1), .. } => f.write_str(" (1 try is left)")?,
            RefusalKind::Pin { tries: Some(tries), .. } => write!(f, " ({tries} tries are left)")?,
            _ => {}
        }
        if self.said.is_empty() { Ok(()) } else { write!(f, ": {}", self.said) }
    }
}

impl std::error::Error for Refusal {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_one_printable_line_of_bounded_length() {
        let refusal = Refusal::new(RefusalKind::Denied, "no\n\x1b[31m way ");
        assert_eq!(refusal.to_string(), "doesn't let you use the key: no\\n\\u{1b}[31m way");
        let long = Refusal::new(RefusalKind::Internal, "é".repeat(100_000)).to_string();
        assert!(long.chars().count() < MAX_SAID + 50 && long.ends_with('…'));
        assert_eq!(Refusal::new(RefusalKind::Offline, "").to_string(), "can't be reached");
    }

    #[test]
    fn tries_that_are_left_are_told() {
        let told = |tries| Refusal::new(RefusalKind::Pin { tries, stored: false }, "").to_string();
        assert_eq!(told(Some(1)), "refuses the PIN (1 try is left)");
        assert_eq!(told(Some(3)), "refuses the PIN (3 tries are left)");
        assert_eq!(told(None), "refuses the PIN");
    }
}
