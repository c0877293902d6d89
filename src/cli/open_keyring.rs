//! Opening a keyring with a secret: what can be known without one is checked before it is asked for.

use std::path::Path;

use super::args;
use super::backup_opener::Opener;
use super::custodians::{Answer, Asked, ask_custodians, open_with};
use super::errors;
use super::exit::Outcome;
use super::secrets::{self, SecretPlan};
use crate::custody::Environment;
use crate::keyring::{
    ClosedKeyring, FILE_NAME, KeyringDir, KeyringError, KeyringFile, Looked, OpenOptions, Opened, Sealed,
};
use crate::mount::VaultLock;
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
    unlock_as(&dir, dir.read(), args, Rules::default())
}

/// As [`open_keyring`], for a vault whose lock this process has. It is signed once the secret is given.
///
/// # Errors
/// As [`open_keyring`]; another host has the vault by then.
pub(super) fn open_locked_keyring(vault: &Path, args: &args::Open, lock: &VaultLock) -> Outcome<Unlocked> {
    let dir = KeyringDir::open(vault).map_err(|error| errors::opening(&error))?;
    unlock_as(&dir, dir.read(), args, Rules { lock: Some(lock), ..Rules::default() })
}

/// As [`open_keyring`], for a vault that this host is to know from now on, whoever opens it.
///
/// # Errors
/// As [`open_keyring`].
pub(super) fn trust_keyring(vault: &Path, args: &args::Open) -> Outcome<Unlocked> {
    let dir = KeyringDir::open(vault).map_err(|error| errors::opening(&error))?;
    unlock_as(&dir, dir.read(), args, Rules { first_use: true, ..Rules::default() })
}

/// As [`open_keyring`], and nothing is written: another host may write still.
///
/// # Errors
/// As [`open_keyring`].
pub(super) fn open_to_look(vault: &Path, args: &args::Open) -> Outcome<Unlocked> {
    let dir = KeyringDir::open(vault).map_err(|error| errors::opening(&error))?;
    unlock_as(&dir, dir.read(), args, Rules { written_elsewhere: true, ..Rules::default() })
}

/// Opens a keyring anew, by the secret that opened it before.
///
/// # Errors
/// Those of opening a keyring.
pub(super) fn open_again(vault: &Path, secret: &Secret, args: &args::Open) -> Outcome<Opened> {
    KeyringFile::open(vault, secret, &options(args, Rules::default()))
        .map_err(|error| errors::opening(&error))
}

/// As [`open_keyring`], for one that was read, maybe before the vault's lock was waited for. `rewrap` says whether the slot is to follow
/// its custodian, if that has rotated its key: in a vault that the command changes, as a mount does. The commands of `unlock` don't
/// do so: they are about slots themselves, and one that is named has to stay what it is. `lock` is signed once the secret is given.
///
/// # Errors
/// As [`open_keyring`].
pub(super) fn unlock(
    dir: &KeyringDir,
    read: Result<ClosedKeyring, KeyringError>,
    args: &args::Open,
    rewrap: bool,
    lock: Option<&VaultLock>,
) -> Outcome<Unlocked> {
    unlock_as(dir, read, args, Rules { rewrap, lock, ..Rules::default() })
}

/// What is done beside opening.
#[derive(Clone, Copy, Default)]
struct Rules<'a> {
    /// The vault's lock, if it was taken.
    lock: Option<&'a VaultLock>,
    /// This host is to know the vault from now on.
    first_use: bool,
    /// The slot follows its custodian.
    rewrap: bool,
    /// Another host may write it.
    written_elsewhere: bool,
}

fn options(args: &args::Open, Rules { first_use, written_elsewhere, .. }: Rules<'_>) -> OpenOptions {
    let (accept_rollback, next_version) = (args.accept_rollback, args.next.number());
    let limit = secrets::cost_limit(args.any_cost);
    OpenOptions {
        accept_rollback,
        next_version,
        first_use,
        written_elsewhere,
        limit,
        ..OpenOptions::default()
    }
}

fn unlock_as(
    dir: &KeyringDir,
    read: Result<ClosedKeyring, KeyringError>,
    args: &args::Open,
    rules: Rules<'_>,
) -> Outcome<Unlocked> {
    let Rules { lock, first_use, rewrap, written_elsewhere } = rules;
    // What has no readable header can't be opened by any secret, so none is asked for.
    let closed = read.and_then(|closed| closed.refreshed(dir)).or_else(|_| dir.read());
    let closed = closed.map_err(|error| errors::opening(&error))?;
    let options = options(args, rules);
    let header = closed.header().clone();
    let known = first_use || closed.is_known(dir);
    let asked =
        Asked { place: dir.path(), header: &header, known, environment: Environment::OfCaller, rewrap };
    let mut closed = Some(closed);
    let refused = |slot| {
        if !written_elsewhere {
            dir.record_refusal(&header, slot);
        }
    };
    open_with(&SecretPlan::new(args), &asked, refused, |unlocking| {
        // Before opening, which may write an event.
        lock.map_or(Ok(()), VaultLock::sign).map_err(|error| errors::mount(&error))?;
        let closed = closed.take().map_or_else(|| dir.read(), Ok);
        let opened = closed.and_then(|closed| closed.open(dir, &unlocking.secret, &options));
        let opened = opened.map_err(|error| {
            lock.into_iter().for_each(VaultLock::await_secret);
            errors::opening(&error)
        })?;
        opened.keys.follow_custodian(&opened.proof, &unlocking);
        Ok(Unlocked { opened, secret: unlocking.secret })
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
    let plan = SecretPlan::new(args);
    let options = OpenOptions { limit: secrets::cost_limit(args.any_cost), ..OpenOptions::default() };
    let opener = match look_custodians(&sealed, &plan, named, &options)? {
        Answer::Opens(unlocking) => Opener::Secret(unlocking.secret),
        answer => answer.or(&plan, Opener::read(identity, &sealed.age_files(), &plan, named))?,
    };
    sealed.open(opener.borrowed(), &options).map_err(|error| errors::opening(&error))
}

/// Asks the custodians of a keyring that is only read. Nothing is recorded.
///
/// # Errors
/// As [`ask_custodians`].
pub(super) fn look_custodians(
    sealed: &Sealed,
    plan: &SecretPlan,
    place: &Path,
    options: &OpenOptions,
) -> Outcome<Answer> {
    let header = sealed.header().map_err(|error| errors::opening(&error))?;
    let known = sealed.is_known(&header, options);
    let environment = Environment::OfCaller;
    let asked = Asked { place, header: &header, known, environment, rewrap: false };
    ask_custodians(plan, &asked, |_| ())
}
