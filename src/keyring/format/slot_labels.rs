//! Labels of unlock slots, in an extension of the body (docs/format.md, "Body"): what their owner calls them. They are
//! sealed: where a vault's keys are kept is not for whoever finds the vault. So they are known only where the keyring is
//! open, while the slots themselves are listed without a secret.
//!
//! A keyring that is saved has labels of its own slots only ([`KeyringBody::keep_labels_of`]). One that an older program
//! saved may have others: it removes slots and keeps the extension.

use std::collections::HashSet;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::model::KeyringBody;
use crate::ids::SlotId;
use crate::printable;
use crate::unlock::Slots;

/// The extension that holds them.
const SLOT_LABELS: u32 = 9;
/// Where the label lies in a record:
///
/// ```text
/// 0          16       17
/// | slot id  | length | label, UTF-8 |
/// |          | u8     |              |
/// ```
const LABEL_AT: usize = ID + 1;
/// Bytes of an id.
const ID: usize = 16;

/// What the owner of a slot calls it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SlotLabel(String);

/// Why a text is no label.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum LabelError {
    /// It has no characters, or only blanks.
    #[error("a label has at least one character")]
    Empty,
    /// It is too long.
    #[error("a label has at most {} bytes", SlotLabel::MAX)]
    TooLong,
    /// It holds what would move a cursor or turn the direction of writing.
    #[error("a label has no control characters, and none that end a line or turn the direction of writing")]
    Unprintable,
}

impl SlotLabel {
    /// The most bytes.
    pub const MAX: usize = 64;

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Of a record. What is printable may be another question when it is read than when it was written.
    fn of_record(bytes: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(bytes).ok()?;
        (1..=Self::MAX).contains(&text.len()).then(|| Self(text.to_owned()))
    }
}

impl FromStr for SlotLabel {
    type Err = LabelError;

    fn from_str(text: &str) -> Result<Self, LabelError> {
        match text {
            _ if text.trim().is_empty() => Err(LabelError::Empty),
            _ if text.len() > Self::MAX => Err(LabelError::TooLong),
            _ if printable::line(text) != text => Err(LabelError::Unprintable),
            _ => Ok(Self(text.to_owned())),
        }
    }
}

impl fmt::Display for SlotLabel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl KeyringBody {
    /// The labels, in the order in which they were given.
    pub(in crate::keyring) fn slot_labels(&self) -> Vec<(SlotId, SlotLabel)> {
        parse(self.extensions.data(SLOT_LABELS)).unwrap_or_default()
    }

    /// Gives a slot a label, or takes it away.
    pub(in crate::keyring) fn label_slot(&mut self, slot: SlotId, label: Option<SlotLabel>) {
        let mut labels = self.slot_labels();
        match (labels.iter().position(|(labelled, _)| *labelled == slot), label) {
            (Some(at), Some(label)) => labels[at].1 = label,
            (Some(at), None) => drop(labels.remove(at)),
            (None, Some(label)) => labels.push((slot, label)),
            (None, None) => return,
        }
        self.set_slot_labels(&labels);
    }

    /// Keeps the labels of these slots only.
    pub(in crate::keyring) fn keep_labels_of(&mut self, slots: &Slots) {
        let mut labels = self.slot_labels();
        let (before, there): (_, HashSet<_>) =
            (labels.len(), slots.list().into_iter().filter_map(|slot| slot.id).collect());
        labels.retain(|(slot, _)| there.contains(slot));
        if labels.len() < before {
            self.set_slot_labels(&labels);
        }
    }

    fn set_slot_labels(&mut self, labels: &[(SlotId, SlotLabel)]) {
        let mut data = Vec::with_capacity(labels.len() * (LABEL_AT + SlotLabel::MAX));
        for (slot, SlotLabel(text)) in labels {
            data.extend_from_slice(slot.as_bytes());
            // At most `MAX` bytes.
            data.push(text.len() as u8);
            data.extend_from_slice(text.as_bytes());
        }
        self.extensions.set(SLOT_LABELS, data);
    }

    /// Whether there is one list at most, of whole records, with each slot once.
    pub(in crate::keyring) fn check_slot_labels(&self) -> Result<(), &'static str> {
        let each_once = |labels: Vec<(SlotId, SlotLabel)>| {
            labels.iter().map(|(slot, _)| *slot).collect::<HashSet<_>>().len() == labels.len()
        };
        let is_good = |data: &[u8]| parse(data).is_some_and(each_once);
        if self.extensions.is_one_at_most(SLOT_LABELS, is_good) {
            Ok(())
        } else {
            Err("its list of labels of unlock slots makes no sense")
        }
    }
}

