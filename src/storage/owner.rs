//! Files of a vault beside its tree, in a directory that may be someone else's: root works on the vault of a user,
//! who must be able to go on with them, and who may not have them stand for files elsewhere.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use super::attrs::chown;
use super::entries::{Access, create_file, open_file};
use super::stat::{FileKind, fstat};
use super::{Errno, Result};

/// Creates `name`, which must not exist, for the owner of the directory `dir`.
///
/// # Errors
/// EEXIST, and what `openat(2)` says.
pub fn create_for_owner(dir: BorrowedFd<'_>, name: &[u8], mode: u32) -> Result<OwnedFd> {
    let file = create_file(dir, name, mode)?;
    let (owner, made) = (fstat(dir)?, fstat(file.as_fd())?);
    if (owner.uid, owner.gid) != (made.uid, made.gid) {
        // Failing leaves the file to its maker alone, which is safe: this user may not give files away.
        let _ = chown(file.as_fd(), Some(owner.uid), Some(owner.gid));
    }
    Ok(file)
}

/// Opens the file `name` of the directory `dir`, to be written: only a regular one of the directory's owner, or one
/// that this user has made there. A hard link to a file of this user elsewhere is none of these.
///
/// # Errors
/// EPERM for any other file, and what `openat(2)` says.
pub fn open_owned(dir: BorrowedFd<'_>, name: &[u8], access: Access) -> Result<OwnedFd> {
    let file = open_file(dir, name, access)?;
    let (owner, found) = (fstat(dir)?, fstat(file.as_fd())?);
    let ours = found.uid == rustix::process::geteuid().as_raw() && found.nlink == 1;
    let good = found.kind() == FileKind::Regular && (found.uid == owner.uid || ours);
    if good { Ok(file) } else { Err(Errno::PERM) }
}
