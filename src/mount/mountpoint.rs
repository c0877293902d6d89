//! Checks whether a vault can be mounted at a directory. From then on the directory is held by a descriptor: someone who renames
//! it or a directory above it, while a passphrase is typed and a key derived, can't move the mount to another directory. A
//! mount left behind by a killed daemon is unmounted first.
//!
//! Once something is mounted there the directory is let go of: a descriptor keeps the filesystem below busy, and an automount
//! that is in use never expires.

use std::cell::RefCell;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::process::geteuid;

use super::error::MountError;
use super::mountinfo::{self, Mount};
use super::options::MountOptions;
use super::unmount;
use crate::printable::shell;
use crate::storage::{Walked, walk};

/// A directory that a vault can be mounted at.
#[derive(Debug)]
pub(super) struct Mountpoint {
    /// O_PATH; none once it is let go of.
    dir: RefCell<Option<OwnedFd>>,
    /// Where it was when it was checked: absolute and without symlinks.
    path: PathBuf,
}

impl Mountpoint {
    /// Where it was when it was checked.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// A path of the directory itself, valid in this process and its forked children until it is let go of; then the path
    /// where it was.
    pub(super) fn held(&self) -> PathBuf {
        self.dir.borrow().as_ref().map_or_else(|| self.path.clone(), held)
    }

    /// Lets go of the directory, since something is mounted there.
    pub(super) fn let_go(&self) {
        self.dir.take();
    }

    /// The mount that this user has made at it.
    pub(super) fn mounted(&self) -> Option<Mount> {
        let me = geteuid().as_raw();
        // It may be renamed between reading its path and reading the list of mounts; hardly three times in a row.
        (0..3).find_map(|_| {
            let place = std::fs::read_link(self.held()).ok()?;
            mountinfo::at(&place).filter(|mount| mount.is_vault() && mount.user == Some(me))
        })
    }
}

/// Checks the mountpoint. `vault` is the vault's path, absolute and without symlinks.
pub(super) fn check(options: &MountOptions, vault: &Path) -> Result<Mountpoint, MountError> {
    let asked = &options.mountpoint;
    let refuse = |problem: String| MountError::Mountpoint { path: asked.clone(), problem };
    let explain = |error: io::Error| {
        refuse(match error.kind() {
            io::ErrorKind::NotFound => format!("does not exist; `mkdir {}` makes it", shell(asked)),
            _ => error.to_string(),
        })
    };
    let look = || walk(asked, geteuid().as_raw()).and_then(Walked::there).map_err(explain);
    let mut found = look()?;
    if found.nobody_answers() {
        clean_up(asked, found)?;
        found = look()?;
    }
    if mountinfo::of(found.fd()).is_some_and(|mount| mount.is_vault() && mount.mountpoint == found.path()) {
        return Err(refuse("a vault is mounted there already; unmount it first".to_owned()));
    }
    let (dir, path) = found.into_parts();
    let metadata = rustix::fs::fstat(dir.as_fd()).map_err(|error| refuse(error.to_string()))?;
    if !rustix::fs::FileType::from_raw_mode(metadata.st_mode).is_dir() {
        return Err(refuse("not a directory; name an empty one".to_owned()));
    }
    if path.starts_with(vault) {
        return Err(refuse("inside the vault; choose a directory elsewhere".to_owned()));
    }
    if vault.starts_with(&path) {
        return Err(refuse("the vault lies in it and would be hidden; choose an empty directory".to_owned()));
    }
    if !options.nonempty {
        let mut entries = std::fs::read_dir(held(&dir)).map_err(|error| refuse(error.to_string()))?;
        if entries.next().is_some() {
            return Err(refuse(
                "not empty; name an empty directory, or hide what is in there with `-o nonempty`".to_owned(),
            ));
        }
    }
    Ok(Mountpoint { dir: RefCell::new(Some(dir)), path })
}

fn held(dir: &OwnedFd) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", dir.as_raw_fd()))
}

/// This user's mount of the vault in this directory whose daemon is gone; root's and others' for root.
pub fn dead_mount_of(vault: &Path) -> Option<Mount> {
    let me = geteuid();
    let ours = |mount: &Mount| {
        mount.is_vault() && mount.source == vault && (me.is_root() || mount.user == Some(me.as_raw()))
    };
    mountinfo::mounts().into_iter().rfind(|mount| ours(mount) && is_dead(mount))
}

/// Whether the daemon of a mount is gone.
pub fn is_dead(mount: &Mount) -> bool {
    let root = walk(&mount.mountpoint, geteuid().as_raw());
    root.is_ok_and(|root| mountinfo::of(root.fd()).as_ref() == Some(mount) && root.nobody_answers())
}

fn clean_up(asked: &Path, place: Walked) -> Result<(), MountError> {
    let mount =
        mountinfo::of(place.fd()).filter(|mount| mount.is_vault() && mount.mountpoint == place.path());
    // An open descriptor keeps the mount busy.
    drop(place);
    let Some(mount) = mount else {
        return Err(MountError::Mountpoint {
            path: asked.to_owned(),
            problem: "another FUSE filesystem whose daemon is gone is mounted there; unmount it first"
                .to_owned(),
        });
    };
    unmount::detach(&mount)?;
    tracing::warn!(
        "mountpoint {}: unmounted what a killed daemon had left there",
        mount.mountpoint.display()
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(vault: &Path, mountpoint: &Path, nonempty: bool) -> Option<String> {
        let mut options = MountOptions::new(vault.to_owned(), mountpoint.to_owned());
        options.nonempty = nonempty;
        check(&options, vault).err().map(|error| error.to_string())
    }

    #[test]
    fn what_can_not_be_mounted_on_is_refused_by_name() {
        let place = tempfile::tempdir().unwrap();
        let place = place.path().canonicalize().unwrap();
        let (vault, empty, full) = (place.join("vault"), place.join("empty"), place.join("full"));
        for dir in [&vault, &vault.join("tree"), &empty, &full] {
            std::fs::create_dir(dir).unwrap();
        }
        std::fs::write(full.join("file"), b"").unwrap();
        assert_eq!(problem(&vault, &empty, false), None);
        assert_eq!(problem(&vault, &full, true), None);
        for (mountpoint, expected) in [
            (place.join("missing"), "does not exist"),
            (full.join("file"), "not a directory"),
            (full.clone(), "not empty"),
            (vault.join("tree"), "inside the vault"),
            (place.clone(), "would be hidden"),
        ] {
            let refused = problem(&vault, &mountpoint, false).unwrap();
            assert!(refused.contains(expected), "{refused}");
            assert!(refused.contains(mountpoint.to_str().unwrap()), "{refused}");
        }
    }

    #[test]
    fn it_stays_the_directory_that_was_checked() {
        let place = tempfile::tempdir().unwrap();
        let place = place.path().canonicalize().unwrap();
        let (empty, moved) = (place.join("empty"), place.join("moved"));
        std::fs::create_dir(&empty).unwrap();
        std::fs::write(place.join("other"), b"").unwrap();
        let options = MountOptions::new(place.join("vault"), empty.clone());
        let held = check(&options, &place.join("vault")).unwrap();
        std::fs::rename(&empty, &moved).unwrap();
        std::os::unix::fs::symlink(&place, &empty).unwrap();
        assert_eq!(std::fs::read_link(held.held()).unwrap(), moved);
        assert_eq!(held.path(), empty);
        assert_eq!(held.mounted(), None);
    }
}
