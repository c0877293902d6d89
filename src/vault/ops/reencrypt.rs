//! Replacing a file by its re-encrypted self: a temporary file beside it, complete and durable, is renamed over
//! it. A crash leaves the old file or the new one. The new file is another inode. The old one is known no more: each
//! operation that reaches it by its number says ESTALE, which has the kernel look the name up again, and none tells
//! what it is like without its name; the kernel is made to forget name and pages. It stays pinned for a while, so
//! that its number isn't used again at once; when it is, the generation tells.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use crate::events::{Class, Event, FileRef};
use crate::header::SlotKeys;
use crate::ids::{Ino, Time, TimeChange};
use crate::monitor::Monitor;
use crate::names::{LowerKind, XattrSpace};
use crate::storage::{self, Errno, RenameFlags, Stat, XattrMode};
use crate::vault::file::{Copied, OpenFile, Purpose};
use crate::vault::tree::Tree;
use crate::vault::tree::dir_record;
use crate::vault::tree::inode::Inode;
use crate::vault::tree::locks::Mode;
use crate::vault::{Error, FileKind, Result, Vault};

/// How often metadata that changes meanwhile is copied again.
const TRIES: usize = 8;
const ACCESS_ACL: &[u8] = b"system.posix_acl_access";

/// What became of a file that was to be re-encrypted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reencrypted {
    /// It has a new DEK and file id, and is this inode now.
    Done(Ino),
    /// It is empty: there is nothing to encrypt.
    Empty,
    /// Left as it is: it has several names.
    Linked,
    /// Left as it is: it is open, or was changed meanwhile.
    InUse,
    /// Left as it is: the caller stopped it.
    Stopped,
}

/// A file as it was when its content began to be copied.
struct SourceSnapshot {
    /// Before it was read.
    stat: Stat,
    edits: u64,
}

/// An empty lower file beside one that is to be replaced.
struct Replacement {
    parent: Ino,
    entry: Vec<u8>,
    temporary: Vec<u8>,
    fd: OwnedFd,
}

impl Vault {
    /// Gives a file a new DEK and file id: all of it is written again under the version that its alias resolves
    /// to now, made durable, read back from the disk and compared, given the old file's owner, mode, times,
    /// extended attributes and ACLs, and renamed over it; durable when it returns. A crash at any instant leaves
    /// the old file or the new one; a temporary file that it may leave too is hidden, and removed by the next
    /// try. Takes as much space as the file while it runs; `monitor` is asked after some pages each.
    ///
    /// # Errors
    /// ENOKEY if the file's key or that of its alias isn't usable; EIO where it is damaged; ENOSPC and the like
    /// from below. The old file stands then, unless only the directory's sync failed.
    pub fn reencrypt(&self, ino: Ino, monitor: &mut Monitor<'_>) -> Result<Reencrypted> {
        self.check_writable()?;
        let mut name = None;
        let done = {
            let _counts_wait = self.rewraps.read();
            // Two at once would use one temporary file.
            let Some(_claim) = self.gates.claim(ino) else { return Ok(Reencrypted::InUse) };
            self.reencrypt_claimed(ino, monitor, &mut name)?
        };
        if matches!(done, Reencrypted::Done(_)) {
            // Its pages are of no use any more, nor is what the kernel knows of it: without its name the kernel can
            // forget it. Where it keeps that, the inode behind it is stale.
            self.drop_pages(ino);
            if let (Some(kernel), Some((parent, name))) = (self.page_cache.get(), name)
                && let Err(error) = kernel.drop_entry(parent, &name)
            {
                tracing::debug!(%error, ino = ino.0, "the kernel keeps the name of a file that was replaced");
            }
        }
        Ok(done)
    }

    /// `name`: where the file is, if it was replaced.
    fn reencrypt_claimed(
        &self,
        ino: Ino,
        monitor: &mut Monitor<'_>,
        name: &mut Option<(Ino, Vec<u8>)>,
    ) -> Result<Reencrypted> {
        let (inode, file, seen) = {
            let _gate = self.gates.close(ino);
            let inode = self.inode(ino)?;
            if inode.kind != FileKind::Regular {
                return Err(Error::Invalid("only regular files have a data key"));
            }
            let stat = self.tree.stat(&inode)?;
            let file = self.file_of(&inode, Purpose::Read)?;
            self.ensure_writable(&inode, &file)?;
            if stat.nlink > 1 {
                return Ok(Reencrypted::Linked);
            }
            if file.is_open() || stat.nlink == 0 {
                return Ok(Reencrypted::InUse);
            }
            if file.backing().is_none() {
                return Ok(Reencrypted::Empty);
            }
            let edits = file.edits();
            (inode, file, SourceSnapshot { stat, edits })
        };
        let Some(replacement) = self.tree.create_replacement(&inode)? else { return Ok(Reencrypted::InUse) };
        let done = self.reporting_damage(ino, self.replace(&inode, &file, &seen, &replacement, monitor));
        if matches!(done, Ok(Reencrypted::Done(_))) {
            *name = self
                .tree
                .plain_name(replacement.parent, &replacement.entry)
                .map(|name| (replacement.parent, name));
        } else {
            self.tree.discard(&replacement);
        }
        done
    }

