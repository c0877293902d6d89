//! Which slot counts, what is refused, and every byte flipped.
use super::*;
use crate::crypto::keys::{Dek, KeyMaterial, WrapContext, Wrapped, WrappingKey};
use crate::crypto::suite::Suite;
use crate::ids::{
    AliasId, BackingKeyId, FileId, Format, Generation, KeyId, KeyVersion, PageCount, Sequence, VaultId,
};

struct Keyring {
    vault: VaultId,
    keys: Vec<(BackingKeyId, WrappingKey)>,
    disabled: Option<BackingKeyId>,
}

impl Keyring {
    fn new(versions: u32) -> Self {
        let (vault, key) = (VaultId::random(), KeyId::random());
        let keys = (1..=versions)
            .map(|v| {
                let id = BackingKeyId { key, version: KeyVersion(v) };
                (id, KeyMaterial::generate().wrapping_key(vault, id))
            })
            .collect();
        Self { vault, keys, disabled: None }
    }

    fn unwrap(&self, slot: &UnverifiedSlot) -> Result<Dek, UnwrapFailure<&'static str>> {
        if self.disabled == Some(slot.backing()) {
            return Err(UnwrapFailure::NotUsable("disabled"));
        }
        let (_, key) = self
            .keys
            .iter()
            .find(|(id, _)| *id == slot.backing())
            .ok_or(UnwrapFailure::Unknown("unknown"))?;
        key.unwrap_dek(&slot.wrap_context(self.vault), &slot.wrapped()).map_err(|_| UnwrapFailure::Failed)
    }

    fn wrap(&self, version: usize, file: FileId, dek: &Dek) -> (BackingKeyId, Wrapped) {
        let (backing, key) = &self.keys[version - 1];
        let context =
            WrapContext { vault: self.vault, file, backing: *backing, suite: 1, format: Format::CURRENT };
        (*backing, key.wrap_dek(&context, dek))
    }

    fn new_header(&self) -> Header {
        let (file, dek) = (FileId::random(), Dek::generate());
        let (backing, wrapped) = self.wrap(1, file, &dek);
        Header::new(file, Suite::Aes256Gcm, &rewrapped(backing, &wrapped), dek)
    }

    fn open(&self, bytes: &[u8; SLOTS]) -> Result<Header, OpenError<&'static str>> {
        open(bytes, |slot| self.unwrap(slot))
    }
}

/// Without a tag, as programs do that know none.
fn rewrapped(backing: BackingKeyId, wrapped: &Wrapped) -> Rewrapped<'_> {
    Rewrapped { backing, wrapped, tag: None }
}

fn page(a: &[u8], b: &[u8]) -> [u8; SLOTS] {
    let mut out = [0; SLOTS];
    out[..a.len()].copy_from_slice(a);
    out[SLOT..SLOT + b.len()].copy_from_slice(b);
    out
}

#[test]
fn a_new_header_opens_and_yields_the_same_dek() {
    let keyring = Keyring::new(1);
    let header = keyring.new_header();
    let opened = keyring.open(&page(&header.to_slot(), &[])).unwrap();
    assert_eq!(
        (opened.sequence(), opened.index(), opened.floor()),
        (Sequence(1), SlotIndex::A, PageCount(0))
    );
    assert_eq!(opened.file(), header.file());
    assert_eq!(opened.to_slot(), header.to_slot());
}

#[test]
fn every_flipped_bit_of_a_lone_slot_is_refused() {
    let keyring = Keyring::new(1);
    let good = page(&keyring.new_header().to_slot(), &[]);
    for i in 0..SLOT {
        for bit in [1, 0x80] {
            let mut bad = good;
            bad[i] ^= bit;
            assert!(keyring.open(&bad).is_err(), "byte {i}");
        }
    }
}

#[test]
fn the_higher_sequence_counts_and_a_torn_one_falls_back() {
    let keyring = Keyring::new(2);
    let mut header = keyring.new_header();
    let (backing, wrapped) = keyring.wrap(2, header.file(), header.dek());
    let next = header.next_slot(Some(&rewrapped(backing, &wrapped)), PageCount(5));
    assert_eq!(next.index(), SlotIndex::B);
    let both = page(&header.to_slot(), next.bytes());
    let opened = keyring.open(&both).unwrap();
    assert_eq!((opened.sequence(), opened.backing(), opened.floor()), (Sequence(2), backing, PageCount(5)));
    for i in 0..SLOT {
        let mut torn = both;
        torn[SLOT + i..].fill(0xEE);
        match keyring.open(&torn) {
            Ok(opened) => assert_eq!(opened.sequence(), Sequence(1), "torn from byte {i}"),
            // Torn inside format, suite or incompat: looks newer, and isn't guessed at.
            Err(OpenError::Newer(_)) => assert!((4..56).contains(&i), "torn from byte {i}"),
            Err(e) => panic!("torn from byte {i}: {e:?}"),
        }
    }
}

