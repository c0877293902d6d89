//! Slots of key backups that are sealed for age recipients (age-encryption.org/v1): the slot holds a whole age file. What is
//! in that is made here and taken apart here; encrypting and decrypting it is age's, which this program executes.
//!
//! ```text
//! in JSON       {"id", "type": "age", "created", "sealed"}, the last in base64
//! in the file   0 vault id (16) | 16 slot id (16) | 32 root key (32)
//! ```
//!
//! The two ids bind the age file to its place: one that is moved into another backup's header doesn't open there. Anyone who
//! knows the recipients can make such a slot: it keeps a secret, and proves nothing about who made the backup.

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use zeroize::Zeroizing;

use super::base64::Base64Bytes;
use crate::crypto::keys::RootKey;
use crate::ids::{SlotId, Timestamp, VaultId};

const SLOT_AT: usize = 16;
const ROOT_AT: usize = SLOT_AT + 16;
/// Bytes that the age file of a slot holds.
pub const AGE_PAYLOAD: usize = ROOT_AT + 32;
/// The longest age file of a slot, in bytes: some thousand recipients.
pub const MAX_AGE_FILE: usize = 256 << 10;

/// Its kind, as in the header.
pub(super) const KIND: &str = "age";

/// A slot whose root key is sealed for age recipients.
#[derive(Clone)]
pub struct AgeSlot {
    pub(super) id: SlotId,
    pub(super) created: Timestamp,
    pub(super) sealed: Vec<u8>,
}

/// What an age identity yielded from a slot's age file. Wiped when dropped; no Debug.
pub struct AgeOpened(Zeroizing<[u8; AGE_PAYLOAD]>);

impl AgeSlot {
    /// What is to be encrypted for the slot `id` of a backup of `vault`.
    pub fn payload(vault: VaultId, id: SlotId, root: &RootKey) -> Zeroizing<[u8; AGE_PAYLOAD]> {
        let mut payload = Zeroizing::new([0; AGE_PAYLOAD]);
        payload[..SLOT_AT].copy_from_slice(vault.as_bytes());
        payload[SLOT_AT..ROOT_AT].copy_from_slice(id.as_bytes());
        payload[ROOT_AT..].copy_from_slice(root.expose());
        payload
    }

    /// The slot, with what age made of its payload. None if that is too long to be read again.
    pub fn new(id: SlotId, created: Timestamp, sealed: Vec<u8>) -> Option<Self> {
        (sealed.len() <= MAX_AGE_FILE).then_some(Self { id, created, sealed })
    }

    /// The age file.
    pub fn sealed(&self) -> &[u8] {
        &self.sealed
    }

    /// The root key, if what age yielded is this slot's.
    pub(super) fn open(&self, vault: VaultId, opened: &AgeOpened) -> Option<RootKey> {
        let (ids, root) = opened.0.split_last_chunk::<32>()?;
        let same = ids[..SLOT_AT] == *vault.as_bytes() && ids[SLOT_AT..] == *self.id.as_bytes();
        same.then(|| RootKey::from_bytes(root))
    }
}

impl AgeOpened {
    /// What age printed; none if it has another length.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let mut payload = Zeroizing::new([0; AGE_PAYLOAD]);
        (bytes.len() == AGE_PAYLOAD).then(|| {
            payload.copy_from_slice(bytes);
            Self(payload)
        })
    }
}

/// A slot for age recipients in the header's JSON.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct AgeJson {
    id: SlotId,
    #[serde(rename = "type")]
    kind: String,
    created: Timestamp,
    sealed: Base64Bytes,
}

impl From<&AgeSlot> for AgeJson {
    fn from(slot: &AgeSlot) -> Self {
        let sealed = Base64Bytes(slot.sealed.clone());
        Self { id: slot.id, kind: KIND.to_owned(), created: slot.created, sealed }
    }
}

impl Serialize for AgeSlot {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        AgeJson::from(self).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for AgeSlot {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let AgeJson { id, created, sealed, .. } = AgeJson::deserialize(deserializer)?;
        Self::new(id, created, sealed.0).ok_or_else(|| D::Error::custom("longer than an age file may be"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::unlock::{Secret, Slots, UnlockError};

    fn opens(slots: &Slots, vault: VaultId, opened: &AgeOpened) -> Result<[u8; 32], UnlockError> {
        slots.unlock_age(vault, opened).map(|(root, _)| *root.expose())
    }

    #[test]
    fn a_payload_opens_its_own_slot_of_its_own_vault_and_no_other() {
        let (vault, id, root) = (VaultId::random(), SlotId::random(), RootKey::generate());
        let payload = AgeSlot::payload(vault, id, &root);
        let slot = |id| AgeSlot::new(id, Timestamp(7), b"age-encryption.org/v1".to_vec()).unwrap();
        let mut slots = Slots::default();
        slots.push_age(slot(id));
        let opened = AgeOpened::parse(&*payload).unwrap();
        assert_eq!(opens(&slots, vault, &opened).unwrap(), *root.expose());
        assert_eq!(opens(&slots, VaultId::random(), &opened), Err(UnlockError::NotOfThisBackup));
        let mut other = Slots::default();
        assert_eq!(opens(&other, vault, &opened), Err(UnlockError::NoAgeSlot));
        other.push_age(slot(SlotId::random()));
        assert_eq!(opens(&other, vault, &opened), Err(UnlockError::NotOfThisBackup));
        assert!(AgeOpened::parse(&payload[1..]).is_none());
    }

    #[test]
    fn the_header_holds_it_as_the_format_says_and_no_secret_opens_it() {
        let (vault, id) = (VaultId::random(), SlotId::random());
        let mut slots = Slots::default();
        slots.push_age(AgeSlot::new(id, Timestamp(7), b"age".to_vec()).unwrap());
        let json = serde_json::to_string(&slots).unwrap();
        assert_eq!(json, format!(r#"[{{"id":"{id}","type":"age","created":7,"sealed":"YWdl"}}]"#));
        let again: Slots = serde_json::from_str(&json).unwrap();
        assert_eq!(again.age_slots().map(AgeSlot::sealed).collect::<Vec<_>>(), [b"age"]);
        assert_eq!((again.usable(), again.list()[0].kind.as_str()), (0, "age"));
        let secret = Secret::KeyFile(Zeroizing::new([1; 32]));
        assert!(again.unlock(vault, &secret, crate::unlock::CostBounds::None).is_err());
        for wrong in [json.replace("YWdl", "*"), json.replace(r#""sealed":"YWdl""#, r#""wrapped":"YWdl""#)] {
            assert!(serde_json::from_str::<Slots>(&wrong).is_err(), "{wrong}");
        }
    }
}
