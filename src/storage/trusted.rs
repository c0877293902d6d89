//! Files that decide what runs: who could have changed them.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use super::{FileKind, fstat, walk};
use crate::printable;

/// Bits of a mode that let others than the owner write.
const WRITABLE_BY_OTHERS: u16 = 0o022;

/// Why a file isn't trusted.
#[derive(Debug, thiserror::Error)]
pub enum Distrust {
    /// It can't be looked at.
    #[error("{0}")]
    Io(#[from] std::io::Error),
    /// It is something else.
    #[error("it is no regular file")]
    NoFile,
    /// This is its owner, and not one of those who may be.
    #[error("it belongs to uid {found}, not to root or uid {wanted}")]
    Owner {
        /// Whose it is.
        found: u32,
        /// Whose it may be, if it isn't root's.
        wanted: u32,
    },
    /// Its mode lets others write it.
    #[error("its mode {0:o} lets others write it; chmod go-w")]
    Mode(u16),
    /// Others can write this directory on the way to it.
    #[error("others can put something else into {0}; chmod go-w, or chown it")]
    Directory(String),
}

/// A regular file that nobody but root and the user `uid` can change or put another one in the place of: an O_PATH
/// descriptor, and its path without symlinks. Symlinks on the way are followed if root or that user made them.
///
/// # Errors
/// [`Distrust`]: somebody else can, or it isn't there.
pub fn trusted_file(path: &Path, uid: u32) -> Result<(OwnedFd, PathBuf), Distrust> {
    let walked = walk(path, uid)?.there()?;
    if let Some(dir) = walked.exposed() {
        return Err(Distrust::Directory(printable::path(dir)));
    }
    let stat = fstat(walked.fd()).map_err(std::io::Error::from)?;
    if stat.kind() != FileKind::Regular {
        return Err(Distrust::NoFile);
    }
    if stat.uid != uid && stat.uid != 0 {
        return Err(Distrust::Owner { found: stat.uid, wanted: uid });
    }
    if stat.perm() & WRITABLE_BY_OTHERS != 0 {
        return Err(Distrust::Mode(stat.perm()));
    }
    Ok(walked.into_parts())
}

impl Distrust {
    /// Whether there is no such file.
    pub fn is_absence(&self) -> bool {
        matches!(self, Self::Io(error) if error.kind() == std::io::ErrorKind::NotFound)
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    #[test]
    fn a_program_that_others_could_have_changed_is_not_run() {
        let me = rustix::process::geteuid().as_raw();
        let dir = tempfile::tempdir().unwrap();
        let program = dir.path().join("program");
        fs::write(&program, "#!/bin/true\n").unwrap();
        let set = |path: &Path, mode| fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
        set(&program, 0o755);
        assert!(trusted_file(&program, me).is_ok());
        for mode in [0o775, 0o757] {
            set(&program, mode);
            assert!(trusted_file(&program, me).is_err(), "{mode:o}");
        }
        set(&program, 0o755);
        for mode in [0o777, 0o770] {
            set(dir.path(), mode);
            assert!(trusted_file(&program, me).is_err(), "{mode:o}");
        }
        set(dir.path(), 0o700);
        assert!(trusted_file(dir.path(), me).is_err());
        assert!(trusted_file(&dir.path().join("none"), me).is_err());
        let elsewhere = tempfile::tempdir().unwrap();
        set(elsewhere.path(), 0o777);
        let moved = elsewhere.path().join("program");
        fs::copy(&program, &moved).unwrap();
        let link = dir.path().join("link");
        symlink(&moved, &link).unwrap();
        assert!(trusted_file(&link, me).is_err());
    }
}
