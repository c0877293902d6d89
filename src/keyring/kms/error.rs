//! The errors of the KMS interface: AWS's names, and its messages where it has one.

use serde::{Deserialize, Serialize};

use crate::events::arn;
use crate::ids::{AliasName, KeyId};
use crate::keyring::error::{KeyError, KeyringError, Unusable};
use crate::keyring::format::model::KeyState;

/// A refusal as KMS words it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, thiserror::Error)]
#[error("{name}: {message}")]
pub struct KmsError {
    /// What kind it is; `Display` is AWS's name.
    pub name: KmsErrorName,
    /// The sentence for the user.
    pub message: String,
}

macro_rules! names {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {
        /// The errors that AWS KMS and rekeyfs share.
        #[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
        pub enum KmsErrorName {
            $($(#[$doc])* $name,)*
        }

        impl std::fmt::Display for KmsErrorName {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(match self { $(Self::$name => stringify!($name),)* })
            }
        }
    };
}

names! {
    /// There is one already.
    AlreadyExistsException,
    /// It would leave the vault without what it needs.
    ConflictException,
    /// The key is disabled.
    DisabledException,
    /// The import token is too old.
    ExpiredImportTokenException,
    /// It isn't the key material that was imported before.
    IncorrectKeyMaterialException,
    /// The alias name is reserved.
    InvalidAliasNameException,
    /// The wrapped key material doesn't unwrap.
    InvalidCiphertextException,
    /// The import token isn't one for this key.
    InvalidImportTokenException,
    /// The marker isn't one that a list gave.
    InvalidMarkerException,
    /// The key's state doesn't allow it.
    KMSInvalidStateException,
    /// There can't be more of it.
    LimitExceededException,
    /// The key policy has an element that isn't understood.
    MalformedPolicyDocumentException,
    /// There is no such key, alias or policy.
    NotFoundException,
    /// It can't be done with this sort of key.
    UnsupportedOperationException,
    /// A value out of its range or pattern.
    ValidationException,
}

/// An alias's ARN.
pub(in crate::keyring) fn alias_arn(name: &AliasName) -> String {
    format!("arn:rekeyfs:kms:local:000000000000:{name}")
}

impl KmsError {
    pub(in crate::keyring) fn new(name: KmsErrorName, message: impl Into<String>) -> Self {
        Self { name, message: message.into() }
    }

    pub(in crate::keyring) fn validation(message: impl Into<String>) -> Self {
        Self::new(KmsErrorName::ValidationException, message)
    }

    /// A number that isn't between `least` and `most`, inclusive.
    pub(in crate::keyring) fn range(what: &str, value: i64, least: i64, most: i64) -> Self {
        let wanted = if value < least {
            format!("greater than or equal to {least}")
        } else {
            format!("less than or equal to {most}")
        };
        Self::validation(format!(
            "1 validation error detected: Value '{value}' at '{what}' failed to satisfy constraint: Member must \
             have value {wanted}"
        ))
    }

    pub(in crate::keyring) fn on_demand_limit(key: KeyId, limit: u32) -> Self {
        let message = format!("{} was rotated on demand {limit} times, which is the limit.", arn(key));
        Self::new(KmsErrorName::LimitExceededException, message)
    }

    pub(in crate::keyring) fn not_pending_deletion(key: KeyId) -> Self {
        Self::new(KmsErrorName::KMSInvalidStateException, format!("{} is not pending deletion.", arn(key)))
    }

    pub(in crate::keyring) fn not_external(key: KeyId) -> Self {
        let message = format!("{} origin is AWS_KMS which is not valid for this operation.", arn(key));
        Self::new(KmsErrorName::UnsupportedOperationException, message)
    }

    pub(in crate::keyring) fn material_waits(key: KeyId) -> Self {
        let message = format!("{} has new key material that waits for rotate-key-on-demand.", arn(key));
        Self::new(KmsErrorName::KMSInvalidStateException, message)
    }

    pub(in crate::keyring) fn nothing_waits(key: KeyId) -> Self {
        let message = format!("{} has no new key material to rotate to; import it first.", arn(key));
        Self::new(KmsErrorName::KMSInvalidStateException, message)
    }

    /// What a refusal of the keyring is called here; those that are no matter of the interface (I/O, a
    /// damaged keyring) come back as they are.
    ///
    /// # Errors
    /// The error itself.
    pub fn of(error: KeyringError) -> Result<Self, KeyringError> {
        use KmsErrorName as Name;
        let (name, message) = match error {
            KeyringError::Kms(error) => return Ok(error),
            KeyringError::ServiceManaged(key) => {
                (Name::UnsupportedOperationException, format!("{} is managed by rekeyfs itself.", arn(key)))
            }
            KeyringError::Imported(key) => (
                Name::UnsupportedOperationException,
                format!("{} has imported key material, which isn't rotated automatically.", arn(key)),
            ),
            KeyringError::Key(KeyError::UnknownKey(key)) => {
                (Name::NotFoundException, format!("Key '{}' does not exist", arn(key)))
            }
            KeyringError::Key(error @ (KeyError::UnknownVersion(_) | KeyError::LostVersion(_))) => {
                (Name::NotFoundException, error.to_string())
            }
            KeyringError::Key(KeyError::UnknownAlias(alias)) => {
                (Name::NotFoundException, format!("Alias {} is not found.", alias_arn(&alias)))
            }
            KeyringError::Key(KeyError::NotUsable { key, state: Unusable::State(KeyState::Disabled) }) => {
                (Name::DisabledException, format!("{} is disabled.", arn(key)))
            }
            KeyringError::Key(KeyError::NotUsable { key, state }) => {
                (Name::KMSInvalidStateException, format!("{} is {state}.", arn(key)))
            }
            KeyringError::NotAuthorized => (Name::ConflictException, error.to_string()),
            KeyringError::Full(message) => (Name::LimitExceededException, message),
            other => return Err(other),
        };
        Ok(Self { name, message })
    }
}
