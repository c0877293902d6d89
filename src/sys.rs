//! The one module with `unsafe`: system calls that neither the standard library nor rustix offers safely.
//! Each function says why it is sound; none holds state.
#![allow(unsafe_code)]

use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

pub mod locked;

/// `sync_file_range(2)` over `[offset, offset + len)` with WAIT_BEFORE, WRITE and WAIT_AFTER: when it
/// returns, no write-out of these pages is under way, so they may be changed without mixing contents.
///
/// # Errors
/// What the system call says; ESPIPE on files that have no page cache.
pub fn sync_file_range(fd: BorrowedFd<'_>, offset: u64, len: u64) -> rustix::io::Result<()> {
    let flags =
        libc::SYNC_FILE_RANGE_WAIT_BEFORE | libc::SYNC_FILE_RANGE_WRITE | libc::SYNC_FILE_RANGE_WAIT_AFTER;
    // SAFETY: no pointers are passed; the descriptor is borrowed for the length of the call.
    let r = unsafe { libc::sync_file_range(fd.as_fd().as_raw_fd(), offset as i64, len as i64, flags) };
    if r == 0 { Ok(()) } else { Err(last_errno()) }
}

fn last_errno() -> rustix::io::Errno {
    rustix::io::Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(rustix::io::Errno::IO)
}
