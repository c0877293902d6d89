//! Looking entries up. Only the entry counts: a long name's companion isn't read.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use super::dir_cache::Dir;
use super::inode::{Inode, LookedUp};
use super::locks::Mode;
use super::{Tree, attr};
use crate::ids::Ino;
use crate::storage::{self, Errno, Stat};
use crate::vault::{Attr, Error, Result};

/// An entry to be remembered.
pub(super) struct Found {
    stat: Stat,
    /// Of the inode, O_PATH. Where it takes a file handle to tell generations, the name is walked once for all that is
    /// asked: on a distributed filesystem each walk is a round trip.
    fd: Option<OwnedFd>,
}

impl Tree {
    /// What an entry is, for [`Tree::remember`]; `None`: there is none. The caller holds the directory's lock.
    pub(super) fn find(&self, dir: &Dir, entry: &[u8]) -> Result<Option<Found>> {
        if !self.generations.take_handles() {
            return Ok(self.stat_entry(dir, entry)?.map(|stat| Found { stat, fd: None }));
        }
        let fd = match self.open_path(dir.fd(), entry) {
            Ok(fd) => fd,
            Err(Errno::NOENT) => return Ok(None),
            // None is free: programs hold as many files as there can be. The name is walked twice then.
            Err(Errno::NFILE) => {
                return Ok(self.stat_entry(dir, entry)?.map(|stat| Found { stat, fd: None }));
            }
            Err(e) => return Err(e.into()),
        };
        let stat = storage::fstat_born(fd.as_fd())?;
        if self.is_elsewhere(&stat) {
            Err(Error::CrossDevice)
        } else {
            Ok(Some(Found { stat, fd: Some(fd) }))
        }
    }

    /// Looks an entry up, and counts that.
    pub(in crate::vault) fn lookup(&self, parent: Ino, name: &[u8]) -> Result<Attr> {
        match self.look_up(parent, name) {
            Err(Error::NotFound) if self.reread_record(parent)? => self.look_up(parent, name),
            // The directory that was open is gone, and another may have its place.
            Err(Error::Lower(Errno::STALE)) if self.others_write => {
                self.dirs.invalidate(parent);
                self.look_up(parent, name)
            }
            done => done,
        }
    }

    fn look_up(&self, parent: Ino, name: &[u8]) -> Result<Attr> {
        let _lock = self.locks.one(parent, Mode::Shared);
        let dir = self.dir(parent)?;
        let name = self.locate(&dir, name)?;
        let find = || self.find(&dir, name.entry())?.ok_or(Error::NotFound);
        let mut found = find()?;
        // A stat and the descriptor of one inode: another may have the name by then.
        found.stat = self.settled(found.stat, || {
            found = find()?;
            Ok(found.stat)
        })?;
        Ok(self.remember(&dir, name.entry(), &found)?.1)
    }

    /// Counts a lookup of an entry. The caller has held the directory's lock since before it was found.
    pub(super) fn remember(&self, dir: &Dir, entry: &[u8], found: &Found) -> Result<(Arc<Inode>, Attr)> {
        let stat = &found.stat;
        let ino = self.ino(stat)?;
        let (at, name) = found.fd.as_ref().map_or((dir.fd(), entry), |fd| (fd.as_fd(), b"".as_slice()));
        let generation = self.generation(ino, at, name, stat)?;
        let (kind, parent) = (stat.kind(), dir.ino);
        let links_elsewhere = self.others_write.then_some(stat.nlink);
        let found = LookedUp { ino, kind, generation, parent, entry, made_now: false, links_elsewhere };
        let (inode, displaced) = self.inodes.remember(&found)?;
        if displaced {
            self.dirs.invalidate(ino);
        }
        let attr = attr::of(&inode, stat);
        Ok((inode, attr))
    }
}
