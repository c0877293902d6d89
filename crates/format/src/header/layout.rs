//! The layout of a slot. Every number is little-endian.
//!
//! ```text
//! page 0   0 slot A (512) | 512 slot B (512) | 1024 block 0 (content/layout.rs)
//!
//! slot     0 "RKFS" | 4 format u16 | 6 suite u8 | 7 reserved | 8 sequence u64 | 16 file id (16)
//!         32 key id (16) | 48 key version u32 | 52 incompat bits u32 | 56 floor u64, in pages
//!         64 wrapped DEK (72): nonce (24), ciphertext (32), tag (16)
//!        136 alias tag (40): header/tag.rs
//!        176 reserved, zeros where it was written first; kept by a re-wrap
//!        480 HMAC-SHA256 (32) over 0..480 under the header MAC key of the DEK: it authenticates, and commits to the DEK
//! ```

use crate::crypto::keys::Wrapped;
use crate::crypto::suite::Suite;
use crate::ids::{BackingKeyId, FileId, Format, KeyId, KeyVersion, LowerOffset, PageCount, Sequence};

use super::tag::AliasTag;

/// Bytes of a slot.
pub const SLOT: usize = 512;
/// Bytes of both slots: what is read to open a file.
pub const SLOTS: usize = 2 * SLOT;

const MAGIC: &[u8; 4] = b"RKFS";
const FORMAT: usize = 4;
const SUITE: usize = 6;
const SEQUENCE: usize = 8;
const FILE_ID: usize = 16;
const KEY_ID: usize = 32;
const KEY_VERSION: usize = 48;
const INCOMPAT: usize = 52;
const FLOOR: usize = 56;
const WRAPPED_DEK: usize = 64;
const MAC: usize = 480;
const MAC_LEN: usize = 32;

/// Bytes of a slot that its MAC covers; the MAC follows.
pub const AUTHENTICATED: usize = MAC;

const _: () = {
    assert!(WRAPPED_DEK + size_of::<Wrapped>() == AliasTag::BYTES.start);
    assert!(AliasTag::BYTES.end <= MAC);
    assert!(MAC + MAC_LEN == SLOT);
};

/// Which of the two slots.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SlotIndex {
    /// At byte 0.
    A,
    /// At byte 512.
    B,
}

impl SlotIndex {
    /// The other one.
    pub const fn other(self) -> Self {
        match self {
            Self::A => Self::B,
            Self::B => Self::A,
        }
    }

    /// Where the slot begins in the lower file.
    pub const fn offset(self) -> LowerOffset {
        match self {
            Self::A => LowerOffset(0),
            Self::B => LowerOffset(SLOT as u64),
        }
    }
}

/// The bytes of a slot that its MAC covers. Only their holder knows whether the MAC was checked.
#[derive(Clone)]
pub(super) struct Fields([u8; AUTHENTICATED]);

impl Fields {
    /// Those of a new file's first slot: sequence 1, no floor, nothing wrapped yet.
    pub(super) fn new(file: FileId, suite: Suite) -> Self {
        let mut fields = Self([0; AUTHENTICATED]);
        fields.set(0, MAGIC);
        fields.set(FORMAT, &Format::CURRENT.0.to_le_bytes());
        fields.set(SUITE, &[suite.number()]);
        fields.set(FILE_ID, file.as_bytes());
        fields.set_sequence(Sequence(1));
        fields
    }

    /// The fields and the MAC of a slot; `None` if it doesn't begin with the magic.
    pub(super) fn parse(slot: &[u8; SLOT]) -> Option<(Self, [u8; MAC_LEN])> {
        let (fields, mac) = slot.split_first_chunk::<AUTHENTICATED>()?;
        fields.starts_with(MAGIC).then_some((Self(*fields), *mac.first_chunk()?))
    }

    /// What a MAC is made of.
    pub(super) fn bytes(&self) -> &[u8; AUTHENTICATED] {
        &self.0
    }

    /// The slot of these fields and their MAC.
    pub(super) fn with_mac(&self, mac: &[u8; MAC_LEN]) -> [u8; SLOT] {
        let mut out = [0; SLOT];
        out[..MAC].copy_from_slice(&self.0);
        out[MAC..].copy_from_slice(mac);
        out
    }

    fn array<const N: usize>(&self, at: usize) -> [u8; N] {
        let mut out = [0; N];
        out.copy_from_slice(&self.0[at..at + N]);
        out
    }

    fn set(&mut self, at: usize, bytes: &[u8]) {
        self.0[at..at + bytes.len()].copy_from_slice(bytes);
    }

    pub(super) fn format(&self) -> Format {
        Format(u16::from_le_bytes(self.array(FORMAT)))
    }

    pub(super) fn suite_number(&self) -> u8 {
        self.0[SUITE]
    }

    pub(super) fn sequence(&self) -> Sequence {
        Sequence(u64::from_le_bytes(self.array(SEQUENCE)))
    }

    pub(super) fn set_sequence(&mut self, sequence: Sequence) {
        self.set(SEQUENCE, &sequence.0.to_le_bytes());
    }

    pub(super) fn file(&self) -> FileId {
        FileId::from_bytes(self.array(FILE_ID))
    }

    pub(super) fn backing(&self) -> BackingKeyId {
        let version = KeyVersion(u32::from_le_bytes(self.array(KEY_VERSION)));
        BackingKeyId { key: KeyId::from_bytes(self.array(KEY_ID)), version }
    }

    pub(super) fn incompat(&self) -> u32 {
        u32::from_le_bytes(self.array(INCOMPAT))
    }

    pub(super) fn floor(&self) -> PageCount {
        PageCount(u64::from_le_bytes(self.array(FLOOR)))
    }

    pub(super) fn set_floor(&mut self, floor: PageCount) {
        self.set(FLOOR, &floor.0.to_le_bytes());
    }

    pub(super) fn wrapped(&self) -> Wrapped {
        self.array(WRAPPED_DEK)
    }

    pub(super) fn tag(&self) -> Option<AliasTag> {
        AliasTag::read(&self.array(AliasTag::BYTES.start), self.backing().key)
    }

    /// A wrap, and with it the tag; `None` leaves the tag's bytes as they are.
    pub(super) fn set_wrap(&mut self, backing: BackingKeyId, wrapped: &Wrapped, tag: Option<AliasTag>) {
        self.set(KEY_ID, backing.key.as_bytes());
        self.set(KEY_VERSION, &backing.version.0.to_le_bytes());
        self.set(WRAPPED_DEK, wrapped);
        if let Some(tag) = tag {
            self.set(AliasTag::BYTES.start, &tag.bytes(backing.key));
        }
    }
}
