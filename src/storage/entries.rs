//! Names in a directory: opening, creating, linking, renaming, removing.

use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, RenameFlags};
use rustix::io::retry_on_intr;

use super::call::{changing, magic_link};
use super::fault::Op;
use super::{Errno, Result};

/// What a lower file is opened for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Access {
    /// O_RDONLY.
    ReadOnly,
    /// O_RDWR.
    ReadWrite,
}

impl Access {
    /// O_NONBLOCK and O_NOCTTY: a FIFO or terminal swapped in can't hang or capture the daemon.
    fn flags(self) -> OFlags {
        let access = match self {
            Self::ReadOnly => OFlags::RDONLY,
            Self::ReadWrite => OFlags::RDWR,
        };
        access | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY
    }
}

pub(super) fn open(at: BorrowedFd<'_>, name: &[u8], flags: OFlags, mode: Mode) -> Result<OwnedFd> {
    retry_on_intr(|| rustix::fs::openat(at, name, flags | OFlags::CLOEXEC, mode))
}

/// Opens the directory `name` for reading.
///
/// # Errors
/// ENOTDIR if it isn't one (a symlink isn't), and those of `openat(2)`.
pub fn open_dir(at: BorrowedFd<'_>, name: &[u8]) -> Result<OwnedFd> {
    open(at, name, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW, Mode::empty())
}

/// An O_PATH descriptor of `name`, whatever it is; of the symlink itself if it is one.
///
/// # Errors
/// Those of `openat(2)`.
pub fn open_path(at: BorrowedFd<'_>, name: &[u8]) -> Result<OwnedFd> {
    open(at, name, OFlags::PATH | OFlags::NOFOLLOW, Mode::empty())
}

/// Opens the file `name`. It is the caller's to check with [`fstat`](super::fstat) that it is a regular one.
///
/// # Errors
/// ELOOP for a symlink, and those of `openat(2)`.
pub fn open_file(at: BorrowedFd<'_>, name: &[u8], access: Access) -> Result<OwnedFd> {
    open(at, name, access.flags() | OFlags::NOFOLLOW, Mode::empty())
}

/// Opens the inode of `fd` (O_PATH allowed) again, through its magic link in /proc. The caller has checked
/// that it is a regular file or a directory: opening a device may have effects.
///
/// # Errors
/// Those of `openat(2)`; ENOENT without a mounted /proc.
pub fn reopen(fd: BorrowedFd<'_>, access: Access) -> Result<OwnedFd> {
    open(CWD, magic_link(fd).as_bytes(), access.flags(), Mode::empty())
}

/// Creates the file `name`, which must not exist, and opens it read-write. The umask applies.
///
/// # Errors
/// EEXIST, and those of `openat(2)`.
pub fn create_file(at: BorrowedFd<'_>, name: &[u8], mode: u32) -> Result<OwnedFd> {
    let flags = Access::ReadWrite.flags() | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW;
    changing(Op::Create, || open(at, name, flags, Mode::from_raw_mode(mode)))
}

/// A new file in this directory that has no name and goes with its descriptor; the directory isn't changed.
///
/// # Errors
/// EOPNOTSUPP where the filesystem has no such files, and those of `openat(2)`.
pub fn nameless_file(at: BorrowedFd<'_>) -> Result<OwnedFd> {
    open(at, b".", OFlags::TMPFILE | OFlags::WRONLY, Mode::RUSR)
}

/// Makes the directory `name`. The umask applies.
///
/// # Errors
/// Those of `mkdirat(2)`.
pub fn mkdir(at: BorrowedFd<'_>, name: &[u8], mode: u32) -> Result<()> {
    changing(Op::Mkdir, || rustix::fs::mkdirat(at, name, Mode::from_raw_mode(mode)))
}

/// Makes the node `name`; `mode` includes the file type, `dev` is the device number as a stat encodes it.
///
/// # Errors
/// Those of `mknodat(2)`.
pub fn mknod(at: BorrowedFd<'_>, name: &[u8], mode: u32, dev: u64) -> Result<()> {
    let kind = FileType::from_raw_mode(mode);
    changing(Op::Mknod, || rustix::fs::mknodat(at, name, kind, Mode::from_raw_mode(mode), dev))
}

/// Makes the symlink `name` with these bytes as its target.
///
/// # Errors
/// Those of `symlinkat(2)`.
pub fn symlink(at: BorrowedFd<'_>, name: &[u8], target: &[u8]) -> Result<()> {
    changing(Op::Symlink, || rustix::fs::symlinkat(target, at, name))
}

