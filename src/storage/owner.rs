//! Files of a vault beside its tree, in a directory that may belong to another user: root works on a user's vault. The
//! user must be able to use the files afterwards, and must not be able to redirect root to files elsewhere.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use super::attrs::{chmod, chown};
use super::entries::{Access, create_file, open_file};
use super::stat::{FileKind, fstat};
use super::{Errno, Result};

/// The mode of a lock file.
const LOCK_MODE: u32 = 0o600;

/// Creates `name`, which must not exist, for the owner of the directory `dir`.
///
/// # Errors
/// EEXIST, and those of `openat(2)`.
pub fn create_for_owner(dir: BorrowedFd<'_>, name: &[u8], mode: u32) -> Result<OwnedFd> {
    let file = create_file(dir, name, mode)?;
    let (owner, made) = (fstat(dir)?, fstat(file.as_fd())?);
    if (owner.uid, owner.gid) != (made.uid, made.gid) {
        // If this fails, the file stays its maker's, which is safe: this user may not give files away.
        let _ = chown(file.as_fd(), Some(owner.uid), Some(owner.gid));
    }
    Ok(file)
}

/// Opens the lock file `name` of the directory `dir`, made if need be: the owner's alone, since who can open it can
/// hold it. One that can't be written is opened for reading.
///
/// # Errors
/// As [`create_for_owner`] and [`open_owned`].
pub fn open_lock(dir: BorrowedFd<'_>, name: &[u8]) -> Result<OwnedFd> {
    loop {
        let file = match open_owned(dir, name, Access::ReadWrite) {
            Err(Errno::NOENT) => match create_for_owner(dir, name, LOCK_MODE) {
                Err(Errno::EXIST) => continue,
                made => made?,
            },
            Err(Errno::ROFS | Errno::ACCESS) => open_owned(dir, name, Access::ReadOnly)?,
            opened => opened?,
        };
        if fstat(file.as_fd())?.perm() & 0o077 != 0 {
            // If this fails, on a read-only filesystem for example, the mode stays.
            let _ = chmod(file.as_fd(), LOCK_MODE);
        }
        return Ok(file);
    }
}

/// Opens the file `name` of the directory `dir`, to be written: only a regular one of the directory's owner, or one
/// that this user has made there. A hard link to a file of this user elsewhere is none of these.
///
/// # Errors
/// EPERM for any other file, and those of `openat(2)`.
pub fn open_owned(dir: BorrowedFd<'_>, name: &[u8], access: Access) -> Result<OwnedFd> {
    let file = open_file(dir, name, access)?;
    let (owner, found) = (fstat(dir)?, fstat(file.as_fd())?);
    let ours = found.uid == rustix::process::geteuid().as_raw() && found.nlink == 1;
    let good = found.kind() == FileKind::Regular && (found.uid == owner.uid || ours);
    if good { Ok(file) } else { Err(Errno::PERM) }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{MetadataExt, PermissionsExt, chown as chown_path, symlink};

    use super::*;

    #[test]
    fn what_stands_for_a_file_elsewhere_is_not_opened() {
        let dir = tempfile::tempdir().unwrap();
        let fd: OwnedFd = fs::File::open(dir.path()).unwrap().into();
        fs::write(dir.path().join("other"), b"").unwrap();
        symlink("other", dir.path().join("link")).unwrap();
        assert_eq!(open_owned(fd.as_fd(), b"link", Access::ReadWrite).unwrap_err(), Errno::LOOP);
        assert_eq!(open_owned(fd.as_fd(), b".", Access::ReadOnly).unwrap_err(), Errno::PERM);
        assert!(open_owned(fd.as_fd(), b"other", Access::ReadWrite).is_ok());
        if rustix::process::geteuid().is_root() {
            fs::hard_link(dir.path().join("other"), dir.path().join("hard")).unwrap();
            assert!(open_owned(fd.as_fd(), b"hard", Access::ReadWrite).is_ok(), "the owner's own");
            chown_path(dir.path(), Some(65_533), Some(65_533)).unwrap();
            assert_eq!(open_owned(fd.as_fd(), b"hard", Access::ReadWrite).unwrap_err(), Errno::PERM);
        }
    }

    #[test]
    fn a_lock_is_the_owners_alone() {
        let dir = tempfile::tempdir().unwrap();
        let fd: OwnedFd = fs::File::open(dir.path()).unwrap().into();
        let lock = dir.path().join("lock");
        if rustix::process::geteuid().is_root() {
            chown_path(dir.path(), Some(65_533), Some(65_532)).unwrap();
        }
        open_lock(fd.as_fd(), b"lock").unwrap();
        let (made, at) = (lock.metadata().unwrap(), dir.path().metadata().unwrap());
        assert_eq!((made.uid(), made.gid(), made.mode() & 0o777), (at.uid(), at.gid(), 0o600));
        fs::set_permissions(&lock, fs::Permissions::from_mode(0o666)).unwrap();
        open_lock(fd.as_fd(), b"lock").unwrap();
        assert_eq!(lock.metadata().unwrap().mode() & 0o777, 0o600);
    }
}
