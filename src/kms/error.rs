//! The errors of the KMS interface: AWS's names, and its messages where it has one. This is the one place that says what a
//! refusal of the keyring is called here.

use serde::{Deserialize, Serialize};

use crate::events::{ARN_PREFIX, arn};
use crate::ids::AliasName;
use crate::keyring::{KeyError, KeyState, KeyringError, PolicyError, Quantity, RuleError, Unusable};

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
    /// The principal may not do that.
    AccessDeniedException,
    /// There is one already.
    AlreadyExistsException,
    /// It would leave the vault without what it needs.
    ConflictException,
    /// The key is disabled.
    DisabledException,
    /// It could be done, and only that was asked.
    DryRunOperationException,
    /// The import token is too old.
    ExpiredImportTokenException,
    /// The blob is one of another key than was named.
    IncorrectKeyException,
    /// It isn't the key material that was imported before.
    IncorrectKeyMaterialException,
    /// The alias name is reserved.
    InvalidAliasNameException,
    /// The blob doesn't open, or the wrapped key material doesn't unwrap.
    InvalidCiphertextException,
    /// The import token isn't one for this key.
    InvalidImportTokenException,
    /// It isn't what a key like this is for.
    InvalidKeyUsageException,
    /// The marker isn't one that a list gave.
    InvalidMarkerException,
    /// The key's state doesn't allow it.
    KMSInvalidStateException,
    /// The key version may come back.
    KeyUnavailableException,
    /// There can't be more of it.
    LimitExceededException,
    /// The key policy has an element that isn't understood.
    MalformedPolicyDocumentException,
    /// There is no such key, alias or policy.
    NotFoundException,
    /// A parameter has the wrong type.
    SerializationException,
    /// A tag that AWS doesn't take.
    TagException,
    /// There is no such operation.
    UnknownOperationException,
    /// It can't be done with this sort of key.
    UnsupportedOperationException,
    /// A value out of its range or pattern.
    ValidationException,
}

/// Why a call wasn't done.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// It was refused, as KMS refuses it.
    #[error(transparent)]
    Refused(#[from] KmsError),
    /// It failed, and KMS has no name for it: the keyring can't be read or written.
    #[error(transparent)]
    Failed(KeyringError),
}

impl From<KeyringError> for CallError {
    fn from(error: KeyringError) -> Self {
        match KmsError::of_refusal(&error) {
            Some(refused) => Self::Refused(refused),
            None => Self::Failed(error),
        }
    }
}

impl From<KeyError> for CallError {
    fn from(error: KeyError) -> Self {
        KeyringError::from(error).into()
    }
}

impl From<RuleError> for CallError {
    fn from(error: RuleError) -> Self {
        KeyringError::from(error).into()
    }
}

/// An alias's ARN.
pub(super) fn alias_arn(name: &AliasName) -> String {
    format!("{ARN_PREFIX}{name}")
}

impl KmsError {
    pub(super) fn new(name: KmsErrorName, message: impl Into<String>) -> Self {
        Self { name, message: message.into() }
    }

    pub(super) fn validation(message: impl Into<String>) -> Self {
        Self::new(KmsErrorName::ValidationException, message)
    }

    /// A number that isn't between `least` and `most`, inclusive.
    pub(super) fn out_of_range(field: &str, value: i64, least: i64, most: i64) -> Self {
        let wanted = if value < least {
            format!("greater than or equal to {least}")
        } else {
            format!("less than or equal to {most}")
        };
        Self::constraint(&format!("'{value}'"), field, &format!("Member must have value {wanted}"))
    }

    /// A value that none of AWS's constraints for `place` allows, in its words. `shown` is the value as it is shown, quotes
    /// included; empty if it isn't, being secret or long.
    pub(super) fn constraint(shown: &str, place: &str, rule: &str) -> Self {
        let value = if shown.is_empty() { String::new() } else { format!(" {shown}") };
        Self::validation(format!(
            "1 validation error detected: Value{value} at '{place}' failed to satisfy constraint: {rule}"
        ))
    }

    /// A text that isn't one of those that `place` takes.
    pub(super) fn not_one_of(text: &str, place: &str, known: &[&str]) -> Self {
        let rule = format!("Member must satisfy enum value set: [{}]", known.join(", "));
        Self::constraint(&format!("'{}'", text.escape_debug()), place, &rule)
    }

    /// Checks the length of a text, in characters. The text isn't repeated: it may be long.
    ///
    /// # Errors
    /// `ValidationException`.
    pub(super) fn check_length(text: &str, least: usize, most: usize, field: &str) -> Result<(), Self> {
        let length = text.chars().count();
        let wanted = if length < least {
            format!("greater than or equal to {least}")
        } else if length > most {
            format!("less than or equal to {most}")
        } else {
            return Ok(());
        };
        Err(Self::constraint("", field, &format!("Member must have length {wanted}")))
    }

    /// The KMS error for a refusal.
    ///
    /// # Errors
    /// Any other error (I/O, a damaged keyring), as it is.
    pub fn of(error: impl Into<CallError>) -> Result<Self, KeyringError> {
        match error.into() {
            CallError::Refused(error) => Ok(error),
            CallError::Failed(error) => Err(error),
        }
    }

