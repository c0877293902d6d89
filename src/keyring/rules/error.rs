//! What the rules of keys and aliases refuse, each with what is meant and what can be done. What the KMS interface calls
//! each is said in one place, src/kms/error.rs.

use super::policy::PolicyError;
use crate::ids::{AliasName, KeyId, KeyVersion, NotOne};
use crate::printable;

/// A number that has limits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Quantity {
    /// Days between automatic rotations.
    RotationPeriod,
    /// Days until a deletion.
    DeletionWindow,
}

impl std::fmt::Display for Quantity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::RotationPeriod => "rotation period",
            Self::DeletionWindow => "deletion window",
        })
    }
}

/// Why the rules refuse something.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RuleError {
    /// A number of days that isn't possible.
    #[error("a {what} of {} isn't possible; give {least} to {most}", printable::counted(*.value, "day", "days"))]
    OutOfRange {
        /// Of what.
        what: Quantity,
        /// The number.
        value: i64,
        /// The least that is possible.
        least: i64,
        /// And the most.
        most: i64,
    },
    /// The key was rotated on demand as often as is possible.
    #[error(
        "key {key} was rotated on demand {limit} times, which is the limit; `rekeyfs rotate` isn't counted"
    )]
    OnDemandLimit {
        /// The key.
        key: KeyId,
        /// How often that is.
        limit: u32,
    },
    /// No deletion is pending that could be taken back or carried out.
    #[error("key {0} is not pending deletion")]
    NotPendingDeletion(KeyId),
    /// Material can't be imported into a key that makes its own.
    #[error("key {0} makes its own material; make a key of origin EXTERNAL to import some")]
    MakesOwnMaterial(KeyId),
    /// New material was imported and isn't in use yet.
    #[error("key {0} has new material that waits for a rotation; rotate it first")]
    MaterialWaits(KeyId),
    /// A key of imported material has none to rotate to.
    #[error("key {0} has no new key material to rotate to; import it first")]
    NothingWaits(KeyId),
    /// What was to be new material isn't.
    #[error("the key material is already one of this key's")]
    MaterialIsOld,
    /// What was to be the material of before isn't.
    #[error("the key material isn't the one that was imported before")]
    MaterialIsAnother,
    /// No version has the material of this id.
    #[error("the key has no key material of that id")]
    NoSuchMaterial,
    /// A text that is no key id.
    #[error("'{}' is no key id, key ARN or alias; `rekeyfs status` lists the keys", .0.escape_debug())]
    NoKeyId(String),
    /// The beginning of several key ids.
    #[error("key id '{prefix}': {why}; give more of the one that is meant")]
    AmbiguousKeyId {
        /// What was given of it.
        prefix: String,
        /// Which keys it could be.
        why: NotOne<KeyId>,
    },
    /// A text that can't be an alias's name.
    #[error(
        "'{}' is no alias: alias/ and then letters, digits, /, _ and -, at most 256 characters in all", .0.escape_debug()
    )]
    NoAliasName(String),
    /// An alias's name without the beginning that all have.
    #[error("an alias begins with alias/")]
    NoAliasPrefix,
    /// An alias was to point at an alias.
    #[error("an alias points at a key, not at an alias")]
    AliasOfAlias,
    /// The name is one of those that aren't the owner's.
    #[error("{0} begins with a prefix that is reserved")]
    ReservedAlias(AliasName),
    /// There is such an alias already.
    #[error("an alias with the name {0} already exists")]
    AliasExists(AliasName),
    /// The alias that new files are wrapped under stays.
    #[error("{0} is what files are created under; point it at another key instead")]
    AliasInUse(AliasName),
    /// No date fits behind the name.
    #[error("{0}: the name is too long to have a date put behind it")]
    AliasTooLong(AliasName),
    /// The key has encrypted data that lies in no file, and this would make it undecryptable.
    #[error(
        "key {key} has encrypted data outside of files since version {first} (kms encrypt, generate-data-key), which can't be \
         counted and couldn't be decrypted then; re-encrypt it under another key (kms re-encrypt), then give --force"
    )]
    HasEncryptedData {
        /// The key.
        key: KeyId,
        /// The first version that may have.
        first: KeyVersion,
    },
    /// More tags than a key takes.
    #[error("a key takes {0} tags")]
    TooManyTags(usize),
    /// A key policy that isn't taken.
    #[error(transparent)]
    Policy(#[from] PolicyError),
}
