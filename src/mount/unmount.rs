//! Taking a mount away, and seeing its daemon off.

use std::path::{Path, PathBuf};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::mount::UnmountFlags;
use rustix::process::{Pid, PidfdFlags, geteuid, pidfd_open};

use super::attach::{explain, fusermount, no_fusermount};
use super::error::MountError;
use super::{mountinfo, mountpoint};

/// How hard to unmount.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum How {
    /// Only if nobody uses it.
    Clean,
    /// Out of the tree now; the daemon serves those who have files open, and ends with the last.
    Lazy,
}

/// Unmounts the vault at `mountpoint`. With [`How::Clean`] it returns when `daemon`, if known, is gone and so
/// everything is on disk.
///
/// # Errors
/// [`MountError::NotMounted`], [`MountError::Busy`], [`MountError::Unmount`].
pub fn unmount(mountpoint: &Path, daemon: Option<i32>, how: How) -> Result<(), MountError> {
    let path = resolve(mountpoint)?;
    if !mountinfo::at(&path).is_some_and(|mount| mount.is_vault()) {
        return Err(MountError::NotMounted(mountpoint.to_owned()));
    }
    // Opened before the mount goes, when the number can't stand for another process yet.
    let daemon = daemon.and_then(Pid::from_raw).and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok());
    take_away(&path, how)?;
    if let (Some(daemon), How::Clean) = (daemon, how) {
        let mut ends = [PollFd::new(&daemon, PollFlags::IN)];
        while poll(&mut ends, None) == Err(Errno::INTR) {}
    }
    Ok(())
}

/// Removes a mount whose daemon is gone.
pub(super) fn detach(mountpoint: &Path) -> Result<(), MountError> {
    take_away(mountpoint, How::Lazy)
}

/// An absolute path without symlinks, also of a mount whose daemon is gone.
pub(super) fn resolve(path: &Path) -> Result<PathBuf, MountError> {
    std::fs::canonicalize(path)
        .or_else(|_| mountpoint::resolve_parent(path))
        .map_err(|error| MountError::Unmount { path: path.to_owned(), problem: error.to_string() })
}

/// Unmounts what is at exactly this path.
pub(super) fn take_away(path: &Path, how: How) -> Result<(), MountError> {
    if !geteuid().is_root() {
        return by_fusermount(path, how);
    }
    let flags = match how {
        How::Clean => UnmountFlags::NOFOLLOW,
        How::Lazy => UnmountFlags::NOFOLLOW | UnmountFlags::DETACH,
    };
    match rustix::mount::unmount(path, flags) {
        Ok(()) => Ok(()),
        Err(Errno::BUSY) => Err(MountError::Busy(path.to_owned())),
        Err(Errno::INVAL) => Err(MountError::NotMounted(path.to_owned())),
        Err(error) => Err(MountError::Unmount { path: path.to_owned(), problem: error.to_string() }),
    }
}

fn by_fusermount(path: &Path, how: How) -> Result<(), MountError> {
    let mut command = fusermount(&["-u".as_ref()]);
    if how == How::Lazy {
        command.arg("-z");
    }
    let output = command.arg("--").arg(path).output().map_err(no_fusermount)?;
    if output.status.success() {
        return Ok(());
    }
    let problem = explain(&output.stderr);
    if problem.contains("busy") {
        return Err(MountError::Busy(path.to_owned()));
    }
    Err(MountError::Unmount { path: path.to_owned(), problem })
}
