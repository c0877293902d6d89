//! Looking entries up. Only the entry counts: a long name's companion isn't read.

use std::sync::Arc;

use super::dir_cache::Dir;
use super::inode::{Inode, LookedUp};
use super::locks::Mode;
use super::{Tree, attr};
use crate::ids::Ino;
use crate::storage::Stat;
use crate::vault::{Attr, Error, Result};

impl Tree {
    /// Looks an entry up, and counts that.
    pub(in crate::vault) fn lookup(&self, parent: Ino, name: &[u8]) -> Result<Attr> {
        let _lock = self.locks.one(parent, Mode::Shared);
        let dir = self.dir(parent)?;
        let name = self.locate(&dir, name)?;
        let stat = self.stat_entry(&dir, name.entry())?.ok_or(Error::NotFound)?;
        Ok(self.remember(&dir, name.entry(), &stat)?.1)
    }

    /// Counts a lookup of an entry. The caller has held the directory's lock since before the stat.
    pub(super) fn remember(&self, dir: &Dir, entry: &[u8], stat: &Stat) -> Result<(Arc<Inode>, Attr)> {
        let ino = self.ino(stat)?;
        let generation = self.generation(ino, dir.fd(), entry, stat)?;
        let (kind, parent) = (stat.kind(), dir.ino);
        let found = LookedUp { ino, kind, generation, parent, entry, made_now: false };
        let inode = self.inodes.remember(&found)?;
        let attr = attr::of(&inode, stat);
        Ok((inode, attr))
    }
}
