//! Properties of everything that is read from a disk, a socket or a user, each a function of any bytes: what
//! the targets of libFuzzer in fuzz/ call, and the property tests. A property that doesn't hold is a panic.
//!
//! Keys are those of tests/golden/vectors.json, so that the seeds made from it open. Where the bytes can't be
//! what was sealed, they say how to edit something that was.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::sync::OnceLock;

use data_encoding::HEXLOWER;
use serde_json::Value;

use crate::content::{block, layout};
use crate::crypto::AuthError;
use crate::crypto::keys::{CustodyKek, KeyMaterial, TreeKey};
use crate::header::{self, Header, OpenError, SLOT, SLOTS, SlotIndex, UnverifiedSlot, UnwrapFailure};
use crate::ids::{AliasName, DirId, LowerOffset, PageCount, PageIndex, PlainOffset, VaultId};
use crate::names::{
    BAD_PREFIX, DirRecord, LowerKind, LowerName, MAX_NAME, NameCipher, RecordCipher, check_new, check_plain,
};
use crate::unlock::{CostLimit, HeldKek, Secret, Slots};
use crate::{control, custody, events, keyring};

mod blob;
mod policy;
pub use blob::blob;
pub use policy::policy;

/// What the golden vectors hold.
struct Golden {
    vault: VaultId,
    material: KeyMaterial,
    slots: Vec<[u8; SLOT]>,
    tree: TreeKey,
    records: Vec<Vec<u8>>,
}

fn golden_json() -> &'static Value {
    static ALL: OnceLock<Value> = OnceLock::new();
    ALL.get_or_init(|| serde_json::from_str(include_str!("../tests/golden/vectors.json")).unwrap())
}

fn golden() -> &'static Golden {
    static GOLDEN: OnceLock<Golden> = OnceLock::new();
    GOLDEN.get_or_init(|| {
        let all = golden_json();
        let hex = |v: &Value| HEXLOWER.decode(v.as_str().unwrap().as_bytes()).unwrap();
        let slots = all["slots"].as_array().unwrap();
        let records = all["tree"]["records"].as_array().unwrap();
        Golden {
            vault: VaultId::from_bytes(hex(&slots[0]["vault"]).try_into().unwrap()),
            material: KeyMaterial::from_bytes(&hex(&slots[0]["material"]).try_into().unwrap()),
            slots: slots.iter().map(|row| hex(&row["slot"]).try_into().unwrap()).collect(),
            tree: TreeKey::from_bytes(&hex(&all["tree"]["tree"]).try_into().unwrap()),
            records: records.iter().map(|row| hex(&row["record"])).collect(),
        }
    })
}

/// `good` after the edits that `script` says, 4 bytes each: where (u16), what, and a byte.
fn edited(good: &[u8], script: &[u8]) -> Vec<u8> {
    let mut out = good.to_vec();
    for [low, high, what, byte] in script.as_chunks::<4>().0.iter().take(16) {
        let at = usize::from(u16::from_le_bytes([*low, *high])) % (out.len() + 1);
        match what % 8 {
            5 => out.insert(at, *byte),
            6 if at < out.len() => drop(out.remove(at)),
            7 => out.truncate(at),
            _ => out.get_mut(at).into_iter().for_each(|b| *b ^= byte),
        }
    }
    out
}

/// `N` bytes off the front, zeros where there are fewer, and the rest.
fn take<const N: usize>(data: &[u8]) -> ([u8; N], &[u8]) {
    let (head, rest) = data.split_at(N.min(data.len()));
    let mut out = [0; N];
    out[..head.len()].copy_from_slice(head);
    (out, rest)
}

fn open_header(bytes: &[u8; SLOTS]) -> Result<Header, OpenError<()>> {
    let golden = golden();
    header::open(bytes, |slot| {
        let key = golden.material.wrapping_key(golden.vault, slot.backing());
        key.unwrap_dek(&slot.wrap_context(golden.vault), &slot.wrapped())
            .map_err(|AuthError| UnwrapFailure::Failed)
    })
}

