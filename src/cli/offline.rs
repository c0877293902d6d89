//! Commands on a vault that isn't mounted: they take its lock, so that no mount begins meanwhile, open it
//! with a secret, and do what the daemon would do.

use std::num::NonZeroU32;
use std::path::Path;

use super::args;
use super::errors;
use super::exit::{Exit, Outcome};
use super::interrupt::Interrupt;
use super::progress::Display;
use super::secrets::SecretPlan;
use crate::control::{self, Handler, RewrapReport, RotateTarget, Rotated, Service, Status};
use crate::keyring::{KeyringFile, Keys, OpenOptions, Opened};
use crate::mount::{self, VaultLock};
use crate::unlock::Secret;

/// An unmounted vault, locked and opened.
pub(super) struct Offline {
    opened: Opened,
    _lock: VaultLock,
}

impl Offline {
    /// Takes the lock and opens the keyring.
    ///
    /// # Errors
    /// As [`open_keyring`]; the lock.
    pub(super) fn open(vault: &Path, args: &args::Open) -> Outcome<Self> {
        let lock = VaultLock::take(vault).map_err(|error| errors::mount(&error))?;
        Ok(Self { opened: open_keyring(vault, args)?.opened, _lock: lock })
    }

    /// The keys.
    pub(super) fn keys(&self) -> &Keys {
        &self.opened.keys
    }
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
    // What has no readable header can't be opened by any secret, so none is asked for.
    KeyringFile::read_header(vault).map_err(|error| errors::opening(&error))?;
    let options = OpenOptions { accept_rollback: args.accept_rollback, ..OpenOptions::default() };
    let secret = SecretPlan::new(args).read(vault)?;
    let opened = KeyringFile::open(vault, &secret, &options).map_err(|error| errors::opening(&error))?;
    Ok(Unlocked { opened, secret })
}

/// Rotates a key.
///
/// # Errors
/// As [`open_keyring`]; the lock; the rotation.
pub(super) fn rotate(vault: &Path, args: &args::Open, target: &RotateTarget) -> Outcome<Rotated> {
    let offline = Offline::open(vault, args)?;
    control::rotate(&offline.opened.keys, target).map_err(|error| errors::keyring(&error))
}

/// Rotates the keys whose schedule says so.
///
/// # Errors
/// As [`open_keyring`]; the lock; the rotation.
pub(super) fn rotate_due(vault: &Path, args: &args::Open) -> Outcome<Vec<Rotated>> {
    let offline = Offline::open(vault, args)?;
    control::rotate_due(offline.keys()).map_err(|error| errors::keyring(&error))
}

/// The keys. Nothing is known of the files without walking them.
///
/// # Errors
/// As [`open_keyring`]; the lock.
pub(super) fn status(vault: &Path, args: &args::Open) -> Outcome<Status> {
    let offline = Offline::open(vault, args)?;
    Ok(control::status_of_keys(&offline.opened.keys))
}

/// Re-wraps all stale files.
///
/// # Errors
/// As [`open_keyring`]; the lock; the vault.
pub(super) fn rewrap(vault: &Path, args: &args::Open, max_rate: Option<NonZeroU32>) -> Outcome<RewrapReport> {
    let offline = Offline::open(vault, args)?;
    let files = mount::open_vault(vault, &offline.opened.keys).map_err(|error| errors::mount(&error))?;
    let service = Service::new(files, None);
    let interrupt = Interrupt::watch(Exit::Interrupted as u8)?;
    let mut display = Display::new();
    service
        .rewrap(max_rate, &mut |progress| {
            display.update(&progress);
            !interrupt.came()
        })
        .map_err(|refusal| errors::refusal(&refusal))
}
