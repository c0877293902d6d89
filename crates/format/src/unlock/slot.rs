//! Slots as they are in the keyring's header: sealing and opening them.
//!
//! ```text
//! in JSON    {"id", "type", "created", "salt" and "kdf" (of a passphrase), "wrapped"}, in base64 where it is bytes
//! wrapped    nonce (12) | root key, encrypted (32) | tag (16): crypto/seal.rs
//! AAD        vault id (16) | slot id (16) | type u8 (1 passphrase, 2 key file, 3 recovery key, 4 custodian)
//!            of a passphrase also: salt (16) | memory in KiB u32 | passes u32 | lanes u32
//!            of a custodian also: the digest of what the slot says (32): custody/mod.rs, which has its JSON too
//! ```

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use subtle::ConstantTimeEq;

use super::age::{self, AgeOpened, AgeSlot};
use super::base64::Base64;
use super::custody::{self, CustodianSlot, Custody, HeldKek, MAX_CUSTODIAN_SLOTS};
use super::error::UnlockError;
use super::limit::CostBounds;
use super::secret::{Secret, SecretKind};
use crate::crypto::keys::{RootKey, SlotKek};
use crate::crypto::password::{self, KdfError, KdfParams};
use crate::crypto::random;
use crate::crypto::seal::WrappedRoot;
use crate::ids::{SlotId, Timestamp, VaultId};

const SALT: usize = 16;
const WRAPPED: usize = size_of::<WrappedRoot>();

/// One unlock slot: the root key, wrapped under one secret.
#[derive(Clone)]
pub struct Slot {
    id: SlotId,
    created: Timestamp,
    lock: Lock,
    wrapped: WrappedRoot,
}

/// The kinds that this program can open, as in the header.
const KNOWN: [&str; 4] = ["passphrase", "keyfile", "recovery", custody::KIND];

/// The kind of secret and what else its KEK is made of.
#[derive(Clone)]
enum Lock {
    Passphrase { salt: [u8; SALT], kdf: KdfParams },
    KeyFile,
    Recovery,
    Custodian(Box<Custody>),
}

/// What is known of a slot without a secret.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SlotInfo {
    /// Its id; none if the slot is of a kind that this program doesn't know and has none.
    pub id: Option<SlotId>,
    /// Its kind, as in the header: `passphrase`, `keyfile`, `recovery`, `custodian`, or one of a newer program.
    pub kind: String,
    /// When it was made.
    pub created: Option<Timestamp>,
    /// Argon2id costs of a passphrase slot.
    pub kdf: Option<KdfParams>,
    /// What a custodian's slot says.
    pub custody: Option<Custody>,
}

impl SlotInfo {
    /// Whether this program can open slots of its kind.
    pub fn is_known(&self) -> bool {
        KNOWN.contains(&self.kind.as_str())
    }
}

impl Lock {
    const fn kind(&self) -> SecretKind {
        match self {
            Self::Passphrase { .. } => SecretKind::Passphrase,
            Self::KeyFile => SecretKind::KeyFile,
            Self::Recovery => SecretKind::Recovery,
            Self::Custodian(_) => SecretKind::Custodian,
        }
    }

    fn aad(&self, vault: VaultId, slot: SlotId) -> Vec<u8> {
        let mut aad = [vault.as_bytes().as_slice(), slot.as_bytes(), &[self.kind().number()]].concat();
        match self {
            Self::Passphrase { salt, kdf } => {
                aad.extend_from_slice(salt);
                for cost in [kdf.memory_kib, kdf.passes, kdf.lanes] {
                    aad.extend_from_slice(&cost.to_le_bytes());
                }
            }
            Self::Custodian(custody) => aad.extend_from_slice(&custody.digest()),
            Self::KeyFile | Self::Recovery => {}
        }
        aad
    }

    /// The KEK that a secret yields; `None` if it is of another kind, or the custodian's of another slot.
    fn kek(&self, slot: SlotId, secret: &Secret) -> Option<Result<SlotKek, KdfError>> {
        match (self, secret) {
            (Self::Passphrase { salt, kdf }, Secret::Passphrase(passphrase)) => {
                Some(password::derive_kek(passphrase, salt, *kdf))
            }
            (Self::KeyFile, Secret::KeyFile(key)) => Some(Ok(SlotKek::from_bytes(key))),
            (Self::Recovery, Secret::Recovery(key)) => Some(Ok(SlotKek::from_bytes(key.expose()))),
            (Self::Custodian(_), Secret::Custodian(held)) if held.slot == slot => {
                Some(Ok(SlotKek::from_bytes(&held.kek)))
            }
            _ => None,
        }
    }
}

