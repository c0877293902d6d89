//! Whether an inode may bear the file id that it comes with: the rule of [`super`], applied.

use std::os::fd::AsFd;

use crate::events::{Class, Event, FileRef};
use crate::ids::{FileId, Ino};
use crate::storage::{self, Access};
use crate::vault::file::states_file_id;
use crate::vault::tree::inode::{Inode, Pin};
use crate::vault::{Result, Vault};

/// What comes of the claim of a file id that another inode has had.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Claim {
    /// The other inode still bears it.
    Refused,
    /// The other inode bears it no more.
    Granted,
}

impl Vault {
    /// Notes the id of a file that is being opened and has so many names. The caller holds the inode's `file` slot, and
    /// no lock that comes behind it. Returns the inode to which the id belongs, where that is another one.
    pub(in crate::vault::file) fn claim_file_id(&self, id: FileId, ino: Ino, names: u64) -> Option<Ino> {
        // One that the kernel doesn't know is being looked at by a walk over the tree.
        let inode = self.tree.inodes.find(ino)?;
        let other = self.file_ids.claim(id, &inode)?;
        if self.may_be_one_file(names, &other) {
            return None;
        }
        if matches!(other.pin(), Pin::Gone(_)) {
            self.file_ids.take_over(id, &inode);
            return None;
        }
        if self.still_bears(&other, id) {
            self.report_shared_file_id(id, ino, other.ino, Claim::Refused);
            return Some(other.ino);
        }
        self.report_shared_file_id(id, ino, other.ino, Claim::Granted);
        self.file_ids.take_over(id, &inode);
        None
    }

    /// As [`Vault::claim_file_id`], under the inode lock, where no directory can be locked to see whether the other inode
    /// still bears the id: what was taken from a file while its key was gone is not given back.
    pub(in crate::vault::file) fn claim_file_id_again(&self, id: FileId, ino: Ino) -> Option<Ino> {
        let inode = self.tree.inodes.find(ino)?;
        let other = self.file_ids.claim(id, &inode)?;
        if !self.lower.links_share_ino {
            return None;
        }
        self.report_shared_file_id(id, ino, other.ino, Claim::Refused);
        Some(other.ino)
    }

    /// Whether these can be hard links to one file: a FUSE filesystem below may give each name a number of its own, and
    /// the kernel keeps a count of links for each number, of which one may be of before the other was made.
    fn may_be_one_file(&self, names: u64, other: &Inode) -> bool {
        let linked = || {
            let path = self.tree.path_fd(other).ok().flatten();
            path.is_some_and(|path| storage::fstat(path.as_fd()).is_ok_and(|stat| stat.nlink > 1))
        };
        !self.lower.links_share_ino && (names > 1 || linked())
    }

    /// The file was truncated to zero.
    pub(in crate::vault::file) fn give_up_file_id(&self, id: FileId, ino: Ino) {
        self.file_ids.give_up(id, ino);
    }

    /// Whether an inode is in use with this id, or has a slot of it on disk. Waits for nobody: two threads may each hold
    /// what the other asks about.
    fn still_bears(&self, inode: &Inode, id: FileId) -> bool {
        let loaded = match inode.file.try_lock() {
            Some(slot) => slot.upgrade(),
            None => return true,
        };
        match loaded.and_then(|file| file.bears(id)) {
            Some(bears) => bears,
            None => self.bears_below(inode, id).unwrap_or(false),
        }
    }

    /// Its mode isn't widened for that: only a thread that holds its `file` slot may do that.
    fn bears_below(&self, inode: &Inode, id: FileId) -> Result<bool> {
        let Some(path) = self.tree.path_fd(inode)? else { return Ok(false) };
        Ok(states_file_id(storage::reopen(path.as_fd(), Access::ReadOnly)?.as_fd(), id)?)
    }

    fn report_shared_file_id(&self, id: FileId, ino: Ino, other: Ino, claim: Claim) {
        let refused = claim == Claim::Refused;
        tracing::error!(
            ino = ino.0,
            lower = self.lower_path(ino),
            other = other.0,
            other_lower = self.lower_path(other),
            refused,
            "two inodes bear one file id"
        );
        self.keys.events().record_limited(Class::Damage, || Event::FileIdTwice {
            file: FileRef { file: Some(id), ..self.file_ref(ino) },
            other: self.file_ref(other),
            refused,
        });
    }
}