/// A slot that may be on disk counts, though the header never became it: no later one has its sequence, and its
/// floor is known until a durable slot takes its place.
#[test]
fn slots_that_were_never_advanced_to_are_passed() {
    let keyring = Keyring::new(1);
    let mut header = keyring.new_header();
    let lost = header.next_slot(None, PageCount(5));
    assert_eq!((header.floor(), header.highest_floor()), (PageCount(0), PageCount(5)));
    let next = header.next_slot(None, PageCount(1));
    let opened = keyring.open(&page(lost.bytes(), next.bytes())).unwrap();
    assert_eq!((opened.sequence(), opened.floor()), (Sequence(3), PageCount(1)));
    header.advance(lost);
    assert_eq!(header.highest_floor(), PageCount(5));
    assert_eq!(header.next_slot(None, PageCount(0)).bytes()[8], 4, "the slot in between is passed as well");
    header.advance(next);
    assert_eq!(header.highest_floor(), PageCount(5), "slot 4 is on offer");
    let last = header.next_slot(None, PageCount(0));
    header.advance(last);
    assert_eq!(header.highest_floor(), PageCount(0));
}

#[test]
fn a_key_that_is_not_usable_stops_without_fallback() {
    let mut keyring = Keyring::new(2);
    let mut header = keyring.new_header();
    let (backing, wrapped) = keyring.wrap(2, header.file(), header.dek());
    let both =
        page(&header.to_slot(), header.next_slot(Some(&rewrapped(backing, &wrapped)), PageCount(0)).bytes());
    keyring.disabled = Some(backing);
    assert_eq!(keyring.open(&both).err(), Some(OpenError::Key("disabled")));
}

#[test]
fn an_unknown_key_falls_back_and_alone_is_enokey() {
    let mut keyring = Keyring::new(2);
    let mut header = keyring.new_header();
    let (backing, wrapped) = keyring.wrap(2, header.file(), header.dek());
    let next = header.next_slot(Some(&rewrapped(backing, &wrapped)), PageCount(0));
    keyring.keys.pop();
    assert_eq!(keyring.open(&page(&header.to_slot(), next.bytes())).unwrap().sequence(), Sequence(1));
    assert_eq!(keyring.open(&page(&[], next.bytes())).err(), Some(OpenError::Key("unknown")));
}

#[test]
fn newer_and_missing_are_said() {
    let keyring = Keyring::new(1);
    let good = page(&keyring.new_header().to_slot(), &[]);
    for at in [4, 6, 52] {
        let mut newer = good;
        newer[at] = 0x7F;
        assert!(matches!(keyring.open(&newer).err(), Some(OpenError::Newer(_))));
    }
    assert_eq!(keyring.open(&[0; SLOTS]).err(), Some(OpenError::Missing));
    assert_eq!(keyring.open(&[7; SLOTS]).err(), Some(OpenError::Damaged));
}

#[test]
fn reserved_bytes_are_kept_by_a_rewrap() {
    let keyring = Keyring::new(2);
    let header = keyring.new_header();
    let mut slot = header.to_slot();
    let (fields, mac) = slot.split_at_mut(AUTHENTICATED);
    (fields[200], fields[7]) = (42, 9);
    mac.copy_from_slice(&header.dek().header_mac_key(header.file()).mac(fields));
    let mut opened = keyring.open(&page(&slot, &[])).unwrap();
    let (backing, wrapped) = keyring.wrap(2, opened.file(), opened.dek());
    let next = opened.next_slot(Some(&rewrapped(backing, &wrapped)), PageCount(0));
    assert_eq!((next.bytes()[200], next.bytes()[7]), (42, 9));
    assert!(keyring.open(&page(&[], next.bytes())).is_ok());
}

/// It opens with the header that bears it; one that names another key than the slot is none.
#[test]
fn a_tag_counts_under_its_own_key_alone_and_stays_where_no_other_is_given() {
    let (keyring, other_key) = (Keyring::new(2), Keyring::new(1));
    let mut header = keyring.new_header();
    assert_eq!(header.keys().tag, None);
    for follows in [Some(AliasId([7; 16])), None] {
        let tag = AliasTag { follows, generation: Generation(0x0102_0304_0506_0708) };
        let (backing, wrapped) = keyring.wrap(1, header.file(), header.dek());
        let next =
            header.next_slot(Some(&Rewrapped { backing, wrapped: &wrapped, tag: Some(tag) }), PageCount(0));
        assert_eq!(&next.bytes()[136..152], &follows.map_or([0; 16], |id| id.0));
        assert_eq!(
            &next.bytes()[152..176],
            [&backing.key.as_bytes()[..], &[8, 7, 6, 5, 4, 3, 2, 1]].concat()
        );
        let opened = keyring.open(&page(next.bytes(), &[])).unwrap();
        assert_eq!(opened.keys().tag, Some(tag));
        header.advance(next);
    }
    // Another version of the key, by a program that copies what it doesn't know.
    let (backing, wrapped) = keyring.wrap(2, header.file(), header.dek());
    let next = header.next_slot(Some(&rewrapped(backing, &wrapped)), PageCount(0));
    header.advance(next);
    let tag = header.keys().tag.unwrap();
    assert_eq!(tag.generation, Generation(0x0102_0304_0506_0708));
    // Another key.
    let (backing, wrapped) = other_key.wrap(1, header.file(), header.dek());
    let next = header.next_slot(Some(&rewrapped(backing, &wrapped)), PageCount(0));
    header.advance(next);
    assert_eq!(header.keys().tag, None);
}
