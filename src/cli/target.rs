//! What a TARGET is: a vault's directory, a mountpoint, or any path inside a mount. Which mount a path leads into, whose
//! that is and where it is mounted, the kernel says; what the registry says counts only where it agrees:
//!
//! - of a mount, the entry with its device that its owner has written, and no other user's;
//! - of a vault's directory, the entry with its device and inode that this user has written, or for root the
//!   directory's owner.
//!
//! The process that answers must be one of the mount's owner (`control::Client`). So another user's words have an effect
//! only where a mount or a vault of that user was named.

use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::Once;
use std::time::{Duration, Instant};

use super::args::HERE;
use super::exit::{Exit, Failure, Outcome};
use super::output;
use crate::control::{self, Client, Entry};
use crate::ids::PathText;
use crate::mount::mountinfo::{self, Mount};
use crate::mount::{self, MountUser};
use crate::printable;
use crate::service::Operations;
use crate::storage::{self, Walked, walk};

/// How long a daemon that has lost its socket is waited for; it takes a second.
const RETURN_PATIENCE: Duration = Duration::from_secs(3);
const RETURN_POLL: Duration = Duration::from_millis(50);

/// How often, and after which pauses, a daemon is asked whether its mount is detached: it notices in a quarter of a second.
const DETACH_TRIES: usize = 5;
const DETACH_PAUSE: Duration = Duration::from_millis(100);

/// A command says once that the mount which it asks is detached.
static DETACHED_ONCE: Once = Once::new();

/// The most users of a mount that a message names.
const USERS_NAMED: usize = 5;

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
        let place = Destination::of(path)?;
        if place.mount.is_some() {
            return match &place.entry {
                Some(entry) => Ok(Self::Mounted(entry.clone())),
                None => Err(unanswered(path, &place)),
            };
        }
        if let Some(detached) = place.detached() {
            if place.entry.is_none() {
                return Err(detached.failure(path));
            }
            DETACHED_ONCE.call_once(|| output::complain(&detached.failure(path)));
        }
        let walked = place.walked.there().map_err(|error| unreachable_path(path, &error))?;
        if let Some(entry) = place.entry {
            return Ok(Self::Mounted(entry));
        }
        let vault = walked.path();
        // A user who may not read it can't know what it is.
        if vault.is_dir() {
            fs::read_dir(vault)
                .and_then(|_| fs::metadata(vault.join(".")))
                .map_err(|error| unreachable_path(path, &error))?;
        }
        if !is_vault(vault) {
            let remedy = if path == Path::new(HERE) {
                "name a vault's directory or its mountpoint, in the command line or in REKEYFS_VAULT, or change into a mount"
            } else {
                "name a vault's directory or its mountpoint"
            };
            let cause = format!("neither a vault nor inside a mount of one; {remedy}");
            return Err(Failure::new(Exit::Vault, path.display(), cause));
        }
        Ok(Self::Vault(vault.to_owned()))
    }

    /// The vault's directory.
    pub(super) fn vault(&self) -> &Path {
        match self {
            Self::Mounted(entry) => entry.vault.as_path(),
            Self::Vault(vault) => vault,
        }
    }

    /// The vault's directory, of a vault that no mount may be using while `what` happens.
    ///
    /// # Errors
    /// [`Exit::InUse`] if it is mounted.
    pub(super) fn unmounted(&self, what: &str) -> Outcome<&Path> {
        match self {
            Self::Vault(vault) => Ok(vault),
            Self::Mounted(_) => {
                let cause = format!("it is mounted; unmount it before {what}");
                Err(Failure::new(Exit::InUse, self.vault().display(), cause))
            }
        }
    }
}

/// Where a path leads, as far as it can be walked.
pub(super) struct Destination {
    pub(super) walked: Walked,
    /// The mount of a vault that it leads into.
    pub(super) mount: Option<Mount>,
    /// The daemon of that mount, or else of the vault whose directory the path names.
    pub(super) entry: Option<Box<Entry>>,
}