    /// When a file's lower inode was made, if the lower filesystem says: not before its DEK was.
    ///
    /// # Errors
    /// What the lower filesystem says.
    pub fn born(&self, ino: Ino) -> Result<Option<Time>> {
        let inode = self.inode(ino)?;
        self.tree.with_fd(&inode, |fd| Ok(storage::birth(fd.as_fd())?))
    }

    fn replace(
        &self,
        inode: &Arc<Inode>,
        file: &OpenFile,
        seen: &SourceSnapshot,
        replacement: &Replacement,
        monitor: &mut Monitor<'_>,
    ) -> Result<Reencrypted> {
        let (id, keys) = match self.copy_under_new_dek(file, seen.edits, replacement.fd.as_fd(), monitor)? {
            Copied::All(id, keys) => (id, keys),
            Copied::Overtaken => return Ok(Reencrypted::InUse),
            Copied::Stopped => return Ok(Reencrypted::Stopped),
        };
        for _ in 0..TRIES {
            let metadata = Metadata::of(file.fd())?;
            // Reading it has moved its time of last access, unless someone has set that since.
            let untouched = metadata.stat.ctime == seen.stat.ctime;
            let atime = if untouched { seen.stat.atime } else { metadata.stat.atime };
            metadata.put_on(replacement.fd.as_fd(), atime)?;
            storage::fsync(replacement.fd.as_fd())?;
            let gate = self.gates.close(inode.ino);
            if file.is_open() || file.edits() != seen.edits {
                return Ok(Reencrypted::InUse);
            }
            if !Metadata::of(file.fd())?.is_still(&metadata) {
                continue;
            }
            let path = self.file_ref(inode.ino).path;
            let done = self.commit(inode, replacement, keys)?;
            drop(gate);
            if let Reencrypted::Done(new) = done {
                self.keys.events().record_limited(Class::Reencryptions, || Event::FileReencrypted {
                    file: FileRef { ino: new, file: Some(id), path },
                    replaced: inode.ino,
                    backing: keys.backing,
                });
                self.tree.sync_dir(replacement.parent)?;
            }
            return Ok(done);
        }
        Ok(Reencrypted::InUse)
    }

    /// The rename. The gate is closed: nobody opens or changes the file by its inode.
    fn commit(&self, inode: &Arc<Inode>, replacement: &Replacement, keys: SlotKeys) -> Result<Reencrypted> {
        let tree = &self.tree;
        let new = tree.ino(&storage::fstat(replacement.fd.as_fd())?)?;
        let _lock = tree.locks.one(replacement.parent, Mode::Exclusive);
        let dir = tree.dir(replacement.parent)?;
        // Moved, or replaced by something else.
        let there = match inode.entry_in(replacement.parent) {
            Some(entry) if *entry == *replacement.entry => tree.stat_entry(&dir, &entry)?,
            _ => None,
        };
        let Some(stat) = there.filter(|stat| tree.is(inode, stat)) else { return Ok(Reencrypted::InUse) };
        if stat.nlink != 1 {
            return Ok(Reencrypted::Linked);
        }
        let fd = tree.before_removal(&dir, &replacement.entry)?;
        // First: a thread that sees an effect of the rename on it, such as no link being left, sees this too.
        inode.mark_replaced();
        let renamed = dir_record::in_own_dir(dir.fd(), |fd| {
            storage::rename(fd, &replacement.temporary, fd, &replacement.entry, RenameFlags::empty())
        });
        if let Err(e) = renamed {
            inode.unmark_replaced();
            return Err(e);
        }
        tree.generations.freed(inode.ino, stat.born);
        tree.inodes.strike_replaced(inode, replacement.parent, &replacement.entry, fd);
        self.census.forget(inode.ino);
        self.census.note(new, keys, self.tag_generation(&keys));
        Ok(Reencrypted::Done(new))
    }
}