/// Both slots of a header: what opens is what was sealed, byte for byte; the order is by sequence; damage to
/// one slot never costs the other, unless it claims to be of a newer program.
pub fn header_slot(data: &[u8]) {
    let (bytes, _) = take::<SLOTS>(data);
    let raw = |index: SlotIndex| -> &[u8] { &bytes[index.offset().0 as usize..][..SLOT] };
    let parsed = UnverifiedSlot::parse_both(&bytes);
    let begun = [SlotIndex::A, SlotIndex::B].into_iter().filter(|index| raw(*index).starts_with(b"RKFS"));
    assert_eq!(parsed.iter().flatten().count(), begun.count());
    for slot in parsed.iter().flatten() {
        assert_eq!(slot.sequence().0.to_le_bytes(), raw(slot.index())[8..16]);
        assert_eq!(slot.floor().0.to_le_bytes(), raw(slot.index())[56..64]);
        assert_eq!(slot.wrapped(), raw(slot.index())[64..136]);
    }
    if let [Some(first), Some(second)] = &parsed {
        let (a, b) = (first.sequence(), second.sequence());
        assert!(a > b || (a == b && first.index() == SlotIndex::A));
    }
    if let Ok(header) = open_header(&bytes) {
        assert_eq!(header.to_slot(), raw(header.index()));
        assert!(golden().slots.contains(&header.to_slot()), "a slot opened that was never sealed");
    }

    let (floor, script) = take::<8>(data);
    let first = golden().slots[0];
    let mut page = [0; SLOTS];
    page[..SLOT].copy_from_slice(&first);
    let mut header = open_header(&page).expect("the golden slot opens");
    let next = header.next_slot(None, PageCount(u64::from_le_bytes(floor)));
    let mut second = edited(next.bytes(), script);
    second.resize(SLOT, 0);
    page[SLOT..].copy_from_slice(&second);
    let whole = second == *next.bytes();
    match open_header(&page) {
        Ok(found) if whole => assert_eq!(found.to_slot(), *next.bytes()),
        Ok(found) => assert_eq!(found.to_slot(), first),
        Err(OpenError::Newer(_)) => assert!(!whole),
        Err(error) => panic!("slot A is whole, and yet: {error:?}"),
    }
}

/// A block: sealed and opened it is the same; changed in any way, or in another page's place, it is refused;
/// zeros alone are a hole. Lower and plain sizes say the same.
pub fn page(data: &[u8]) {
    let ([suite], rest) = take::<1>(data);
    let (number, rest) = take::<8>(rest);
    let (nonce, rest) = take::<12>(rest);
    sizes(u64::from_le_bytes(number));

    let mut bytes = [0; SLOTS];
    bytes[..SLOT].copy_from_slice(&golden().slots[usize::from(suite) % golden().slots.len()]);
    let header = open_header(&bytes).expect("the golden slots open");
    let page = PageIndex(u64::from_le_bytes(number) % layout::page_count(layout::MAX_SIZE).0);
    let key = header.content_key(layout::segment(page));
    let range = layout::block_range(page);
    let len = (range.end - range.start) as usize;
    let mut lower = vec![0; len];
    let payload = block::payload_of(&mut lower);
    let given = rest.len().min(payload.len());
    payload[..given].copy_from_slice(&rest[..given]);
    let plain = payload.to_vec();
    block::seal(&key, page, &nonce, &mut lower);
    let mut out = vec![0; plain.len()];
    assert_eq!(block::open(&key, page, &lower, &mut out), Ok(block::Opened::Data));
    assert_eq!(out, plain);

    let mut changed = edited(&lower, rest);
    changed.resize(len, 0);
    if changed != lower {
        let found = block::open(&key, page, &changed, &mut out);
        assert_eq!(found.is_ok(), block::is_zero(&changed), "a changed block opened");
    }
    let mut never = rest.to_vec();
    never.resize(len, 0);
    assert_eq!(block::open(&key, page, &never, &mut out).is_ok(), block::is_zero(&never));
    let neighbour = PageIndex(page.0 ^ 1);
    if page.0 > 1 {
        let found = block::open(&key, neighbour, &lower, &mut out);
        assert_eq!(found, Err(AuthError), "a block opened in another's place");
    }
}

