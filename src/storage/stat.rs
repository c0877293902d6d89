//! What the lower filesystem reports about an inode and about itself.

use std::borrow::Cow;
use std::os::fd::BorrowedFd;

use rustix::fs::{AtFlags, FileType, StatVfsMountFlags, StatxAttributes, StatxFlags};
use rustix::io::retry_on_intr;

use super::{Errno, Result, Time};
use crate::ids::LowerOffset;

/// The kind of an inode.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum FileKind {
    /// A regular file.
    Regular,
    /// A directory.
    Directory,
    /// A symlink.
    Symlink,
    /// A FIFO.
    Fifo,
    /// A Unix socket.
    Socket,
    /// A character device.
    CharDevice,
    /// A block device.
    BlockDevice,
}

impl FileKind {
    pub(super) fn from_lower(kind: FileType) -> Option<Self> {
        match kind {
            FileType::RegularFile => Some(Self::Regular),
            FileType::Directory => Some(Self::Directory),
            FileType::Symlink => Some(Self::Symlink),
            FileType::Fifo => Some(Self::Fifo),
            FileType::Socket => Some(Self::Socket),
            FileType::CharacterDevice => Some(Self::CharDevice),
            FileType::BlockDevice => Some(Self::BlockDevice),
            FileType::Unknown => None,
        }
    }
}

/// What `stat(2)` says of a lower inode.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stat {
    /// Device number.
    pub dev: u64,
    /// Inode number.
    pub ino: u64,
    /// Type and permission bits.
    pub mode: u32,
    /// Number of hard links.
    pub nlink: u64,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Device number of a device node.
    pub rdev: u64,
    /// Size in bytes.
    pub size: u64,
    /// Blocks of 512 bytes that it takes.
    pub blocks: u64,
    /// Preferred I/O size in bytes.
    pub blksize: u32,
    /// Last access.
    pub atime: Time,
    /// Last change of content.
    pub mtime: Time,
    /// Last change of anything.
    pub ctime: Time,
    /// When it was made; `None` where that isn't known, or wasn't asked for ([`fstat`] doesn't).
    pub born: Option<Time>,
    /// Whether it is the root of a mount of any filesystem: its name is a mount point. False where the kernel doesn't
    /// report it (before Linux 5.8), and from [`fstat`], which doesn't ask.
    pub mount_root: bool,
}

impl Stat {
    /// The kind; an inode of none known counts as a character device, which is never opened.
    pub fn kind(&self) -> FileKind {
        FileKind::from_lower(FileType::from_raw_mode(self.mode)).unwrap_or(FileKind::CharDevice)
    }

    /// The low 12 bits of the mode.
    pub fn perm(&self) -> u16 {
        (self.mode & 0o7777) as u16
    }

    /// The size as an offset.
    pub fn lower_size(&self) -> LowerOffset {
        LowerOffset(self.size)
    }

    // The fields' widths differ between architectures.
    #[allow(clippy::unnecessary_cast)]
    fn from_lower(st: &rustix::fs::Stat) -> Self {
        let time = |secs, nanos| Time { secs, nanos };
        Self {
            dev: st.st_dev as u64,
            ino: st.st_ino as u64,
            mode: st.st_mode as u32,
            nlink: st.st_nlink as u64,
            uid: st.st_uid as u32,
            gid: st.st_gid as u32,
            rdev: st.st_rdev as u64,
            size: st.st_size as u64,
            blocks: st.st_blocks as u64,
            blksize: st.st_blksize as u32,
            atime: time(st.st_atime as i64, st.st_atime_nsec as u32),
            mtime: time(st.st_mtime as i64, st.st_mtime_nsec as u32),
            ctime: time(st.st_ctime as i64, st.st_ctime_nsec as u32),
            born: None,
            mount_root: false,
        }
    }