impl Tree {
    /// Makes the temporary file for an inode, readable by nobody else; one that an earlier try left is removed.
    /// `None`: the inode has no name.
    fn create_replacement(&self, inode: &Inode) -> Result<Option<Replacement>> {
        let Some(location) = inode.location() else { return Ok(None) };
        let temporary = LowerKind::reencryption_of(inode.ino);
        let _lock = self.locks.one(location.parent, Mode::Exclusive);
        let dir = self.dir(location.parent)?;
        let create = |fd: BorrowedFd<'_>| {
            match storage::unlink(fd, &temporary) {
                Ok(()) | Err(Errno::NOENT) => {}
                Err(e) => return Err(e),
            }
            self.with_free_fd_to_create(
                || storage::create_temporary(fd, &temporary, 0o600),
                || storage::unlink(fd, &temporary),
            )
        };
        let fd = dir_record::in_own_dir(dir.fd(), create)?;
        Ok(Some(Replacement { parent: location.parent, entry: location.entry.into(), temporary, fd }))
    }

    /// Makes a directory's names durable.
    fn sync_dir(&self, ino: Ino) -> Result<()> {
        let dir = match self.dir(ino) {
            // Removed since: nothing in it has to last.
            Err(Error::Stale) => return Ok(()),
            dir => dir?,
        };
        match storage::fsync_dir(dir.fd()) {
            // It can't be read, so its descriptor is an O_PATH one.
            Err(Errno::BADF) => {
                let _lock = self.locks.one(ino, Mode::Exclusive);
                dir_record::in_own_dir(dir.fd(), storage::fsync_dir)
            }
            done => Ok(done?),
        }
    }

    /// The name that an entry is shown under; `None` where that is unknown.
    fn plain_name(&self, parent: Ino, entry: &[u8]) -> Option<Vec<u8>> {
        let _lock = self.locks.one(parent, Mode::Shared);
        let dir = self.dir(parent).ok()?;
        match LowerKind::of(entry) {
            LowerKind::LongEntry => self.long_name(&dir, entry).ok(),
            _ => Some(self.shown(&dir, entry)),
        }
    }

    /// Removes a temporary file. A failure leaves it, hidden: it is the first thing that the next try removes.
    fn discard(&self, replacement: &Replacement) {
        let _lock = self.locks.one(replacement.parent, Mode::Exclusive);
        if let Ok(dir) = self.dir(replacement.parent) {
            let _ = dir_record::in_own_dir(dir.fd(), |fd| storage::unlink(fd, &replacement.temporary));
        }
    }
}

/// What a file is besides its content.
struct Metadata {
    stat: Stat,
    xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Metadata {
    fn of(fd: BorrowedFd<'_>) -> Result<Self> {
        let mut xattrs = Vec::new();
        for name in list(fd)? {
            // One that is gone between the two calls is noticed by the comparison at the end.
            if let Some(value) = storage::getxattr(fd, &name)? {
                xattrs.push((name, value));
            }
        }
        xattrs.sort();
        Ok(Self { stat: storage::fstat(fd)?, xattrs })
    }

    /// Whether nothing has changed since it was `before`.
    fn is_still(&self, before: &Self) -> bool {
        let of = |stat: &Stat| (stat.mode, stat.uid, stat.gid, stat.size, stat.nlink, stat.atime, stat.mtime);
        of(&self.stat) == of(&before.stat) && self.xattrs == before.xattrs
    }

    /// Makes a file have all of it. In this order: a change of owner clears bits of the mode, and an ACL is a
    /// part of it.
    fn put_on(&self, fd: BorrowedFd<'_>, atime: Time) -> Result<()> {
        let stat = &self.stat;
        let now = storage::fstat(fd)?;
        if (now.uid, now.gid) != (stat.uid, stat.gid) {
            storage::chown(fd, Some(stat.uid), Some(stat.gid))?;
        }
        for name in list(fd)? {
            if !self.xattrs.iter().any(|(known, _)| *known == name) && is_ours(&name) {
                storage::removexattr(fd, &name)?;
            }
        }
        for (name, value) in &self.xattrs {
            match storage::setxattr(fd, name, value, XattrMode::Set) {
                // The lower filesystem's own, a security label say, which the new file has already.
                Err(_) if !is_ours(name) => {}
                done => done?,
            }
        }
        storage::chmod(fd, stat.mode)?;
        storage::set_times(fd, TimeChange::At(atime), TimeChange::At(stat.mtime))?;
        Ok(())
    }
}

fn list(fd: BorrowedFd<'_>) -> Result<Vec<Vec<u8>>> {
    match storage::listxattr(fd) {
        Err(Errno::OPNOTSUPP) => Ok(Vec::new()),
        done => Ok(done?),
    }
}

fn is_ours(name: &[u8]) -> bool {
    XattrSpace::of(name).is_some() || name == ACCESS_ACL
}
