//! The lower filesystem: every system call that the vault makes on ciphertext goes through here.
//!
//! Free functions over descriptors and single names, never over paths, so that nothing can be swapped below a
//! path between two calls; symlinks are never followed. The way to a first descriptor is [`walk`]. Interrupted calls are made again, short reads and
//! writes completed. Each function that changes something, or makes it durable, has a fault point
//! ([`fault`]), so that tests can fail or stop it at any call.

pub use rustix::fs::RenameFlags;

pub use crate::ids::{Time, TimeChange};

mod attrs;
mod call;
mod caller;
mod dir;
mod durable;
mod entries;
mod errno;
pub mod fault;
mod handle;
mod io;
mod lease;
mod owner;
mod stat;
mod trusted;
mod walk;
mod writable;
mod xattr;

pub use attrs::{
    chmod, chmod_at, chown, chown_at, keep_atime, put_times_back, set_times, set_times_as_writer,
    set_times_at, time_granularity,
};
pub use call::AnyFd;
pub use caller::{Caller, as_caller, may_keep_setgid};
pub use dir::{DirStream, RawEntry};
pub use durable::{create_temporary, replace_durably, temporary_name};
pub use entries::{
    Access, create_file, lacks_links, lacks_rename_flag, link, link_fd, mkdir, mknod, nameless_file,
    open_dir, open_file, open_path, readlink, readlink_fd, rename, rename_to_new, reopen, rmdir, symlink,
    unlink,
};
pub use errno::{Errno, Result};
pub use handle::FileHandle;
pub use io::{
    allocate, allocate_keep_size, drop_cached, duplicate, erase, fdatasync, fsync, fsync_dir, is_disk_full,
    pread, pread_cached, punch, pwrite_all, read_all, seek_data, seek_hole, syncfs, truncate, wait_stable,
    zero_range,
};
pub use lease::Lease;
pub use owner::{create_for_owner, open_lock, open_owned};
pub use stat::{FileKind, LowerFs, Stat, StatFs, birth, fstat, fstat_born, is_append_only, stat, statvfs};
pub use trusted::{Distrust, trusted_file};
pub use walk::{Walked, hold_walked, make_walked, open_walked, walk};
pub use writable::{RoCompat, UnknownFeatures, Writable};
pub use xattr::{
    XattrMode, getxattr, getxattr_at, listxattr, listxattr_at, removexattr, removexattr_at, setxattr,
    setxattr_at,
};

#[cfg(test)]
mod tests;
