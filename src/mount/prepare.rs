//! The checks before a secret is asked for: the vault, the device, the mountpoint, the lock.

use std::path::{Path, PathBuf};
use std::rc::Rc;

use rustix::process::geteuid;

use super::attach;
use super::error::MountError;
use super::limits;
use super::lock::VaultLock;
use super::mountpoint::{self, Mountpoint};
use super::options::MountOptions;
use crate::keyring::KeyringFile;
use crate::storage::{self, Walked, walk};

/// A mount that has passed all checks. The vault is locked for it.
/// A clone is the same one: it shares the lock and the hold on the mountpoint.
#[derive(Clone, Debug)]
pub struct Prepared {
    pub(super) options: MountOptions,
    /// Absolute and without symlinks.
    pub(super) vault: PathBuf,
    pub(super) mountpoint: Rc<Mountpoint>,
    pub(super) lock: Rc<VaultLock>,
}

/// Checks vault, device and mountpoint, unmounts what a killed daemon left at the mountpoint, and locks the vault, waiting up
/// to 5 s for a daemon that is ending, unless it is to be read beside one. Asks for no secret.
///
/// # Errors
/// Why nothing can be mounted.
pub fn prepare(options: MountOptions) -> Result<Prepared, MountError> {
    options.validate()?;
    limits::check_descriptors()?;
    let vault = locate_vault(&options.vault)?;
    if !options.read_only {
        KeyringFile::writable(&vault)?;
    }
    attach::check_device()?;
    let mountpoint = Rc::new(mountpoint::check(&options, &vault)?);
    let beside = options.reads_beside_a_writer();
    let lock = Rc::new(if beside { VaultLock::beside(&vault)? } else { VaultLock::take(&vault)? });
    Ok(Prepared { options, vault, mountpoint, lock })
}

/// Checks that a directory is a vault, and returns its absolute path.
///
/// # Errors
/// [`MountError::NotAVault`]; a header that can't be read.
pub fn locate_vault(asked: &Path) -> Result<PathBuf, MountError> {
    let not_a_vault =
        |problem: &str| MountError::NotAVault { path: asked.to_owned(), problem: problem.to_owned() };
    let found =
        walk(asked, geteuid().as_raw()).and_then(Walked::there).map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => {
                not_a_vault("no such directory; name a vault's, or make one with `rekeyfs init`")
            }
            _ => not_a_vault(&error.to_string()),
        })?;
    let kind = storage::fstat(found.fd()).map(|stat| stat.kind());
    if kind.map_err(|error| not_a_vault(&error.to_string()))? != storage::FileKind::Directory {
        return Err(not_a_vault("not a directory; a vault is one, made by `rekeyfs init`"));
    }
    let path = found.path().to_owned();
    KeyringFile::read_header(&path)?;
    Ok(path)
}

impl Prepared {
    /// The vault's directory, absolute.
    pub fn vault(&self) -> &Path {
        &self.vault
    }

    /// Whether nothing of the vault is to be written.
    pub fn read_only(&self) -> bool {
        self.options.read_only
    }

    /// Where it is mounted, absolute.
    pub fn mountpoint(&self) -> &Path {
        self.mountpoint.path()
    }
}
