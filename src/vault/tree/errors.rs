//! Errors of names, of what is sealed in the tree, and of the lower filesystem, as the vault reports them.

use crate::names::{NameError, OpenError};
use crate::storage::Errno;
use crate::vault::{Damage, Error};

/// Whether an error says that there are no descriptors left.
pub(super) fn out_of_descriptors(e: Errno) -> bool {
    matches!(e, Errno::MFILE | Errno::NFILE)
}

/// The error for a name that can't be.
pub(super) fn name_error(e: NameError) -> Error {
    match e {
        NameError::TooLong => Error::NameTooLong,
        NameError::Invalid => Error::Invalid("no file can have this name"),
        NameError::Reserved => Error::Invalid("names that start with .rekeyfs-bad. can't be created"),
        NameError::Absent => Error::NotFound,
    }
}

/// The error for something sealed that doesn't open.
pub(super) fn opening(damage: Damage) -> impl Fn(OpenError) -> Error {
    move |e| match e {
        OpenError::Damaged => damage.into(),
        // One byte tells something newer from something damaged.
        OpenError::Newer => Error::Newer(match damage {
            Damage::DirRecord => "the directory record",
            Damage::Symlink => "the symlink target",
            Damage::Xattr => "the extended attribute",
            Damage::Header | Damage::Page(_) | Damage::Size | Damage::FileId(_) | Damage::LongName => {
                "the file"
            }
        }),
    }
}
