//! Content of lower files: reading, writing, sizes, holes, and what makes them durable.

use std::io::IoSliceMut;
use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::fs::{FallocateFlags, SeekFrom};
use rustix::io::{ReadWriteFlags, retry_on_intr};

use super::call::changing;
use super::fault::{self, Op};
use super::{Errno, Result, lease};
use crate::ids::LowerOffset;
use crate::sys;

/// Reads until `buf` is full or the file ends; returns the bytes read.
///
/// # Errors
/// Those of `pread(2)`; what was read before it is lost.
pub fn pread(fd: BorrowedFd<'_>, buf: &mut [u8], offset: LowerOffset) -> Result<usize> {
    let mut done = 0;
    while done < buf.len() {
        let n = retry_on_intr(|| rustix::io::pread(fd, &mut buf[done..], offset.0 + done as u64))?;
        if n == 0 {
            break;
        }
        done += n;
    }
    Ok(done)
}

/// Reads what the kernel has of these bytes in its cache, without waiting for the disk; returns how much that is from
/// the first on. 0 where the filesystem doesn't support the question.
///
/// # Errors
/// Those of `preadv2(2)`.
pub fn pread_cached(fd: BorrowedFd<'_>, buf: &mut [u8], offset: LowerOffset) -> Result<usize> {
    let mut bufs = [IoSliceMut::new(buf)];
    match retry_on_intr(|| rustix::io::preadv2(fd, &mut bufs, offset.0, ReadWriteFlags::NOWAIT)) {
        Err(Errno::AGAIN | Errno::OPNOTSUPP | Errno::NOSYS) => Ok(0),
        read => read,
    }
}

/// Reads a whole file of at most `limit` bytes.
///
/// # Errors
/// EFBIG if it is longer, and those of `pread(2)`.
pub fn read_all(fd: BorrowedFd<'_>, limit: usize) -> Result<Vec<u8>> {
    let mut buf = vec![0; limit + 1];
    let n = pread(fd, &mut buf, LowerOffset(0))?;
    if n > limit {
        return Err(Errno::FBIG);
    }
    buf.truncate(n);
    Ok(buf)
}

/// Writes all of `buf`. After an error any part of it may have been written.
///
/// # Errors
/// Those of `pwrite(2)`.
pub fn pwrite_all(fd: BorrowedFd<'_>, buf: &[u8], offset: LowerOffset) -> Result<()> {
    let mut done = 0;
    while done < buf.len() {
        let (at, left) = (offset.0 + done as u64, &buf[done..]);
        let written = retry_on_intr(|| {
            let len = fault::write_point(at, left.len())?;
            lease::check()?;
            rustix::io::pwrite(fd, &left[..len], at)
        });
        match written? {
            0 => return Err(Errno::IO),
            n => done += n,
        }
    }
    Ok(())
}

/// Sets the size.
///
/// # Errors
/// Those of `ftruncate(2)`.
pub fn truncate(fd: BorrowedFd<'_>, size: LowerOffset) -> Result<()> {
    changing(Op::Truncate, || rustix::fs::ftruncate(fd, size.0))
}

/// Makes a hole of `len` bytes at `offset`; the size stays.
///
/// # Errors
/// EOPNOTSUPP where the filesystem can't, and those of `fallocate(2)`.
pub fn punch(fd: BorrowedFd<'_>, offset: LowerOffset, len: u64) -> Result<()> {
    let mode = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    changing(Op::Punch, || rustix::fs::fallocate(fd, mode, offset.0, len))
}

/// Makes `len` bytes at `offset`, all of them inside the file, zeros that keep their blocks; the size stays.
///
/// # Errors
/// EOPNOTSUPP where the filesystem can't, and those of `fallocate(2)`.
pub fn zero_range(fd: BorrowedFd<'_>, offset: LowerOffset, len: u64) -> Result<()> {
    let mode = FallocateFlags::ZERO_RANGE | FallocateFlags::KEEP_SIZE;
    changing(Op::ZeroRange, || rustix::fs::fallocate(fd, mode, offset.0, len))
}

/// Makes `len` bytes at `offset` zeros, as far as they lie inside the file: a hole, or where the filesystem has no
/// PUNCH_HOLE, zeros that are written over what isn't zero. The size stays.
///
/// # Errors
/// Those of `fallocate(2)`, `lseek(2)`, `pread(2)` and `pwrite(2)`.
pub fn erase(fd: BorrowedFd<'_>, offset: LowerOffset, len: u64) -> Result<()> {
    match punch(fd, offset, len) {
        Err(Errno::OPNOTSUPP | Errno::NOSYS) => {}
        done => return done,
    }
    let end = offset.0.saturating_add(len).min(super::fstat(fd)?.size);
    let mut chunk = vec![0; len.min(ERASED_AT_ONCE) as usize];
    let mut at = offset.0;
    while at < end {
        let Some(data) = seek_data(fd, LowerOffset(at))?.filter(|data| data.0 < end) else { break };
        let want = (end - data.0).min(ERASED_AT_ONCE) as usize;
        let got = pread(fd, &mut chunk[..want], data)?;
        if got == 0 {
            break;
        }
        if chunk[..got].iter().any(|byte| *byte != 0) {
            chunk[..got].fill(0);
            pwrite_all(fd, &chunk[..got], data)?;
        }
        at = data.0 + got as u64;
    }
    Ok(())
}