impl Destination {
    /// # Errors
    /// [`Exit::Vault`] if there is no walking it.
    pub(super) fn of(path: &Path) -> Outcome<Self> {
        let me = rustix::process::geteuid().as_raw();
        let walked = walk(path, me).map_err(|error| unreachable_path(path, &error))?;
        let mount = mountinfo::of(walked.fd()).filter(|mount| mount.is_vault() && walked.covers_the_rest());
        let mut place = Self { walked, mount, entry: None };
        place.entry = place.find_entry();
        if place.entry.is_none() && place.is_served() {
            let deadline = Instant::now() + RETURN_PATIENCE;
            while place.entry.is_none() && Instant::now() < deadline {
                std::thread::sleep(RETURN_POLL);
                place.entry = place.find_entry();
            }
        }
        Ok(place)
    }

    /// The mount of the vault that the path names, or that was mounted there, if it is detached: its daemon serves programs
    /// with open files, and no path leads to it.
    pub(super) fn detached(&self) -> Option<Detached> {
        let was_here = |entry: &Entry| self.walked.path() == entry.mountpoint.as_path();
        let entry = match &self.entry {
            Some(entry) => (**entry).clone(),
            None if self.mount.is_some() => return None,
            None => known().into_iter().find(was_here)?,
        };
        let listed = |entry: &Entry| mountinfo::mounts().iter().any(|mount| mount.device == entry.mount_dev);
        // The daemon has to notice it; one whose mount is in another namespace answers that it isn't detached.
        let mut tries = 0;
        while !listed(&entry) {
            let mount = Client::of(&entry).status().ok()?.mount?;
            if mount.detached {
                // A descriptor that this command inherited is its shell's use too.
                let me = std::process::id();
                let mut users = mount::users_of(entry.mount_dev);
                users.retain(|user| user.pid != me);
                return Some(Detached { pid: mount.pid, users, entry });
            }
            tries += 1;
            if tries == DETACH_TRIES {
                break;
            }
            std::thread::sleep(DETACH_PAUSE);
        }
        None
    }

    /// Why nothing answers in the mount that the path leads into, if its daemon died.
    fn died(&self, path: &Path) -> Option<Failure> {
        (self.mount.is_some() && self.walked.nobody_answers()).then(|| unanswered(path, self))
    }

    /// Why nothing is there, if a detached mount has left the path.
    fn left(&self, path: &Path) -> Option<Failure> {
        if self.mount.is_some() || self.entry.is_some() {
            return None;
        }
        self.detached().map(|detached| detached.failure(path))
    }

    fn find_entry(&self) -> Option<Box<Entry>> {
        let entries = known();
        let entry = match &self.mount {
            Some(mount) => entries.into_iter().find(|entry| is_of(entry, mount)),
            None => {
                let stat = storage::fstat(self.walked.fd()).ok().filter(|_| self.walked.is_there())?;
                let here = |entry: &Entry| (entry.location.dev, entry.location.ino) == (stat.dev, stat.ino);
                entries.into_iter().find(|entry| here(entry) && entry.may_speak_for(stat.uid))
            }
        };
        entry.map(Box::new)
    }

    /// Whether a daemon serves it that this user may ask, as far as can be seen without asking it: one that isn't found
    /// has lost its socket, and makes it again.
    fn is_served(&self) -> bool {
        let me = rustix::process::geteuid();
        match &self.mount {
            Some(mount) => (me.is_root() || mount.user == Some(me.as_raw())) && !self.walked.nobody_answers(),
            None => self.walked.is_there() && mount::served_mount(self.walked.fd()).is_some(),
        }
    }
}

/// A mount to which no path leads any more.
pub(super) struct Detached {
    entry: Entry,
    pid: i32,
    users: Vec<MountUser>,
}

impl Detached {
    /// What is to be known of it, of the path that was asked for.
    pub(super) fn failure(&self, path: &Path) -> Failure {
        let (vault, at) = (self.entry.vault.as_path().display(), self.entry.mountpoint.as_path().display());
        let some = self.users.iter().take(USERS_NAMED).map(|user| format!("{} ({})", user.pid, user.name));
        let users = match (some.collect::<Vec<_>>().join(", "), self.users.len()) {
            (_, 0) => "a process that can't be seen from here".to_owned(),
            (some, 1) => format!("process {some}"),
            (some, all) if all > USERS_NAMED => format!("processes {some} and {} more", all - USERS_NAMED),
            (some, _) => format!("processes {some}"),
        };
        let cause = format!(
            "the mount of {vault} at {at} is detached and still in use, by {users}; its daemon, process {}, ends with the last \
             of them, and until then answers to {vault}",
            self.pid
        );
        Failure::new(Exit::NotMounted, path.display(), cause)
    }
}

