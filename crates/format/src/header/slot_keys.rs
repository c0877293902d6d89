//! Which backing keys the two slots of a file name, and which alias the file follows.

use super::layout::{Fields, SLOT, SLOTS, SlotIndex};
use super::tag::AliasTag;
use crate::ids::BackingKeyId;

/// What is in the slot that isn't in force. As long as it is there, the backing key that it names opens the file too:
/// a file has left a backing key only when both of its slots have.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OtherSlot {
    /// Zeros: none was written yet.
    Empty,
    /// A slot that names this backing key; it isn't verified.
    Names(BackingKeyId),
    /// It isn't known: the bytes are no slot, or a slot was written there and may not be durable.
    Unknown,
}

impl OtherSlot {
    pub(super) fn of(bytes: &[u8; SLOTS], index: SlotIndex) -> Self {
        let at = index.offset().0 as usize;
        let Some(slot) = bytes[at..].first_chunk::<SLOT>() else { return Self::Unknown };
        match Fields::parse(slot) {
            Some((fields, _)) => Self::Names(fields.backing()),
            None if slot.iter().all(|b| *b == 0) => Self::Empty,
            None => Self::Unknown,
        }
    }
}

/// The backing keys that a file's slots name, and the alias that the file follows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SlotKeys {
    /// Of the slot in force: what opens the file.
    pub backing: BackingKeyId,
    /// Of the other one.
    pub other: OtherSlot,
    /// The tag of the slot in force.
    pub tag: Option<AliasTag>,
}

impl SlotKeys {
    /// Whether no slot needs, or may need, another backing key than this one.
    pub fn only(&self, backing: BackingKeyId) -> bool {
        self.backing == backing
            && match self.other {
                OtherSlot::Empty => true,
                OtherSlot::Names(other) => other == backing,
                OtherSlot::Unknown => false,
            }
    }

    /// Whether the other slot names, or may name, another backing key than the one in force.
    pub fn differ(&self) -> bool {
        !self.only(self.backing)
    }
}