/// The records; none if they aren't whole ones.
fn parse(mut data: &[u8]) -> Option<Vec<(SlotId, SlotLabel)>> {
    let mut labels = Vec::new();
    while !data.is_empty() {
        let (slot, rest) = data.split_first_chunk::<ID>()?;
        let (length, rest) = rest.split_first()?;
        let (label, rest) = rest.split_at_checked(usize::from(*length))?;
        labels.push((SlotId::from_bytes(*slot), SlotLabel::of_record(label)?));
        data = rest;
    }
    Some(labels)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{Timestamp, VaultId};
    use crate::keyring::format::body;
    use crate::keyring::format::extensions::Extension;

    fn with(data: &[u8]) -> KeyringBody {
        let mut body = crate::keyring::open::first_body(VaultId::random(), Timestamp(0)).unwrap();
        body.extensions.push(Extension { tag: SLOT_LABELS, data: data.to_vec() });
        body
    }

    fn slot(n: u8) -> SlotId {
        SlotId::from_bytes([n; ID])
    }

    fn label(text: &str) -> SlotLabel {
        text.parse().unwrap()
    }

    #[test]
    fn a_label_is_a_printable_line_of_at_most_64_bytes() {
        assert_eq!("  ".parse::<SlotLabel>(), Err(LabelError::Empty));
        assert_eq!("é".repeat(33).parse::<SlotLabel>(), Err(LabelError::TooLong));
        for text in ["a\nb", "a\x1b[31m", "\u{202e}gnp", "a\tb"] {
            assert_eq!(text.parse::<SlotLabel>(), Err(LabelError::Unprintable), "{text:?}");
        }
        assert_eq!(label("Anna's laptop, 世界").as_str(), "Anna's laptop, 世界");
    }

    #[test]
    fn labels_are_given_replaced_and_taken_away_and_come_back_from_the_bytes() {
        let mut body = with(b"");
        body.extensions.set(SLOT_LABELS, Vec::new());
        body.label_slot(slot(1), Some(label("laptop")));
        body.label_slot(slot(2), Some(label("safe")));
        body.label_slot(slot(1), Some(label("old laptop")));
        body.label_slot(slot(3), None);
        let again = body::decode(&body::encode(&body).unwrap()).unwrap();
        assert_eq!(again.slot_labels(), [(slot(1), label("old laptop")), (slot(2), label("safe"))]);
        body.label_slot(slot(1), None);
        body.label_slot(slot(2), None);
        assert!(body.extensions.iter().all(|extension| extension.tag != SLOT_LABELS), "an empty one is none");
    }

    /// As an implementation of docs/format.md makes the list that shares no code with this one.
    #[test]
    fn the_list_is_as_the_independent_implementation_makes_it() {
        let vectors: serde_json::Value =
            serde_json::from_str(include_str!("../../../tests/golden/vectors.json")).unwrap();
        let vector = &vectors["slot_labels"];
        let bytes = |hex: &str| data_encoding::HEXLOWER.decode(hex.as_bytes()).unwrap();
        let data = bytes(vector["extension"].as_str().unwrap());
        let labels: Vec<(SlotId, SlotLabel)> = vector["labels"]
            .as_object()
            .unwrap()
            .iter()
            .map(|(slot, text)| {
                (SlotId::from_bytes(bytes(slot).try_into().unwrap()), label(text.as_str().unwrap()))
            })
            .collect();
        assert_eq!((with(&data).slot_labels(), labels.len()), (labels.clone(), 2));
        let mut body = with(b"");
        body.set_slot_labels(&labels);
        assert_eq!(body.extensions[0].data, data);
    }

    #[test]
    fn a_list_of_labels_that_makes_no_sense_is_refused() {
        let record = |n: u8, text: &[u8]| [&[n; ID][..], &[text.len() as u8], text].concat();
        assert!(with(&record(1, b"x")).check_slot_labels().is_ok());
        let two = [record(1, b"x"), record(2, b"x")].concat();
        assert!(with(&two).check_slot_labels().is_ok(), "two slots of one label");
        for wrong in [
            Vec::new(),
            record(1, b""),
            record(1, &[b'x'; 65]),
            record(1, b"\xff"),
            record(1, b"x")[..17].to_vec(),
            [record(1, b"x"), record(1, b"y")].concat(),
            [record(1, b"x"), vec![0]].concat(),
        ] {
            assert!(with(&wrong).check_slot_labels().is_err(), "{wrong:?}");
        }
        let mut twice = with(&record(1, b"x"));
        twice.extensions.push(Extension { tag: SLOT_LABELS, data: record(2, b"y") });
        assert!(twice.check_slot_labels().is_err());
    }
}
