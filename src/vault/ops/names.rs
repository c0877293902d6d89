//! The vault's operations on names and attributes: each checks what may be done on this mount, has the
//! namespace do it, and tells the content half.

use std::sync::Arc;
use std::time::Duration;

use crate::ids::{AliasName, Ino, PlainOffset};
use crate::keyring::KeyUse;
use crate::names::LowerKind;
use crate::storage::{self, Errno, RenameFlags};
use crate::vault::file::Purpose;
use crate::vault::tree::inode::Inode;
use crate::vault::{Attr, Caller, Error, FileKind, Result, SetAttr, StatFs, SyncScope, Vault};

impl Vault {
    /// Looks an entry up and counts that; [`Vault::forget`] uncounts.
    ///
    /// # Errors
    /// ENOENT, ENAMETOOLONG; EIO for a damaged directory record on the way.
    pub fn lookup(&self, parent: Ino, name: &[u8]) -> Result<Attr> {
        let attr = self.reporting_damage(parent, self.tree.lookup(parent, name))?;
        self.note_attributes(&attr);
        self.if_live(Ok(attr)).inspect_err(|_| self.forget(attr.ino, 1))
    }

    /// The kernel forgets `n` lookups of an inode.
    pub fn forget(&self, ino: Ino, n: u64) {
        if let Some(gone) = self.tree.inodes.forget(ino, n) {
            self.forgets.note();
            self.close_later(gone);
        }
    }

    /// Has what a forgotten inode keeps open closed, if its last name is gone.
    pub(in crate::vault) fn close_later(&self, inode: Arc<Inode>) {
        if inode.pin().fd().is_some() {
            self.deferred_close.add(inode);
        }
    }

    /// Attributes of a known inode.
    ///
    /// # Errors
    /// ESTALE.
    pub fn getattr(&self, ino: Ino) -> Result<Attr> {
        let found = self.tree.getattr(ino).inspect(|attr| self.note_attributes(attr));
        self.reporting_damage(ino, found)
    }

    /// Changes attributes, the size first; returns those that are there then.
    ///
    /// # Errors
    /// ENOKEY for a size when the key can't be used, EACCES when its policy doesn't let the caller, EIO when
    /// the header is damaged (these are events); EPERM and the like from below.
    pub fn setattr(&self, ino: Ino, set: &SetAttr, caller: &Caller) -> Result<Attr> {
        let done = self.change_attributes(ino, set, caller);
        if set.size.is_some() { self.reporting_refusal("truncate", ino, done) } else { done }
    }

    fn change_attributes(&self, ino: Ino, set: &SetAttr, caller: &Caller) -> Result<Attr> {
        self.check_writable()?;
        let _gate = self.gates.enter(ino);
        if let Some(attr) = self.tree.with_mtime_already(ino, set)? {
            return Ok(attr);
        }
        // Until all is changed: it isn't opened again for its times.
        let mut file = None;
        if let Some(size) = set.size {
            let inode = self.inode(ino)?;
            if inode.kind != FileKind::Regular {
                return Err(Error::Invalid("only regular files have a size to set"));
            }
            self.authorize_size(&inode, set, caller)?;
            if caller.uid != 0 {
                // First: once the size is changed, nothing may fail.
                let opened = file.insert(self.file_of(&inode, Purpose::Truncate)?);
                self.tree.clear_privileges(&inode, opened.fd())?;
            }
            file = Some(self.truncate(&inode, PlainOffset(size))?);
        }
        let changed = self.tree.set_metadata(ino, set);
        let Some(file) = file else {
            return changed?.map_or_else(|| self.tree.getattr(ino), Ok);
        };
        self.put_mtime_back_if_closed(&file);
        changed?;
        self.tree.getattr(ino)
    }

    /// The target of a symlink.
    ///
    /// # Errors
    /// EIO if it is damaged, EINVAL for anything else.
    pub fn readlink(&self, ino: Ino) -> Result<Vec<u8>> {
        self.if_live(self.reporting_damage(ino, self.tree.readlink(ino)))
    }

    /// Makes a FIFO, socket, device node or regular file.
    ///
    /// # Errors
    /// EEXIST; as [`Vault::create`] for a regular file.
    pub fn mknod(&self, parent: Ino, name: &[u8], mode: u32, rdev: u64, caller: &Caller) -> Result<Attr> {
        let made = self.retry_when_full(|| self.make_node(parent, name, mode, rdev, caller));
        self.reporting_refusal("create", parent, made)
    }

    fn make_node(&self, parent: Ino, name: &[u8], mode: u32, rdev: u64, caller: &Caller) -> Result<Attr> {
        self.check_writable()?;
        let made = self.tree.mknod(parent, name, mode, rdev, caller, |alias| {
            self.authorize_new(alias, caller, &[KeyUse::Encrypt])?;
            self.check_alias(alias)
        });
        self.reporting_damage(parent, made)
    }

    /// Makes a directory.
    ///
    /// # Errors
    /// EEXIST, what the lower filesystem says.
    pub fn mkdir(&self, parent: Ino, name: &[u8], mode: u32, caller: &Caller) -> Result<Attr> {
        self.check_writable()?;
        self.reporting_damage(parent, self.retry_when_full(|| self.tree.mkdir(parent, name, mode, caller)))
    }

    /// Makes a symlink.
    ///
    /// # Errors
    /// ENAMETOOLONG for a target of more than 3,030 bytes.
    pub fn symlink(&self, parent: Ino, name: &[u8], target: &[u8], caller: &Caller) -> Result<Attr> {
        self.check_writable()?;
        self.reporting_damage(
            parent,
            self.retry_when_full(|| self.tree.symlink(parent, name, target, caller)),
        )
    }

