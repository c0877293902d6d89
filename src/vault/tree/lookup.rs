//! Looking entries up. Only the entry counts: a long name's companion isn't read.

use super::Tree;
use super::locks::Mode;
use crate::ids::Ino;
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
}
