//! Renaming. Files and symlinks move as they are. A directory's id is made durable in its record before the
//! directory first moves, on both sides of an exchange; a long name's companion before the entry.
//!
//! A rename that concerns a directory locks it beside the parents. Which that is shows only under the parents' locks, and all
//! of an operation are taken in one call: so the first try locks the parents alone, which is enough for anything else, and a
//! further one what the try before has found.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::Tree;
use super::dir_cache::Dir;
use super::errors::name_error;
use super::inode::Inode;
use super::locks::Mode;
use super::remove::TRIES;
use crate::ids::Ino;
use crate::names::{BAD_PREFIX, LowerName, NameError};
use crate::storage::{self, RenameFlags, Stat};
use crate::vault::{Error, FileKind, Result};

/// One side of a rename, as found under the locks.
struct Side {
    dir: Arc<Dir>,
    name: LowerName,
    /// Shown as a bad name: nothing can be put there.
    bad: bool,
    stat: Option<Stat>,
}

impl Side {
    fn entry(&self) -> &[u8] {
        self.name.entry()
    }

    fn dir_stat(&self) -> Option<&Stat> {
        self.stat.as_ref().filter(|stat| stat.kind() == FileKind::Directory)
    }
}

impl Tree {
    fn side(&self, parent: Ino, name: &[u8]) -> Result<Side> {
        let dir = self.dir(parent)?;
        let lower = self.locate(&dir, name)?;
        let stat = self.stat_entry(&dir, lower.entry())?;
        Ok(Side { dir, name: lower, bad: name.starts_with(BAD_PREFIX), stat })
    }

    /// The directory that a side leads to, if it is one.
    fn dir_at(&self, side: &Side) -> Result<Option<Ino>> {
        side.dir_stat().map(|stat| self.ino(stat)).transpose()
    }

    /// Renames, over what is there or with NOREPLACE or EXCHANGE; with WHITEOUT (of a union filesystem) the lower
    /// filesystem leaves a device 0/0 under the old name. Returns the inode that was replaced, and whether that was its
    /// last name.
    pub(in crate::vault) fn rename(
        &self,
        from: (Ino, &[u8]),
        to: (Ino, &[u8]),
        flags: RenameFlags,
    ) -> Result<Option<(Ino, bool)>> {
        let replacing = RenameFlags::NOREPLACE | RenameFlags::WHITEOUT;
        if flags != RenameFlags::EXCHANGE && !replacing.contains(flags) {
            return Err(Error::Invalid("these rename flags"));
        }
        // Nothing is done before what is found under the locks is what they are for.
        let mut expected = (None, None);
        for _ in 0..TRIES {
            let mut wanted = vec![(from.0, Mode::Exclusive), (to.0, Mode::Exclusive)];
            wanted.extend(expected.0.into_iter().chain(expected.1).map(|ino| (ino, Mode::Exclusive)));
            let _locks = self.locks.lock(&wanted);
            let old = self.side(from.0, from.1)?;
            let new = self.new_side(to, flags)?;
            let found = (self.dir_at(&old)?, self.dir_at(&new)?);
            if found == expected {
                return self.rename_locked(&old, &new, flags);
            }
            expected = found;
        }
        Err(Error::Stale)
    }

    /// The side that is renamed to. A bad name that isn't there can't be made.
    fn new_side(&self, to: (Ino, &[u8]), flags: RenameFlags) -> Result<Side> {
        match self.side(to.0, to.1) {
            Err(Error::NotFound) if !flags.contains(RenameFlags::EXCHANGE) => {
                Err(name_error(NameError::Reserved))
            }
            side => side,
        }
    }

