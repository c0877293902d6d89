//! Which exit status the errors of the layers below stand for.

use super::exit::{Exit, Failure};
use crate::control::{Refusal, RefusalKind};
use crate::keyring::{KeyError, KeyringError};
use crate::mount::MountError;
use crate::unlock::UnlockError;

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
        KeyringError::Missing { .. } => Exit::KeyringMissing,
        KeyringError::Exists(_) => Exit::Vault,
        KeyringError::Damaged { .. } | KeyringError::NewerFormat { .. } => Exit::Keyring,
        KeyringError::Unlock { source, .. } => match source {
            UnlockError::WrongSecret(_) | UnlockError::NoSuchSlot(_) => Exit::WrongSecret,
            UnlockError::CostBeyondCaps(_) => Exit::Keyring,
            UnlockError::NoMemory(..) => Exit::Other,
        },
        KeyringError::RolledBack { .. } | KeyringError::Forked { .. } => Exit::RolledBack,
        KeyringError::Busy(_) => Exit::InUse,
        KeyringError::Backup { .. } => Exit::Backup,
        KeyringError::KeyringThere(_) => Exit::Vault,
        KeyringError::Io { .. } => io,
        KeyringError::Full(_) => Exit::KeyringNotWritten,
        KeyringError::Key(error) => match error {
            KeyError::NotUsable { .. } | KeyError::UnknownKey(_) | KeyError::UnknownAlias(_) => Exit::Key,
            KeyError::Auth => Exit::Keyring,
        },
        KeyringError::ServiceManaged(_)
        | KeyringError::Imported(_)
        | KeyringError::Versions { .. }
        | KeyringError::Kms(_) => Exit::Key,
        KeyringError::NotAuthorized => Exit::Busy,
        KeyringError::UnknownSlot(_) | KeyringError::LastSlot(_) | KeyringError::NoSecret => Exit::Usage,
        KeyringError::RootKeyReplaced(_) | KeyringError::NotVerified(_) | KeyringError::Kdf(_) => Exit::Other,
    }
}

/// The failure of a request that was refused.
pub(super) fn refusal(refusal: &Refusal) -> Failure {
    let exit = match refusal.kind {
        RefusalKind::NotFound | RefusalKind::KeyNotUsable => Exit::Key,
        RefusalKind::KeyringNotWritten => Exit::KeyringNotWritten,
        RefusalKind::Busy => Exit::Busy,
        RefusalKind::Denied | RefusalKind::BadRequest | RefusalKind::Protocol => Exit::Control,
        RefusalKind::Corrupt | RefusalKind::ReadOnly | RefusalKind::Other => Exit::Other,
    };
    Failure::line(exit, refusal)
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
        MountError::NotAVault { .. } | MountError::Vault { .. } | MountError::Tree { .. } => Exit::Vault,
        MountError::Mountpoint { .. } => Exit::Mountpoint,
        MountError::InUse { .. } => Exit::InUse,
        MountError::Fuse(_) => Exit::Fuse,
        MountError::NotMounted(_) => Exit::NotMounted,
        MountError::Busy(_) => Exit::Busy,
        MountError::Keyring(error) => status_of_keyring(error, Exit::KeyringMissing),
        MountError::Unmount { .. }
        | MountError::Remount { .. }
        | MountError::Daemon(_)
        | MountError::Session(_)
        | MountError::Died(_)
        | MountError::Reported(_) => Exit::Other,
    }
}
