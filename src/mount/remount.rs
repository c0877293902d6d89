//! `mount -o remount`: changes the flags that the kernel keeps of a mount, while its daemon runs.

use std::os::fd::AsRawFd;
use std::path::Path;

use rustix::fs::{StatVfsMountFlags, fstatvfs};
use rustix::mount::{MountFlags, mount_remount};
use rustix::process::geteuid;

use super::error::MountError;
use super::mountinfo;
use crate::storage::walk;

/// ST_NOSYMFOLLOW of statfs(2), which rustix doesn't name.
const NOSYMFOLLOW: StatVfsMountFlags = StatVfsMountFlags::from_bits_retain(0x2000);

/// What is to change; `None` stays as it is.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct FlagChanges {
    /// Refuse writes. The kernel then sends none, and the daemon re-wraps nothing (`upkeep`).
    pub read_only: Option<bool>,
    /// Honour set-user-id bits and file capabilities.
    pub suid: Option<bool>,
    /// Honour device nodes.
    pub dev: Option<bool>,
    /// Refuse to execute.
    pub noexec: Option<bool>,
    /// Refuse to follow symlinks.
    pub no_symlinks: Option<bool>,
}

/// Changes flags of the vault mounted at `mountpoint`. When the mount becomes read-only, the kernel has sent all earlier writes to
/// the daemon.
///
/// # Errors
/// [`MountError::NotMounted`]; [`MountError::Remount`] with what the kernel says: EPERM for others than root, EBUSY
/// for a mount that is to be read-only while files are open for writing.
pub fn remount(mountpoint: &Path, changes: &FlagChanges) -> Result<(), MountError> {
    let failed = |problem: String| MountError::Remount { path: mountpoint.to_owned(), problem };
    let found = walk(mountpoint, geteuid().as_raw()).map_err(|error| failed(error.to_string()))?;
    let mount =
        mountinfo::of(found.fd()).filter(|mount| mount.is_vault() && mount.mountpoint == found.path());
    if mount.is_none() || !found.covers_the_rest() {
        return Err(MountError::NotMounted(mountpoint.to_owned()));
    }
    let now = fstatvfs(found.fd()).map_err(|error| failed(error.to_string()))?.f_flag;
    let held = format!("/proc/self/fd/{}", found.fd().as_raw_fd());
    mount_remount(held, changes.applied_to(now), c"").map_err(|error| failed(error.to_string()))
}

impl FlagChanges {
    /// All flags of the remounted mount, not only those that change.
    fn applied_to(&self, now: StatVfsMountFlags) -> MountFlags {
        let mut flags = MountFlags::empty();
        for (flag, old, change) in [
            (MountFlags::RDONLY, StatVfsMountFlags::RDONLY, self.read_only),
            (MountFlags::NOSUID, StatVfsMountFlags::NOSUID, self.suid.map(|on| !on)),
            (MountFlags::NODEV, StatVfsMountFlags::NODEV, self.dev.map(|on| !on)),
            (MountFlags::NOEXEC, StatVfsMountFlags::NOEXEC, self.noexec),
            (MountFlags::NOSYMFOLLOW, NOSYMFOLLOW, self.no_symlinks),
        ] {
            flags.set(flag, change.unwrap_or(now.contains(old)));
        }
        flags
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_said_stays() {
        let now = StatVfsMountFlags::NOSUID | StatVfsMountFlags::NODEV;
        let flags = |changes: FlagChanges| changes.applied_to(now);
        assert_eq!(flags(FlagChanges::default()), MountFlags::NOSUID | MountFlags::NODEV);
        let read_only = FlagChanges { read_only: Some(true), ..FlagChanges::default() };
        assert_eq!(flags(read_only), MountFlags::RDONLY | MountFlags::NOSUID | MountFlags::NODEV);
        let others = FlagChanges { suid: Some(true), noexec: Some(true), ..FlagChanges::default() };
        assert_eq!(flags(others), MountFlags::NODEV | MountFlags::NOEXEC);
        assert_eq!(others.applied_to(StatVfsMountFlags::RDONLY), MountFlags::RDONLY | MountFlags::NOEXEC);
    }

    #[test]
    fn only_a_mounted_vault_is_remounted() {
        let dir = tempfile::tempdir().unwrap();
        let error = remount(dir.path(), &FlagChanges::default()).unwrap_err();
        assert!(matches!(error, MountError::NotMounted(_)), "{error}");
    }
}
