//! Taking a mount away, and seeing its daemon off.

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

/// How hard to unmount.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum How {
    /// Only if nobody uses it.
    Clean,
    /// Out of the tree now; the daemon serves those who have files open, and ends with the last.
    Lazy,
}

/// How long another user's daemon is waited for: it ends when it likes, which can be never. One of this user's is waited
/// for as long as it takes to write everything to the disk.
const FOREIGN_PATIENCE: Duration = Duration::from_secs(30);

/// Unmounts this mount of a vault. With [`How::Clean`] it returns when `daemon`, if known, is gone and so
/// everything is on disk.
///
/// # Errors
/// [`MountError::NotMounted`], [`MountError::Busy`], [`MountError::Unmount`]; [`MountError::DaemonStays`] if another user's
/// daemon doesn't end in 30 s.
pub fn unmount(mount: &Mount, daemon: Option<i32>, how: How) -> Result<(), MountError> {
    // Opened before the mount goes, when the number can't stand for another process yet.
    let daemon = daemon.and_then(Pid::from_raw);
    let handle = daemon.and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok());
    take_away(mount, how)?;
    if let (Some(pid), Some(handle), How::Clean) = (daemon, handle, how) {
        let foreign = mount.user != Some(geteuid().as_raw());
        if !ends_within(&handle, foreign.then_some(FOREIGN_PATIENCE)) {
            let path = mount.mountpoint.clone();
            let (daemon, waited) = (pid.as_raw_nonzero().get(), FOREIGN_PATIENCE.as_secs());
            return Err(MountError::DaemonStays { path, daemon, waited });
        }
    }
    Ok(())
}

/// Whether a process ends in this time; `None` waits until it does.
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
    take_away(mount, How::Lazy)
}

/// Unmounts this mount and no other, whatever is renamed meanwhile: its mountpoint is named by a descriptor of the
/// directory that it lies in, in which nobody can put another in its place while it is mounted on.
pub(super) fn take_away(mount: &Mount, how: How) -> Result<(), MountError> {
    let gone = || MountError::NotMounted(mount.mountpoint.clone());
    let path = mountinfo::now(mount).ok_or_else(gone)?.mountpoint;
    let failed =
        |error: std::io::Error| MountError::Unmount { path: path.clone(), problem: error.to_string() };
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else { return Err(gone()) };
    let parent = walk(parent, geteuid().as_raw()).and_then(Walked::there).map_err(failed)?;
    {
        // Closed again before the unmounting: it is a use of the mount.
        let root = storage::open_path(parent.fd(), name.as_bytes()).map_err(|error| failed(error.into()))?;
        if mountinfo::of(root.as_fd()).is_none_or(|found| found.id != mount.id) {
            return Err(gone());
        }
    }
    if !geteuid().is_root() {
        return by_fusermount(&path, how);
    }
    let flags = match how {
        How::Clean => UnmountFlags::NOFOLLOW,
        How::Lazy => UnmountFlags::NOFOLLOW | UnmountFlags::DETACH,
    };
    let held = PathBuf::from(format!("/proc/self/fd/{}", parent.fd().as_raw_fd())).join(name);
    match rustix::mount::unmount(&held, flags) {
        Ok(()) => Ok(()),
        Err(Errno::BUSY) => Err(MountError::Busy(path)),
        Err(Errno::INVAL) => Err(MountError::NotMounted(path)),
        Err(error) => Err(MountError::Unmount { path, problem: error.to_string() }),
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
