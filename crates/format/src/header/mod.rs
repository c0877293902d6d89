//! A file's header: two slots of 512 bytes in page 0, of which the valid one with the higher sequence
//! counts (docs/format.md, "The header"). Bytes from disk are an [`UnverifiedSlot`]; only [`open`], which
//! unwraps the DEK and checks the MAC that commits to it, makes a [`Header`], and only a `Header` yields
//! content keys. No I/O.

mod slot_keys;
mod tag;

pub use slot_keys::{OtherSlot, SlotKeys};
pub use tag::AliasTag;

use crate::crypto::AuthError;
use crate::crypto::keys::{Dek, HeaderMacKey, WrapContext, Wrapped};
use crate::crypto::page::ContentKey;
use crate::crypto::suite::Suite;
use crate::ids::{
    BackingKeyId, FileId, Format, KeyId, KeyVersion, LowerOffset, PageCount, SegmentIndex, Sequence, VaultId,
};

/// Bytes of a slot.
pub const SLOT: usize = 512;
/// Bytes of both slots: what is read to open a file.
pub const SLOTS: usize = 2 * SLOT;
const MAGIC: &[u8; 4] = b"RKFS";
/// Bytes of a slot that its MAC covers; the MAC follows.
pub const AUTHENTICATED: usize = 480;

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

/// The authenticated bytes of a slot, whose fields can be read.
#[derive(Clone)]
struct Fields([u8; AUTHENTICATED]);

impl Fields {
    fn array<const N: usize>(&self, at: usize) -> [u8; N] {
        let mut out = [0; N];
        out.copy_from_slice(&self.0[at..at + N]);
        out
    }

    fn set(&mut self, at: usize, bytes: &[u8]) {
        self.0[at..at + bytes.len()].copy_from_slice(bytes);
    }

    fn format(&self) -> Format {
        Format(u16::from_le_bytes(self.array(4)))
    }

    fn sequence(&self) -> Sequence {
        Sequence(u64::from_le_bytes(self.array(8)))
    }

    fn file(&self) -> FileId {
        FileId::from_bytes(self.array(16))
    }

    fn backing(&self) -> BackingKeyId {
        BackingKeyId {
            key: KeyId::from_bytes(self.array(32)),
            version: KeyVersion(u32::from_le_bytes(self.array(48))),
        }
    }

    fn incompat(&self) -> u32 {
        u32::from_le_bytes(self.array(52))
    }

    fn floor(&self) -> PageCount {
        PageCount(u64::from_le_bytes(self.array(56)))
    }

    fn wrapped(&self) -> Wrapped {
        self.array(64)
    }

    fn tag(&self) -> Option<AliasTag> {
        AliasTag::read(&self.array(tag::AT), self.backing().key)
    }

    /// A wrap, and with it the tag; `None` leaves the tag's bytes as they are.
    fn set_wrap(&mut self, backing: BackingKeyId, wrapped: &Wrapped, tag: Option<AliasTag>) {
        self.set(32, backing.key.as_bytes());
        self.set(48, &backing.version.0.to_le_bytes());
        self.set(64, wrapped);
        if let Some(tag) = tag {
            self.set(tag::AT, &tag.bytes(backing.key));
        }
    }

    fn seal(&self, key: &HeaderMacKey) -> [u8; SLOT] {
        let mut out = [0; SLOT];
        out[..AUTHENTICATED].copy_from_slice(&self.0);
        out[AUTHENTICATED..].copy_from_slice(&key.mac(&self.0));
        out
    }
}

/// A slot as it was read: anyone who can write the ciphertext may have made it.
pub struct UnverifiedSlot {
    fields: Fields,
    mac: [u8; 32],
    index: SlotIndex,
}

