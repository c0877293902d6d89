//! What is mounted where, from /proc/self/mountinfo, which can be read without touching a mount whose daemon is gone or stuck.
//!
//! Which mount a path leads into is asked of the kernel through a descriptor ([`of`]): an O_PATH descriptor of a mount's root
//! can be opened without permission to enter the mount. Text that another user wrote is never used for that.
//!
//! The list is parsed as bytes, here and not by procfs-core 0.18. That reads lines of UTF-8, so a single mount at a path of
//! other bytes, which any user can make, would hide all mounts; and it doesn't decode octal escapes.

use std::ffi::{OsStr, OsString};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

/// The type under which vaults are mounted.
pub const FILESYSTEM_TYPE: &str = "fuse.rekeyfs";

/// The kernel's number of a mount, unique as long as the mount exists.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct MountId(u64);

/// One mount.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Mount {
    /// Its number.
    pub id: MountId,
    /// Device number, as `stat` reports it for files in the mount.
    pub device: u64,
    /// Where it is mounted.
    pub mountpoint: PathBuf,
    /// Filesystem type.
    pub filesystem: OsString,
    /// What is mounted: the vault's path, unless another name was given.
    pub source: OsString,
    /// The user who mounted it, for a FUSE mount.
    pub user: Option<u32>,
    /// Whether the kernel lets nothing be written through it.
    pub read_only: bool,
}

impl Mount {
    /// Whether a vault is mounted.
    pub fn is_vault(&self) -> bool {
        self.filesystem == FILESYSTEM_TYPE
    }
}

/// All mounts of this process's namespace, oldest first; none if /proc can't be read.
pub fn mounts() -> Vec<Mount> {
    std::fs::read("/proc/self/mountinfo").map_or_else(|_| Vec::new(), |text| parse(&text))
}

/// The topmost mount at exactly this path (absolute, without symlinks).
pub fn at(mountpoint: &Path) -> Option<Mount> {
    mounts().into_iter().rfind(|mount| mount.mountpoint == mountpoint)
}

/// The mount that the file of a descriptor (O_PATH allowed) belongs to.
pub fn of(fd: BorrowedFd<'_>) -> Option<Mount> {
    let info = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", fd.as_raw_fd())).ok()?;
    let id = info.lines().find_map(|line| line.strip_prefix("mnt_id:"))?;
    let id = MountId(id.trim().parse().ok()?);
    mounts().into_iter().find(|mount| mount.id == id)
}

/// The present state of this mount, if it still exists: its mountpoint may have been renamed.
pub fn now(wanted: &Mount) -> Option<Mount> {
    mounts().into_iter().find(|mount| (mount.id, mount.device) == (wanted.id, wanted.device))
}

fn parse(text: &[u8]) -> Vec<Mount> {
    text.split(|&b| b == b'\n').filter_map(parse_line).collect()
}

/// `36 35 98:0 /root /mountpoint options [optional]... - type source options`
fn parse_line(line: &[u8]) -> Option<Mount> {
    let mut fields = line.split(|&b| b == b' ');
    let id = std::str::from_utf8(fields.next()?).ok()?;
    let device = std::str::from_utf8(fields.nth(1)?).ok()?;
    let (major, minor) = device.split_once(':')?;
    let mountpoint = fields.nth(1)?;
    let is_ro = |options: &[u8]| options.split(|&b| b == b',').any(|option| option == b"ro");
    let flags = fields.next()?;
    if flags == b"-" {
        return None;
    }
    fields.find(|field| *field == b"-")?;
    let filesystem = fields.next()?;
    let source = fields.next()?;
    let options = fields.next().unwrap_or_default();
    let user = options.split(|&b| b == b',').filter_map(|option| option.strip_prefix(b"user_id=")).next();
    Some(Mount {
        id: MountId(id.parse().ok()?),
        device: rustix::fs::makedev(major.parse().ok()?, minor.parse().ok()?),
        mountpoint: unescape(mountpoint).into(),
        filesystem: OsStr::from_bytes(filesystem).into(),
        source: unescape(source),
        user: user.and_then(|id| std::str::from_utf8(id).ok()?.parse().ok()),
        read_only: is_ro(flags) || is_ro(options),
    })
}

/// Space, tab, newline and backslash are written as three octal digits after a backslash.
fn unescape(field: &[u8]) -> OsString {
    let mut plain = Vec::with_capacity(field.len());
    let mut rest = field;
    while let [first, tail @ ..] = rest {
        match (first, tail) {
            (b'\\', [a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', after @ ..]) => {
                plain.push((a - b'0') << 6 | (b - b'0') << 3 | (c - b'0'));
                rest = after;
            }
            _ => {
                plain.push(*first);
                rest = tail;
            }
        }
    }
    OsString::from_vec(plain)
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn a_vault_with_a_space_in_its_path_is_found() {
        let text = b"22 1 0:20 / /proc rw - proc proc rw\n\
            99 22 0:55 / /mnt/a\\040b rw,nosuid shared:7 - fuse.rekeyfs /home/u/my\\134vault rw,user_id=0\n";
        let mounts = parse(text);
        assert_eq!(mounts.len(), 2);
        assert_eq!((mounts[1].id, mounts[1].device), (MountId(99), 55));
        assert_eq!(mounts[1].mountpoint, Path::new("/mnt/a b"));
        assert_eq!(mounts[1].source, "/home/u/my\\vault");
        assert!(mounts[1].is_vault() && !mounts[0].is_vault());
        assert_eq!((mounts[0].user, mounts[1].user), (None, Some(0)));
    }

    #[test]
    fn a_mountpoint_of_bytes_that_are_no_utf_8_hides_no_mount() {
        let text = b"98 22 0:54 / /home/u/\xff\xfe\\012x rw - fuse.rekeyfs /v\xe4ult rw,user_id=1000\n\
            99 22 0:55 / /mnt/a rw - fuse.rekeyfs /w rw,user_id=0\n";
        let mounts = parse(text);
        assert_eq!(mounts[0].mountpoint.as_os_str().as_bytes(), b"/home/u/\xff\xfe\nx");
        assert_eq!(mounts[0].source.as_bytes(), b"/v\xe4ult");
        assert_eq!((mounts[1].id, mounts[1].mountpoint.as_path()), (MountId(99), Path::new("/mnt/a")));
    }

    #[test]
    fn read_only_is_the_mount_or_its_filesystem() {
        let read_only = |flags: &str, options: &str| {
            let line = format!("1 2 0:5 / /m {flags} - fuse.rekeyfs /v {options}");
            parse(line.as_bytes())[0].read_only
        };
        assert!(read_only("ro,nosuid", "rw,user_id=0") && read_only("rw shared:7 master:1", "user_id=0,ro"));
        assert!(!read_only("rw,nosuid shared:7", "rw,user_id=0") && !read_only("rw,root=ro", "x=ro"));
    }

    #[test]
    fn a_descriptor_tells_its_mount() {
        let proc = std::fs::File::open("/proc/self/status").unwrap();
        let found = of(proc.as_fd()).unwrap();
        assert_eq!((found.mountpoint.as_path(), found.is_vault()), (Path::new("/proc"), false));
        assert_eq!(now(&found), Some(found.clone()));
        assert_eq!(now(&Mount { id: MountId(u64::MAX), ..found }), None);
    }

    #[test]
    fn torn_lines_are_skipped() {
        assert!(parse(b"1 2 3 4\n\nx\n1 1 0:1 / /a rw -").is_empty());
    }
}