    fn from_statx(st: &rustix::fs::Statx) -> Self {
        let time = |at: rustix::fs::StatxTimestamp| Time { secs: at.tv_sec, nanos: at.tv_nsec };
        Self {
            dev: rustix::fs::makedev(st.stx_dev_major, st.stx_dev_minor),
            ino: st.stx_ino,
            mode: st.stx_mode.into(),
            nlink: st.stx_nlink.into(),
            uid: st.stx_uid,
            gid: st.stx_gid,
            rdev: rustix::fs::makedev(st.stx_rdev_major, st.stx_rdev_minor),
            size: st.stx_size,
            blocks: st.stx_blocks,
            blksize: st.stx_blksize,
            atime: time(st.stx_atime),
            mtime: time(st.stx_mtime),
            ctime: time(st.stx_ctime),
            born: (st.stx_mask & StatxFlags::BTIME.bits() != 0).then(|| time(st.stx_btime)),
            mount_root: st.stx_attributes.contains(StatxAttributes::MOUNT_ROOT),
        }
    }
}

/// As `fstatat(2)`, and when the inode was made, and whether it is the root of a mount: all in one call.
fn with_birth(at: BorrowedFd<'_>, name: &[u8], flags: AtFlags) -> Result<Stat> {
    let asked = StatxFlags::BASIC_STATS | StatxFlags::BTIME;
    match retry_on_intr(|| rustix::fs::statx(at, name, flags | AtFlags::NO_AUTOMOUNT, asked)) {
        Err(Errno::NOSYS) => {
            retry_on_intr(|| rustix::fs::statat(at, name, flags)).map(|st| Stat::from_lower(&st))
        }
        done => done.map(|st| Stat::from_statx(&st)),
    }
}

/// When the inode of a descriptor (O_PATH allowed) was made; `None` where the filesystem doesn't report it.
///
/// # Errors
/// Those of `statx(2)`.
pub fn birth(fd: BorrowedFd<'_>) -> Result<Option<Time>> {
    let asked = StatxFlags::BTIME;
    let found = match retry_on_intr(|| rustix::fs::statx(fd, c"", AtFlags::EMPTY_PATH, asked)) {
        Err(Errno::NOSYS) => return Ok(None),
        found => found?,
    };
    let known = found.stx_mask & asked.bits() != 0;
    Ok(known.then_some(Time { secs: found.stx_btime.tv_sec, nanos: found.stx_btime.tv_nsec }))
}

/// Whether names can be added to a directory, and none changed or removed (chattr +a). False where the kernel doesn't
/// report it.
///
/// # Errors
/// Those of `statx(2)`.
pub fn is_append_only(dir: BorrowedFd<'_>) -> Result<bool> {
    match retry_on_intr(|| rustix::fs::statx(dir, c"", AtFlags::EMPTY_PATH, StatxFlags::empty())) {
        Err(Errno::NOSYS) => Ok(false),
        found => Ok(found?.stx_attributes.contains(StatxAttributes::APPEND)),
    }
}

/// Stats `name`; the symlink itself if it is one.
///
/// # Errors
/// Those of `statx(2)`.
pub fn stat(at: BorrowedFd<'_>, name: &[u8]) -> Result<Stat> {
    with_birth(at, name, AtFlags::SYMLINK_NOFOLLOW)
}

/// As [`fstat`], with what only `statx(2)` reports.
///
/// # Errors
/// Those of `statx(2)`.
pub fn fstat_born(fd: BorrowedFd<'_>) -> Result<Stat> {
    with_birth(fd, b"", AtFlags::EMPTY_PATH)
}

/// Stats what a descriptor (O_PATH allowed) stands for.
///
/// # Errors
/// Those of `fstat(2)`.
pub fn fstat(fd: BorrowedFd<'_>) -> Result<Stat> {
    retry_on_intr(|| rustix::fs::fstat(fd)).map(|st| Stat::from_lower(&st))
}

/// What `statfs(2)` reports; sizes in blocks of `frsize` bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct StatFs {
    /// Size of the filesystem.
    pub blocks: u64,
    /// Free blocks.
    pub bfree: u64,
    /// Free blocks for unprivileged users.
    pub bavail: u64,
    /// Inodes.
    pub files: u64,
    /// Free inodes.
    pub ffree: u64,
    /// Preferred I/O size in bytes.
    pub bsize: u32,
    /// Longest name in bytes.
    pub namelen: u32,
    /// Block size in bytes.
    pub frsize: u32,
}

