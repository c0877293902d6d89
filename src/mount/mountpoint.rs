//! Whether a vault can be mounted at a directory. A mount left behind by a killed daemon is taken away first.

use std::io;
use std::path::{Path, PathBuf};

use super::error::MountError;
use super::options::MountOptions;
use super::{mountinfo, unmount};

/// Checks the mountpoint and returns its absolute path without symlinks. `vault` is the vault's, likewise.
pub(super) fn check(options: &MountOptions, vault: &Path) -> Result<PathBuf, MountError> {
    let asked = &options.mountpoint;
    let refuse = |problem: String| MountError::Mountpoint { path: asked.clone(), problem };
    let mut metadata = std::fs::metadata(asked);
    if metadata.as_ref().is_err_and(is_dead) || (metadata.is_ok() && nobody_answers(asked)) {
        clean_up(asked)?;
        metadata = std::fs::metadata(asked);
    }
    let metadata = metadata.map_err(|error| {
        refuse(match error.kind() {
            io::ErrorKind::NotFound => "does not exist; make the directory first".to_owned(),
            _ => error.to_string(),
        })
    })?;
    if !metadata.is_dir() {
        return Err(refuse("not a directory".to_owned()));
    }
    let path = std::fs::canonicalize(asked).map_err(|error| refuse(error.to_string()))?;
    if path.starts_with(vault) {
        return Err(refuse("inside the vault; choose a directory elsewhere".to_owned()));
    }
    if vault.starts_with(&path) {
        return Err(refuse("the vault lies in it and would be hidden; choose an empty directory".to_owned()));
    }
    if mountinfo::at(&path).is_some_and(|mount| mount.is_vault()) {
        return Err(refuse("a vault is mounted there already; unmount it first".to_owned()));
    }
    if !options.nonempty {
        let mut entries = std::fs::read_dir(&path).map_err(|error| refuse(error.to_string()))?;
        if entries.next().is_some() {
            return Err(refuse("not empty; `-o nonempty` hides what is in there".to_owned()));
        }
    }
    Ok(path)
}

/// What the kernel answers for a mount whose daemon is gone.
pub(super) fn is_dead(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::ENOTCONN)
}

/// Whether a filesystem's daemon is gone, though the kernel still knows the attributes of its root: how much room
/// there is has to be asked for.
pub fn nobody_answers(path: &Path) -> bool {
    rustix::fs::statfs(path).is_err_and(|error| is_dead(&error.into()))
}

fn clean_up(asked: &Path) -> Result<(), MountError> {
    let path = resolve_parent(asked)
        .map_err(|error| MountError::Mountpoint { path: asked.to_owned(), problem: error.to_string() })?;
    if !mountinfo::at(&path).is_some_and(|mount| mount.is_vault()) {
        return Err(MountError::Mountpoint {
            path: asked.to_owned(),
            problem: "another FUSE filesystem whose daemon is gone is mounted there; unmount it first"
                .to_owned(),
        });
    }
    unmount::detach(&path)?;
    tracing::warn!("mountpoint {}: unmounted what a killed daemon had left there", path.display());
    Ok(())
}

/// An absolute path without symlinks, without touching its last part: that may be a dead mount.
pub(super) fn resolve_parent(path: &Path) -> io::Result<PathBuf> {
    let absolute = std::path::absolute(path)?;
    match (absolute.parent(), absolute.file_name()) {
        (Some(parent), Some(name)) => Ok(std::fs::canonicalize(parent)?.join(name)),
        _ => Ok(absolute),
    }
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
    fn only_the_parent_of_a_dead_mount_is_looked_at() {
        let place = tempfile::tempdir().unwrap();
        let place = place.path().canonicalize().unwrap();
        std::os::unix::fs::symlink(&place, place.join("link")).unwrap();
        assert_eq!(resolve_parent(&place.join("link/dead")).unwrap(), place.join("dead"));
        assert_eq!(resolve_parent(&place.join("link")).unwrap(), place.join("link"));
    }
}