    /// Gives an inode a further name.
    ///
    /// # Errors
    /// EEXIST, EPERM for a directory, EMLINK from below.
    pub fn link(&self, ino: Ino, parent: Ino, name: &[u8]) -> Result<Attr> {
        self.check_writable()?;
        let moving = self.moves.begin();
        let linked = {
            let _gate = self.gates.enter(ino);
            self.reporting_damage(parent, self.tree.link(ino, parent, name))?
        };
        self.record_move(&moving, parent, name);
        Ok(linked)
    }

    /// Removes a name that isn't a directory's.
    ///
    /// # Errors
    /// ENOENT, EISDIR.
    pub fn unlink(&self, parent: Ino, name: &[u8]) -> Result<()> {
        self.unlink_one_of(parent, name).map(drop)
    }

    /// As [`Vault::unlink`]; returns the inode if it has other names.
    ///
    /// # Errors
    /// As [`Vault::unlink`].
    pub fn unlink_one_of(&self, parent: Ino, name: &[u8]) -> Result<Option<Ino>> {
        self.check_writable()?;
        let (ino, gone) = self.reporting_damage(parent, self.tree.unlink(parent, name))?;
        if gone {
            self.file_gone(ino);
        }
        Ok(Some(ino).filter(|_| !gone))
    }

    /// Its last name is gone. While it is open it can be written on.
    fn file_gone(&self, ino: Ino) {
        self.census.forget(ino);
        if self.tree.inodes.find(ino).is_none_or(|inode| inode.opened().is_none()) {
            self.emptied.forget(ino);
        }
    }

    /// Removes an empty directory.
    ///
    /// # Errors
    /// ENOENT, ENOTDIR, ENOTEMPTY.
    pub fn rmdir(&self, parent: Ino, name: &[u8]) -> Result<()> {
        self.check_writable()?;
        self.reporting_damage(parent, self.tree.rmdir(parent, name))
    }

    /// Renames, over what is there, or with NOREPLACE or EXCHANGE. A directory's id is durable before it
    /// moves, so no power cut parts its entries from their names.
    ///
    /// # Errors
    /// Those of `renameat2(2)`.
    pub fn rename(&self, from: (Ino, &[u8]), to: (Ino, &[u8]), flags: RenameFlags) -> Result<()> {
        self.rename_over_one_of(from, to, flags).map(drop)
    }

    /// As [`Vault::rename`]; returns the inode that was replaced if it has other names.
    ///
    /// # Errors
    /// As [`Vault::rename`].
    pub fn rename_over_one_of(
        &self,
        from: (Ino, &[u8]),
        to: (Ino, &[u8]),
        flags: RenameFlags,
    ) -> Result<Option<Ino>> {
        self.check_writable()?;
        let moving = self.moves.begin();
        let replaced = self.reporting_damage(from.0, self.tree.rename(from, to, flags))?;
        if let Some((ino, true)) = replaced {
            self.file_gone(ino);
        }
        self.record_move(&moving, to.0, to.1);
        if flags.contains(RenameFlags::EXCHANGE) {
            self.record_move(&moving, from.0, from.1);
        }
        Ok(replaced.filter(|(_, gone)| !gone).map(|(ino, _)| ino))
    }

    /// Makes a directory's entries durable.
    ///
    /// # Errors
    /// What the lower filesystem says.
    pub fn fsyncdir(&self, ino: Ino, scope: SyncScope) -> Result<()> {
        let dir = match self.reporting_damage(ino, self.tree.dir(ino)) {
            // Removed: nothing of it has to last.
            Err(Error::Stale) if self.inode(ino)?.pin().fd().is_some() => return Ok(()),
            dir => dir?,
        };
        let synced = match scope {
            SyncScope::Data => storage::fdatasync(dir.fd()),
            SyncScope::All => storage::fsync(dir.fd()),
        };
        match synced {
            // A lower filesystem that has none for directories.
            Err(Errno::INVAL) => Ok(storage::syncfs(dir.fd())?),
            done => Ok(done?),
        }
    }

    /// Space and inodes of the lower filesystem, as they are; the longest name is 255 bytes.
    ///
    /// # Errors
    /// What the lower filesystem says.
    pub fn statfs(&self) -> Result<StatFs> {
        let root = self.tree.dir(Ino::ROOT)?;
        Ok(StatFs { namelen: 255, ..storage::statvfs(root.fd())? })
    }

    /// Whether files of the tree lie on another filesystem than its directories, as far as a glance tells: then the
    /// vault can't be used here.
    ///
    /// # Errors
    /// What reading the root says.
    pub fn files_lie_elsewhere(&self) -> Result<bool> {
        self.tree.files_lie_elsewhere(&self.lower)
    }

    /// The unit in which times are kept below.
    pub fn time_granularity(&self) -> Duration {
        let unit = self.tree.dir(Ino::ROOT).map_or(1, |root| storage::time_granularity(root.fd()));
        Duration::from_nanos(unit.into())
    }

    /// A name under which the kernel knows an inode, and the directory.
    pub fn known_name(&self, ino: Ino) -> Option<(Ino, Vec<u8>)> {
        let location = self.inode(ino).ok()?.location()?;
        let dir = self.tree.dir(location.parent).ok()?;
        let name = match LowerKind::of(&location.entry) {
            LowerKind::LongEntry => self.tree.long_name(&dir, &location.entry).ok()?,
            _ => self.tree.shown(&dir, &location.entry),
        };
        Some((location.parent, name))
    }

    pub(in crate::vault) fn check_alias(&self, alias: &AliasName) -> Result<()> {
        let current = self.keys.current(alias).and_then(|current| self.keys.usable(current));
        current.map_err(crate::vault::file::key_error)
    }
}
