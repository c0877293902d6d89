//! Messages to the kernel: at the start of a session its features, later what to drop from the kernel's caches.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use fuser::{FopenFlags, INodeNo, InitFlags, KernelConfig, Notifier};

use crate::ids::{Ino, PlainOffset};
use crate::vault::{PageCache, Sharing};

/// Who checks permissions.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Permissions {
    /// The kernel, by mode, owner and ACL: mounts that others than root may enter.
    Kernel,
    /// Nobody: only root may enter, whom no permission stops. It saves the kernel a look at the parent's
    /// attributes with each create and unlink.
    RootOnly,
}

/// What the kernel may keep of what it was told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Caching {
    /// All of it, for a day: the mount is the only one to change it.
    ForLong,
    /// Pages, until the next open, or until a file's size or mtime is another one. Names and attributes are asked for each
    /// time: another host changes them, and each `read(2)` asks before it takes pages.
    Compared,
}

impl Caching {
    pub(super) fn of(sharing: Sharing) -> Self {
        match sharing {
            Sharing::Alone | Sharing::Writer => Self::ForLong,
            Sharing::Reader => Self::Compared,
        }
    }

    /// How long names and attributes hold.
    pub(super) fn ttl(self) -> Duration {
        match self {
            Self::ForLong => Duration::from_secs(24 * 60 * 60),
            Self::Compared => Duration::ZERO,
        }
    }

    /// The flags of an open of a file.
    pub(super) fn of_file(self) -> FopenFlags {
        match self {
            Self::ForLong => FopenFlags::FOPEN_KEEP_CACHE,
            Self::Compared => FopenFlags::empty(),
        }
    }

    /// The flags of an open of a directory.
    pub(super) fn of_directory(self) -> FopenFlags {
        match self {
            Self::ForLong => FopenFlags::FOPEN_CACHE_DIR | FopenFlags::FOPEN_KEEP_CACHE,
            Self::Compared => FopenFlags::empty(),
        }
    }
}

/// The largest write in bytes: what the kernel sends at most as it is shipped.
const MAX_WRITE: u32 = 1 << 20;

/// Read-ahead and writeback requests that may wait at once; the kernel's own default of 12 leaves a second
/// thread idle at times.
pub(super) const MAX_BACKGROUND: u16 = 64;

/// What is asked for where the kernel has it. Not asked for on purpose: AUTO_INVAL_DATA (nobody else changes
/// files, but for [`Caching::Compared`]), FLOCK_LOCKS and POSIX_LOCKS (the kernel then keeps locks by itself), ABORT_ERROR, ATOMIC_O_TRUNC (after
/// such an OPEN the kernel sets its own size to 0 once more, without the inode lock: a truncate or write of someone
/// else in between would be in the file below and not in the kernel's).
const WANTED: InitFlags = InitFlags::FUSE_ASYNC_READ
    .union(InitFlags::FUSE_ASYNC_DIO)
    .union(InitFlags::FUSE_BIG_WRITES)
    .union(InitFlags::FUSE_CACHE_SYMLINKS)
    .union(InitFlags::FUSE_DIRECT_IO_ALLOW_MMAP)
    .union(InitFlags::FUSE_DONT_MASK)
    .union(InitFlags::FUSE_DO_READDIRPLUS)
    .union(InitFlags::FUSE_EXPLICIT_INVAL_DATA)
    .union(InitFlags::FUSE_HANDLE_KILLPRIV_V2)
    .union(InitFlags::FUSE_MAX_PAGES)
    .union(InitFlags::FUSE_PARALLEL_DIROPS)
    .union(InitFlags::FUSE_READDIRPLUS_AUTO);

/// Of these, what is asked for only where nobody else changes files: targets of symlinks would be kept too.
const ALONE: InitFlags = InitFlags::FUSE_CACHE_SYMLINKS.union(InitFlags::FUSE_EXPLICIT_INVAL_DATA);

