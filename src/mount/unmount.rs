//! Unmounting, and waiting for the daemon to end.

use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::mount::UnmountFlags;
use rustix::process::{Pid, PidfdFlags, geteuid, pidfd_open};

use super::error::MountError;
use super::fusermount::{explain, fusermount, no_fusermount};
use super::mountinfo::{self, Mount};
use crate::storage::{self, Walked, walk};

/// When to unmount.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum UnmountMode {
    /// Only if nobody uses the mount.
    Clean,
    /// At once: the mount is detached from the tree, and the daemon serves programs with open files until the last is closed.
    Lazy,
    /// As lazy, and what the daemon has not answered yet fails, as does all that comes after: for a daemon that hangs. What
    /// programs have written and not synced is lost.
    Forced,
}

/// How long another user's daemon is waited for: it may never end. A daemon of this user is waited for until it has written
/// everything to disk.
const FOREIGN_PATIENCE: Duration = Duration::from_secs(30);

/// Unmounts this mount of a vault. With [`UnmountMode::Clean`] it returns when `daemon`, if known, is gone and so
/// everything is on disk.
///
/// # Errors
/// [`MountError::NotMounted`], [`MountError::Busy`], [`MountError::Unmount`]; [`MountError::DaemonStays`] if another user's
/// daemon doesn't end in 30 s.
pub fn unmount(mount: &Mount, daemon: Option<i32>, how: UnmountMode) -> Result<(), MountError> {
    // Opened before unmounting, while the process id can't belong to another process yet.
    let daemon = daemon.and_then(Pid::from_raw);
    let handle = daemon.and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok());
    unmount_exactly(mount, how)?;
    if let (Some(pid), Some(handle), UnmountMode::Clean) = (daemon, handle, how) {
        let foreign = mount.user != Some(geteuid().as_raw());
        if !ends_within(&handle, foreign.then_some(FOREIGN_PATIENCE)) {
            let path = mount.mountpoint.clone();
            let (daemon, waited) = (pid.as_raw_nonzero().get(), FOREIGN_PATIENCE.as_secs());
            return Err(MountError::DaemonStays { path, daemon, waited });
        }
    }
    Ok(())
}

/// Whether a process ends within this time; `None` waits until it does.
fn ends_within(process: &OwnedFd, patience: Option<Duration>) -> bool {
    let deadline = patience.map(|patience| Instant::now() + patience);
    let mut ends = [PollFd::new(process, PollFlags::IN)];
    loop {
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        let left = left.and_then(|left| Timespec::try_from(left).ok());
        match poll(&mut ends, left.as_ref()) {
            Err(Errno::INTR) => {}
            ended => return ended != Ok(0),
        }
    }
}

/// Removes a mount whose daemon is gone.
pub(super) fn detach(mount: &Mount) -> Result<(), MountError> {
    unmount_exactly(mount, UnmountMode::Lazy)
}

/// Unmounts this mount and no other, whatever is renamed meanwhile. The mountpoint is named relative to a descriptor of its
/// parent directory, in which a directory can't be replaced while something is mounted on it.
pub(super) fn unmount_exactly(mount: &Mount, how: UnmountMode) -> Result<(), MountError> {
    let gone = || MountError::NotMounted(mount.mountpoint.clone());
    let path = mountinfo::now(mount).ok_or_else(gone)?.mountpoint;
    let failed =
        |error: std::io::Error| MountError::Unmount { path: path.clone(), problem: error.to_string() };
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else { return Err(gone()) };
    let parent = walk(parent, geteuid().as_raw()).and_then(Walked::there).map_err(failed)?;
    {
        // Closed before unmounting: an open descriptor keeps the mount busy.
        let root = storage::open_path(parent.fd(), name.as_bytes()).map_err(|error| failed(error.into()))?;
        if mountinfo::of(root.as_fd()).is_none_or(|found| found.id != mount.id) {
            return Err(gone());
        }
    }
    if !geteuid().is_root() {
        return by_fusermount(&path, how);
    }
    let flags = match how {
        UnmountMode::Clean => UnmountFlags::NOFOLLOW,
        UnmountMode::Lazy => UnmountFlags::NOFOLLOW | UnmountFlags::DETACH,
        UnmountMode::Forced => UnmountFlags::NOFOLLOW | UnmountFlags::DETACH | UnmountFlags::FORCE,
    };
    let held = PathBuf::from(format!("/proc/self/fd/{}", parent.fd().as_raw_fd())).join(name);
    match rustix::mount::unmount(&held, flags) {
        Ok(()) => Ok(()),
        Err(Errno::BUSY) => Err(MountError::Busy(path)),
        Err(Errno::INVAL) => Err(MountError::NotMounted(path)),
        Err(error) => Err(MountError::Unmount { path, problem: error.to_string() }),
    }
}

fn by_fusermount(path: &Path, how: UnmountMode) -> Result<(), MountError> {
    let mut command = fusermount(&["-u".as_ref()]);
    if how != UnmountMode::Clean {
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

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn a_process_is_waited_for_as_long_as_it_may_take() {
        let mut sleeper = Command::new("sleep").arg("600").spawn().unwrap();
        let pid = Pid::from_raw(sleeper.id().cast_signed()).unwrap();
        let handle = pidfd_open(pid, PidfdFlags::empty()).unwrap();
        let (began, patience) = (Instant::now(), Duration::from_millis(100));
        assert!(!ends_within(&handle, Some(patience)));
        assert!((patience..patience * 50).contains(&began.elapsed()));
        sleeper.kill().unwrap();
        assert!(ends_within(&handle, Some(Duration::from_secs(60))) && ends_within(&handle, None));
        sleeper.wait().unwrap();
    }
}
