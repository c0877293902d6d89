//! Attributes: from what the lower filesystem says to what users see, and changes of them.

use super::Tree;
use super::errors::opening;
use super::inode::{Inode, Pin};
use crate::content::layout;
use crate::ids::Ino;
use crate::names::SymlinkCipher;
use crate::storage::{self, Stat, TimeChange};
use crate::vault::{Attr, Damage, Error, FileKind, Result, SetAttr};

/// Attributes as users see them. A lower size that no file can have is shown as it is; reading says EIO.
pub(in crate::vault) fn of(inode: &Inode, stat: &Stat) -> Attr {
    let kind = stat.kind();
    let size = match kind {
        FileKind::Regular => layout::plain_size(stat.lower_size()).map_or(stat.size, |size| size.0),
        FileKind::Symlink => SymlinkCipher::plain_len(stat.size).unwrap_or(stat.size),
        _ => stat.size,
    };
    Attr {
        ino: inode.ino,
        generation: inode.generation,
        kind,
        perm: stat.perm(),
        nlink: u32::try_from(stat.nlink).unwrap_or(u32::MAX),
        uid: stat.uid,
        gid: stat.gid,
        rdev: stat.rdev,
        size,
        blocks: stat.blocks,
        blksize: stat.blksize,
        atime: stat.atime,
        mtime: stat.mtime,
        ctime: stat.ctime,
    }
}

impl Tree {
    /// Attributes of a known inode.
    pub(in crate::vault) fn getattr(&self, ino: Ino) -> Result<Attr> {
        let inode = self.inodes.get(ino)?;
        Ok(of(&inode, &self.stat(&inode)?))
    }

    /// Changes owner, mode and times, in this order: a change of owner clears bits of the mode.
    pub(in crate::vault) fn set_metadata(&self, ino: Ino, set: &SetAttr) -> Result<()> {
        let owner = set.uid.is_some() || set.gid.is_some();
        let times = set.atime.is_some() || set.mtime.is_some();
        if !owner && set.mode.is_none() && !times {
            return Ok(());
        }
        let inode = self.inodes.get(ino)?;
        if !owner && set.mode.is_none() && set.atime.is_none() && self.is_gone(&inode)? {
            return Ok(());
        }
        self.with_fd(&inode, |fd| {
            if owner {
                if inode.kind == FileKind::Regular {
                    self.clear_capability(&inode, fd)?;
                }
                storage::chown(fd, set.uid, set.gid)?;
            }
            if let Some(mode) = set.mode {
                // Not while the file is being opened with a widened mode.
                let _slot = inode.file.lock();
                storage::chmod(fd, mode)?;
            }
            if times {
                let (atime, mtime) =
                    (set.atime.unwrap_or(TimeChange::Keep), set.mtime.unwrap_or(TimeChange::Keep));
                let done = match inode.opened() {
                    Some(file) => file.set_times(atime, mtime),
                    None => storage::set_times_as_writer(fd, atime, mtime).map_err(Error::from),
                };
                match done {
                    // The change of its size has given it a time already, as for a file of another owner it must
                    // do; an error would have the kernel keep the size that it was.
                    Err(error) if set.size.is_some() && set.atime.is_none() => {
                        tracing::debug!(ino = ino.0, "an mtime could not be set: {error}");
                    }
                    done => done?,
                }
            }
            Ok(())
        })
    }

    /// Whether a regular file has no name left, nor is open: nobody can come to see its times. The kernel, which has
    /// its own, sends them once more when the last name goes.
    fn is_gone(&self, inode: &Inode) -> Result<bool> {
        if inode.kind != FileKind::Regular || inode.parent().is_some() || inode.opened().is_some() {
            return Ok(false);
        }
        Ok(matches!(inode.pin(), Pin::Gone(_)))
    }

    /// The target of a symlink.
    pub(in crate::vault) fn readlink(&self, ino: Ino) -> Result<Vec<u8>> {
        let inode = self.inodes.get(ino)?;
        if inode.kind != FileKind::Symlink {
            return Err(Error::Invalid("not a symlink"));
        }
        let lower = self.with_fd(&inode, |fd| Ok(storage::readlink_fd(fd)?))?;
        self.names.symlinks.decode(&lower).map_err(opening(Damage::Symlink))
    }
}
