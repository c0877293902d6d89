//! Attributes: from what the lower filesystem says to what users see, and changes of them.

use std::os::fd::AsFd;

use super::Tree;
use super::errors::opening;
use super::inode::{Inode, Pin};
use crate::content::layout;
use crate::ids::Ino;
use crate::names::SymlinkCipher;
use crate::storage::{self, Errno, Stat, TimeChange};
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
        let stat = self.settled(self.stat(&inode)?, || self.stat(&inode))?;
        Ok(of(&inode, &stat))
    }

    /// The attributes of a regular file if an mtime is all that is to be changed, and both that and the ctime are there
    /// already. With the writeback cache the kernel sends a file's times after whatever changes its ctime, as a rename or a link
    /// does: mostly that has given the lower file the same ctime. Where it hasn't, the write moves that: no ctime goes back when
    /// the kernel has forgotten the file.
    pub(in crate::vault) fn with_mtime_already(&self, ino: Ino, set: &SetAttr) -> Result<Option<Attr>> {
        let SetAttr { mode: None, uid: None, gid: None, size: None, atime: None, mtime, ctime, handle: _ } =
            *set
        else {
            return Ok(None);
        };
        let (Some(TimeChange::At(mtime)), Some(ctime)) = (mtime, ctime) else { return Ok(None) };
        let inode = self.inodes.get(ino)?;
        // What an open file's pages do to the lower mtime is known there alone.
        if inode.kind != FileKind::Regular || inode.opened().is_some_and(|file| !file.has_mtime(mtime)) {
            return Ok(None);
        }
        let stat = self.stat(&inode)?;
        Ok((stat.mtime == mtime && stat.ctime >= ctime).then(|| of(&inode, &stat)))
    }

    /// Changes owner, mode and times, in this order: a change of owner clears bits of the mode. The attributes afterwards,
    /// from the descriptor that was used; `None` if there was nothing to change, and beside a change of the size, whose times may
    /// still be put back.
    pub(in crate::vault) fn set_metadata(&self, ino: Ino, set: &SetAttr) -> Result<Option<Attr>> {
        let owner = set.uid.is_some() || set.gid.is_some();
        let times = set.atime.is_some() || set.mtime.is_some();
        if !owner && set.mode.is_none() && !times {
            return Ok(None);
        }
        let inode = self.inodes.get(ino)?;
        if !owner && set.mode.is_none() && set.atime.is_none() && self.is_gone(&inode)? {
            return Ok(None);
        }
        self.with_fd(&inode, |fd| {
            if owner {
                if inode.kind == FileKind::Regular {
                    self.clear_capability(&inode, fd)?;
                }
                storage::chown(fd.as_fd(), set.uid, set.gid)?;
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
                    None => storage::set_times_as_writer(fd.as_fd(), atime, mtime).map_err(Error::from),
                };
                match done {
                    // The change of its size has given it a time already, as for a file of another owner it must
                    // do; an error would have the kernel keep the size that it was.
                    Err(error) if set.size.is_some() && set.atime.is_none() => {
                        tracing::debug!(ino = ino.0, "an mtime could not be set: {error}");
                    }
                    // GlusterFS sets times by a file's name alone. The kernel would report it as an error of close, which
                    // programs take for lost data.
                    Err(error @ Error::Lower(Errno::STALE | Errno::NOENT))
                        if set.ctime.is_some()
                            && set.atime.is_none()
                            && matches!(inode.pin(), Pin::Gone(_)) =>
                    {
                        tracing::debug!(ino = ino.0, "an mtime of a removed file could not be set: {error}");
                    }
                    done => done?,
                }
            }
            if set.size.is_some() {
                return Ok(None);
            }
            Ok(Some(of(&inode, &storage::fstat(fd.as_fd())?)))
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
        let lower = self.with_fd(&inode, |fd| Ok(storage::readlink_fd(fd.as_fd())?))?;
        self.names.symlinks.decode(&lower).map_err(opening(Damage::Symlink))
    }
}
