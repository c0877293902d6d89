//! A TARGET that was opened: a mount's daemon that is asked, or a vault that isn't mounted and that this process has for
//! itself. A command is written once, against the operations of either.

use std::path::Path;
use std::sync::Arc;

use super::args;
use super::errors;
use super::exit::Outcome;
use super::open_keyring::{open_keyring, unlock};
use super::output;
use super::progress::{Display, long_work};
use super::target::Target;
use crate::control::Client;
use crate::ids::KeyId;
use crate::keyring::{ForceToken, KeyringDir, Keys, Opened};
use crate::mount::{MountError, TakeOverWatch, VaultLock};
use crate::service::{OpenVault, Operations};

/// What a command does to a vault that isn't mounted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Access {
    /// It reads what lies beside the tree, and takes no lock: other commands may work meanwhile.
    Beside,
    /// It reads.
    Read,
    /// It changes the vault: one that this program may only read is refused before a secret is asked for.
    Change,
}

/// An opened target.
pub(super) enum OpenTarget {
    /// The daemon of its mount.
    Mounted(Client),
    /// The vault, which isn't mounted.
    Unmounted(Box<Unmounted>),
}

impl OpenTarget {
    /// Opens a target; the secret of a mounted vault isn't asked for.
    ///
    /// # Errors
    /// As [`Unmounted::open`].
    pub(super) fn open(target: &Target, args: &args::Open, access: Access) -> Outcome<Self> {
        Ok(match target {
            Target::Mounted(entry) => Self::Mounted(Client::of(entry)),
            Target::Vault(vault) => Self::Unmounted(Box::new(Unmounted::open(vault, args, access)?)),
        })
    }

    /// What can be asked of it.
    pub(super) fn operations(&self) -> &dyn Operations {
        match self {
            Self::Mounted(client) => client,
            Self::Unmounted(unmounted) => &unmounted.vault,
        }
    }

    /// A token for an order that is forced. The secret of a mounted vault is asked for now, and given to the keyring, not
    /// to the daemon.
    ///
    /// # Errors
    /// Those of opening a keyring; no such key.
    pub(super) fn force(
        &self,
        target: &Target,
        args: &args::Open,
        key_id: &str,
        order: impl FnOnce(KeyId) -> String,
    ) -> Outcome<ForceToken> {
        match self {
            Self::Mounted(_) => force(&open_keyring(target.vault(), args)?.opened, key_id, order),
            Self::Unmounted(unmounted) => force(&unmounted.opened, key_id, order),
        }
    }

    /// Deletes the keys whose date has passed. A mount's daemon does that by itself.
    ///
    /// # Errors
    /// As [`Unmounted::delete_due`].
    pub(super) fn delete_due(&self) -> Outcome {
        match self {
            Self::Mounted(_) => Ok(()),
            Self::Unmounted(unmounted) => unmounted.delete_due(),
        }
    }
}

/// A token for an order that is forced, from the secret that opened a keyring.
fn force(opened: &Opened, key_id: &str, order: impl FnOnce(KeyId) -> String) -> Outcome<ForceToken> {
    let key = opened.keys.key_named(key_id).map_err(|error| errors::keyring(&error))?;
    Ok(opened.keys.force_token(&opened.proof, &order(key)))
}

/// A vault that isn't mounted, opened. It is locked, so that no mount begins meanwhile.
pub(super) struct Unmounted {
    pub(super) vault: OpenVault,
    opened: Opened,
    /// Ends this process if another host takes the vault over.
    _watch: Option<TakeOverWatch>,
    /// Given up last.
    _lock: Option<VaultLock>,
}

impl Unmounted {
    /// Takes the lock and opens the keyring.
    ///
    /// # Errors
    /// The vault may only be read; another process has it; those of opening a keyring.
    pub(super) fn open(vault: &Path, args: &args::Open, access: Access) -> Outcome<Self> {
        let dir = KeyringDir::open(vault).map_err(|error| errors::opening(&error))?;
        let read = dir.read();
        let writable = dir.writable(&read);
        if let (Access::Change, Err(error)) = (access, &writable) {
            return Err(errors::opening(error));
        }
        let lock = match access {
            Access::Beside => None,
            Access::Read | Access::Change => {
                let lock = VaultLock::take_in(&dir, writable.ok());
                Some(lock.map_err(|error| errors::mount(&error))?)
            }
        };
        let opened = unlock(&dir, read, args, matches!(access, Access::Change), lock.as_ref())?.opened;
        let watch = lock.as_ref().map_or(Ok(None), VaultLock::watch);
        let watch = watch.map_err(|error| errors::mount(&MountError::Daemon(error)))?;
        Ok(Self { vault: OpenVault::unmounted(Arc::clone(&opened.keys)), opened, _watch: watch, _lock: lock })
    }

    /// The keys.
    pub(super) fn keys(&self) -> &Arc<Keys> {
        &self.opened.keys
    }

    /// Deletes the keys whose date has passed, and reports each; not in a vault that may only be read.
    ///
    /// # Errors
    /// The files can't be counted, or the keyring can't be saved.
    fn delete_due(&self) -> Outcome {
        let keys = self.keys();
        if keys.writable().is_err() || !keys.pending_deletions().iter().any(|pending| pending.due) {
            return Ok(());
        }
        for deletion in long_work(Display::counting(), |monitor| self.vault.delete_due(monitor))? {
            output::complain(&match deletion.blocked {
                None => format!("key {} is deleted, as its date has passed", deletion.key),
                Some(why) => format!("the date of a key's deletion has passed, and it is held up: {why}"),
            });
        }
        Ok(())
    }
}
