//! Which exit status the errors of the layers below stand for.

use super::exit::{Exit, Failure};
use crate::keyring::KeyringError;
use crate::kms::KmsError;
use crate::mount::MountError;
use crate::service::{ErrorKind, ErrorReply};

/// The failure of a keyring operation.
pub(super) fn keyring(error: &KeyringError) -> Failure {
    keyring_as(Exit::KeyringNotWritten, error)
}

/// The failure of opening a keyring.
pub(super) fn opening(error: &KeyringError) -> Failure {
    keyring_as(Exit::KeyringMissing, error)
}

/// As [`keyring`], with the status of a system call that failed.
pub(super) fn keyring_as(io: Exit, error: &KeyringError) -> Failure {
    Failure::line(status_of_keyring(error, io), error)
}

/// The status of a keyring operation that failed; `io` that of a system call.
fn status_of_keyring(error: &KeyringError, io: Exit) -> Exit {
    match error {
        KeyringError::Io { .. } => io,
        error => status(error.into()),
    }
}

/// The failure of an operation, a daemon's or this process's own.
pub(super) fn operation(error: &ErrorReply) -> Failure {
    Failure::line(status(error.kind), error).naming(&error.files)
}

/// The status of a kind of error.
fn status(kind: ErrorKind) -> Exit {
    match kind {
        ErrorKind::NotFound | ErrorKind::KeyNotUsable => Exit::Key,
        ErrorKind::KeyringNotWritten => Exit::KeyringNotWritten,
        ErrorKind::KeyringMissing => Exit::KeyringMissing,
        ErrorKind::KeyringDamaged => Exit::Keyring,
        ErrorKind::RolledBack => Exit::RolledBack,
        ErrorKind::VaultThere => Exit::Vault,
        ErrorKind::WrongSecret => Exit::WrongSecret,
        ErrorKind::NoSuchSlot => Exit::Usage,
        ErrorKind::Backup => Exit::Backup,
        ErrorKind::InUse => Exit::InUse,
        ErrorKind::Busy | ErrorKind::Outdated => Exit::Busy,
        ErrorKind::Denied | ErrorKind::BadRequest | ErrorKind::Protocol => Exit::Control,
        ErrorKind::Tree => Exit::Vault,
        ErrorKind::Unreachable => Exit::Control,
        ErrorKind::Stopped => Exit::Interrupted,
        ErrorKind::Corrupt | ErrorKind::ReadOnly | ErrorKind::Other => Exit::Other,
    }
}

/// The failure of a mount or unmount.
pub(super) fn mount(error: &MountError) -> Failure {
    match error {
        // Words and status were made by the daemon.
        MountError::Reported(failure) => Failure::line(Exit::from_number(failure.code), &failure.text),
        other => Failure::line(status_of_mount(other), other),
    }
}

/// The status of a mount or unmount that failed.
pub(super) fn status_of_mount(error: &MountError) -> Exit {
    match error {
        MountError::Option { .. } => Exit::Usage,
        MountError::NotAVault { .. } | MountError::Vault { .. } | MountError::Tree(_) => Exit::Vault,
        MountError::Mountpoint { .. } => Exit::Mountpoint,
        MountError::InUse { .. } | MountError::HostLost { .. } | MountError::DaemonStays { .. } => {
            Exit::InUse
        }
        MountError::Fuse(_) => Exit::Fuse,
        MountError::NotMounted(_) => Exit::NotMounted,
        MountError::Busy(_) => Exit::Busy,
        MountError::Keyring(error) => status_of_keyring(error, Exit::KeyringMissing),
        MountError::Unmount { .. }
        | MountError::Remount { .. }
        | MountError::Descriptors { .. }
        | MountError::Daemon(_)
        | MountError::Session(_)
        | MountError::Died(_)
        | MountError::Reported(_) => Exit::Other,
    }
}

/// What KMS refuses, as the AWS CLI says it.
pub(super) fn kms(operation: &str, error: &KmsError) -> Failure {
    let (name, message) = (error.name, &error.message);
    Failure::line(
        Exit::Kms,
        format_args!("An error occurred ({name}) when calling the {operation} operation: {message}"),
    )
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::ids::{Generation, KeyId, SlotId};
    use crate::keyring::{KeyError, Left};
    use crate::storage::RoCompat;
    use crate::unlock::{SecretKind, UnlockError};

    /// Errors that a keyring in use can meet as well as one that is opened, and the status of each.
    fn errors() -> Vec<(KeyringError, u8)> {
        let vault = || PathBuf::from("/v");
        let unlock = |source| KeyringError::Unlock { vault: vault(), source };
        vec![
            (KeyringError::Missing { vault: vault(), left: Left::Previous }, 23),
            (KeyringError::Damaged { vault: vault(), what: "cut".into(), prev: true }, 8),
            (KeyringError::NewerFormat { vault: vault(), what: "bit 3".into() }, 8),
            (
                KeyringError::MayOnlyRead {
                    vault: vault(),
                    features: RoCompat::from_bits(8).writable().unwrap_err(),
                },
                8,
            ),
            (
                KeyringError::RolledBack {
                    vault: vault(),
                    found: Generation(1),
                    seen: Generation(2),
                    elsewhere: None,
                },
                41,
            ),
            (KeyringError::Forked { vault: vault(), found: Generation(1), elsewhere: None }, 41),
            (KeyringError::OtherRootKey { vault: vault(), elsewhere: None }, 41),
            (KeyringError::FirstUse(vault()), 41),
            (KeyringError::Copy { vault: vault(), original: vault() }, 41),
            (KeyringError::Busy(vault()), 40),
            (
                KeyringError::Io {
                    path: vault(),
                    what: "write it",
                    source: std::io::ErrorKind::Other.into(),
                },
                24,
            ),
            (KeyringError::Full("full".into()), 24),
            (KeyringError::Key(KeyError::UnknownKey(KeyId::from_bytes([1; 16]))), 44),
            (KeyringError::Key(KeyError::Auth), 8),
            (KeyringError::ServiceManaged(KeyId::from_bytes([1; 16])), 44),
            (KeyringError::NotAuthorized, 43),
            (KeyringError::LastSlot(SlotId::from_bytes([1; 16])), 2),
            (KeyringError::RootKeyReplaced(vault()), 1),
            (unlock(UnlockError::WrongSecret(SecretKind::Passphrase)), 12),
        ]
    }

    #[test]
    fn a_status_is_the_same_whether_a_daemon_says_no_or_the_command_itself() {
        for (error, expected) in errors() {
            let own = keyring(&error);
            let sent = serde_json::to_string(&ErrorReply::new((&error).into(), error.to_string())).unwrap();
            let told = operation(&serde_json::from_str(&sent).unwrap());
            assert_eq!(own, told);
            assert_eq!(own.exit as u8, expected, "{error}");
        }
    }
}
