//! What has fault points.

/// The kinds of calls that have a fault point.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Op {
    /// `create_file`.
    Create,
    /// `mkdir`.
    Mkdir,
    /// `mknod`.
    Mknod,
    /// `symlink`.
    Symlink,
    /// `link`, `link_fd`.
    Link,
    /// `unlink`.
    Unlink,
    /// `rmdir`.
    Rmdir,
    /// `rename`.
    Rename,
    /// `rename` with flags, which not every filesystem has.
    RenameFlagged,
    /// `pwrite_all`.
    Pwrite,
    /// `truncate`.
    Truncate,
    /// `punch`.
    Punch,
    /// `zero_range`.
    ZeroRange,
    /// `allocate_keep_size`.
    Allocate,
    /// `allocate`.
    AllocatePlain,
    /// `chmod` and its kin.
    Chmod,
    /// `chown` and its kin.
    Chown,
    /// `set_times` and its kin.
    SetTimes,
    /// `setxattr` and its kin.
    SetXattr,
    /// `removexattr` and its kin.
    RemoveXattr,
    /// `fdatasync`.
    Fdatasync,
    /// `fsync`.
    Fsync,
    /// `syncfs`.
    Syncfs,
    /// `wait_stable`.
    WaitStable,
}