impl UnverifiedSlot {
    /// The slot in these bytes; `None` if they don't begin with the magic (zeros: no slot was written).
    pub fn parse(bytes: &[u8; SLOT], index: SlotIndex) -> Option<Self> {
        let (fields, mac) = bytes.split_first_chunk::<AUTHENTICATED>()?;
        let mac = mac.first_chunk::<32>()?;
        fields.starts_with(MAGIC).then_some(Self { fields: Fields(*fields), mac: *mac, index })
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

    /// The format it claims.
    pub fn format(&self) -> Format {
        self.fields.format()
    }

    /// The number of the suite it claims.
    pub fn suite_number(&self) -> u8 {
        self.fields.0[6]
    }

    /// The sequence it claims.
    pub fn sequence(&self) -> Sequence {
        self.fields.sequence()
    }

    /// The file id it claims.
    pub fn file(&self) -> FileId {
        self.fields.file()
    }

    /// The backing key it claims to be wrapped by.
    pub fn backing(&self) -> BackingKeyId {
        self.fields.backing()
    }

    /// The incompat bits it claims.
    pub fn incompat(&self) -> u32 {
        self.fields.incompat()
    }

    /// The floor it claims.
    pub fn floor(&self) -> PageCount {
        self.fields.floor()
    }

    /// Which slot it was read from.
    pub fn index(&self) -> SlotIndex {
        self.index
    }

    /// The backing keys that it and the other slot, in the same `bytes`, claim, and its tag.
    pub fn keys(&self, bytes: &[u8; SLOTS]) -> SlotKeys {
        let other = OtherSlot::of(bytes, self.index.other());
        SlotKeys { backing: self.backing(), other, tag: self.tag() }
    }

    /// The alias tag it claims.
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

    fn newer(&self) -> Option<&'static str> {
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

    fn verify(self, dek: Dek, other: OtherSlot) -> Result<Header, AuthError> {
        let mac_key = dek.header_mac_key(self.file());
        mac_key.verify(&self.fields.0, &self.mac)?;
        let suite = Suite::from_number(self.suite_number()).ok_or(AuthError)?;
        let offered = Offered::default();
        let (fields, index) = (self.fields, self.index);
        Ok(Header { fields, index, suite, dek, mac_key, other, copied: false, offered })
    }
}

/// Why a keyring did not unwrap a slot's DEK. `E` says it to the user.
pub enum Refusal<E> {
    /// The key is known, but must not be used now: no fallback to the other slot.
    NotUsable(E),
    /// The keyring doesn't know the key or the version.
    Unknown(E),
    /// The unwrap failed.
    Failed,
}

/// Why no slot opened.
#[derive(Debug, PartialEq, Eq)]
pub enum OpenError<E> {
    /// The key can't be used, or is unknown: ENOKEY.
    Key(E),
    /// Damaged: EIO.
    Damaged,
    /// Written by a newer program: EOPNOTSUPP. Never guessed, so without fallback.
    Newer(&'static str),
    /// Both slots are all zeros: never written, or never durable.
    Missing,
}

/// Opens a header: the slot with the highest sequence first; the other one only if the first one's key is
/// unknown, its unwrap or its MAC fails.
///
/// # Errors
/// See [`OpenError`]. Unwrap and MAC failures are one error.
pub fn open<E>(
    bytes: &[u8; SLOTS],
    mut unwrap: impl FnMut(&UnverifiedSlot) -> Result<Dek, Refusal<E>>,
) -> Result<Header, OpenError<E>> {
    if bytes.iter().all(|b| *b == 0) {
        return Err(OpenError::Missing);
    }
    let mut unknown = None;
    for slot in UnverifiedSlot::parse_both(bytes).into_iter().flatten() {
        if let Some(what) = slot.newer() {
            return Err(OpenError::Newer(what));
        }
        match unwrap(&slot) {
            Ok(dek) => {
                let other = OtherSlot::of(bytes, slot.index.other());
                if let Ok(header) = slot.verify(dek, other) {
                    return Ok(header);
                }
            }
            Err(Refusal::NotUsable(e)) => return Err(OpenError::Key(e)),
            Err(Refusal::Unknown(e)) => unknown = Some(e),
            Err(Refusal::Failed) => {}
        }
    }
    Err(unknown.map_or(OpenError::Damaged, OpenError::Key))
}

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
    /// The header of a new file: slot A, sequence 1, no floor. `wrap` is `dek` wrapped.
    pub fn new(file: FileId, suite: Suite, wrap: &Rewrapped<'_>, dek: Dek) -> Self {
        let mut fields = Fields([0; AUTHENTICATED]);
        fields.set(0, MAGIC);
        fields.set(4, &Format::CURRENT.0.to_le_bytes());
        fields.set(6, &[suite.number()]);
        fields.set(8, &1u64.to_le_bytes());
        fields.set(16, file.as_bytes());
        fields.set_wrap(wrap.backing, wrap.wrapped, wrap.tag);
        let mac_key = dek.header_mac_key(file);
        let (index, other, offered) = (SlotIndex::A, OtherSlot::Empty, Offered::default());
        Self { fields, index, suite, dek, mac_key, other, copied: false, offered }
    }

    /// The slot's bytes, sealed.
    pub fn to_slot(&self) -> [u8; SLOT] {
        self.fields.seal(&self.mac_key)
    }

    /// The slot of the same file that goes into the other slot: the DEK wrapped by `rewrapped`'s backing key
    /// (none: as it is) and `floor`. Its sequence is past that of every slot made before, also of those that
    /// the header never advanced to. Reserved bytes are kept. From here on it isn't known what the other slot holds.
    pub fn next_slot(&mut self, rewrapped: Option<&Rewrapped<'_>>, floor: PageCount) -> NextSlot {
        let mut fields = self.fields.clone();
        let sequence = self.sequence().0.max(self.offered.sequence) + 1;
        self.offered = Offered { sequence, floor: self.offered.floor.max(floor.0) };
        self.other_is_unknown();
        fields.set(8, &sequence.to_le_bytes());
        fields.set(56, &floor.0.to_le_bytes());
        if let Some(Rewrapped { backing, wrapped, tag }) = rewrapped {
            fields.set_wrap(*backing, wrapped, *tag);
        }
        let bytes = fields.seal(&self.mac_key);
        NextSlot { fields, index: self.index.other(), bytes }
    }

    /// Takes over a slot made by [`Header::next_slot`], once it is durable.
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

    /// What the other slot holds, or will hold after a power cut, can't be told.
    pub fn other_is_unknown(&mut self) {
        (self.other, self.copied) = (OtherSlot::Unknown, false);
    }

    /// The backing keys that both slots name, and the tag of this one.
    pub fn keys(&self) -> SlotKeys {
        SlotKeys { backing: self.backing(), other: self.other, tag: self.fields.tag() }
    }

    /// Takes over what is known of the slots that `before`, which stood for the same file until it was read from
    /// disk again, or a slot made by it, may still be: one that was overwritten, but not durably, can come back.
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

    /// Which slot the header stands in.
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

    /// The DEK, to be wrapped anew.
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

#[cfg(test)]
mod tests;