    /// The KMS error for a refusal of the keyring; `None` if the error is no refusal.
    pub(super) fn of_refusal(error: &KeyringError) -> Option<Self> {
        use KmsErrorName as Name;
        Some(match error {
            KeyringError::Rule(error) => Self::of_rule(error),
            KeyringError::Key(error) => Self::of_key_error(error)?,
            KeyringError::ServiceManaged(key) => Self::new(
                Name::UnsupportedOperationException,
                format!("{} is managed by rekeyfs itself.", arn(*key)),
            ),
            KeyringError::Imported(key) => Self::new(
                Name::UnsupportedOperationException,
                format!("{} has imported key material, which isn't rotated automatically.", arn(*key)),
            ),
            KeyringError::NotAuthorized => Self::new(Name::ConflictException, error.to_string()),
            KeyringError::Full(message) => Self::new(Name::LimitExceededException, message.clone()),
            _ => return None,
        })
    }

    fn of_key_error(error: &KeyError) -> Option<Self> {
        use KmsErrorName as Name;
        let (name, message) = match error {
            KeyError::UnknownKey(key) => {
                (Name::NotFoundException, format!("Key '{}' does not exist", arn(*key)))
            }
            KeyError::UnknownVersion(_) | KeyError::LostVersion(_) => {
                (Name::NotFoundException, error.to_string())
            }
            KeyError::UnknownAlias(alias) => {
                (Name::NotFoundException, format!("Alias {} is not found.", alias_arn(alias)))
            }
            KeyError::NotUsable { key, state: Unusable::State(KeyState::Disabled) } => {
                (Name::DisabledException, format!("{} is disabled.", arn(*key)))
            }
            KeyError::NotUsable { key, state } => {
                (Name::KMSInvalidStateException, format!("{} is {state}.", arn(*key)))
            }
            KeyError::Auth => return None,
        };
        Some(Self::new(name, message))
    }

    fn of_rule(error: &RuleError) -> Self {
        use KmsErrorName as Name;
        let (name, message) = match error {
            RuleError::OutOfRange { what, value, least, most } => {
                let field = match what {
                    Quantity::RotationPeriod => "rotationPeriodInDays",
                    Quantity::DeletionWindow => "pendingWindowInDays",
                };
                return Self::out_of_range(field, *value, *least, *most);
            }
            RuleError::OnDemandLimit { key, limit } => (
                Name::LimitExceededException,
                format!("{} was rotated on demand {limit} times, which is the limit.", arn(*key)),
            ),
            RuleError::NotPendingDeletion(key) => {
                (Name::KMSInvalidStateException, format!("{} is not pending deletion.", arn(*key)))
            }
            RuleError::MakesOwnMaterial(key) => (
                Name::UnsupportedOperationException,
                format!("{} origin is AWS_KMS which is not valid for this operation.", arn(*key)),
            ),
            RuleError::MaterialWaits(key) => (
                Name::KMSInvalidStateException,
                format!("{} has new key material that waits for rotate-key-on-demand.", arn(*key)),
            ),
            RuleError::NothingWaits(key) => (
                Name::KMSInvalidStateException,
                format!("{} has no new key material to rotate to; import it first.", arn(*key)),
            ),
            RuleError::MaterialIsOld => (
                Name::IncorrectKeyMaterialException,
                "The key material is already one of this key's.".to_owned(),
            ),
            RuleError::MaterialIsAnother => (
                Name::IncorrectKeyMaterialException,
                "The key material isn't the one that was imported before.".to_owned(),
            ),
            RuleError::NoSuchMaterial => {
                (Name::NotFoundException, "The key has no key material of that id.".to_owned())
            }
            RuleError::NoKeyId(text) => {
                (Name::NotFoundException, format!("Invalid keyId '{}'", text.escape_debug()))
            }
            RuleError::AmbiguousKeyId { .. } => (Name::ValidationException, error.to_string()),
            RuleError::NoAliasName(text) => {
                return Self::constraint(
                    &format!("'{}'", text.escape_debug()),
                    "aliasName",
                    "Member must satisfy regular expression pattern: ^alias/[a-zA-Z0-9/_-]+$ and have at most 256 \
                     characters",
                );
            }
            RuleError::NoAliasPrefix => {
                (Name::ValidationException, "Alias must start with the prefix \"alias/\".".to_owned())
            }
            RuleError::AliasOfAlias => {
                (Name::ValidationException, "Aliases must refer to keys. Not aliases".to_owned())
            }
            RuleError::ReservedAlias(name) => (
                Name::InvalidAliasNameException,
                format!("{} begins with a prefix that is reserved.", alias_arn(name)),
            ),
            RuleError::AliasExists(name) => (
                Name::AlreadyExistsException,
                format!("An alias with the name {} already exists", alias_arn(name)),
            ),
            RuleError::AliasInUse(name) => (
                Name::ConflictException,
                format!(
                    "{} is what files are created under; point it at another key instead.",
                    alias_arn(name)
                ),
            ),
            RuleError::AliasTooLong(_) => (Name::ValidationException, error.to_string()),
            RuleError::HasEncryptedData { .. } => (Name::ConflictException, error.to_string()),
            RuleError::TooManyTags(most) => {
                (Name::LimitExceededException, format!("A key takes {most} tags."))
            }
            RuleError::Policy(PolicyError::TooLong(_)) => (Name::LimitExceededException, error.to_string()),
            RuleError::Policy(PolicyError::Character(_)) => (Name::ValidationException, error.to_string()),
            RuleError::Policy(PolicyError::Malformed(_) | PolicyError::LocksOut(_)) => {
                (Name::MalformedPolicyDocumentException, error.to_string())
            }
        };
        Self::new(name, message)
    }
}
