//! Extended attributes of the lower filesystem. Functions over a descriptor take O_PATH ones too; those over
//! a name don't follow symlinks.

use std::os::fd::BorrowedFd;

use rustix::buffer::spare_capacity;
use rustix::fs::{self as lower, XattrFlags};
use rustix::io::retry_on_intr;

use super::call::{AnyFd, changing, magic_link};
use super::fault::Op;
use super::{Errno, Result};

/// How a set treats an existing value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum XattrMode {
    /// Create or replace.
    Set,
    /// XATTR_CREATE: EEXIST if there is one.
    Create,
    /// XATTR_REPLACE: ENODATA if there is none.
    Replace,
}

impl XattrMode {
    fn flags(self) -> XattrFlags {
        match self {
            Self::Set => XattrFlags::empty(),
            Self::Create => XattrFlags::CREATE,
            Self::Replace => XattrFlags::REPLACE,
        }
    }
}

/// The usual value fits at the first try; a longer one is asked for its size.
const FIRST_TRY: usize = 256;

/// Reads into a vector that is grown, by asking for the size, until all fits.
fn read_sized(
    mut call: impl FnMut(&mut Vec<u8>) -> Result<usize>,
    size: impl Fn() -> Result<usize>,
) -> Result<Vec<u8>> {
    let mut out = Vec::with_capacity(FIRST_TRY);
    loop {
        match retry_on_intr(|| call(&mut out)) {
            Ok(_) => return Ok(out),
            // It may grow between the two calls.
            Err(Errno::RANGE) => out = Vec::with_capacity(retry_on_intr(&size)?.max(FIRST_TRY)),
            Err(e) => return Err(e),
        }
    }
}

/// Where an attribute is looked for.
enum XattrTarget<'a> {
    /// A descriptor that isn't an O_PATH one.
    Open(BorrowedFd<'a>),
    /// The magic link of an O_PATH descriptor: followed.
    Link(String),
    /// A directory's magic link and a name: not followed.
    Name(Vec<u8>),
}

impl XattrTarget<'_> {
    fn name(at: BorrowedFd<'_>, name: &[u8]) -> Self {
        Self::Name([magic_link(at).as_bytes(), b"/", name].concat())
    }

    fn get(&self, xattr: &[u8]) -> Result<Vec<u8>> {
        match self {
            Self::Open(fd) => read_sized(
                |out| lower::fgetxattr(fd, xattr, spare_capacity(out)),
                || lower::fgetxattr_query(fd, xattr),
            ),
            Self::Link(path) => read_sized(
                |out| lower::getxattr(path.as_str(), xattr, spare_capacity(out)),
                || lower::getxattr_query(path.as_str(), xattr),
            ),
            Self::Name(path) => read_sized(
                |out| lower::lgetxattr(path.as_slice(), xattr, spare_capacity(out)),
                || lower::lgetxattr_query(path.as_slice(), xattr),
            ),
        }
    }

    fn list(&self) -> Result<Vec<u8>> {
        match self {
            Self::Open(fd) => {
                read_sized(|out| lower::flistxattr(fd, spare_capacity(out)), || lower::flistxattr_query(fd))
            }
            Self::Link(path) => read_sized(
                |out| lower::listxattr(path.as_str(), spare_capacity(out)),
                || lower::listxattr_query(path.as_str()),
            ),
            Self::Name(path) => read_sized(
                |out| lower::llistxattr(path.as_slice(), spare_capacity(out)),
                || lower::llistxattr_query(path.as_slice()),
            ),
        }
    }

    fn set(&self, xattr: &[u8], value: &[u8], mode: XattrMode) -> Result<()> {
        match self {
            Self::Open(fd) => lower::fsetxattr(fd, xattr, value, mode.flags()),
            Self::Link(path) => lower::setxattr(path.as_str(), xattr, value, mode.flags()),
            Self::Name(path) => lower::lsetxattr(path.as_slice(), xattr, value, mode.flags()),
        }
    }

    fn remove(&self, xattr: &[u8]) -> Result<()> {
        match self {
            Self::Open(fd) => lower::fremovexattr(fd, xattr),
            Self::Link(path) => lower::removexattr(path.as_str(), xattr),
            Self::Name(path) => lower::lremovexattr(path.as_slice(), xattr),
        }
    }
}

