//! Removing entries. What the kernel still knows is pinned first; rekeyfs's own leftovers in a directory don't
//! keep it from being removed, and are put back if it can't be.

use std::os::fd::AsFd;
use std::sync::Arc;

use super::dirs::Dir;
use super::locks::Mode;
use super::tree::Tree;
use super::{Error, FileKind, Result};
use crate::ids::Ino;
use crate::names::{DIR_RECORD, DirRecord, LONG_SUFFIX, LowerKind, LowerName};
use crate::storage::{self, DirStream, Errno, Stat};

/// How often an operation is begun anew because the directories it concerns have changed.
pub(super) const TRIES: usize = 16;

impl Tree {
    /// Removes a name that isn't a directory's. Returns the inode if that was the last.
    pub(super) fn unlink(&self, parent: Ino, name: &[u8]) -> Result<Option<Ino>> {
        let _lock = self.locks.one(parent, Mode::Exclusive);
        let dir = self.dir(parent)?;
        let name = self.locate(&dir, name)?;
        let stat = self.stat_entry(&dir, name.entry())?.ok_or(Error::NotFound)?;
        if stat.kind() == FileKind::Directory {
            return Err(Error::IsADirectory);
        }
        let inode = self.pin_if_last(&dir, name.entry(), &stat)?;
        if let Err(e) = storage::unlink(dir.fd(), name.entry()) {
            inode.inspect(|inode| inode.unpin_if_named());
            return Err(e.into());
        }
        if let Some(inode) = inode {
            self.inodes.remove_location(&inode, parent, name.entry());
        }
        self.drop_companion(&dir, &name);
        Ok(if stat.nlink == 1 { Some(self.ino(&stat)?) } else { None })
    }

    /// Removes an empty directory.
    pub(super) fn rmdir(&self, parent: Ino, name: &[u8]) -> Result<()> {
        for _ in 0..TRIES {
            let victim = {
                let _lock = self.locks.one(parent, Mode::Shared);
                let dir = self.dir(parent)?;
                let stat = self.stat_entry(&dir, self.locate(&dir, name)?.entry())?;
                self.ino(&victim_of(stat)?)?
            };
            let _locks = self.locks.lock(&[(parent, Mode::Exclusive), (victim, Mode::Exclusive)]);
            let dir = self.dir(parent)?;
            let name = self.locate(&dir, name)?;
            let stat = victim_of(self.stat_entry(&dir, name.entry())?)?;
            if self.ino(&stat)? == victim {
                return self.rmdir_locked(&dir, &name, victim, &stat);
            }
        }
        Err(Error::Stale)
    }

    fn rmdir_locked(&self, dir: &Dir, name: &LowerName, victim: Ino, stat: &Stat) -> Result<()> {
        let inode = self.pin_if_last(dir, name.entry(), stat)?;
        let remove = || storage::rmdir(dir.fd(), name.entry());
        if let Err(e) = self.without_leftovers(dir, name.entry(), victim, remove) {
            inode.inspect(|inode| inode.unpin_if_named());
            return Err(e);
        }
        if let Some(inode) = inode {
            self.inodes.remove_location(&inode, dir.ino, name.entry());
        }
        self.drop_companion(dir, name);
        Ok(())
    }

    /// Calls `go`, which needs the directory `victim` to be empty, if need be with rekeyfs's own leftovers
    /// cleared out of it; if `go` fails even so, its record is made durable again. Both directories are
    /// locked exclusively.
    pub(super) fn without_leftovers(
        &self,
        parent: &Dir,
        entry: &[u8],
        victim: Ino,
        go: impl Fn() -> storage::Result<()>,
    ) -> Result<()> {
        match go() {
            Err(Errno::NOTEMPTY | Errno::EXIST) => {}
            done => {
                done?;
                return self.dir_gone(victim);
            }
        }
        let victim_dir = self.child_dir(parent, entry, victim)?.ok_or(Error::Stale)?;
        let leftovers = self.leftovers(&victim_dir)?;
        let gone = self.clear(&victim_dir, &leftovers).and_then(|()| Ok(go()?));
        match gone {
            Ok(()) => self.dir_gone(victim),
            Err(e) => {
                if victim_dir.stored {
                    let record = DirRecord { id: victim_dir.id, alias: victim_dir.alias.clone() };
                    self.store_record(&victim_dir, &record)?;
                }
                Err(match e {
                    Error::Lower(Errno::NOTEMPTY | Errno::EXIST) => Error::NotEmpty,
                    e => e,
                })
            }
        }
    }

    fn dir_gone(&self, victim: Ino) -> Result<()> {
        if let Some(dir) = self.dirs.get(victim) {
            self.dir_changed(&dir)?;
        }
        Ok(())
    }

    /// The lower names of what may be cleared out of a directory that holds nothing else, its record last.
    ///
    /// # Errors
    /// [`Error::NotEmpty`] if it does hold something else, be it a name of a newer program.
    fn leftovers(&self, victim: &Arc<Dir>) -> Result<Vec<Vec<u8>>> {
        let mut stream = DirStream::new(self.with_room(|| storage::open_dir(victim.fd(), b"."))?);
        let mut found = Vec::new();
        while let Some(entry) = stream.next()? {
            match LowerKind::of(entry.name) {
                LowerKind::Unknown if matches!(entry.name, b"." | b"..") => {}
                // Last, below.
                LowerKind::DirRecord => {}
                LowerKind::Temporary => found.push(entry.name.to_vec()),
                LowerKind::LongCompanion => {
                    let of = entry.name.strip_suffix(LONG_SUFFIX).unwrap_or(entry.name).to_vec();
                    let companion = entry.name.to_vec();
                    if self.stat_entry(victim, &of)?.is_some() {
                        return Err(Error::NotEmpty);
                    }
                    found.push(companion);
                }
                LowerKind::Name | LowerKind::LongEntry | LowerKind::Unknown => return Err(Error::NotEmpty),
            }
        }
        if victim.stored {
            found.push(DIR_RECORD.to_vec());
        }
        Ok(found)
    }

    fn clear(&self, victim: &Dir, leftovers: &[Vec<u8>]) -> Result<()> {
        self.in_own_dir(victim, |fd| {
            leftovers.iter().try_for_each(|name| match storage::unlink(fd.as_fd(), name) {
                Err(Errno::NOENT) => Ok(()),
                done => done,
            })
        })
    }
}

fn victim_of(stat: Option<Stat>) -> Result<Stat> {
    match stat {
        None => Err(Error::NotFound),
        Some(stat) if stat.kind() != FileKind::Directory => Err(Error::NotADirectory),
        Some(stat) => Ok(stat),
    }
}