/// Stats the filesystem of a descriptor (O_PATH allowed).
///
/// # Errors
/// Those of `fstatfs(2)`.
pub fn statvfs(fd: BorrowedFd<'_>) -> Result<StatFs> {
    let st = retry_on_intr(|| rustix::fs::fstatvfs(fd))?;
    Ok(StatFs {
        blocks: st.f_blocks,
        bfree: st.f_bfree,
        bavail: st.f_bavail,
        files: st.f_files,
        ffree: st.f_ffree,
        bsize: st.f_bsize as u32,
        namelen: st.f_namemax as u32,
        frsize: st.f_frsize as u32,
    })
}

/// What matters about the lower filesystem for the order of writes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LowerFs {
    /// Block size in bytes; below 4096 a page isn't written at once, and a power cut can tear it.
    pub block_size: u32,
    /// Whether pages must be waited for ([`wait_stable`](super::wait_stable)) before they are overwritten: the
    /// filesystem lets a page change while it is being written out.
    pub stable_needed: bool,
    /// Whether SEEK_DATA is exact: other filesystems report a whole file as data, holes included.
    pub tells_holes: bool,
    /// Whether it is mounted read-only.
    pub read_only: bool,
    /// Its type, for messages: a name or the magic number in hexadecimal.
    pub fs_type: Cow<'static, str>,
    /// Whether it is one that orders its metadata and writes a block at once, as far as is known of its type.
    pub orders_metadata: bool,
    /// Whether all hard links of a file have its inode number: a FUSE filesystem may number its names (mergerfs does).
    pub links_share_ino: bool,
    /// Whether each call may be a round trip, to servers or to another process. Not 9p, whose client ends requests inside pages.
    pub is_remote: bool,
    /// Whether other hosts' clients know by its size and mtime alone whether what they have cached of a file is right: a FUSE
    /// filesystem's kernel side does, and so do clients of JuiceFS and SMB.
    pub shows_changes_by_mtime: bool,
    /// Whether listing an inode's extended attributes is known to report all of them, ACLs too: network filesystems may
    /// leave some out.
    pub lists_xattrs: bool,
}

/// Of a second.
pub(super) const NANOS: u32 = 1_000_000_000;

/// A page that must be written at once, in bytes.
const PAGE: u32 = 4096;

/// Further ones, by the magic numbers of statfs(2), for messages.
const NAMES: [(u64, &str); 15] = [
    (0xca45_1a4e, "bcachefs"),
    (0x2fc1_2fc1, "zfs"),
    (CIFS, "cifs"),
    (SMB, "smb"),
    (0x0102_1997, "9p"),
    (CEPH, "ceph"),
    (LUSTRE, "lustre"),
    (0x7461_636f, "ocfs2"),
    (0x0116_1970, "gfs2"),
    (0x3153_464a, "jfs"),
    (0x3434, "nilfs2"),
    (0x4d44, "vfat"),
    (0x2011_bab0, "exfat"),
    (0x7366_746e, "ntfs3"),
    (0xf15f, "ecryptfs"),
];

const EXT4: u64 = 0xef53;
const XFS: u64 = 0x5846_5342;
const BTRFS: u64 = 0x9123_683e;
const TMPFS: u64 = 0x0102_1994;
const RAMFS: u64 = 0x8584_58f6;
const F2FS: u64 = 0xf2f5_2010;
const OVERLAYFS: u64 = 0x794c_7630;
const NFS: u64 = 0x6969;
const FUSE: u64 = 0x6573_5546;
const CIFS: u64 = 0xff53_4d42;
const SMB: u64 = 0xfe53_4d42;
const CEPH: u64 = 0x00c3_6400;
const LUSTRE: u64 = 0x0bd0_0bd0;

impl LowerFs {
    /// Whether a page is written whole or not at all.
    pub fn writes_pages_at_once(&self) -> bool {
        self.block_size >= PAGE
    }

