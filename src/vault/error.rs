//! What can go wrong in a vault operation. The FUSE adapter maps each variant to one errno; nobody matches
//! on the text.

use rustix::io::Errno;

use crate::ids::{Ino, PageIndex};

/// The result of a vault operation.
pub type Result<T> = std::result::Result<T, Error>;

/// Why a vault operation failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The lower filesystem said no.
    #[error("lower filesystem: {0}")]
    Lower(#[from] Errno),
    /// The file's key, or the one its alias resolves to, can't be used now (disabled, pending deletion,
    /// without material, unknown): ENOKEY.
    #[error("key not usable: {0}")]
    KeyNotUsable(String),
    /// Another host writes the vault, and this one couldn't renew its lease: which keys may be used isn't known. ENOKEY.
    #[error("this host's lease is over")]
    LeaseOver,
    /// A header, page, name or directory record isn't what was written: EIO.
    #[error("{0} is damaged")]
    Corrupt(Damage),
    /// A header names a format, suite or incompat bit of a newer program: EOPNOTSUPP.
    #[error("written by a newer rekeyfs: {0}")]
    Newer(&'static str),
    /// The inode is known no more, or its lower name leads elsewhere: ESTALE.
    #[error("stale inode")]
    Stale,
    /// ENOENT.
    #[error("no such entry")]
    NotFound,
    /// EEXIST.
    #[error("the entry exists")]
    Exists,
    /// ENOTEMPTY.
    #[error("the directory is not empty")]
    NotEmpty,
    /// ENOTDIR.
    #[error("not a directory")]
    NotADirectory,
    /// EISDIR.
    #[error("is a directory")]
    IsADirectory,
    /// ENAMETOOLONG.
    #[error("the name or symlink target is too long")]
    NameTooLong,
    /// EINVAL.
    #[error("invalid argument: {0}")]
    Invalid(&'static str),
    /// EXDEV: a rename or link that would leave the vault's filesystem.
    #[error("crosses a device")]
    CrossDevice,
    /// EOPNOTSUPP.
    #[error("not supported: {0}")]
    NotSupported(&'static str),
    /// EROFS.
    #[error("the mount is read-only")]
    ReadOnly,
    /// ENODATA: no such xattr.
    #[error("no such extended attribute")]
    NoData,
    /// ERANGE: an xattr name or value over what the lower filesystem takes.
    #[error("out of range")]
    Range,
    /// EPERM.
    #[error("not permitted: {0}")]
    NotPermitted(&'static str),
    /// EACCES.
    #[error("denied")]
    Denied,
    /// EFBIG: beyond the largest file the format can hold.
    #[error("the file would be too big")]
    TooBig,
    /// ENXIO: lseek beyond the end, or no more data.
    #[error("no data beyond this offset")]
    NoMoreData,
    /// ENFILE: more open files than the descriptor limit allows.
    #[error("too many open files in the mount")]
    TooManyOpen,
    /// EBADF: a handle that isn't open.
    #[error("bad handle")]
    BadHandle,
}

/// What was found damaged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Damage {
    /// No slot of the header opens.
    #[error("the file header")]
    Header,
    /// A page's tag doesn't fit, or a page below the floor is zero.
    #[error("page {0}")]
    Page(u64),
    /// A lower size that no file can have, or that this one, by its floor, can't.
    #[error("the lower size")]
    Size,
    /// A directory record.
    #[error("the directory record")]
    DirRecord,
    /// A symlink target.
    #[error("the symlink target")]
    Symlink,
    /// An xattr value.
    #[error("the extended attribute")]
    Xattr,
    /// A file id that another inode bears, too.
    #[error("the file id, which inode {0} bears too,")]
    FileId(Ino),
    /// A long name's companion.
    #[error("the long name")]
    LongName,
}

impl Damage {
    /// All parts that [`Damage::place`] names.
    pub const PARTS: &[&'static str] =
        &["header", "page", "size", "directory record", "symlink", "xattr", "file id", "long name"];

    /// Which part of a file it is, and which page of it, for the event log.
    pub fn place(self) -> (&'static str, Option<PageIndex>) {
        match self {
            Self::Header => ("header", None),
            Self::Page(page) => ("page", Some(PageIndex(page))),
            Self::Size => ("size", None),
            Self::DirRecord => ("directory record", None),
            Self::Symlink => ("symlink", None),
            Self::Xattr => ("xattr", None),
            Self::FileId(_) => ("file id", None),
            Self::LongName => ("long name", None),
        }
    }
}

impl From<Damage> for Error {
    fn from(damage: Damage) -> Self {
        Self::Corrupt(damage)
    }
}