/// Why a file or directory can't be read: where its mount has ended, that.
pub(super) fn unread(path: &Path, error: io::Error) -> Failure {
    let ended = Destination::of(path).ok().and_then(|place| match place.mount {
        Some(_) => place.died(path),
        None => place.detached().map(|detached| detached.failure(path)),
    });
    ended.unwrap_or_else(|| Failure::new(Exit::Other, path.display(), error))
}

/// Why no vault can be opened or made at a path, where a mount's end is the reason.
pub(super) fn no_place_for_vault(path: &Path) -> Option<Failure> {
    let place = Destination::of(path).ok()?;
    place.died(path).or_else(|| place.left(path))
}

/// Why nothing is at a path that a detached mount has left. A vault's directory is never such a one.
pub(super) fn left_mountpoint(path: &Path) -> Option<Failure> {
    Destination::of(path).ok()?.left(path)
}

/// Whether an entry is of this mount: the kernel has the mount's device and its owner from nobody else.
pub(super) fn is_of(entry: &Entry, mount: &Mount) -> bool {
    mount.is_vault() && entry.mount_dev == mount.device && mount.user == Some(entry.owner)
}

/// The mounts that can be asked. An entry is left out unless it agrees with the kernel: another user's in device,
/// owner and mountpoint, and its vault is that user's; this user's in device and owner, if the mount is there (one that
/// is in another namespace, or detached, isn't). The mountpoint is the kernel's then.
pub(super) fn known() -> Vec<Entry> {
    let mounts = mountinfo::mounts();
    let me = rustix::process::geteuid().as_raw();
    let agreed = |mut entry: Entry| {
        let mut of_device =
            mounts.iter().filter(|mount| mount.device == entry.mount_dev && mount.is_vault()).peekable();
        let first = of_device.peek().map(|mount| mount.mountpoint.clone());
        let same_place =
            |mount: &&Mount| is_of(&entry, mount) && mount.mountpoint == entry.mountpoint.as_path();
        let agrees = of_device.any(|mount| same_place(&mount));
        if entry.owner != me {
            return (agrees && is_vault_of(&entry)).then_some(entry);
        }
        match first {
            None => Some(entry),
            Some(_) if agrees => Some(entry),
            Some(mountpoint) => {
                let ours = mounts.iter().any(|mount| is_of(&entry, mount));
                entry.mountpoint = PathText(mountpoint);
                ours.then_some(entry)
            }
        }
    };
    control::entries().into_iter().filter_map(agreed).filter(Entry::is_alive).collect()
}

/// Whether the vault that an entry names is where it says, and its writer's.
fn is_vault_of(entry: &Entry) -> bool {
    let walked = walk(entry.vault.as_path(), entry.owner).and_then(Walked::there);
    let found = walked.and_then(|walked| Ok(storage::fstat(walked.fd().as_fd())?));
    found.is_ok_and(|stat| {
        stat.uid == entry.owner && (stat.dev, stat.ino) == (entry.location.dev, entry.location.ino)
    })
}

/// Whether this looks like a vault's directory. A lost keyring is reported by what opens it, not here.
pub(super) fn is_vault(path: &Path) -> bool {
    path.is_dir() && ["keyring", "keyring.prev", "tree"].iter().any(|name| path.join(name).exists())
}

fn unreachable_path(path: &Path, error: &io::Error) -> Failure {
    let remedy = match error.kind() {
        io::ErrorKind::NotFound => "; name a vault's directory or its mountpoint",
        io::ErrorKind::PermissionDenied => "; ask as the user whose vault it is, or as root",
        _ => "",
    };
    Failure::new(Exit::Vault, path.display(), format!("{error}{remedy}"))
}

/// Why a mount can't be asked.
fn unanswered(path: &Path, place: &Destination) -> Failure {
    let mount = place.mount.as_ref().filter(|_| place.walked.nobody_answers());
    let cause = match mount {
        Some(mount) => {
            let at = printable::shell(&mount.mountpoint);
            format!(
                "the daemon of this mount died; clean up with `rekeyfs umount {at}` (or `fusermount3 -u {at}`), then mount again"
            )
        }
        None => "a mount whose daemon can't be asked from here; ask as the user who mounted it, or as root"
            .to_owned(),
    };
    Failure::new(Exit::Control, path.display(), cause)
}