fn sizes(number: u64) {
    if let Ok(plain) = layout::plain_size(LowerOffset(number)) {
        let canonical = layout::lower_size(plain);
        // Copies made with other tools end at the end of a page: the same size, said in another way.
        let full = number.is_multiple_of(layout::PAGE) && canonical.0 - number <= layout::PAYLOAD;
        assert!(canonical.0 == number || full, "{number} is read as {plain:?}");
    }
    let plain = PlainOffset(number % (layout::MAX_SIZE.0 + 1));
    assert_eq!(layout::plain_size(layout::lower_size(plain)), Ok(plain));
}

/// A name in a directory: encrypted and decrypted it is the same, and has one lower form; what is shown for any
/// lower name leads back to it; a name never decrypts in another directory.
pub fn name(data: &[u8]) {
    let (dir, text) = take::<16>(data);
    let (here, elsewhere) = (DirId(dir), DirId(dir.map(|b| !b)));
    let cipher = NameCipher::new(&golden().tree);
    if check_new(text).is_ok() {
        let lower = cipher.encrypt(here, text);
        assert_eq!(cipher.decrypt(here, lower.full()).as_deref(), Ok(text));
        assert_eq!(cipher.decrypt(elsewhere, lower.full()), Err(AuthError));
        assert!(lower.entry().len() <= MAX_NAME && lower.full().len() <= LowerName::MAX_FULL);
        assert_eq!(cipher.locate(here, text).as_ref(), Ok(&lower));
        match &lower {
            LowerName::Short(entry) => assert_eq!(LowerKind::of(entry), LowerKind::Name),
            LowerName::Long { entry, companion, full } => {
                assert_eq!(LowerKind::of(entry), LowerKind::LongEntry);
                assert_eq!(LowerKind::of(companion), LowerKind::LongCompanion);
                assert_eq!(LowerName::companion_of(entry), *companion);
                assert_eq!(cipher.decrypt_long(here, entry, full).as_deref(), Ok(text));
            }
        }
    }
    // The same bytes as a lower name.
    if let Ok(plain) = cipher.decrypt(here, text) {
        assert_eq!(cipher.encrypt(here, &plain).full(), text, "two lower forms of one name");
    }
    let kind = LowerKind::of(text);
    assert_eq!(kind == LowerKind::Name, !text.starts_with(b"."));
    if kind == LowerKind::LongEntry {
        assert_eq!(LowerKind::of(&LowerName::companion_of(text)), LowerKind::LongCompanion);
    }
    if kind == LowerKind::Name && check_plain(text).is_ok() {
        let shown = cipher.show(here, text);
        let found = cipher.locate(here, &shown).expect("what is shown is found");
        assert_eq!(found.full(), text);
        assert!(!shown.starts_with(BAD_PREFIX) || cipher.decrypt(here, text).is_err());
    }
}

/// A directory's record: encoded and decoded it is the same; changed in any way it is refused.
pub fn dir_record(data: &[u8]) {
    let cipher = RecordCipher::new(&golden().tree);
    if cipher.decode(data).is_ok() {
        assert!(golden().records.iter().any(|record| record == data), "a record that was never sealed");
    }
    let (id, rest) = take::<16>(data);
    let alias = std::str::from_utf8(rest).ok().and_then(|text| text.parse::<AliasName>().ok());
    let record = DirRecord { id: DirId(id), alias };
    // Under another key: libFuzzer learns from comparisons, and would hand what is sealed here back as input.
    let cipher = RecordCipher::new(&TreeKey::from_bytes(&[7; 32]));
    let lower = cipher.encode(&record);
    assert!(lower.len() <= DirRecord::MAX_LEN);
    assert_eq!(cipher.decode(&lower).as_ref(), Ok(&record));
    let changed = edited(&lower, rest);
    assert_eq!(cipher.decode(&changed).is_ok(), changed == lower, "a changed record opened");
}

