//! The parameters of the operations that use a key for data, as they were typed. Blobs and data are in base64.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use zeroize::Zeroizing;

/// The pairs of an encryption context.
pub type Pairs = BTreeMap<String, String>;

/// A text that is secret: wiped, and never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretText(Zeroizing<String>);

impl SecretText {
    /// This text.
    pub fn new(text: String) -> Self {
        Self(Zeroizing::new(text))
    }

    pub(super) fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for SecretText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretText(..)")
    }
}

impl Serialize for SecretText {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for SecretText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self::new)
    }
}

/// Encrypt data, aliases accepted.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Encrypt {
    /// The key.
    pub key_id: String,
    /// The data, 1 to 4,096 bytes.
    pub plaintext: SecretText,
    /// What it is bound to.
    #[serde(default)]
    pub encryption_context: Pairs,
    /// `SYMMETRIC_DEFAULT`, or nothing.
    pub encryption_algorithm: Option<String>,
    /// Only say whether it could be done.
    #[serde(default)]
    pub dry_run: bool,
}

/// Decrypt a blob.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Decrypt {
    /// The blob.
    pub ciphertext_blob: String,
    /// What it was bound to.
    #[serde(default)]
    pub encryption_context: Pairs,
    /// The key that it must be of, aliases accepted; without one the blob names it.
    pub key_id: Option<String>,
    /// `SYMMETRIC_DEFAULT`, or nothing.
    pub encryption_algorithm: Option<String>,
    /// Only say whether it could be done.
    #[serde(default)]
    pub dry_run: bool,
}

/// Encrypt what a blob encrypts under another key, or another version of the same, without giving it out.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReEncrypt {
    /// The blob.
    pub ciphertext_blob: String,
    /// What it was bound to.
    #[serde(default)]
    pub source_encryption_context: Pairs,
    /// The key that it must be of, aliases accepted; without one the blob names it.
    pub source_key_id: Option<String>,
    /// The key to encrypt it by, aliases accepted.
    pub destination_key_id: String,
    /// What it is bound to from now on.
    #[serde(default)]
    pub destination_encryption_context: Pairs,
    /// `SYMMETRIC_DEFAULT`, or nothing.
    pub source_encryption_algorithm: Option<String>,
    /// `SYMMETRIC_DEFAULT`, or nothing.
    pub destination_encryption_algorithm: Option<String>,
    /// Only say whether it could be done.
    #[serde(default)]
    pub dry_run: bool,
}

/// Make a data key and encrypt it, aliases accepted.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataKey {
    /// The key that encrypts it.
    pub key_id: String,
    /// What it is bound to.
    #[serde(default)]
    pub encryption_context: Pairs,
    /// Its length, 1 to 1,024 bytes; or `key_spec`.
    pub number_of_bytes: Option<i64>,
    /// `AES_256` or `AES_128`.
    pub key_spec: Option<String>,
    /// Only say whether it could be done.
    #[serde(default)]
    pub dry_run: bool,
}

/// Make random bytes.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Random {
    /// How many, 1 to 1,024.
    pub number_of_bytes: Option<i64>,
}