    /// Looks at the filesystem of a descriptor.
    ///
    /// # Errors
    /// Those of `fstatfs(2)` and `fstat(2)`.
    pub fn probe(fd: BorrowedFd<'_>) -> Result<Self> {
        // Sign-extended on some architectures; magic numbers have 32 bits.
        #[allow(clippy::unnecessary_cast)]
        let magic = retry_on_intr(|| rustix::fs::fstatfs(fd))?.f_type as u64 & 0xffff_ffff;
        let vfs = retry_on_intr(|| rustix::fs::fstatvfs(fd))?;
        let (fs_type, stable): (Cow<'static, str>, bool) = match magic {
            EXT4 => ("ext4".into(), device_has_stable_writes(fd)?),
            XFS => ("xfs".into(), device_has_stable_writes(fd)?),
            BTRFS => ("btrfs".into(), true),
            TMPFS => ("tmpfs".into(), true),
            RAMFS => ("ramfs".into(), true),
            F2FS => ("f2fs".into(), false),
            OVERLAYFS => ("overlay".into(), false),
            NFS => ("nfs".into(), false),
            FUSE => ("fuse".into(), false),
            other => (name_of(other), false),
        };
        Ok(Self {
            block_size: vfs.f_frsize as u32,
            stable_needed: !stable,
            tells_holes: matches!(magic, EXT4 | XFS | BTRFS | TMPFS | F2FS | OVERLAYFS),
            read_only: vfs.f_flag.contains(StatVfsMountFlags::RDONLY),
            fs_type,
            orders_metadata: matches!(magic, EXT4 | XFS | BTRFS),
            links_share_ino: magic != FUSE,
            is_remote: matches!(magic, NFS | FUSE | CIFS | SMB | CEPH | LUSTRE),
            shows_changes_by_mtime: matches!(magic, FUSE | CIFS | SMB),
            lists_xattrs: matches!(magic, EXT4 | XFS | BTRFS | TMPFS | F2FS | OVERLAYFS),
        })
    }

    /// The mtime that a file gets after a change that must not show in it: what it had, or just after it where other hosts' clients
    /// would not see the change otherwise.
    pub fn mtime_after_hidden_change(&self, before: Time) -> Time {
        if self.shows_changes_by_mtime { Self::just_after(before) } else { before }
    }

    /// The first mtime after this one that is another one on each filesystem that keeps parts of seconds.
    pub fn just_after(time: Time) -> Time {
        // SMB's times have steps of 100 ns, those of FUSE filesystems of a nanosecond or a second.
        let nanos = time.nanos + 1_000;
        Time { secs: time.secs + i64::from(nanos / NANOS), nanos: nanos % NANOS }
    }

    /// Why a power cut may cost synced data there, as a clause; `None` where it is promised that it doesn't.
    pub fn power_cut_risk(&self) -> Option<String> {
        let Self { fs_type, block_size, .. } = self;
        if !self.orders_metadata {
            Some(format!(
                "on its filesystem ({fs_type}) it isn't promised that synced data outlasts a power cut, as on ext4, XFS \
                 and Btrfs"
            ))
        } else if !self.writes_pages_at_once() {
            Some(format!(
                "its filesystem ({fs_type}) has blocks of {block_size} bytes and writes a page in pieces: a power cut \
                 can cost synced data there; use one with 4096-byte blocks"
            ))
        } else {
            None
        }
    }
}

fn name_of(magic: u64) -> Cow<'static, str> {
    match NAMES.iter().find(|(known, _)| *known == magic) {
        Some((_, name)) => (*name).into(),
        None => format!("{magic:#x}").into(),
    }
}

/// Whether the block layer holds pages still while they are written (a checksumming device). Unknown: no.
fn device_has_stable_writes(fd: BorrowedFd<'_>) -> Result<bool> {
    let dev = fstat(fd)?.dev;
    let sys = format!("/sys/dev/block/{}:{}", rustix::fs::major(dev), rustix::fs::minor(dev));
    // A partition's queue is its disk's.
    let flag = ["queue/stable_writes", "../queue/stable_writes"]
        .iter()
        .find_map(|file| std::fs::read(format!("{sys}/{file}")).ok());
    Ok(flag.is_some_and(|value| value.first() == Some(&b'1')))
}
