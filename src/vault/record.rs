//! Directory records: `.dir`, which holds a directory's id once it can't be derived any more, and its alias.
//!
//! A directory's id is derived from where it was made. It is stored just before the directory is first
//! moved (and durable before that, so that no crash parts it from its id), or given an alias.

use std::os::fd::{AsFd, BorrowedFd};

use super::dirs::Dir;
use super::tree::{Tree, TreeNames, opening};
use super::{Damage, Result};
use crate::names::{DIR_RECORD, DirRecord};
use crate::storage::{self, Access, Errno, TimeChange};

const MODE: u32 = 0o600;

/// The record of a directory; `None`: its id is derived.
///
/// # Errors
/// Damage if there is one that isn't valid: its id must not be derived then.
pub(super) fn read(names: &TreeNames, dir: BorrowedFd<'_>) -> Result<Option<DirRecord>> {
    let file = match storage::open_file(dir, DIR_RECORD, Access::ReadOnly) {
        Ok(file) => file,
        Err(Errno::NOENT) => return Ok(None),
        // A symlink, a socket.
        Err(Errno::LOOP | Errno::NXIO) => return Err(Damage::DirRecord.into()),
        Err(e) => return Err(e.into()),
    };
    let bytes = match storage::read_all(file.as_fd(), DirRecord::MAX_LEN) {
        Ok(bytes) => bytes,
        // Too long, a directory, a FIFO.
        Err(Errno::FBIG | Errno::ISDIR | Errno::SPIPE) => return Err(Damage::DirRecord.into()),
        Err(e) => return Err(e.into()),
    };
    names.records.decode(&bytes).map(Some).map_err(opening(Damage::DirRecord))
}

impl Tree {
    /// Makes a directory's record durable. Its times stay as they were. The caller holds its lock exclusively.
    pub(super) fn store_record(&self, dir: &Dir, record: &DirRecord) -> Result<()> {
        let bytes = self.names.records.encode(record);
        let stored = self.in_own_dir(dir, |fd| storage::replace_durably(fd, DIR_RECORD, &bytes, MODE));
        // Also after an error: the new record may be there.
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

    /// Changes rekeyfs's own files in a directory: also where its mode forbids that to its owner, and without a
    /// trace in its times.
    pub(super) fn in_own_dir<T>(
        &self,
        dir: &Dir,
        mut act: impl FnMut(BorrowedFd<'_>) -> storage::Result<T>,
    ) -> Result<T> {
        let before = storage::fstat(dir.fd())?;
        let done = match act(dir.fd()) {
            // It can't be written, or not even read (then the descriptor is an O_PATH one).
            Err(e @ (Errno::ACCESS | Errno::BADF)) => {
                storage::chmod(dir.fd(), before.mode | 0o700).map_err(|_| e)?;
                let done = storage::open_dir(dir.fd(), b".").and_then(|fd| act(fd.as_fd()));
                storage::chmod(dir.fd(), before.mode)?;
                done
            }
            done => done,
        };
        // Only the owner may set times; where that isn't the daemon, the change shows.
        let _ = storage::set_times(dir.fd(), TimeChange::At(before.atime), TimeChange::At(before.mtime));
        Ok(done?)
    }
}