    fn rename_locked(&self, old: &Side, new: &Side, flags: RenameFlags) -> Result<Option<(Ino, bool)>> {
        let exchange = flags.contains(RenameFlags::EXCHANGE);
        let stat = old.stat.as_ref().ok_or(Error::NotFound)?;
        // The old name stays in use, for the other side or for a whiteout.
        let stays = exchange || flags.contains(RenameFlags::WHITEOUT);
        if new.bad || (stays && old.bad) {
            return Err(name_error(NameError::Reserved));
        }
        match &new.stat {
            None if exchange => return Err(Error::NotFound),
            Some(_) if flags.contains(RenameFlags::NOREPLACE) => return Err(Error::Exists),
            // Two names of one file: POSIX has both stay.
            Some(there) if there.ino == stat.ino => return Ok(None),
            Some(_) if exchange => {}
            Some(there) => match (stat.kind() == FileKind::Directory, there.kind() == FileKind::Directory) {
                (true, false) => return Err(Error::NotADirectory),
                (false, true) => return Err(Error::IsADirectory),
                _ => {}
            },
            None => {}
        }
        self.store_moved_id(old)?;
        if exchange {
            self.store_moved_id(new)?;
        }
        let put = !exchange && self.put_companion(&new.dir, &new.name)?;
        let moved = self.move_entry(old, new, flags);
        if put && moved.is_err() && matches!(self.stat_entry(&new.dir, new.entry()), Ok(None)) {
            self.drop_companion(&new.dir, &new.name);
        }
        let gone = moved?;
        if !stays {
            self.drop_companion(&old.dir, &old.name);
        }
        if old.dir_stat().is_some() || (exchange && new.dir_stat().is_some()) {
            self.dirs.aliases_changed();
        }
        let replaced = new.stat.as_ref().filter(|_| !exchange);
        replaced.map(|there| Ok((self.ino(there)?, gone))).transpose()
    }

    /// Makes the id of a directory durable before it moves.
    fn store_moved_id(&self, side: &Side) -> Result<()> {
        let Some(ino) = self.dir_at(side)? else { return Ok(()) };
        let dir = self.child_dir(&side.dir, side.entry(), ino)?.ok_or(Error::Stale)?;
        self.store_id(&dir)
    }

    /// The lower rename, and what is known of the inodes it concerns. True if the last name of one was replaced.
    fn move_entry(&self, old: &Side, new: &Side, flags: RenameFlags) -> Result<bool> {
        let exchange = flags.contains(RenameFlags::EXCHANGE);
        let moving = self.known(old)?;
        let there = if exchange { self.known(new)? } else { None };
        let replaced = match &new.stat {
            Some(stat) if !exchange => Some((stat, self.before_removal(&new.dir, new.entry())?)),
            _ => None,
        };
        let rename = |flags| storage::rename(old.dir.fd(), old.entry(), new.dir.fd(), new.entry(), flags);
        let go = || match rename(self.flags_below(flags)) {
            // The lower filesystem lacks it. Nothing has the new name, as was seen under this directory's lock, and
            // a thread that makes a name there replaces that: for users of the mount it is as good.
            Err(e) if flags == RenameFlags::NOREPLACE && storage::lacks_rename_flag(e) => {
                // EINVAL is the answer to a directory moved into itself, too.
                rename(RenameFlags::empty()).inspect(|()| self.no_noreplace.store(true, Ordering::Relaxed))
            }
            done => done,
        };
        match self.dir_at(new)? {
            Some(victim) if !exchange => self.clearing_own_files(&new.dir, new.entry(), victim, go)?,
            _ => go()?,
        }
        let (from, to) = ((old.dir.ino, old.entry()), (new.dir.ino, new.entry()));
        if let Some(there) = there {
            self.inodes.move_location(&there, to, from);
        }
        let gone = replaced.map(|(stat, fd)| self.name_gone(&new.dir, new.entry(), stat, fd));
        if let Some(moving) = moving {
            self.inodes.move_location(&moving, from, to);
        }
        gone.unwrap_or(Ok(false))
    }

    /// The flags of a rename that the lower filesystem is asked for: not the one that it is known to lack.
    fn flags_below(&self, flags: RenameFlags) -> RenameFlags {
        let lacks = flags == RenameFlags::NOREPLACE && self.no_noreplace.load(Ordering::Relaxed);
        if lacks { RenameFlags::empty() } else { flags }
    }

    fn known(&self, side: &Side) -> Result<Option<Arc<Inode>>> {
        let Some(stat) = &side.stat else { return Ok(None) };
        Ok(self.inodes.find(self.ino(stat)?))
    }
}
