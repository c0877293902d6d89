//! Replacing a small file so that a crash leaves the old or the new one, whole.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rustix::fs::RenameFlags;

use super::stat::is_append_only;
use super::{Errno, Result, create_file, fsync, fsync_dir, pwrite_all, rename, unlink};
use crate::crypto::random;
use crate::ids::LowerOffset;
use crate::names::TEMPORARY_PREFIX;

/// A name for a temporary file, unique by 96 random bits.
pub fn temporary_name() -> Vec<u8> {
    let mut name = TEMPORARY_PREFIX.to_vec();
    name.extend_from_slice(URL_SAFE_NO_PAD.encode(random::array::<12>()).as_bytes());
    name
}

/// Creates a temporary file, which is to be renamed. The umask applies.
///
/// # Errors
/// EPERM where the directory is append-only: there it could be neither renamed nor removed. Those of `openat(2)`.
pub fn create_temporary(dir: BorrowedFd<'_>, name: &[u8], mode: u32) -> Result<OwnedFd> {
    if is_append_only(dir)? { Err(Errno::PERM) } else { create_file(dir, name, mode) }
}

/// Makes `name` a file with these contents, new or in place of the old one, and returns when that is durable.
/// `mode` is that of a new file: owner and mode of the old one aren't copied, and the umask applies.
///
/// A crash, or an error, before the rename leaves the old file (and perhaps a temporary one); after it, the
/// new or the old one, each whole; only a return without error means that the new one is durable.
///
/// # Errors
/// Those of the lower calls. After an error of the directory's sync the new file is there, but not durable.
pub fn replace_durably(dir: BorrowedFd<'_>, name: &[u8], contents: &[u8], mode: u32) -> Result<()> {
    let temporary = temporary_name();
    let file = create_temporary(dir, &temporary, mode)?;
    let renamed = pwrite_all(file.as_fd(), contents, LowerOffset(0))
        .and_then(|()| fsync(file.as_fd()))
        .and_then(|()| rename(dir, &temporary, dir, name, RenameFlags::empty()));
    if let Err(e) = renamed {
        // The first error is the one to report; a temporary file that stays does no harm.
        let _ = unlink(dir, &temporary);
        return Err(e);
    }
    fsync_dir(dir)
}
