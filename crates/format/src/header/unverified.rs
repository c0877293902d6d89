//! A slot as it was read, before its MAC is checked.

use super::layout::{Fields, SLOT, SLOTS, SlotIndex};
use super::slot_keys::{OtherSlot, SlotKeys};
use super::tag::AliasTag;
use crate::crypto::keys::{WrapContext, Wrapped};
use crate::crypto::suite::Suite;
use crate::ids::{BackingKeyId, FileId, Format, PageCount, Sequence, VaultId};

/// A slot as it was read. Nothing in it is verified: anyone who can write the ciphertext may have made it.
pub struct UnverifiedSlot {
    pub(super) fields: Fields,
    pub(super) mac: [u8; 32],
    pub(super) index: SlotIndex,
}

impl UnverifiedSlot {
    /// The slot in these bytes; `None` if they don't begin with the magic (zeros: no slot was written).
    pub fn parse(bytes: &[u8; SLOT], index: SlotIndex) -> Option<Self> {
        Fields::parse(bytes).map(|(fields, mac)| Self { fields, mac, index })
    }

    /// Both slots, the higher sequence first; of equal ones, A.
    pub fn parse_both(bytes: &[u8; SLOTS]) -> [Option<Self>; 2] {
        let slot = |index: SlotIndex| {
            let at = index.offset().0 as usize;
            bytes[at..].first_chunk().and_then(|b| Self::parse(b, index))
        };
        let (a, b) = (slot(SlotIndex::A), slot(SlotIndex::B));
        match (&a, &b) {
            (Some(x), Some(y)) if y.sequence() > x.sequence() => [b, a],
            (None, Some(_)) => [b, a],
            _ => [a, b],
        }
    }

    /// The format.
    pub fn format(&self) -> Format {
        self.fields.format()
    }

    /// The number of the suite, which this program may not know.
    pub fn suite_number(&self) -> u8 {
        self.fields.suite_number()
    }

    /// The sequence.
    pub fn sequence(&self) -> Sequence {
        self.fields.sequence()
    }

    /// The file id.
    pub fn file(&self) -> FileId {
        self.fields.file()
    }

    /// The backing key that is said to wrap the DEK.
    pub fn backing(&self) -> BackingKeyId {
        self.fields.backing()
    }

    /// The incompat bits.
    pub fn incompat(&self) -> u32 {
        self.fields.incompat()
    }

    /// The floor.
    pub fn floor(&self) -> PageCount {
        self.fields.floor()
    }

    /// Which slot it was read from.
    pub fn index(&self) -> SlotIndex {
        self.index
    }

    /// The backing keys that it and the other slot, in the same `bytes`, name, and its tag.
    pub fn keys(&self, bytes: &[u8; SLOTS]) -> SlotKeys {
        let other = OtherSlot::of(bytes, self.index.other());
        SlotKeys { backing: self.backing(), other, tag: self.tag() }
    }

    /// The alias tag.
    pub fn tag(&self) -> Option<AliasTag> {
        self.fields.tag()
    }

    /// The wrapped DEK, for the keyring that unwraps it.
    pub fn wrapped(&self) -> Wrapped {
        self.fields.wrapped()
    }

    /// What the wrapped DEK is bound to in `vault`.
    pub fn wrap_context(&self, vault: VaultId) -> WrapContext {
        WrapContext {
            vault,
            file: self.file(),
            backing: self.backing(),
            suite: self.suite_number(),
            format: self.format(),
        }
    }

    /// What in it is of a newer program.
    pub(super) fn newer(&self) -> Option<&'static str> {
        if self.format() != Format::CURRENT {
            Some("an unknown file format")
        } else if self.incompat() != 0 {
            Some("an unknown incompat bit")
        } else if Suite::from_number(self.suite_number()).is_none() {
            Some("an unknown content suite")
        } else {
            None
        }
    }
}
