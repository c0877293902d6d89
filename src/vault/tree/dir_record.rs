//! Directory records: `.dir`, which holds a directory's id once it can't be derived any more, and its alias.
//!
//! A directory's id is derived from where it was made. It is stored just before the directory is first
//! moved (and durable before that, so that no crash parts it from its id), or given an alias.

use std::os::fd::{AsFd, BorrowedFd};

use super::Tree;
use super::dir_cache::Dir;
use super::errors::opening;
use crate::names::{DIR_RECORD, DirRecord, TreeCiphers};
use crate::storage::{self, Access, Errno, TimeChange};
use crate::vault::{Damage, Result};

const MODE: u32 = 0o600;

/// The record of a directory; `None`: its id is derived.
///
/// # Errors
/// Damage if there is one that isn't valid: its id must not be derived then.
pub(in crate::vault) fn read(names: &TreeCiphers, dir: BorrowedFd<'_>) -> Result<Option<DirRecord>> {
    match raw(dir) {
        Ok(None) => Ok(None),
        Ok(Some(bytes)) => names.records.decode(&bytes).map(Some).map_err(opening(Damage::DirRecord)),
        // Too long, a symlink, a socket, a directory, a FIFO.
        Err(Errno::FBIG | Errno::LOOP | Errno::NXIO | Errno::ISDIR | Errno::SPIPE) => {
            Err(Damage::DirRecord.into())
        }
        Err(e) => Err(e.into()),
    }
}

impl Tree {
    /// Makes a directory's record durable. Its times stay as they were. The caller holds its lock exclusively.
    pub(super) fn store_record(&self, dir: &Dir, record: &DirRecord) -> Result<()> {
        let bytes = self.names.records.encode(record);
        let stored = in_own_dir(dir.fd(), |fd| storage::replace_durably(fd, DIR_RECORD, &bytes, MODE));
        if stored.is_err() && !dir.stored {
            // It may be there, but not durable: nobody must take it for that and move the directory.
            let _ = storage::unlink(dir.fd(), DIR_RECORD);
        }
        // Also after an error: there may be another record now.
        self.dir_changed(dir)?;
        stored
    }

    /// Stores a directory's id if it is still a derived one, so that the directory can be moved.
    pub(super) fn store_id(&self, dir: &Dir) -> Result<()> {
        if dir.stored {
            return Ok(());
        }
        self.store_record(dir, &DirRecord { id: dir.id, alias: None })
    }
}

/// The bytes of a record, whatever they are worth; `None`: there is none.
pub(super) fn raw(dir: BorrowedFd<'_>) -> storage::Result<Option<Vec<u8>>> {
    match storage::open_file(dir, DIR_RECORD, Access::ReadOnly) {
        Ok(file) => storage::read_all(file.as_fd(), DirRecord::MAX_LEN).map(Some),
        Err(Errno::NOENT) => Ok(None),
        Err(e) => Err(e),
    }
}

/// Puts back the bytes that [`raw`] found, durably.
pub(in crate::vault) fn put_back(dir: BorrowedFd<'_>, bytes: &[u8]) -> Result<()> {
    in_own_dir(dir, |fd| storage::replace_durably(fd, DIR_RECORD, bytes, MODE))
}

/// Changes rekeyfs's own files in a directory: also where its mode forbids that to its owner, and without a
/// trace in its times.
pub(in crate::vault) fn in_own_dir<T>(
    dir: BorrowedFd<'_>,
    mut act: impl FnMut(BorrowedFd<'_>) -> storage::Result<T>,
) -> Result<T> {
    let before = storage::fstat(dir)?;
    let done = match act(dir) {
        // It can't be written, or not even read (then the descriptor is an O_PATH one).
        Err(e @ (Errno::ACCESS | Errno::BADF)) => {
            storage::chmod(dir, before.mode | 0o700).map_err(|_| e)?;
            let done = storage::open_dir(dir, b".").and_then(|fd| act(fd.as_fd()));
            storage::chmod(dir, before.mode)?;
            done
        }
        done => done,
    };
    // Only the owner may set times; where that isn't the daemon, the change shows.
    let _ = storage::set_times(dir, TimeChange::At(before.atime), TimeChange::At(before.mtime));
    Ok(done?)
}
