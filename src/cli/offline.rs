//! Commands on a vault that isn't mounted: they take its lock, so that no mount begins meanwhile, open it
//! with a secret, and do what the daemon would do.

use std::path::Path;
use std::sync::Arc;

use super::args;
use super::errors;
use super::exit::{Exit, Failure, Outcome};
use super::interrupt::Interrupt;
use super::output;
use super::progress::Display;
use super::secrets::{self, SecretPlan};
use crate::ids::{AliasName, KeyId, Timestamp};
use crate::keyring::{ForceToken, KeyringFile, Keys, Looked, OpenOptions, Opened};
use crate::mount::VaultLock;
use crate::rewrap::ReencryptReport;
use crate::service::{
    KeyRef, ManualRotation, OpenVault, Operations, Progress, Rewrap, RewrapReport, Rotation, Status,
};
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

    /// As [`Offline::open`], for a command that changes the vault: one that this program may only read is refused before
    /// a secret is asked for.
    ///
    /// # Errors
    /// [`Exit::Keyring`] if it may only be read; as [`Offline::open`].
    pub(super) fn open_to_change(vault: &Path, args: &args::Open) -> Outcome<Self> {
        check_writable(vault)?;
        Self::open(vault, args)
    }

    /// The keys.
    pub(super) fn keys(&self) -> &Keys {
        &self.opened.keys
    }

    /// The operations on it.
    pub(super) fn operations(&self) -> OpenVault {
        OpenVault::unmounted(Arc::clone(&self.opened.keys))
    }

    /// An order that is insisted on with the secret that opened this.
    ///
    /// # Errors
    /// No such key.
    pub(super) fn insist(&self, key_id: &str, order: impl FnOnce(KeyId) -> String) -> Outcome<ForceToken> {
        let key = super::key::named(self.keys(), key_id)?;
        Ok(self.keys().force_token(&self.opened.proof, &order(key)))
    }

    /// Deletes the keys whose date has passed, and says of each what became of it; not in a vault that may only be read.
    ///
    /// # Errors
    /// If the files can't be counted or the keyring can't be saved.
    pub(super) fn delete_due(&self) -> Outcome {
        if self.keys().writable().is_err()
            || !self.keys().pending_deletions().iter().any(|pending| pending.due)
        {
            return Ok(());
        }
        let open = self.operations();
        let (interrupt, mut display) = (Interrupt::watch(Exit::Interrupted as u8)?, Display::counting());
        let deleted = open.delete_due(&mut |progress| {
            display.update(&progress);
            !interrupt.came()
        });
        drop(display);
        for deletion in deleted.map_err(|refusal| errors::refusal(&refusal))? {
            output::complain(&match deletion.blocked {
                None => format!("key {} is deleted, as its date has passed", deletion.key),
                Some(why) => format!("the date of a key's deletion has passed, and it is held up: {why}"),
            });
        }
        Ok(())
    }
}

/// Whether this program may change the vault, as far as can be told without a secret.
///
/// # Errors
/// [`Exit::Keyring`] if it may only be read.
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
    // What has no readable header can't be opened by any secret, so none is asked for.
    KeyringFile::read_header(vault).map_err(|error| errors::opening(&error))?;
    let (accept_rollback, next_version) = (args.accept_rollback, args.next.number());
    let limit = secrets::cost_limit(args.any_cost);
    let options = OpenOptions { accept_rollback, next_version, limit, ..OpenOptions::default() };
    let secret = SecretPlan::new(args).read(vault)?;
    let opened = KeyringFile::open(vault, &secret, &options).map_err(|error| errors::opening(&error))?;
    Ok(Unlocked { opened, secret })
}

/// Opens a keyring or key backup to look at what its keys open, with the secret that the options say.
///
/// # Errors
/// Those of reading a secret and of opening a keyring.
pub(super) fn look_at_keyring(file: &Path, args: &args::Open) -> Outcome<Looked> {
    let sealed = KeyringFile::look(file).map_err(|error| errors::opening(&error))?;
    let secret = SecretPlan::new(args).read(file)?;
    let options = OpenOptions { limit: secrets::cost_limit(args.any_cost), ..OpenOptions::default() };
    sealed.open(&secret, &options).map_err(|error| errors::opening(&error))
}

/// Rotates a key.
///
/// # Errors
/// As [`open_keyring`]; the lock; the rotation.
pub(super) fn rotate(vault: &Path, args: &args::Open, target: &KeyRef) -> Outcome<Rotation> {
    let offline = Offline::open_to_change(vault, args)?;
    offline.operations().rotate(target).map_err(|error| errors::refusal(&error))
}

/// Makes a new key in the place of the one that an alias points at.
///
/// # Errors
/// As [`open_keyring`]; the lock; the keyring.
pub(super) fn renew(vault: &Path, args: &args::Open, alias: &AliasName) -> Outcome<ManualRotation> {
    let offline = Offline::open_to_change(vault, args)?;
    offline.operations().replace_key(alias).map_err(|error| errors::refusal(&error))
}

/// Rotates the keys whose schedule says so.
///
/// # Errors
/// As [`open_keyring`]; the lock; the rotation.
pub(super) fn rotate_due(vault: &Path, args: &args::Open) -> Outcome<Vec<Rotation>> {
    let offline = Offline::open_to_change(vault, args)?;
    let rotated = offline.operations().rotate_due().map_err(|error| errors::refusal(&error))?;
    offline.delete_due()?;
    Ok(rotated)
}

/// The keys. Nothing is known of the files without walking them.
///
/// # Errors
/// As [`open_keyring`]; the lock.
pub(super) fn status(vault: &Path, args: &args::Open) -> Outcome<Status> {
    let offline = Offline::open(vault, args)?;
    offline.operations().status().map_err(|error| errors::refusal(&error))
}

/// The keys, and how many files each version wraps, counted now.
///
/// # Errors
/// As [`open_keyring`]; the lock; the vault; [`Exit::Interrupted`].
pub(super) fn count(vault: &Path, args: &args::Open) -> Outcome<Status> {
    let offline = Offline::open(vault, args)?;
    let open = offline.operations();
    let (interrupt, mut display) = (Interrupt::watch(Exit::Interrupted as u8)?, Display::counting());
    let counted = open.count(&mut |progress| {
        display.update(&progress);
        !interrupt.came()
    });
    if interrupt.came() {
        return Err(Failure::new(
            Exit::Interrupted,
            vault.display(),
            "stopped before all files were counted",
        ));
    }
    counted.map_err(|refusal| errors::refusal(&refusal))
}

/// Re-encrypts all files made before `before`.
///
/// # Errors
/// As [`open_keyring`]; the lock; the vault.
pub(super) fn reencrypt(
    vault: &Path,
    args: &args::Open,
    before: Option<Timestamp>,
    go_on: &mut dyn FnMut(Progress) -> bool,
) -> Outcome<ReencryptReport> {
    let offline = Offline::open_to_change(vault, args)?;
    offline.operations().reencrypt_all(before, go_on).map_err(|refusal| errors::refusal(&refusal))
}

/// Re-wraps files.
///
/// # Errors
/// As [`open_keyring`]; the lock; the vault.
pub(super) fn rewrap(vault: &Path, args: &args::Open, asked: &Rewrap) -> Outcome<RewrapReport> {
    let offline = Offline::open_to_change(vault, args)?;
    let interrupt = Interrupt::watch(Exit::Interrupted as u8)?;
    let mut display = Display::new();
    offline
        .operations()
        .rewrap(asked, &mut |progress| {
            display.update(&progress);
            !interrupt.came()
        })
        .map_err(|refusal| errors::refusal(&refusal))
}
