//! The error of an operation, and its kind: the one table from which a command has its exit status, whether a daemon
//! says no or the command itself finds that it can't be done.

use serde::{Deserialize, Serialize};

use super::tree::TreeError;
use crate::keyring::{KeyError, KeyringError};
use crate::unlock::UnlockError;
use crate::vault::{self, NamedFile};

/// Why an operation was not done. The command turns the kind into its exit status and shows the message.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct ErrorReply {
    /// What sort of thing it is.
    pub kind: ErrorKind,
    /// Object, cause and remedy in one line.
    pub message: String,
    /// Some of the files that block the operation; an older daemon names none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<NamedFile>,
}

impl ErrorReply {
    /// An error with that message.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), files: Vec::new() }
    }

    /// Names files that block the operation.
    #[must_use]
    pub fn naming(self, files: Vec<NamedFile>) -> Self {
        Self { files, ..self }
    }
}

/// Kinds of errors. No daemon sends those from [`ErrorKind::Stopped`] to [`ErrorKind::Unreachable`]:
/// they are of the process that asks.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ErrorKind {
    /// Neither the mount's owner nor root.
    Denied,
    /// The request isn't one this daemon understands.
    BadRequest,
    /// Another protocol number.
    Protocol,
    /// No such alias, key or file.
    NotFound,
    /// The key can't be used in the state it is in.
    KeyNotUsable,
    /// Something stored isn't what was written.
    Corrupt,
    /// The keyring could not be written.
    KeyringNotWritten,
    /// There is no keyring, or it can't be read.
    KeyringMissing,
    /// The keyring is damaged, or of a newer format.
    KeyringDamaged,
    /// The keyring is older than, or another one than, what was seen.
    RolledBack,
    /// There is a vault already.
    VaultThere,
    /// A secret that opens nothing.
    WrongSecret,
    /// No such unlock slot, none would be left, or there are too many.
    NoSuchSlot,
    /// A key backup that can't be used.
    Backup,
    /// Another process holds the vault or its keyring.
    InUse,
    /// What was authorized isn't the state of things any more.
    Outdated,
    /// The mount is read-only.
    ReadOnly,
    /// As many connections as the daemon serves at a time, or the same work is under way.
    Busy,
    /// The caller wanted no more.
    Stopped,
    /// The vault's directory or tree can't be opened.
    Tree,
    /// No daemon answers, or it doesn't speak this protocol.
    Unreachable,
    /// Anything else, and what a newer daemon says that this program doesn't know.
    #[serde(other)]
    Other,
}

impl From<&KeyringError> for ErrorKind {
    fn from(error: &KeyringError) -> Self {
        match error {
            KeyringError::Missing { .. } => Self::KeyringMissing,
            KeyringError::Exists(_) | KeyringError::KeyringThere(_) => Self::VaultThere,
            KeyringError::Damaged { .. }
            | KeyringError::NewerFormat { .. }
            | KeyringError::MayOnlyRead { .. } => Self::KeyringDamaged,
            KeyringError::Unlock { source, .. } => match source {
                UnlockError::WrongSecret(_) | UnlockError::NoSuchSlot(_) | UnlockError::NoAgeSlot => {
                    Self::WrongSecret
                }
                UnlockError::NotOfThisBackup => Self::Backup,
                UnlockError::CostBeyondCaps(_)
                | UnlockError::TooCostly { .. }
                | UnlockError::TooManySlots(_)
                | UnlockError::TooCostlyTogether { .. } => Self::KeyringDamaged,
                UnlockError::NoMemory(..) => Self::Other,
                UnlockError::TooManyCustodians => Self::NoSuchSlot,
            },
            KeyringError::RolledBack { .. }
            | KeyringError::Forked { .. }
            | KeyringError::OtherRootKey { .. }
            | KeyringError::FirstUse(_)
            | KeyringError::Copy { .. } => Self::RolledBack,
            KeyringError::LogNotGood(_) => Self::Corrupt,
            KeyringError::Busy(_)
            | KeyringError::WrittenElsewhere(_)
            | KeyringError::ReaderLives { .. }
            | KeyringError::ReaderReplaced { .. } => Self::InUse,
            KeyringError::NoReader { .. } => Self::NoSuchSlot,
            KeyringError::EvictionStopped { .. } => Self::Stopped,
            KeyringError::Backup { .. } | KeyringError::OtherVault { .. } | KeyringError::TwoMaterials(_) => {
                Self::Backup
            }
            KeyringError::Io { .. } | KeyringError::Full(_) => Self::KeyringNotWritten,
            KeyringError::Key(error) => match error {
                KeyError::UnknownKey(_)
                | KeyError::UnknownVersion(_)
                | KeyError::LostVersion(_)
                | KeyError::UnknownAlias(_) => Self::NotFound,
                KeyError::NotUsable { .. } => Self::KeyNotUsable,
                KeyError::Auth => Self::KeyringDamaged,
            },
            KeyringError::ServiceManaged(_)
            | KeyringError::Imported(_)
            | KeyringError::Versions { .. }
            | KeyringError::Rule(_) => Self::KeyNotUsable,
            KeyringError::NotAuthorized => Self::Outdated,
            KeyringError::UnknownSlot(_)
            | KeyringError::LastSlot(_)
            | KeyringError::NoRoomForSlot(_)
            | KeyringError::NoSecret => Self::NoSuchSlot,
            KeyringError::RootKeyReplaced(_) | KeyringError::NotVerified(_) | KeyringError::Kdf(_) => {
                Self::Other
            }
        }
    }
}

/// The error of a keyring operation.
pub(super) fn of_keyring(error: &KeyringError) -> ErrorReply {
    ErrorReply::new(error.into(), error.to_string())
}

/// The error of an operation on a file or a tree.
pub(super) fn of_vault(object: &str, error: &vault::Error) -> ErrorReply {
    let kind = match error {
        vault::Error::KeyNotUsable(_) | vault::Error::LeaseOver => ErrorKind::KeyNotUsable,
        vault::Error::Corrupt(_) => ErrorKind::Corrupt,
        vault::Error::NotFound | vault::Error::Stale => ErrorKind::NotFound,
        vault::Error::ReadOnly => ErrorKind::ReadOnly,
        _ => ErrorKind::Other,
    };
    ErrorReply::new(kind, format!("{object}: {error}"))
}

impl From<TreeError> for ErrorReply {
    fn from(error: TreeError) -> Self {
        Self::new(ErrorKind::Tree, error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_that_a_newer_daemon_has_is_another_error() {
        let text = r#"{"kind":"some-new-kind","message":"m"}"#;
        let reply: ErrorReply = serde_json::from_str(text).unwrap();
        assert_eq!(reply, ErrorReply::new(ErrorKind::Other, "m"));
    }
}
