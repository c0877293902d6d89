//! The one table from vault errors to what a program sees in `errno`. Exhaustive on purpose: a new variant
//! doesn't compile until it has its number.

use fuser::Errno;

use crate::vault::Error;

/// The errno that a program sees for `error`.
pub fn errno(error: &Error) -> Errno {
    match error {
        Error::Lower(lower) => Errno::from_i32(lower.raw_os_error()),
        Error::KeyNotUsable(_) | Error::LeaseOver => Errno::from_i32(libc::ENOKEY),
        Error::Corrupt(_) => Errno::EIO,
        Error::Newer(_) | Error::NotSupported(_) => Errno::from_i32(libc::EOPNOTSUPP),
        Error::Stale => Errno::from_i32(libc::ESTALE),
        Error::NotFound => Errno::ENOENT,
        Error::Exists => Errno::EEXIST,
        Error::NotEmpty => Errno::from_i32(libc::ENOTEMPTY),
        Error::NotADirectory => Errno::ENOTDIR,
        Error::IsADirectory => Errno::EISDIR,
        Error::NameTooLong => Errno::from_i32(libc::ENAMETOOLONG),
        Error::Invalid(_) => Errno::EINVAL,
        Error::CrossDevice => Errno::EXDEV,
        Error::ReadOnly => Errno::EROFS,
        Error::NoData => Errno::from_i32(libc::ENODATA),
        Error::Range => Errno::ERANGE,
        Error::NotPermitted(_) => Errno::EPERM,
        Error::Denied => Errno::EACCES,
        Error::TooBig => Errno::EFBIG,
        Error::NoMoreData => Errno::ENXIO,
        Error::TooManyOpen => Errno::ENFILE,
        Error::BadHandle => Errno::EBADF,
    }
}

/// Whether a change may have been made in part, if it failed with this error.
pub(super) fn may_be_made_in_part(error: &Error) -> bool {
    matches!(error, Error::Lower(_) | Error::Corrupt(_)) && errno(error).code() != libc::EOPNOTSUPP
}
