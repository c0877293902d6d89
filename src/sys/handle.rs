//! File handles (`name_to_handle_at(2)`): what a filesystem itself tells an inode by, over reuses of its number.

use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use rustix::path::Arg;

use super::last_errno;

/// MAX_HANDLE_SZ.
const MOST: usize = 128;

/// `struct file_handle`, with room for the longest there is.
#[repr(C)]
#[derive(Clone)]
pub struct FileHandle {
    len: u32,
    kind: i32,
    bytes: [u8; MOST],
}

impl FileHandle {
    /// The filesystem's type of handle, and its bytes.
    pub fn parts(&self) -> (i32, &[u8]) {
        (self.kind, &self.bytes[..(self.len as usize).min(MOST)])
    }
}

/// The handle of `name` in a directory, of the symlink itself if it is one; of the descriptor (O_PATH allowed) for
/// an empty name.
///
/// # Errors
/// EOPNOTSUPP where the filesystem has no handles, and those of the system call.
pub fn name_to_handle(at: BorrowedFd<'_>, name: &[u8]) -> rustix::io::Result<FileHandle> {
    let mut handle = FileHandle { len: MOST as u32, kind: 0, bytes: [0; MOST] };
    let flags = if name.is_empty() { libc::AT_EMPTY_PATH } else { 0 };
    name.into_with_c_str(|name| {
        let mut mount = MaybeUninit::<libc::c_int>::uninit();
        // SAFETY: the name ends with a NUL; the kernel writes at most `len` bytes behind the handle's two numbers,
        // which is the room there is, and one int. All of it is borrowed for the length of the call.
        let r = unsafe {
            libc::syscall(
                libc::SYS_name_to_handle_at,
                at.as_raw_fd(),
                name.as_ptr(),
                &raw mut handle,
                mount.as_mut_ptr(),
                flags,
            )
        };
        if r == 0 { Ok(()) } else { Err(last_errno()) }
    })?;
    Ok(handle)
}

/// An O_PATH descriptor of what a handle stands for, on the filesystem of `mount`, which isn't an O_PATH one.
///
/// # Errors
/// ESTALE if it is gone, EPERM without CAP_DAC_READ_SEARCH, and those of the system call.
pub fn open_by_handle(mount: BorrowedFd<'_>, handle: &FileHandle) -> rustix::io::Result<OwnedFd> {
    let flags = libc::O_PATH | libc::O_NOFOLLOW | libc::O_CLOEXEC;
    // SAFETY: the handle is as long as it says, and borrowed for the length of the call; the descriptor that
    // comes back is nobody else's.
    unsafe {
        let fd =
            libc::syscall(libc::SYS_open_by_handle_at, mount.as_raw_fd(), std::ptr::from_ref(handle), flags);
        if fd < 0 { Err(last_errno()) } else { Ok(OwnedFd::from_raw_fd(fd as libc::c_int)) }
    }
}
