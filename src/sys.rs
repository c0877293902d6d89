//! The one module of this crate with `unsafe`: system calls that neither the standard library nor rustix offers safely.
//! Each function says why it is sound; none holds state.
#![allow(unsafe_code)]

use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

pub use rekeyfs_format::locked;

pub mod boottime;
pub mod handle;
pub mod process;
pub mod schedule;
pub mod signals;
#[cfg(test)]
pub(crate) mod testing;

/// `sync_file_range(2)` over `[offset, offset + len)` with WAIT_BEFORE, WRITE and WAIT_AFTER: when it
/// returns, no write-out of these pages is under way, so they may be changed without mixing contents.
///
/// # Errors
/// Those of the system call; ESPIPE on files that have no page cache.
pub fn sync_file_range(fd: BorrowedFd<'_>, offset: u64, len: u64) -> rustix::io::Result<()> {
    let flags =
        libc::SYNC_FILE_RANGE_WAIT_BEFORE | libc::SYNC_FILE_RANGE_WRITE | libc::SYNC_FILE_RANGE_WAIT_AFTER;
    // SAFETY: no pointers are passed; the descriptor is borrowed for the length of the call.
    let r = unsafe { libc::sync_file_range(fd.as_fd().as_raw_fd(), offset as i64, len as i64, flags) };
    if r == 0 { Ok(()) } else { Err(last_errno()) }
}

/// `getdents64(2)`: fills `buf` with entries (`struct linux_dirent64`, packed) from the descriptor's offset on;
/// returns the bytes filled, 0 at the end.
///
/// # Errors
/// Those of the system call; EINVAL for a buffer too small for the next entry.
pub fn getdents(fd: BorrowedFd<'_>, buf: &mut [u8]) -> rustix::io::Result<usize> {
    // SAFETY: the kernel writes at most buf.len() bytes into a buffer borrowed for the length of the call.
    let r = unsafe {
        libc::syscall(
            libc::SYS_getdents64,
            fd.as_fd().as_raw_fd(),
            buf.as_mut_ptr(),
            buf.len() as libc::c_ulong,
        )
    };
    usize::try_from(r).map_err(|_| last_errno())
}

/// Gives the calling thread a umask, root and working directory of its own (`unshare(CLONE_FS)`).
///
/// # Errors
/// Those of the system call (EPERM under some seccomp filters).
pub fn unshare_fs() -> rustix::io::Result<()> {
    // SAFETY: unsafe for CLONE_FILES, which would part descriptors from the threads that know them; CLONE_FS
    // parts only umask, root and working directory.
    unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::FS) }
}

/// Makes `uid` the calling thread's user id for file system access.
///
/// # Errors
/// EPERM if the kernel didn't (CAP_SETUID is missing).
pub fn set_fsuid(uid: u32) -> rustix::io::Result<()> {
    // SAFETY: no pointers; the call concerns this thread's credentials alone. An invalid id (-1) changes
    // nothing and returns the one in force, which is the only way to learn whether the first call worked.
    let now = unsafe {
        libc::setfsuid(uid);
        libc::setfsuid(u32::MAX)
    };
    if now as u32 == uid { Ok(()) } else { Err(rustix::io::Errno::PERM) }
}

/// Makes `gid` the calling thread's group id for file system access.
///
/// # Errors
/// EPERM if the kernel didn't (CAP_SETGID is missing).
pub fn set_fsgid(gid: u32) -> rustix::io::Result<()> {
    // SAFETY: as in set_fsuid.
    let now = unsafe {
        libc::setfsgid(gid);
        libc::setfsgid(u32::MAX)
    };
    if now as u32 == gid { Ok(()) } else { Err(rustix::io::Errno::PERM) }
}

/// Has the allocator give memory that is free back to the system, wherever it lies, as far as it knows how to.
/// Takes milliseconds, in which other threads may have to wait for memory.
pub fn trim_heap() {
    #[cfg(target_env = "gnu")]
    // SAFETY: no pointers; the allocator locks what it works on.
    unsafe {
        libc::malloc_trim(0);
    }
}

fn last_errno() -> rustix::io::Errno {
    rustix::io::Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(rustix::io::Errno::IO)
}