/// Gives the inode of `fd` (O_PATH allowed; not a directory) the further name `new_name`.
///
/// # Errors
/// ENOENT if it has no name left, and those of `linkat(2)`.
pub fn link_fd(fd: BorrowedFd<'_>, new_at: BorrowedFd<'_>, new_name: &[u8]) -> Result<()> {
    // AT_EMPTY_PATH would ask for CAP_DAC_READ_SEARCH; the magic link doesn't.
    let source = magic_link(fd);
    changing(Op::Link, || rustix::fs::linkat(CWD, source.as_str(), new_at, new_name, AtFlags::SYMLINK_FOLLOW))
}

/// Gives the file `name` the further name `new_name`.
///
/// # Errors
/// Those of `linkat(2)`.
pub fn link(at: BorrowedFd<'_>, name: &[u8], new_at: BorrowedFd<'_>, new_name: &[u8]) -> Result<()> {
    changing(Op::Link, || rustix::fs::linkat(at, name, new_at, new_name, AtFlags::empty()))
}

/// Removes the name `name`, which isn't a directory's.
///
/// # Errors
/// Those of `unlinkat(2)`.
pub fn unlink(at: BorrowedFd<'_>, name: &[u8]) -> Result<()> {
    changing(Op::Unlink, || rustix::fs::unlinkat(at, name, AtFlags::empty()))
}

/// Removes the empty directory `name`.
///
/// # Errors
/// Those of `unlinkat(2)` with AT_REMOVEDIR.
pub fn rmdir(at: BorrowedFd<'_>, name: &[u8]) -> Result<()> {
    changing(Op::Rmdir, || rustix::fs::unlinkat(at, name, AtFlags::REMOVEDIR))
}

/// Renames `name` to `new_name`; with NOREPLACE never over another, with EXCHANGE swaps the two, with WHITEOUT leaves
/// a device 0/0 under the old name.
///
/// # Errors
/// EEXIST with NOREPLACE, and those of `renameat2(2)`.
pub fn rename(
    at: BorrowedFd<'_>,
    name: &[u8],
    new_at: BorrowedFd<'_>,
    new_name: &[u8],
    flags: RenameFlags,
) -> Result<()> {
    if flags.is_empty() {
        // Some filesystems know no renameat2.
        return changing(Op::Rename, || rustix::fs::renameat(at, name, new_at, new_name));
    }
    changing(Op::RenameFlagged, || rustix::fs::renameat_with(at, name, new_at, new_name, flags))
}

/// Whether an error of [`rename`] may mean that the filesystem lacks the flag it was given: FUSE filesystems, NFS and
/// CephFS report EINVAL, which is also the error for moving a directory into itself.
pub fn lacks_rename_flag(error: Errno) -> bool {
    matches!(error, Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP)
}

/// Whether an error of [`link`] may mean that the filesystem has no hard links, or allows this file none.
pub fn lacks_links(error: Errno) -> bool {
    matches!(error, Errno::PERM | Errno::OPNOTSUPP | Errno::NOSYS | Errno::MLINK | Errno::INVAL)
}

/// Renames the file `name` to `new_name`, which must not exist: by RENAME_NOREPLACE; where that is lacking by a hard
/// link, which is as atomic, and which a crash may leave beside the old name; where links are lacking too
/// by a look and a rename, for which the caller holds a lock that all who make `new_name` take.
///
/// # Errors
/// EEXIST, and those of the calls.
pub fn rename_to_new(at: BorrowedFd<'_>, name: &[u8], new_at: BorrowedFd<'_>, new_name: &[u8]) -> Result<()> {
    match rename(at, name, new_at, new_name, RenameFlags::NOREPLACE) {
        Err(error) if lacks_rename_flag(error) => {}
        done => return done,
    }
    match link(at, name, new_at, new_name) {
        Ok(()) => unlink(at, name).inspect_err(|_| {
            // The first error is the one to report; a second name that stays does no harm.
            let _ = unlink(new_at, new_name);
        }),
        Err(error) if lacks_links(error) => match super::stat(new_at, new_name) {
            Ok(_) => Err(Errno::EXIST),
            Err(Errno::NOENT) => rename(at, name, new_at, new_name, RenameFlags::empty()),
            Err(error) => Err(error),
        },
        Err(error) => Err(error),
    }
}

/// The target of the symlink `name`.
///
/// # Errors
/// EINVAL if it isn't a symlink, and those of `readlinkat(2)`.
pub fn readlink(at: BorrowedFd<'_>, name: &[u8]) -> Result<Vec<u8>> {
    retry_on_intr(|| rustix::fs::readlinkat(at, name, Vec::new())).map(std::ffi::CString::into_bytes)
}

/// The target of the symlink of an O_PATH descriptor.
///
/// # Errors
/// ENOENT if it isn't a symlink, and those of `readlinkat(2)`.
pub fn readlink_fd(fd: BorrowedFd<'_>) -> Result<Vec<u8>> {
    readlink(fd, b"")
}
