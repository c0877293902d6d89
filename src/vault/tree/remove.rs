//! Removing entries. A descriptor taken first keeps what the kernel still knows; rekeyfs's own orphans in a directory don't
//! keep it from being removed, and its record is put back if it can't be.

use std::os::fd::{AsFd, BorrowedFd};

use super::Tree;
use super::dir_cache::Dir;
use super::dir_record;
use super::dirs;
use super::locks::Mode;
use crate::ids::Ino;
use crate::names::{DIR_RECORD, LowerKind, LowerName};
use crate::storage::{self, DirStream, Errno, Stat};
use crate::vault::{Error, FileKind, Result};

/// How often an operation is begun again because the directories it concerns have changed.
pub(in crate::vault) const TRIES: usize = 16;

impl Tree {
    /// Removes a name that isn't a directory's. Returns the inode, and whether that was its last.
    pub(in crate::vault) fn unlink(&self, parent: Ino, name: &[u8]) -> Result<(Ino, bool)> {
        let _lock = self.locks.one(parent, Mode::Exclusive);
        let dir = self.dir(parent)?;
        let name = self.locate(&dir, name)?;
        let fd = self.before_removal(&dir, name.entry()).map_err(|e| match e {
            Error::Lower(Errno::NOENT) => Error::NotFound,
            e => e,
        })?;
        let stat = storage::fstat_born(fd.as_fd())?;
        let ino = self.ino(&stat)?;
        if stat.kind() == FileKind::Directory {
            return Err(Error::IsADirectory);
        }
        storage::unlink(dir.fd(), name.entry())?;
        let gone = self.name_gone(&dir, name.entry(), &stat, fd);
        self.drop_companion(&dir, &name);
        Ok((ino, gone?))
    }

    /// Removes an empty directory.
    pub(in crate::vault) fn rmdir(&self, parent: Ino, name: &[u8]) -> Result<()> {
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
        let fd = self.before_removal(dir, name.entry())?;
        let remove = || storage::rmdir(dir.fd(), name.entry());
        self.clearing_own_files(dir, name.entry(), victim, remove)?;
        let gone = self.name_gone(dir, name.entry(), stat, fd);
        self.drop_companion(dir, name);
        gone.map(drop)
    }

    /// Calls `go`, which needs the directory `victim` to be empty, if need be with rekeyfs's own files
    /// cleared out of it; if `go` fails even so, its record is made durable again. Both directories are
    /// locked exclusively.
    pub(super) fn clearing_own_files(
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
                self.dirs.invalidate(victim);
                return Ok(());
            }
        }
        let fd = self.with_free_fd(|| dirs::open_dir(parent.fd(), entry))?;
        if self.ino(&storage::fstat(fd.as_fd())?)? != victim {
            return Err(Error::Stale);
        }
        // A record that doesn't open is put back as it is; one of a newer program is not ours to remove.
        if let Err(e @ Error::Newer(_)) = dir_record::read(&self.names, fd.as_fd()) {
            return Err(e);
        }
        let before = dir_record::raw(fd.as_fd())?;
        let done = dir_record::in_own_dir(fd.as_fd(), clear).and_then(|()| Ok(go()?));
        if done.is_err()
            && let Some(bytes) = before
        {
            dir_record::put_back(fd.as_fd(), &bytes)?;
        }
        self.dirs.invalidate(victim);
        done.map_err(|e| match e {
            Error::Lower(Errno::NOTEMPTY | Errno::EXIST) => Error::NotEmpty,
            e => e,
        })
    }
}

/// Clears rekeyfs's own files out of a directory that holds nothing else, its record last. ENOTEMPTY if it does hold
/// something else, also something of a newer program.
fn clear(dir: BorrowedFd<'_>) -> storage::Result<()> {
    let mut stream = DirStream::new(storage::open_dir(dir, b".")?);
    let (mut found, mut record) = (Vec::new(), None);
    while let Some(entry) = stream.next()? {
        match LowerKind::of(entry.name) {
            LowerKind::Unknown if matches!(entry.name, b"." | b"..") => {}
            LowerKind::DirRecord => record = Some(DIR_RECORD.to_vec()),
            LowerKind::Temporary => found.push(entry.name.to_vec()),
            // With its entry, that makes the directory not empty by itself.
            LowerKind::LongCompanion => found.push(entry.name.to_vec()),
            LowerKind::Name | LowerKind::LongEntry | LowerKind::Unknown => return Err(Errno::NOTEMPTY),
        }
    }
    found.iter().chain(&record).try_for_each(|name| match storage::unlink(dir, name) {
        Err(Errno::NOENT) => Ok(()),
        done => done,
    })
}

fn victim_of(stat: Option<Stat>) -> Result<Stat> {
    match stat {
        None => Err(Error::NotFound),
        Some(stat) if stat.kind() != FileKind::Directory => Err(Error::NotADirectory),
        Some(stat) => Ok(stat),
    }
}
