//! A header whose MAC was checked: what yields content keys and the slots that are written next.

use super::layout::{Fields, SLOT, SlotIndex};
use super::slot_keys::{OtherSlot, SlotKeys};
use super::tag::AliasTag;
use super::unverified::UnverifiedSlot;
use crate::crypto::AuthError;
use crate::crypto::keys::{Dek, HeaderMacKey, Wrapped};
use crate::crypto::page::ContentKey;
use crate::crypto::suite::Suite;
use crate::ids::{BackingKeyId, FileId, PageCount, SegmentIndex, Sequence};

/// A verified header: what yields content keys.
pub struct Header {
    fields: Fields,
    index: SlotIndex,
    suite: Suite,
    dek: Dek,
    mac_key: HeaderMacKey,
    other: OtherSlot,
    /// The last slot that was made for the other place is a copy of this one.
    copied: bool,
    offered: Offered,
}

/// A DEK as it was wrapped for a slot.
pub struct Rewrapped<'a> {
    /// By this backing key.
    pub backing: BackingKeyId,
    /// The wrap.
    pub wrapped: &'a Wrapped,
    /// The tag that goes with it; none: the tag's bytes stay as they are, and so don't count under another key.
    pub tag: Option<AliasTag>,
}

/// Of the slots made by [`Header::next_slot`] that the header didn't advance to: each may be on disk, and be
/// the header after a power cut.
#[derive(Default)]
struct Offered {
    sequence: u64,
    floor: u64,
}

impl Header {
    /// The header in a slot, if `dek` is the one that the slot's MAC commits to. `other`: what the other slot holds.
    pub(super) fn verify(slot: UnverifiedSlot, dek: Dek, other: OtherSlot) -> Result<Self, AuthError> {
        let mac_key = dek.header_mac_key(slot.file());
        mac_key.verify(slot.fields.bytes(), &slot.mac)?;
        let suite = Suite::from_number(slot.suite_number()).ok_or(AuthError)?;
        let UnverifiedSlot { fields, index, .. } = slot;
        Ok(Self { fields, index, suite, dek, mac_key, other, copied: false, offered: Offered::default() })
    }

    /// The header of a new file: slot A, sequence 1, no floor. `wrap` is `dek` wrapped.
    pub fn new(file: FileId, suite: Suite, wrap: &Rewrapped<'_>, dek: Dek) -> Self {
        let mut fields = Fields::new(file, suite);
        fields.set_wrap(wrap.backing, wrap.wrapped, wrap.tag);
        let mac_key = dek.header_mac_key(file);
        let (index, other, offered) = (SlotIndex::A, OtherSlot::Empty, Offered::default());
        Self { fields, index, suite, dek, mac_key, other, copied: false, offered }
    }

    /// The slot's bytes, sealed.
    pub fn to_slot(&self) -> [u8; SLOT] {
        sealed(&self.fields, &self.mac_key)
    }

    /// The slot of the same file that goes into the other slot: the DEK wrapped by `rewrapped`'s backing key
    /// (none: as it is) and `floor`. Its sequence is past that of every slot made before, also of those that
    /// the header never advanced to. Reserved bytes are kept. From here on it isn't known what the other slot holds.
    pub fn next_slot(&mut self, rewrapped: Option<&Rewrapped<'_>>, floor: PageCount) -> NextSlot {
        let mut fields = self.fields.clone();
        let sequence = self.sequence().0.max(self.offered.sequence) + 1;
        self.offered = Offered { sequence, floor: self.offered.floor.max(floor.0) };
        self.other_is_unknown();
        fields.set_sequence(Sequence(sequence));
        fields.set_floor(floor);
        if let Some(Rewrapped { backing, wrapped, tag }) = rewrapped {
            fields.set_wrap(*backing, wrapped, *tag);
        }
        let bytes = sealed(&fields, &self.mac_key);
        NextSlot { fields, index: self.index.other(), bytes }
    }

    /// Makes a slot from [`Header::next_slot`] the header, once it is durable.
    pub fn advance(&mut self, next: NextSlot) {
        self.copied = false;
        self.other = OtherSlot::Names(self.backing());
        self.fields = next.fields;
        self.index = next.index;
        if self.sequence().0 >= self.offered.sequence {
            self.offered = Offered::default();
        }
    }

    /// This slot's bytes for the other place. What is there isn't known until [`Header::copy_is_durable`].
    pub fn copy_for_other(&mut self) -> [u8; SLOT] {
        self.other_is_unknown();
        self.copied = true;
        self.to_slot()
    }

    /// The copy for the other slot is durable, if that is what was last written there.
    pub fn copy_is_durable(&mut self) {
        if self.copied {
            self.other = OtherSlot::Names(self.backing());
        }
    }

    /// From here on it isn't known what the other slot holds, or will hold after a power cut.
    pub fn other_is_unknown(&mut self) {
        (self.other, self.copied) = (OtherSlot::Unknown, false);
    }

    /// The backing keys that both slots name, and the tag of this one.
    pub fn keys(&self) -> SlotKeys {
        SlotKeys { backing: self.backing(), other: self.other, tag: self.fields.tag() }
    }

    /// Takes over what `before`, the header of the same file until it was read from disk again, knows of slots that
    /// may still come back: those that it made, and one that was overwritten, but not durably.
    pub fn succeed(&mut self, before: &Self) {
        if self.file() != before.file() {
            return;
        }
        let sequence = before.sequence().0.max(before.offered.sequence);
        self.offered = Offered {
            sequence: self.offered.sequence.max(sequence),
            floor: self.offered.floor.max(before.highest_floor().0),
        };
        if before.other == OtherSlot::Unknown || before.sequence() != self.sequence() {
            self.other_is_unknown();
        }
    }

    /// Which slot the header is in.
    pub fn index(&self) -> SlotIndex {
        self.index
    }

    /// The file id.
    pub fn file(&self) -> FileId {
        self.fields.file()
    }

    /// The content suite.
    pub fn suite(&self) -> Suite {
        self.suite
    }

    /// The sequence.
    pub fn sequence(&self) -> Sequence {
        self.fields.sequence()
    }

    /// The backing key that wraps the DEK.
    pub fn backing(&self) -> BackingKeyId {
        self.fields.backing()
    }

    /// The floor: pages below it are never zero. 0: none.
    pub fn floor(&self) -> PageCount {
        self.fields.floor()
    }

    /// The highest floor that the header can have after a power cut: also of slots that were written, or may
    /// have been, and that it didn't advance to.
    pub fn highest_floor(&self) -> PageCount {
        PageCount(self.floor().0.max(self.offered.floor))
    }

    /// The DEK, to be wrapped again.
    pub fn dek(&self) -> &Dek {
        &self.dek
    }

    /// The content key of a segment.
    pub fn content_key(&self, segment: SegmentIndex) -> ContentKey {
        self.dek.content_key(self.suite, self.file(), segment)
    }
}

/// A slot to be written beside the one in force.
pub struct NextSlot {
    fields: Fields,
    index: SlotIndex,
    bytes: [u8; SLOT],
}

impl NextSlot {
    /// Where it goes.
    pub fn index(&self) -> SlotIndex {
        self.index
    }

    /// Its bytes, sealed.
    pub fn bytes(&self) -> &[u8; SLOT] {
        &self.bytes
    }
}

fn sealed(fields: &Fields, key: &HeaderMacKey) -> [u8; SLOT] {
    fields.with_mac(&key.mac(fields.bytes()))
}
