//! What both slots of a file say of keys: which backing keys open it, and which alias it follows.

use super::layout::{Fields, SLOT, SLOTS, SlotIndex};
use super::tag::AliasTag;
use crate::ids::BackingKeyId;

/// What stands in the slot that isn't in force. Whoever has the backing key that it names opens the file too, as
/// long as the slot is there: no file has left a backing key before both of its slots have.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OtherSlot {
    /// Zeros: none was written yet.
    Empty,
    /// A slot that names this backing key; it isn't verified.
    Names(BackingKeyId),
    /// It can't be told: it is no slot, or one was written over it and isn't known to be durable.
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

    /// Whether the other slot bears, or may bear, another backing key than the one in force.
    pub fn differ(&self) -> bool {
        !self.only(self.backing)
    }
}
