//! A tree that another host changes while it is in use here ([`Sharing::Reader`](crate::vault::Sharing)): what may be
//! relied on, and what is looked at again.
//!
//! - *Names* are looked up below each time. A known name that leads elsewhere by now is struck out (`Tree::by_name`).
//! - *An inode* is known by number **and** generation, for a number is used again as soon as the inode is gone: one of
//!   another generation is another inode, and takes the place of the first ([`Tree::stands_for`], `Table::remember`).
//! - *A directory's id* doesn't change while the directory lives: it is stored before the directory is moved. But
//!   it may have been derived in the moment in which a removal that failed had taken the record away. So the record
//!   is looked for again where a name isn't found, and before a listing ([`Tree::reread_record`]): under a
//!   wrong id no name is found.
//! - *A lower size* that is a multiple of a page is one that a growing file has for a moment
//!   ([`layout`](crate::content::layout)): the writer gives each file that it grows some bytes of the next page. It is
//!   looked at again before it is believed ([`Tree::settled`]).

use std::os::fd::BorrowedFd;
use std::time::Duration;

use super::Tree;
use super::dir_cache::Dir;
use super::dir_record;
use super::inode::Inode;
use crate::content::layout;
use crate::ids::Ino;
use crate::names::DirRecord;
use crate::storage::{self, Errno, Stat};
use crate::vault::{Error, FileKind, Result};

/// What is waited before what looks like the middle of a change is looked at again, each time. A change takes microseconds, and
/// what a cluster's client makes of it some milliseconds.
pub(in crate::vault) const PAUSES: [Duration; 4] = [
    Duration::from_millis(1),
    Duration::from_millis(4),
    Duration::from_millis(16),
    Duration::from_millis(64),
];

impl Tree {
    /// Whether a stat may be that of an inode: as far as it says when the inode was made, and another host may have
    /// used the number again.
    pub(super) fn stands_for(&self, inode: &Inode, stat: &Stat) -> bool {
        !self.others_write
            || stat.born.is_none_or(|born| self.generations.of(inode.ino, born) == inode.generation)
    }

    /// As [`storage::fstat`]; with the time of birth where that is to be compared.
    pub(super) fn fstat(&self, fd: BorrowedFd<'_>) -> storage::Result<Stat> {
        if self.others_write { storage::fstat_born(fd) } else { storage::fstat(fd) }
    }

    /// A stat of a file as it is once the writer isn't in the middle of growing it.
    pub(in crate::vault) fn settled(
        &self,
        first: Stat,
        mut again: impl FnMut() -> Result<Stat>,
    ) -> Result<Stat> {
        let mut stat = first;
        if self.others_write {
            for pause in PAUSES {
                if !is_growing(&stat) {
                    break;
                }
                std::thread::sleep(pause);
                stat = again()?;
            }
        }
        Ok(stat)
    }

    /// Reads the record of an open directory again whose id was derived. Whether another id is known now, or the directory is
    /// to be opened again.
    pub(super) fn reread_record(&self, ino: Ino) -> Result<bool> {
        if !self.others_write || ino == Ino::ROOT {
            return Ok(false);
        }
        let Some(dir) = self.dirs.get(ino).filter(|dir| !dir.stored) else { return Ok(false) };
        match dir_record::read(&self.names, dir.fd()) {
            Ok(None) => Ok(false),
            Ok(Some(record)) => self.take_record(&dir, record),
            Err(Error::Lower(Errno::STALE)) => {
                self.dirs.invalidate(ino);
                Ok(true)
            }
            Err(e) => Err(e),
        }
    }

    fn take_record(&self, dir: &Dir, record: DirRecord) -> Result<bool> {
        let another = record.id != dir.id;
        // By its descriptor: it may lie elsewhere by now.
        let fd = self.with_free_fd(|| super::dirs::open_dir(dir.fd(), b"."))?;
        self.dirs.replace(Dir::recorded(fd, dir.ino, record));
        Ok(another)
    }
}

fn is_growing(stat: &Stat) -> bool {
    let lower = stat.lower_size();
    stat.kind() == FileKind::Regular
        && (layout::plain_size(lower).is_err() || (lower.0 > 0 && lower.0.is_multiple_of(layout::PAGE)))
}