/// The frame and the header of a keyring or a key backup: parsed, encoded and parsed again it says the same.
pub fn keyring_header(data: &[u8]) {
    keyring::fuzzing::header_comes_back(data);
}

/// The body of a keyring: what is decoded encodes to the same bytes, so that a thing has one form.
pub fn keyring_body(data: &[u8]) {
    keyring::fuzzing::body_comes_back(data);
    keyring::fuzzing::body_comes_back(&edited(keyring::fuzzing::BODY, data));
}

/// The unlock slots of a header: none is lost or changed by a program that doesn't know it, none opens for a
/// secret that sealed none, and costs beyond the caps are never run.
pub fn unlock_slots(data: &[u8]) {
    let Ok(slots) = serde_json::from_slice::<Slots>(data) else { return };
    let text = serde_json::to_vec(&slots).unwrap();
    let again: Slots = serde_json::from_slice(&text).expect("slots that were read can be written and read");
    assert_eq!(again.list(), slots.list());
    let values = |text: &[u8]| serde_json::from_slice::<Vec<Value>>(text).unwrap();
    let (before, after) = (values(data), values(&text));
    assert_eq!(before.len(), after.len());
    for ((before, after), info) in before.iter().zip(&after).zip(slots.list()) {
        assert!(info.is_known() || before == after, "a slot of an unknown kind was changed");
    }
    assert_eq!(slots.usable(), slots.list().iter().filter(|info| info.is_known()).count());
    for info in slots.list() {
        let (Some(id), Some(custody)) = (info.id, info.custody) else { continue };
        let held = HeldKek::new(id, custody, &CustodyKek::from_bytes(&[0x5a; 32]));
        let opened = slots.unlock(golden().vault, &Secret::Custodian(held), CostLimit::Usual);
        assert!(opened.is_err(), "a custodian's slot opened for a KEK that sealed none");
    }
    let key_file = Secret::KeyFile([0x5a; 32].into());
    assert!(
        slots.unlock(golden().vault, &key_file, CostLimit::Usual).is_err(),
        "a slot opened for a secret of no slot"
    );
    if slots.list().iter().filter_map(|info| info.kdf).all(|kdf| !kdf.within_caps()) {
        assert!(
            slots
                .unlock(golden().vault, &Secret::Passphrase(b"any".to_vec().into()), CostLimit::Usual)
                .is_err()
        );
    }
}

/// A line that a custodian's helper answers with: what is taken of it keeps the bounds of a slot, and what is shown of it is
/// one printable line.
pub fn custodian_answer(data: &[u8]) {
    custody::fuzzing::answer_is_bounded(data);
}

/// A line on the control socket: what is understood is the same after it was written and read again.
pub fn control_message(data: &[u8]) {
    control::fuzzing::message_comes_back(data);
}

/// The event log: a changed one is never found good, and no line of another's making fits the chain.
pub fn events_line(data: &[u8]) {
    events::fuzzing::reads_any_end(data);
    assert_eq!(events::fuzzing::good_lines(data), 0, "a line that was never written fits");
    let log = events::fuzzing::log();
    events::fuzzing::check_against(log, &edited(log, data));
}

/// A key backup: it opens if, and only if, no byte of it was changed.
pub fn key_backup(data: &[u8]) {
    let backup = keyring::fuzzing::backup();
    assert!(
        keyring::fuzzing::open_backup(data).is_none() || data == backup,
        "a backup that was never sealed"
    );
    let changed = edited(backup, data);
    let opened = keyring::fuzzing::open_backup(&changed);
    assert_eq!(opened.is_some(), changed == backup, "a changed backup opened");
    assert!(opened.is_none_or(|body| body == keyring::fuzzing::BODY));
}

#[cfg(test)]
mod tests;
