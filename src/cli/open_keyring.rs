//! Opening a keyring with a secret: what can be known without one is checked before it is asked for.

use std::path::Path;

use super::args;
use super::backup_opener::Opener;
use super::errors;
use super::exit::Outcome;
use super::secrets::{self, SecretPlan};
use crate::keyring::{
    ClosedKeyring, FILE_NAME, KeyringDir, KeyringError, KeyringFile, Looked, OpenOptions, Opened,
};
use crate::unlock::Secret;

/// Whether this program may change the vault, as far as can be told without a secret.
///
/// # Errors
/// It may only be read.
pub(super) fn check_writable(vault: &Path) -> Outcome {
    KeyringFile::writable(vault).map(drop).map_err(|error| errors::opening(&error))
}

/// An opened keyring, and the secret that opened it.
pub(super) struct Unlocked {
    /// The keyring.
    pub(super) opened: Opened,
    /// The secret.
    pub(super) secret: Secret,
}

/// Opens a vault's keyring with the secret that the options say.
///
/// # Errors
/// Those of reading a secret and of opening a keyring.
pub(super) fn open_keyring(vault: &Path, args: &args::Open) -> Outcome<Unlocked> {
    let dir = KeyringDir::open(vault).map_err(|error| errors::opening(&error))?;
    unlock(&dir, dir.read(), args)
}

/// As [`open_keyring`], for one that was read, maybe before the vault's lock was waited for.
///
/// # Errors
/// As [`open_keyring`].
pub(super) fn unlock(
    dir: &KeyringDir,
    read: Result<ClosedKeyring, KeyringError>,
    args: &args::Open,
) -> Outcome<Unlocked> {
    // What has no readable header can't be opened by any secret, so none is asked for.
    let closed = read.and_then(|closed| closed.refreshed(dir)).or_else(|_| dir.read());
    let closed = closed.map_err(|error| errors::opening(&error))?;
    let (accept_rollback, next_version) = (args.accept_rollback, args.next.number());
    let limit = secrets::cost_limit(args.any_cost);
    let options = OpenOptions { accept_rollback, next_version, limit, ..OpenOptions::default() };
    let mut closed = Some(closed);
    SecretPlan::new(args).try_with(dir.path(), |secret| {
        let closed = closed.take().map_or_else(|| dir.read(), Ok);
        let opened = closed.and_then(|closed| closed.open(dir, &secret, &options));
        Ok(Unlocked { opened: opened.map_err(|error| errors::opening(&error))?, secret })
    })
}

/// Opens a keyring or key backup to look at what its keys open, with the secret that the options say, or the age identity.
///
/// # Errors
/// Those of reading a secret and of opening a keyring.
pub(super) fn look_at_keyring(file: &Path, args: &args::Open, identity: Option<&Path>) -> Outcome<Looked> {
    look(file, file, args, identity)
}

/// As [`look_at_keyring`], for the keyring of a vault.
///
/// # Errors
/// As [`look_at_keyring`].
pub(super) fn look_at_vault(vault: &Path, args: &args::Open) -> Outcome<Looked> {
    look(&vault.join(FILE_NAME), vault, args, None)
}

/// `named` is what a prompt says that the secret is of.
fn look(file: &Path, named: &Path, args: &args::Open, identity: Option<&Path>) -> Outcome<Looked> {
    let sealed = KeyringFile::look(file).map_err(|error| errors::opening(&error))?;
    let opener = Opener::read(identity, &sealed.age_files(), &SecretPlan::new(args), named)?;
    let options = OpenOptions { limit: secrets::cost_limit(args.any_cost), ..OpenOptions::default() };
    sealed.open(opener.borrowed(), &options).map_err(|error| errors::opening(&error))
}
