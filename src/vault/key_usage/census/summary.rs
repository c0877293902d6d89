//! What the census keeps of the slots of a file's header.

use crate::header::{AliasTag, OtherSlot, SlotKeys};
use crate::ids::{AliasId, BackingKeyId, Generation};

/// What the census keeps of a file's slots.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) struct SlotSummary {
    pub(super) backing: BackingKeyId,
    /// The other slot bears, or may bear, another backing key.
    pub(super) differs: bool,
    /// Of the alias tag, if there is one.
    pub(super) follows: Option<Option<AliasId>>,
    /// The tag is of a generation that the keyring never had.
    pub(super) newer: bool,
}

impl SlotSummary {
    pub(super) fn slots(self) -> SlotKeys {
        let Self { backing, differs, follows, newer } = self;
        let other = if differs { OtherSlot::Unknown } else { OtherSlot::Names(backing) };
        // One that every keyring had, or none has, stands for all.
        let generation = Generation(if newer { u64::MAX } else { 0 });
        let tag = follows.map(|follows| AliasTag { follows, generation });
        SlotKeys { backing, other, tag }
    }
}