/// Negotiates the session's features with the kernel, and returns those that both have. `time_unit` is the granularity of the
/// lower filesystem's times: the kernel keeps some times itself, and is to round them in the same way.
pub(super) fn negotiate(
    config: &mut KernelConfig,
    permissions: Permissions,
    writeback: bool,
    caching: Caching,
    time_unit: Duration,
) -> InitFlags {
    let mut wanted = WANTED;
    if caching == Caching::Compared {
        wanted.remove(ALONE);
        wanted |= InitFlags::FUSE_AUTO_INVAL_DATA;
    }
    if writeback && caching == Caching::ForLong {
        wanted |= InitFlags::FUSE_WRITEBACK_CACHE;
    }
    if permissions == Permissions::Kernel {
        // This makes the kernel check permissions, whatever the mount options say.
        wanted |= InitFlags::FUSE_POSIX_ACL;
    }
    let agreed = wanted & config.capabilities();
    if let Err(refused) = config.add_capabilities(agreed) {
        tracing::warn!(?refused, "the kernel took back features it had offered");
    }
    if let Err(nearest) = config.set_max_write(MAX_WRITE) {
        tracing::warn!(nearest, "1 MiB writes refused");
    }
    if let Err(nearest) = config.set_max_background(MAX_BACKGROUND) {
        tracing::warn!(nearest, "number of background requests refused");
    }
    if let Err(nearest) = config.set_time_granularity(time_unit) {
        tracing::warn!(?nearest, ?time_unit, "unit of times refused");
    }
    agreed
}

/// Makes the kernel forget what it has cached of an inode. Does nothing until it is connected to a session, nor for an inode
/// that the kernel doesn't hold.
#[derive(Clone, Debug, Default)]
pub struct KernelCache(Arc<OnceLock<Notifier>>);

impl KernelCache {
    /// Not connected yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Connects it to a session; the first one stays.
    pub fn connect(&self, session: Notifier) {
        let _ = self.0.set(session);
    }

    /// Drops attributes and ACLs. Takes no lock in the kernel that a request could hold: safe anywhere.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn drop_attributes(&self, ino: Ino) -> io::Result<()> {
        self.notify(ino, -1, 0)
    }

    /// Writes back and drops all cached pages, and attributes. The kernel waits for pages that are being read
    /// or written: never call this on a session thread, or with a lock held that a read or write takes.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn drop_pages(&self, ino: Ino) -> io::Result<()> {
        self.notify(ino, 0, 0)
    }

    /// As [`KernelCache::drop_pages`], of the pages that hold these bytes.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn drop_range(&self, ino: Ino, offset: PlainOffset, len: usize) -> io::Result<()> {
        match (i64::try_from(offset.0), i64::try_from(len)) {
            (Ok(offset), Ok(len)) if len > 0 => self.notify(ino, offset, len),
            _ => self.drop_pages(ino),
        }
    }

    /// Drops a directory entry, and the inode with it unless it is open or has other names in use. The kernel takes
    /// the directory's lock: never call this on a session thread, or before a request is answered.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn drop_name(&self, directory: Ino, name: &[u8]) -> io::Result<()> {
        match self.0.get() {
            Some(session) => session.inval_entry(INodeNo(directory.0), OsStr::from_bytes(name)),
            None => Ok(()),
        }
    }

    /// A negative offset: attributes alone; a length of 0: all from the offset on.
    fn notify(&self, ino: Ino, offset: i64, len: i64) -> io::Result<()> {
        match self.0.get() {
            Some(session) => session.inval_inode(INodeNo(ino.0), offset, len),
            None => Ok(()),
        }
    }
}

impl PageCache for KernelCache {
    fn drop_pages(&self, ino: Ino) -> io::Result<()> {
        Self::drop_pages(self, ino)
    }

    /// The kernel takes the directory's lock, which a request that is being answered may hold.
    fn drop_entry(&self, parent: Ino, name: &[u8]) -> io::Result<()> {
        match self.0.get() {
            Some(session) => session.inval_entry(INodeNo(parent.0), OsStr::from_bytes(name)),
            None => Ok(()),
        }
    }
}
