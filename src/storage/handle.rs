//! File handles: how the lower filesystem itself identifies its inodes.

use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::io::retry_on_intr;

use super::{Errno, Result};
use crate::sys;

/// FILEID_INO32_GEN: inode number and generation, 32 bits each (ext4, f2fs; XFS with small numbers).
const INO32_GEN: (i32, usize) = (1, 8);
/// FILEID_INO64_GEN (FUSE), which is also what XFS uses: an inode number of 64 bits and a generation.
const INO64_GEN: (i32, usize) = (0x81, 12);
/// FILEID_BTRFS_WITHOUT_PARENT: object id, root object id, generation.
const BTRFS: (i32, usize) = (0x4d, 20);

/// A handle of a lower inode: it finds the inode as long as that lives, and never another one.
#[derive(Clone)]
pub struct FileHandle(sys::handle::FileHandle);

impl FileHandle {
    /// Of `name` in a directory, or of the descriptor (O_PATH allowed) if the name is empty; `None` where the filesystem
    /// has no handles.
    ///
    /// # Errors
    /// Those of `name_to_handle_at(2)`.
    pub fn of(at: BorrowedFd<'_>, name: &[u8]) -> Result<Option<Self>> {
        match retry_on_intr(|| sys::handle::name_to_handle(at, name)) {
            // OVERFLOW: longer than any handle may be; NFS reports it, too, where it has none.
            Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::OVERFLOW | Errno::PERM) => Ok(None),
            done => done.map(Self).map(Some),
        }
    }

    /// An O_PATH descriptor of the inode, on the filesystem of `mount`.
    ///
    /// # Errors
    /// ESTALE if it is gone, EPERM where the daemon may not.
    pub fn open(&self, mount: BorrowedFd<'_>) -> Result<OwnedFd> {
        retry_on_intr(|| sys::handle::open_by_handle(mount, &self.0))
    }

    /// The generation of the inode's number: as the filesystem has it, or a hash of all of the handle where its layout
    /// isn't known.
    pub fn generation(&self) -> u32 {
        let (kind, bytes) = self.0.parts();
        generation(kind, bytes)
    }
}

fn generation(kind: i32, bytes: &[u8]) -> u32 {
    match bytes.last_chunk() {
        Some(last) if [INO32_GEN, INO64_GEN, BTRFS].contains(&(kind, bytes.len())) => {
            u32::from_le_bytes(*last)
        }
        // FNV-1a.
        _ => bytes.iter().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193)),
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;
    use crate::storage;

    #[test]
    fn the_generation_is_where_the_filesystem_has_it() {
        let ext4 = [7, 0, 0, 0, 0x78, 0x56, 0x34, 0x12];
        assert_eq!(generation(1, &ext4), 0x1234_5678);
        let xfs = [7, 0, 0, 0, 1, 0, 0, 0, 0x78, 0x56, 0x34, 0x12];
        assert_eq!(generation(0x81, &xfs), 0x1234_5678);
        // tmpfs: generation first, then a number of 64 bits.
        let tmpfs = [0x78, 0x56, 0x34, 0x12, 7, 0, 0, 0, 0, 0, 0, 0];
        let other = [0x79, 0x56, 0x34, 0x12, 7, 0, 0, 0, 0, 0, 0, 0];
        assert_ne!(generation(1, &tmpfs), generation(1, &other));
    }

    #[test]
    fn a_handle_finds_its_inode_and_no_other_one() {
        let dir = tempfile::tempdir().unwrap();
        let dir: OwnedFd = std::fs::File::open(dir.path()).unwrap().into();
        let dir = dir.as_fd();
        let file = storage::create_file(dir, b"f", 0o600).unwrap();
        let Some(handle) = FileHandle::of(dir, b"f").unwrap() else { return };
        let of_fd = FileHandle::of(file.as_fd(), b"").unwrap().unwrap();
        assert_eq!(handle.generation(), of_fd.generation());
        let opened = match handle.open(dir) {
            Err(Errno::PERM) => return,
            opened => opened.unwrap(),
        };
        let ino = storage::fstat(opened.as_fd()).unwrap().ino;
        assert_eq!(ino, storage::fstat(file.as_fd()).unwrap().ino);
        drop((file, opened));
        storage::unlink(dir, b"f").unwrap();
        assert_eq!(handle.open(dir).unwrap_err(), Errno::STALE);
    }
}