impl Slot {
    /// Seals `root` under `secret` in a new slot with a new id (and salt): a slot's KEK is used once. A custodian has wrapped
    /// its KEK for an id already.
    ///
    /// # Errors
    /// [`KdfError`] if Argon2id can't run with `kdf`, which only passphrases use.
    pub fn seal(
        vault: VaultId,
        root: &RootKey,
        secret: &Secret,
        kdf: KdfParams,
        now: Timestamp,
    ) -> Result<Self, KdfError> {
        let mut id = SlotId::random();
        let (lock, kek) = match secret {
            Secret::Passphrase(passphrase) => {
                let salt = random::array();
                (Lock::Passphrase { salt, kdf }, password::derive_kek(passphrase, &salt, kdf)?)
            }
            Secret::KeyFile(key) => (Lock::KeyFile, SlotKek::from_bytes(key)),
            Secret::Recovery(key) => (Lock::Recovery, SlotKek::from_bytes(key.expose())),
            Secret::Custodian(held) => {
                id = held.slot;
                (Lock::Custodian(Box::new(held.custody.clone())), SlotKek::from_bytes(&held.kek))
            }
        };
        let wrapped = kek.wrap_root(vault, id, &lock.aad(vault, id), root);
        Ok(Self { id, created: now, lock, wrapped })
    }

    /// Its id.
    pub fn id(&self) -> SlotId {
        self.id
    }

    /// Argon2id costs of a passphrase slot.
    pub fn kdf(&self) -> Option<KdfParams> {
        match &self.lock {
            Lock::Passphrase { kdf, .. } => Some(*kdf),
            Lock::KeyFile | Lock::Recovery | Lock::Custodian(_) => None,
        }
    }

    /// What a custodian's slot says.
    fn custody(&self) -> Option<&Custody> {
        match &self.lock {
            Lock::Custodian(custody) => Some(custody),
            Lock::Passphrase { .. } | Lock::KeyFile | Lock::Recovery => None,
        }
    }

    /// The kind of secret that opens it.
    pub fn kind(&self) -> SecretKind {
        self.lock.kind()
    }

    fn open(&self, vault: VaultId, secret: &Secret) -> Result<RootKey, UnlockError> {
        let wrong = UnlockError::WrongSecret(secret.kind());
        self.check_caps()?;
        let kek = match self.lock.kek(self.id, secret) {
            Some(Ok(kek)) => kek,
            Some(Err(_)) => return Err(UnlockError::NoMemory(self.id, self.memory_mib())),
            None => return Err(wrong),
        };
        kek.unwrap_root(vault, self.id, &self.lock.aad(vault, self.id), &self.wrapped).map_err(|_| wrong)
    }

    fn check_caps(&self) -> Result<(), UnlockError> {
        match self.kdf() {
            Some(kdf) if !kdf.within_caps() => Err(UnlockError::CostBeyondCaps(self.id)),
            _ => Ok(()),
        }
    }

    fn memory_mib(&self) -> u32 {
        self.kdf().map_or(0, |kdf| kdf.memory_kib >> 10)
    }

    fn info(&self) -> SlotInfo {
        let (kind, kdf) = (self.kind().name().to_owned(), self.kdf());
        let custody = self.custody().cloned();
        SlotInfo { id: Some(self.id), kind, created: Some(self.created), kdf, custody }
    }
}

/// The slots of a vault, in the order of the header. Slots of unknown kinds are kept as they are, so that an
/// older program's change doesn't lock out who unlocks with a newer one.
#[derive(Clone, Default)]
pub struct Slots(Vec<SlotEntry>);

#[derive(Clone)]
enum SlotEntry {
    Known(Slot),
    /// Of a key backup: no secret opens it.
    Age(AgeSlot),
    Unknown(serde_json::Value),
}

impl Slots {
    /// Tries each slot of the secret's kind that is within `bounds`; for a passphrase that takes Argon2id's time for each.
    ///
    /// # Errors
    /// [`UnlockError`]: no slot of that kind, a wrong secret, or slots that can't be tried.
    pub fn unlock(
        &self,
        vault: VaultId,
        secret: &Secret,
        bounds: impl Into<CostBounds>,
    ) -> Result<(RootKey, SlotId), UnlockError> {
        let bounds = bounds.into();
        let mut failure = UnlockError::NoSuchSlot(secret.kind());
        // Why a slot was not tried tells the user more than that another slot refused the secret.
        let mut fails = |e: UnlockError| {
            if failure.is_wrong_secret() {
                failure = e;
            }
        };
        let mut tried = Vec::new();
        for slot in self.known().filter(|slot| slot.kind() == secret.kind()) {
            match slot.check_caps().and_then(|()| bounds.admits(slot.id, slot.kdf())) {
                Ok(()) => tried.push(slot),
                Err(e) => fails(e),
            }
        }
        bounds.admits_all(self.0.len(), tried.iter().map(|slot| slot.kdf()))?;
        for slot in tried {
            match slot.open(vault, secret) {
                Ok(root) => return Ok((root, slot.id)),
                Err(e) => fails(e),
            }
        }
        Err(failure)
    }

