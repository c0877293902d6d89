//! What a slot says of the KEK that a custodian keeps for it. A custodian is something outside of the vault (a token, a TPM, a
//! key service) that wraps a KEK of 32 random bytes. Here is what it needs to unwrap it again; nothing of it is secret.
//!
//! ```text
//! in JSON    {"id", "type": "custodian", "created", "custodian", "params", "blob" in base64, "key_version" if any, "wrapped"}
//! digest     SHA-256 of {"blob", "custodian", "key_version" if any, "params"} as RFC 8785 (JSON Canonicalization Scheme)
//!            writes it: params.rs
//! ```
//!
//! The digest is part of the slot's AAD: a slot whose blob, parameters or version were exchanged doesn't open, whatever its
//! custodian says. It can't be checked before the custodian was asked, so all of this is as untrusted as the rest of the
//! header until then.

mod error;
mod params;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;
use zeroize::Zeroizing;

use super::base64::{Base64, Base64Bytes};
use crate::crypto::keys::CustodyKek;
use crate::crypto::seal::WrappedRoot;
use crate::crypto::sha256;
use crate::ids::{SlotId, Timestamp};

pub use error::{CustodyError, MAX_CUSTODY_BLOB};
use error::{MAX_NAME, MAX_VERSION};
pub use params::CustodyParams;

/// Its kind, as in the header.
pub(super) const KIND: &str = "custodian";

/// Slots of custodians that are tried at most, and that a keyring gets at most: each may start a process.
pub const MAX_CUSTODIAN_SLOTS: usize = 16;

/// The name of a kind of custodian, as `aws-kms`.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct CustodianName(String);

impl CustodianName {
    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for CustodianName {
    type Error = CustodyError;

    fn try_from(name: String) -> Result<Self, CustodyError> {
        let fits = (1..=MAX_NAME).contains(&name.len())
            && name.starts_with(|first: char| first.is_ascii_lowercase())
            && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
        if fits { Ok(Self(name)) } else { Err(CustodyError::Name) }
    }
}

impl std::str::FromStr for CustodianName {
    type Err = CustodyError;

    fn from_str(name: &str) -> Result<Self, CustodyError> {
        name.to_owned().try_into()
    }
}

impl From<CustodianName> for String {
    fn from(name: CustodianName) -> Self {
        name.0
    }
}

impl std::fmt::Display for CustodianName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// Which custodian keeps a KEK, and what it needs to give it back.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Custody {
    custodian: CustodianName,
    params: CustodyParams,
    blob: Vec<u8>,
    key_version: Option<String>,
}

impl Custody {
    /// What a custodian has said when it wrapped.
    ///
    /// # Errors
    /// [`CustodyError`]: it is too long.
    pub fn new(
        custodian: CustodianName,
        params: CustodyParams,
        blob: Vec<u8>,
        key_version: Option<String>,
    ) -> Result<Self, CustodyError> {
        if !(1..=MAX_CUSTODY_BLOB).contains(&blob.len()) {
            return Err(CustodyError::Blob);
        }
        let printable = |version: &str| version.bytes().all(|byte| (b' '..=b'~').contains(&byte));
        let fits = |version: &str| (1..=MAX_VERSION).contains(&version.len()) && printable(version);
        if key_version.as_deref().is_some_and(|version| !fits(version)) {
            return Err(CustodyError::Version);
        }
        Ok(Self { custodian, params, blob, key_version })
    }

    /// Which custodian.
    pub fn custodian(&self) -> &CustodianName {
        &self.custodian
    }

    /// What it finds its key by.
    pub fn params(&self) -> &CustodyParams {
        &self.params
    }

    /// The wrapped KEK, in the custodian's form.
    pub fn blob(&self) -> &[u8] {
        &self.blob
    }

    /// The version of the custodian's key that wrapped it, where it has versions.
    pub fn key_version(&self) -> Option<&str> {
        self.key_version.as_deref()
    }

    /// By which a slot's AAD has all of this.
    pub(super) fn digest(&self) -> [u8; 32] {
        let blob = Value::from(data_encoding::BASE64.encode(&self.blob));
        let custodian = Value::from(self.custodian.as_str());
        let params = Value::Object(self.params.as_map().clone());
        let version = self.key_version.clone().map(Value::from);
        let mut members = vec![("blob", &blob), ("custodian", &custodian), ("params", &params)];
        members.extend(version.as_ref().map(|version| ("key_version", version)));
        let mut text = String::new();
        params::canonical_object(members, &mut text);
        sha256(text.as_bytes())
    }
}

/// A KEK that a custodian wrapped or unwrapped for one slot. Like other secrets that open a vault, and unlike keys, it isn't in
/// locked memory: the process that serves a mount inherits it.
pub struct HeldKek {
    pub(super) slot: SlotId,
    pub(super) custody: Custody,
    pub(super) kek: Box<Zeroizing<[u8; 32]>>,
}

impl HeldKek {
    /// The KEK of `slot`, of which `custody` is or will be what the slot says.
    pub fn new(slot: SlotId, custody: Custody, kek: &CustodyKek) -> Self {
        let mut held = Box::new(Zeroizing::new([0; 32]));
        held.copy_from_slice(kek.expose());
        Self { slot, custody, kek: held }
    }

    /// The slot.
    pub fn slot(&self) -> SlotId {
        self.slot
    }

    /// What the slot says.
    pub fn custody(&self) -> &Custody {
        &self.custody
    }
}

/// A custodian's slot in the header's JSON.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct CustodianJson {
    id: SlotId,
    #[serde(rename = "type")]
    kind: String,
    created: Timestamp,
    custodian: CustodianName,
    params: CustodyParams,
    blob: Base64Bytes,
    #[serde(skip_serializing_if = "Option::is_none")]
    key_version: Option<String>,
    wrapped: Base64<{ size_of::<WrappedRoot>() }>,
}

/// A slot of a custodian as it is read and written.
pub(super) struct CustodianSlot {
    pub(super) id: SlotId,
    pub(super) created: Timestamp,
    pub(super) custody: Custody,
    pub(super) wrapped: WrappedRoot,
}

impl Serialize for CustodianSlot {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Custody { custodian, params, blob, key_version } = self.custody.clone();
        let (id, created, kind) = (self.id, self.created, KIND.to_owned());
        let (blob, wrapped) = (Base64Bytes(blob), Base64(self.wrapped));
        CustodianJson { id, kind, created, custodian, params, blob, key_version, wrapped }
            .serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for CustodianSlot {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let json = CustodianJson::deserialize(deserializer)?;
        let custody = Custody::new(json.custodian, json.params, json.blob.0, json.key_version);
        let custody = custody.map_err(D::Error::custom)?;
        Ok(Self { id: json.id, created: json.created, custody, wrapped: json.wrapped.0 })
    }
}

#[cfg(test)]
mod tests;
