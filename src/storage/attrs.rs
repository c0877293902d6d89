//! Mode, owner and times. Functions over a descriptor take O_PATH ones too; those over a name are for what
//! can't be opened, and don't follow symlinks.

use std::os::fd::{AsFd, BorrowedFd};

use rustix::fs::{AtFlags, CWD, Gid, Mode, OFlags, Timespec, Timestamps, UTIME_NOW, UTIME_OMIT, Uid};

use super::call::{AnyFd, changing, magic_link};
use super::fault::Op;
use super::stat::NANOS;
use super::{Errno, Result, Time, TimeChange, fstat, open_path};

/// Sets the 12 low bits of the mode.
///
/// # Errors
/// EOPNOTSUPP for a symlink, and those of `fchmod(2)`.
pub fn chmod<'a>(fd: impl Into<AnyFd<'a>>, mode: u32) -> Result<()> {
    let (fd, mode) = (fd.into(), Mode::from_raw_mode(mode & 0o7777));
    let by_link = || rustix::fs::chmodat(CWD, magic_link(fd.borrowed()).as_str(), mode, AtFlags::empty());
    changing(Op::Chmod, || match fd.is_path() {
        true => by_link(),
        false => match rustix::fs::fchmod(fd, mode) {
            Err(Errno::BADF) => by_link(),
            done => done,
        },
    })
}

/// [`chmod`] of a name.
///
/// # Errors
/// As [`chmod`].
pub fn chmod_at(at: BorrowedFd<'_>, name: &[u8], mode: u32) -> Result<()> {
    chmod(AnyFd::path(open_path(at, name)?.as_fd()), mode)
}

/// Sets owner and group; `None` (and 2^32-1, as `chown(2)` has it) keeps what is there.
///
/// # Errors
/// Those of `fchownat(2)`.
pub fn chown(fd: BorrowedFd<'_>, uid: Option<u32>, gid: Option<u32>) -> Result<()> {
    change_owner(fd, b"", uid, gid, AtFlags::EMPTY_PATH)
}

/// [`chown`] of a name.
///
/// # Errors
/// As [`chown`].
pub fn chown_at(at: BorrowedFd<'_>, name: &[u8], uid: Option<u32>, gid: Option<u32>) -> Result<()> {
    change_owner(at, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW)
}

fn change_owner(
    at: BorrowedFd<'_>,
    name: &[u8],
    uid: Option<u32>,
    gid: Option<u32>,
    flags: AtFlags,
) -> Result<()> {
    let uid = uid.filter(|&id| id != u32::MAX).map(Uid::from_raw);
    let gid = gid.filter(|&id| id != u32::MAX).map(Gid::from_raw);
    changing(Op::Chown, || rustix::fs::chownat(at, name, uid, gid, flags))
}

/// Sets the times of last access and of last change of content.
///
/// # Errors
/// Those of `utimensat(2)`.
pub fn set_times(fd: BorrowedFd<'_>, atime: TimeChange, mtime: TimeChange) -> Result<()> {
    match change_times(fd, b"", atime, mtime, AtFlags::EMPTY_PATH) {
        // A file without a name, on a filesystem that changes times by path alone (gocryptfs): nobody looks at them, and
        // closing the file would report EIO.
        Err(Errno::NOENT) if fstat(fd).map_or_else(|e| e == Errno::NOENT, |stat| stat.nlink == 0) => Ok(()),
        done => done,
    }
}

/// As [`set_times`], for a caller who may write the file but doesn't own it: the present time can be set.
///
/// # Errors
/// As [`set_times`]; EPERM for any other time of a file of another owner.
pub fn set_times_as_writer(fd: BorrowedFd<'_>, atime: TimeChange, mtime: TimeChange) -> Result<()> {
    match set_times(fd, atime, mtime) {
        // The kernel sends the present time as the value of its own clock.
        Err(Errno::PERM) if atime == TimeChange::Now && mtime != TimeChange::Keep => {
            set_times(fd, TimeChange::Now, TimeChange::Now)
        }
        done => done,
    }
}

/// Restores times after a change that must not show in them. If the file has another owner and only the owner may set
/// times, they stay as the change left them.
///
/// # Errors
/// As [`set_times`].
pub fn put_times_back(fd: BorrowedFd<'_>, atime: Time, mtime: Time) -> Result<()> {
    match set_times(fd, TimeChange::At(atime), TimeChange::At(mtime)) {
        Err(Errno::PERM) => Ok(()),
        done => done,
    }
}

/// [`set_times`] of a name.
///
/// # Errors
/// As [`set_times`].
pub fn set_times_at(at: BorrowedFd<'_>, name: &[u8], atime: TimeChange, mtime: TimeChange) -> Result<()> {
    change_times(at, name, atime, mtime, AtFlags::SYMLINK_NOFOLLOW)
}

fn change_times(
    at: BorrowedFd<'_>,
    name: &[u8],
    atime: TimeChange,
    mtime: TimeChange,
    flags: AtFlags,
) -> Result<()> {
    let times = Timestamps { last_access: timespec(atime), last_modification: timespec(mtime) };
    changing(Op::SetTimes, || rustix::fs::utimensat(at, name, &times, flags))
}

/// The unit in which the filesystem of a directory keeps times, in nanoseconds: a power of ten, at most a second. 1 where
/// that can't be seen: it is read-only, or has no files without a name.
pub fn time_granularity(dir: BorrowedFd<'_>) -> u32 {
    let kept = || -> Result<u32> {
        let flags = OFlags::TMPFILE | OFlags::WRONLY | OFlags::CLOEXEC;
        let file = rustix::fs::openat(dir, c".", flags, Mode::RUSR | Mode::WUSR)?;
        let last = Timespec { tv_sec: 1, tv_nsec: i64::from(NANOS - 1) };
        rustix::fs::futimens(&file, &Timestamps { last_access: last, last_modification: last })?;
        Ok(fstat(file.as_fd())?.mtime.nanos)
    };
    kept().map_or(1, unit_of)
}

/// The unit in which the last nanosecond of a second becomes this.
fn unit_of(last: u32) -> u32 {
    let unit = NANOS.saturating_sub(last).max(1);
    if unit == 10u32.pow(unit.ilog10()) { unit } else { 1 }
}

/// From now on reading through the descriptor keeps the time of last access.
///
/// # Errors
/// EPERM for a file of another owner.
pub fn keep_atime(fd: BorrowedFd<'_>) -> Result<()> {
    let flags = rustix::fs::fcntl_getfl(fd)?;
    rustix::fs::fcntl_setfl(fd, flags | OFlags::NOATIME)
}

fn timespec(change: TimeChange) -> Timespec {
    match change {
        TimeChange::Keep => Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
        TimeChange::Now => Timespec { tv_sec: 0, tv_nsec: UTIME_NOW },
        TimeChange::At(Time { secs, nanos }) => Timespec { tv_sec: secs, tv_nsec: nanos.into() },
    }
}

#[cfg(test)]
mod tests {
    use super::unit_of;

    #[test]
    fn the_unit_of_times_is_told_by_the_last_nanosecond_of_a_second() {
        for (last, unit) in
            [(999_999_999, 1), (999_999_900, 100), (999_000_000, 1_000_000), (0, 1_000_000_000)]
        {
            assert_eq!(unit_of(last), unit);
        }
        for odd in [999_999_998, 1, 500_000_000, 1_000_000_000, u32::MAX] {
            assert_eq!(unit_of(odd), 1, "{odd}: not a power of ten");
        }
    }
}