    /// Whether these are no more than a header may have: nothing is tried, or asked, for one that has more.
    ///
    /// # Errors
    /// [`UnlockError::TooManySlots`].
    pub fn check_number(&self, bounds: impl Into<CostBounds>) -> Result<(), UnlockError> {
        bounds.into().admits_all(self.0.len(), std::iter::empty())
    }

    /// Whether a keyring with these slots and one more can be opened within `bounds`.
    ///
    /// # Errors
    /// [`UnlockError`]: the bound that it would exceed.
    pub fn can_add(&self, slot: &Slot, bounds: impl Into<CostBounds>) -> Result<(), UnlockError> {
        let bounds = bounds.into();
        let same = self.known().filter(|known| known.kind() == slot.kind());
        if slot.custody().is_some() && same.clone().count() >= MAX_CUSTODIAN_SLOTS {
            return Err(UnlockError::TooManyCustodians);
        }
        let tried = |known: &&Slot| known.check_caps().and(bounds.admits(known.id, known.kdf())).is_ok();
        bounds.admits_all(self.0.len() + 1, same.filter(tried).chain([slot]).map(Slot::kdf))
    }

    /// Whether this slot is there, opens with `secret` and yields `root`.
    pub fn verify(&self, vault: VaultId, slot: SlotId, secret: &Secret, root: &RootKey) -> bool {
        self.known().find(|s| s.id == slot).is_some_and(|s| {
            s.open(vault, secret).is_ok_and(|opened| bool::from(opened.expose().ct_eq(root.expose())))
        })
    }

    /// Adds a slot at the end.
    pub fn push(&mut self, slot: Slot) {
        self.0.push(SlotEntry::Known(slot));
    }

    /// Adds a slot for age recipients at the end.
    pub fn push_age(&mut self, slot: AgeSlot) {
        self.0.push(SlotEntry::Age(slot));
    }

    /// The slots for age recipients.
    pub fn age_slots(&self) -> impl Iterator<Item = &AgeSlot> {
        self.0.iter().filter_map(|entry| match entry {
            SlotEntry::Age(slot) => Some(slot),
            SlotEntry::Known(_) | SlotEntry::Unknown(_) => None,
        })
    }

    /// The root key by what an age identity yielded from a slot's age file.
    ///
    /// # Errors
    /// [`UnlockError::NoAgeSlot`]; [`UnlockError::NotOfThisBackup`] if it comes from another header's slot.
    pub fn unlock_age(&self, vault: VaultId, opened: &AgeOpened) -> Result<(RootKey, SlotId), UnlockError> {
        let mut failure = UnlockError::NoAgeSlot;
        for slot in self.age_slots() {
            match slot.open(vault, opened) {
                Some(root) => return Ok((root, slot.id)),
                None => failure = UnlockError::NotOfThisBackup,
            }
        }
        Err(failure)
    }

    /// Takes a slot out. Returns whether it was there.
    pub fn remove(&mut self, id: SlotId) -> bool {
        let before = self.0.len();
        self.0.retain(|e| e.info().id != Some(id));
        self.0.len() < before
    }

    /// What is known of each slot.
    pub fn list(&self) -> Vec<SlotInfo> {
        self.0.iter().map(SlotEntry::info).collect()
    }

    /// Whether a slot is in both, byte for byte: what it wraps is one root key.
    pub fn share_one_with(&self, other: &Self) -> bool {
        let same =
            |slot: &Slot| other.known().any(|found| found.id == slot.id && found.wrapped == slot.wrapped);
        self.known().any(same)
    }

    /// The kind of a slot that this program can open, if there is such a slot.
    pub fn kind_of(&self, id: SlotId) -> Option<SecretKind> {
        self.known().find(|s| s.id == id).map(Slot::kind)
    }

    /// The slot that a secret is tried with, where it is one.
    pub fn tried_with(&self, secret: &Secret) -> Option<SlotId> {
        if let Secret::Custodian(held) = secret {
            return Some(held.slot);
        }
        let mut of_its_kind = self.known().filter(|slot| slot.kind() == secret.kind());
        of_its_kind.next().filter(|_| of_its_kind.next().is_none()).map(Slot::id)
    }

    /// Whether a secret that somebody has opens this without the slot `but`. A custodian is none: it may be out of reach, or
    /// lose its key.
    pub fn opens_without(&self, but: Option<SlotId>) -> bool {
        self.known().any(|slot| Some(slot.id) != but && slot.kind() != SecretKind::Custodian)
    }

