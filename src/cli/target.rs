//! What a TARGET is: a vault's directory, a mountpoint, or any path inside a mount. Mounts are found by the
//! device number of the path, vaults by the device and inode of their directory.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::errors;
use super::exit::{Exit, Failure, Outcome};
use super::interrupt::Interrupt;
use super::progress::Display;
use crate::control::{self, Client, ClientError, Entry, RefusalKind, Reply, Request};
use crate::mount::{self, mountinfo};

/// How long a daemon that is busy is asked again, and how often.
const BUSY_PATIENCE: Duration = Duration::from_secs(10);
const BUSY_PAUSE: Duration = Duration::from_millis(50);

/// A resolved target.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Target {
    /// A vault that is mounted.
    Mounted(Box<Entry>),
    /// A vault that isn't, as far as this user can know: its directory.
    Vault(PathBuf),
}

impl Target {
    /// Resolves what was typed.
    ///
    /// # Errors
    /// [`Exit::Vault`] if it is no vault and not inside a mount of one; [`Exit::Control`] if it is inside a
    /// mount whose daemon can't be asked.
    pub(super) fn resolve(path: &Path) -> Outcome<Self> {
        let entries = known();
        let meta = match fs::metadata(path) {
            Ok(meta) => meta,
            Err(error) => {
                // Root may ask a user's mount without being let into it.
                let denied = error.kind() == io::ErrorKind::PermissionDenied;
                return match by_name(path, &entries).filter(|_| denied) {
                    Some(entry) => Ok(Self::Mounted(Box::new(entry.clone()))),
                    None => Err(unreachable_path(path, &error)),
                };
            }
        };
        if let Some(entry) = entries.iter().find(|entry| entry.mount_dev == meta.dev()) {
            return Ok(Self::Mounted(Box::new(entry.clone())));
        }
        if mountinfo::mounts().iter().any(|mount| mount.is_vault() && mount.device == meta.dev()) {
            if mount::nobody_answers(path) {
                return Err(unreachable_path(path, &rustix::io::Errno::NOTCONN.into()));
            }
            let cause =
                "a mount whose daemon can't be asked from here; ask as the user who mounted it, or as root";
            return Err(Failure::new(Exit::Control, path.display(), cause));
        }
        let here = |entry: &&Entry| (entry.location.dev, entry.location.ino) == (meta.dev(), meta.ino());
        if let Some(entry) = entries.iter().find(here) {
            return Ok(Self::Mounted(Box::new(entry.clone())));
        }
        // Whoever may not look into it can't tell what it is.
        if meta.is_dir() {
            fs::read_dir(path)
                .and_then(|_| fs::metadata(path.join(".")))
                .map_err(|error| unreachable_path(path, &error))?;
        }
        if !is_vault(path) {
            let cause =
                "neither a vault nor inside a mount of one; name a vault's directory or its mountpoint";
            return Err(Failure::new(Exit::Vault, path.display(), cause));
        }
        let vault = path.canonicalize().map_err(|error| unreachable_path(path, &error))?;
        Ok(Self::Vault(vault))
    }

    /// The vault's directory.
    pub(super) fn vault(&self) -> &Path {
        match self {
            Self::Mounted(entry) => entry.vault.as_path(),
            Self::Vault(vault) => vault,
        }
    }
}

/// The mounts that can be asked. What another user's entry says to be a mount must be one of that user.
pub(super) fn known() -> Vec<Entry> {
    let mounts = mountinfo::mounts();
    let theirs = |entry: &Entry| {
        let mut of_device = mounts.iter().filter(|mount| mount.device == entry.mount_dev);
        of_device.any(|mount| mount.is_vault() && mount.user == Some(entry.owner))
    };
    let me = rustix::process::geteuid().as_raw();
    control::entries().into_iter().filter(|entry| entry.owner == me || theirs(entry)).collect()
}

/// The mount that a path names by its text.
pub(super) fn by_name<'a>(path: &Path, entries: &'a [Entry]) -> Option<&'a Entry> {
    let absolute = std::path::absolute(path).ok()?;
    entries.iter().find(|entry| absolute.starts_with(entry.mountpoint.as_path()))
}

/// Whether this looks like a vault's directory. A lost keyring is reported by what opens it, not here.
pub(super) fn is_vault(path: &Path) -> bool {
    path.is_dir() && ["keyring", "keyring.prev", "tree"].iter().any(|name| path.join(name).exists())
}

fn unreachable_path(path: &Path, error: &io::Error) -> Failure {
    if error.raw_os_error() == Some(rustix::io::Errno::NOTCONN.raw_os_error()) {
        let cause = "its daemon died; `rekeyfs umount` the mountpoint, then mount again";
        return Failure::new(Exit::Control, path.display(), cause);
    }
    Failure::new(Exit::Vault, path.display(), error)
}

/// Connects to a mount's daemon.
///
/// # Errors
/// [`Exit::Control`].
pub(super) fn connect(entry: &Entry) -> Outcome<Client> {
    Client::connect(&entry.socket).map_err(failure)
}

/// Asks a mount's daemon one thing. One that serves as many as it can is asked again for a while: it refuses
/// before it has begun anything.
///
/// # Errors
/// As [`failure`] says.
pub(super) fn ask(entry: &Entry, request: &Request) -> Outcome<Reply> {
    let deadline = Instant::now() + BUSY_PATIENCE;
    loop {
        match connect(entry)?.call(request) {
            Err(ClientError::Refused(refusal))
                if refusal.kind == RefusalKind::Busy && Instant::now() < deadline =>
            {
                std::thread::sleep(BUSY_PAUSE);
            }
            answered => return answered.map_err(failure),
        }
    }
}

/// As [`ask`], for what looks at all files: it takes as long as it takes, shows progress, and a signal stops it.
///
/// # Errors
/// As [`failure`] says.
pub(super) fn ask_long(entry: &Entry, request: &Request) -> Outcome<Reply> {
    let (interrupt, mut display) = (Interrupt::watch(Exit::Interrupted as u8)?, Display::counting());
    let asked = connect(entry)?.converse(request, &mut |p| display.update(p), &mut || !interrupt.came());
    asked.map_err(failure)
}

/// The failure of a request.
pub(super) fn failure(error: ClientError) -> Failure {
    match error {
        ClientError::Refused(refusal) => errors::refusal(&refusal),
        ClientError::Stopped => Failure::line(Exit::Interrupted, error),
        ClientError::Gone(_) | ClientError::Connect(..) | ClientError::Broken(..) => {
            Failure::line(Exit::Control, error)
        }
    }
}

/// The failure for a reply that answers another question.
pub(super) fn unexpected(entry: &Entry) -> Failure {
    let cause = "the daemon answered something else than was asked; is it another version of rekeyfs?";
    Failure::new(Exit::Control, entry.mountpoint.as_path().display(), cause)
}