/// Bytes that [`erase`] looks at and writes with one call.
const ERASED_AT_ONCE: u64 = 128 << 10;

/// Allocates blocks for `len` bytes at `offset`, all of them inside the file: what is allocated past its end makes
/// it grow.
///
/// # Errors
/// As [`allocate_keep_size`].
pub fn allocate(fd: BorrowedFd<'_>, offset: LowerOffset, len: u64) -> Result<()> {
    changing(Op::AllocatePlain, || rustix::fs::fallocate(fd, FallocateFlags::empty(), offset.0, len))
}

/// Allocates blocks for `len` bytes at `offset`; the size stays.
///
/// # Errors
/// EOPNOTSUPP where the filesystem can't, and those of `fallocate(2)`.
pub fn allocate_keep_size(fd: BorrowedFd<'_>, offset: LowerOffset, len: u64) -> Result<()> {
    changing(Op::Allocate, || rustix::fs::fallocate(fd, FallocateFlags::KEEP_SIZE, offset.0, len))
}

/// Whether an error reports a full disk: no blocks, no inodes, or no quota for them.
pub fn is_disk_full(error: Errno) -> bool {
    matches!(error, Errno::NOSPC | Errno::DQUOT)
}

/// The first offset at or after `offset` that isn't in a hole; `None`: there is none.
///
/// # Errors
/// Those of `lseek(2)`.
pub fn seek_data(fd: BorrowedFd<'_>, offset: LowerOffset) -> Result<Option<LowerOffset>> {
    seek(fd, SeekFrom::Data(offset.0))
}

/// The first offset at or after `offset` that is in a hole, the end of the file counting as one; `None`:
/// `offset` is at or beyond the end.
///
/// # Errors
/// Those of `lseek(2)`.
pub fn seek_hole(fd: BorrowedFd<'_>, offset: LowerOffset) -> Result<Option<LowerOffset>> {
    seek(fd, SeekFrom::Hole(offset.0))
}

fn seek(fd: BorrowedFd<'_>, to: SeekFrom) -> Result<Option<LowerOffset>> {
    match rustix::fs::seek(fd, to) {
        Ok(found) => Ok(Some(LowerOffset(found))),
        Err(Errno::NXIO) => Ok(None),
        Err(e) => Err(e),
    }
}

/// Makes content and size durable.
///
/// # Errors
/// Those of `fdatasync(2)`; EIO may mean that what was written before is lost.
pub fn fdatasync(fd: BorrowedFd<'_>) -> Result<()> {
    changing(Op::Fdatasync, || rustix::fs::fdatasync(fd))
}

/// Makes content and all metadata durable; [`fsync_dir`] is for directories.
///
/// # Errors
/// As [`fdatasync`].
pub fn fsync(fd: BorrowedFd<'_>) -> Result<()> {
    changing(Op::Fsync, || rustix::fs::fsync(fd))
}

/// Makes a directory's names durable: where its filesystem has no fsync for directories, with all else that it holds.
///
/// # Errors
/// As [`fdatasync`].
pub fn fsync_dir(fd: BorrowedFd<'_>) -> Result<()> {
    match fsync(fd) {
        Err(Errno::INVAL) => syncfs(fd),
        done => done,
    }
}

/// Makes the whole filesystem of `fd` durable.
///
/// # Errors
/// As [`fdatasync`].
pub fn syncfs(fd: BorrowedFd<'_>) -> Result<()> {
    changing(Op::Syncfs, || rustix::fs::syncfs(fd))
}

/// Asks the kernel to drop the clean cached pages of a file, so that later reads come from the disk.
pub fn drop_cached(fd: BorrowedFd<'_>) {
    // Advice: a filesystem that ignores it serves what it has.
    let _ = rustix::fs::fadvise(fd, 0, None, rustix::fs::Advice::DontNeed);
}

/// Another descriptor for the same open file.
///
/// # Errors
/// EMFILE.
pub fn duplicate(fd: BorrowedFd<'_>) -> Result<OwnedFd> {
    rustix::io::fcntl_dupfd_cloexec(fd, 0)
}

/// Returns when no write-out of these `len` bytes is under way and none of them is dirty, so that they can be
/// changed without a mixture of old and new reaching the disk. Not a promise of durability.
///
/// # Errors
/// Those of `sync_file_range(2)`.
pub fn wait_stable(fd: BorrowedFd<'_>, offset: LowerOffset, len: u64) -> Result<()> {
    changing(Op::WaitStable, || sys::sync_file_range(fd, offset.0, len))
}