    /// Whether this custodian's slot is there, as it was read.
    pub fn has(&self, held: &HeldKek) -> bool {
        self.known().any(|slot| slot.id == held.slot && slot.custody() == Some(&held.custody))
    }

    /// How many slots this program can open.
    pub fn usable(&self) -> usize {
        self.known().count()
    }

    fn known(&self) -> impl Iterator<Item = &Slot> + Clone {
        self.0.iter().filter_map(|e| match e {
            SlotEntry::Known(slot) => Some(slot),
            SlotEntry::Age(_) | SlotEntry::Unknown(_) => None,
        })
    }
}

impl SlotEntry {
    fn info(&self) -> SlotInfo {
        match self {
            Self::Known(slot) => slot.info(),
            Self::Age(slot) => SlotInfo {
                id: Some(slot.id),
                kind: age::KIND.to_owned(),
                created: Some(slot.created),
                kdf: None,
                custody: None,
            },
            Self::Unknown(value) => SlotInfo {
                id: value.get("id").and_then(|v| v.as_str()?.parse().ok()),
                kind: value.get("type").and_then(|v| v.as_str()).unwrap_or_default().to_owned(),
                created: value.get("created").and_then(|v| v.as_i64()).map(Timestamp),
                kdf: None,
                custody: None,
            },
        }
    }
}

/// A slot in the header's JSON.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SlotJson {
    id: SlotId,
    #[serde(rename = "type")]
    kind: String,
    created: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    salt: Option<Base64<SALT>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    kdf: Option<KdfParams>,
    wrapped: Base64<WRAPPED>,
}

impl From<&Slot> for SlotJson {
    fn from(slot: &Slot) -> Self {
        let (salt, kdf) = match slot.lock {
            Lock::Passphrase { salt, kdf } => (Some(Base64(salt)), Some(kdf)),
            Lock::KeyFile | Lock::Recovery | Lock::Custodian(_) => (None, None),
        };
        let (id, created, wrapped) = (slot.id, slot.created, Base64(slot.wrapped));
        Self { id, kind: slot.kind().name().to_owned(), created, salt, kdf, wrapped }
    }
}

impl SlotEntry {
    fn from_json(value: serde_json::Value) -> Result<Self, String> {
        let kind = value.get("type").and_then(|v| v.as_str()).ok_or("a slot without a type")?.to_owned();
        if kind == age::KIND {
            return serde_json::from_value(value).map(Self::Age).map_err(|e| format!("an age slot: {e}"));
        }
        if kind == custody::KIND {
            let slot: CustodianSlot =
                serde_json::from_value(value).map_err(|e| format!("a custodian's slot: {e}"))?;
            let CustodianSlot { id, created, custody, wrapped } = slot;
            return Ok(Self::Known(Slot { id, created, lock: Lock::Custodian(Box::new(custody)), wrapped }));
        }
        if !KNOWN.contains(&kind.as_str()) {
            return Ok(Self::Unknown(value));
        }
        let json: SlotJson = serde_json::from_value(value).map_err(|e| format!("a {kind} slot: {e}"))?;
        let lock = match (kind.as_str(), json.salt, json.kdf) {
            ("passphrase", Some(Base64(salt)), Some(kdf)) => Lock::Passphrase { salt, kdf },
            ("keyfile", None, None) => Lock::KeyFile,
            ("recovery", None, None) => Lock::Recovery,
            _ => return Err(format!("a {kind} slot with the fields of another kind")),
        };
        Ok(Self::Known(Slot { id: json.id, created: json.created, lock, wrapped: json.wrapped.0 }))
    }
}

impl Serialize for Slots {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(&self.0)
    }
}

impl Serialize for SlotEntry {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Known(Slot { id, created, lock: Lock::Custodian(custody), wrapped }) => {
                let custody = Custody::clone(custody);
                CustodianSlot { id: *id, created: *created, custody, wrapped: *wrapped }.serialize(serializer)
            }
            Self::Known(slot) => SlotJson::from(slot).serialize(serializer),
            Self::Age(slot) => slot.serialize(serializer),
            Self::Unknown(value) => value.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Slots {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let values = Vec::<serde_json::Value>::deserialize(deserializer)?;
        let entries: Result<Vec<_>, _> = values.into_iter().map(SlotEntry::from_json).collect();
        let slots = Self(entries.map_err(D::Error::custom)?);
        let mut ids: Vec<_> = slots.0.iter().filter_map(|e| e.info().id).collect();
        ids.sort_unstable();
        if ids.windows(2).any(|pair| pair[0] == pair[1]) {
            return Err(D::Error::custom("two slots with one id"));
        }
        Ok(slots)
    }
}