/// Does `act` on the descriptor, or on its magic link where it turns out to be an O_PATH one.
fn with_fd<T>(fd: AnyFd<'_>, act: impl Fn(&XattrTarget<'_>) -> Result<T>) -> Result<T> {
    let by_link = || act(&XattrTarget::Link(magic_link(fd.borrowed())));
    if fd.is_path() {
        return by_link();
    }
    match act(&XattrTarget::Open(fd.borrowed())) {
        Err(Errno::BADF) => by_link(),
        done => done,
    }
}

fn or_none(value: Result<Vec<u8>>) -> Result<Option<Vec<u8>>> {
    match value {
        Ok(value) => Ok(Some(value)),
        Err(Errno::NODATA) => Ok(None),
        Err(e) => Err(e),
    }
}

fn split(list: &[u8]) -> Vec<Vec<u8>> {
    list.split(|&b| b == 0).filter(|name| !name.is_empty()).map(<[u8]>::to_vec).collect()
}

/// The value of an attribute; `None`: there is none of this name.
///
/// # Errors
/// EOPNOTSUPP where the filesystem has none, and those of `fgetxattr(2)`.
pub fn getxattr<'a>(fd: impl Into<AnyFd<'a>>, xattr: &[u8]) -> Result<Option<Vec<u8>>> {
    or_none(with_fd(fd.into(), |place| place.get(xattr)))
}

/// [`getxattr`] of a name.
///
/// # Errors
/// As [`getxattr`].
pub fn getxattr_at(at: BorrowedFd<'_>, name: &[u8], xattr: &[u8]) -> Result<Option<Vec<u8>>> {
    or_none(XattrTarget::name(at, name).get(xattr))
}

/// Sets an attribute.
///
/// # Errors
/// EEXIST or ENODATA as `mode` says; ERANGE, E2BIG or ENOSPC where it is too long; those of `fsetxattr(2)`.
pub fn setxattr<'a>(fd: impl Into<AnyFd<'a>>, xattr: &[u8], value: &[u8], mode: XattrMode) -> Result<()> {
    let fd = fd.into();
    changing(Op::SetXattr, || with_fd(fd, |place| place.set(xattr, value, mode)))
}

/// [`setxattr`] of a name.
///
/// # Errors
/// As [`setxattr`].
pub fn setxattr_at(
    at: BorrowedFd<'_>,
    name: &[u8],
    xattr: &[u8],
    value: &[u8],
    mode: XattrMode,
) -> Result<()> {
    changing(Op::SetXattr, || XattrTarget::name(at, name).set(xattr, value, mode))
}

/// Removes an attribute.
///
/// # Errors
/// ENODATA if there is none of this name, and those of `fremovexattr(2)`.
pub fn removexattr<'a>(fd: impl Into<AnyFd<'a>>, xattr: &[u8]) -> Result<()> {
    let fd = fd.into();
    changing(Op::RemoveXattr, || with_fd(fd, |place| place.remove(xattr)))
}

/// [`removexattr`] of a name.
///
/// # Errors
/// As [`removexattr`].
pub fn removexattr_at(at: BorrowedFd<'_>, name: &[u8], xattr: &[u8]) -> Result<()> {
    changing(Op::RemoveXattr, || XattrTarget::name(at, name).remove(xattr))
}

/// The names of all attributes that the daemon may see.
///
/// # Errors
/// EOPNOTSUPP where the filesystem has none, and those of `flistxattr(2)`.
pub fn listxattr<'a>(fd: impl Into<AnyFd<'a>>) -> Result<Vec<Vec<u8>>> {
    with_fd(fd.into(), |place| place.list()).map(|list| split(&list))
}

/// [`listxattr`] of a name.
///
/// # Errors
/// As [`listxattr`].
pub fn listxattr_at(at: BorrowedFd<'_>, name: &[u8]) -> Result<Vec<Vec<u8>>> {
    XattrTarget::name(at, name).list().map(|list| split(&list))
}
