//! Making entries, in the caller's name.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use super::Tree;
use super::attr;
use super::dir_cache::Dir;
use super::inode::{Inode, LookedUp};
use super::locks::Mode;
use crate::ids::{AliasName, Ino};
use crate::names::LowerName;
use crate::storage;
use crate::vault::{Attr, Caller, Error, FileKind, Result};

/// The type bits of a mode, and those of a regular file.
const TYPE_BITS: u32 = 0o170_000;
const REGULAR: u32 = 0o100_000;

impl Caller {
    fn lower(&self) -> storage::Caller {
        storage::Caller { uid: self.uid, gid: self.gid, umask: self.umask }
    }
}

impl Tree {
    /// Makes an entry: `make` gets the directory and the entry's lower name, with the directory locked and a
    /// long name's companion durable.
    pub(super) fn with_new_name<T>(
        &self,
        parent: Ino,
        name: &[u8],
        make: impl FnOnce(&Arc<Dir>, &[u8]) -> Result<T>,
    ) -> Result<T> {
        {
            let _lock = self.locks.one(parent, Mode::Shared);
            let dir = self.dir(parent)?;
            if let LowerName::Short(entry) = self.new_name(&dir, name)? {
                return make(&dir, &entry);
            }
        }
        let _lock = self.locks.one(parent, Mode::Exclusive);
        let dir = self.dir(parent)?;
        let name = self.new_name(&dir, name)?;
        if self.stat_entry(&dir, name.entry())?.is_some() {
            return Err(Error::Exists);
        }
        let put = self.put_companion(&dir, &name)?;
        let made = make(&dir, name.entry());
        if put && made.is_err() && matches!(self.stat_entry(&dir, name.entry()), Ok(None)) {
            self.drop_companion(&dir, &name);
        }
        made
    }

    /// Counts a lookup of an entry that was made just now, under the same lock. One that turns out to lie on another
    /// filesystem is taken back: it could never be opened.
    fn made(&self, dir: &Dir, entry: &[u8]) -> Result<(Arc<Inode>, Attr)> {
        let found = self.find(dir, entry).inspect_err(|e| take_back(dir, entry, e))?;
        self.remember(dir, entry, &found.ok_or(Error::Stale)?)
    }

    /// Makes an empty file and opens it. `check` says whether files can be wrapped under the alias of its
    /// directory: before there is a file that could never be written.
    pub(in crate::vault) fn create_file(
        &self,
        parent: Ino,
        name: &[u8],
        mode: u32,
        caller: &Caller,
        check: impl FnOnce(&AliasName) -> Result<()>,
    ) -> Result<(Arc<Inode>, OwnedFd, Attr, AliasName)> {
        self.with_new_name(parent, name, |dir, entry| {
            let alias = self.alias_in(dir)?;
            check(&alias)?;
            let create = || storage::create_file(dir.fd(), entry, mode & 0o7777);
            let fd = self.with_free_fd_to_create(
                || storage::as_caller(caller.lower(), create),
                || storage::unlink(dir.fd(), entry),
            )?;
            let stat = storage::fstat_born(fd.as_fd())?;
            let ino = self.ino(&stat).inspect_err(|e| take_back(dir, entry, e))?;
            let generation = self.generation(ino, fd.as_fd(), b"", &stat)?;
            let (kind, parent) = (FileKind::Regular, dir.ino);
            let made =
                LookedUp { ino, kind, generation, parent, entry, made_now: true, links_elsewhere: None };
            let (inode, _) = self.inodes.remember(&made)?;
            let attr = attr::of(&inode, &stat);
            Ok((inode, fd, attr, alias))
        })
    }

    /// Makes a node: FIFO, socket, device, or (with `check` as for [`Tree::create_file`]) a regular file.
    pub(in crate::vault) fn mknod(
        &self,
        parent: Ino,
        name: &[u8],
        mode: u32,
        rdev: u64,
        caller: &Caller,
        check: impl FnOnce(&AliasName) -> Result<()>,
    ) -> Result<Attr> {
        self.with_new_name(parent, name, |dir, entry| {
            if matches!(mode & TYPE_BITS, 0 | REGULAR) {
                check(&self.alias_in(dir)?)?;
            }
            storage::as_caller(caller.lower(), || storage::mknod(dir.fd(), entry, mode, rdev))?;
            Ok(self.made(dir, entry)?.1)
        })
    }

    /// Makes a directory: one lower call, for its id is derived.
    pub(in crate::vault) fn mkdir(
        &self,
        parent: Ino,
        name: &[u8],
        mode: u32,
        caller: &Caller,
    ) -> Result<Attr> {
        self.with_new_name(parent, name, |dir, entry| {
            storage::as_caller(caller.lower(), || storage::mkdir(dir.fd(), entry, mode & 0o7777))?;
            Ok(self.made(dir, entry)?.1)
        })
    }

    /// Makes a symlink.
    pub(in crate::vault) fn symlink(
        &self,
        parent: Ino,
        name: &[u8],
        target: &[u8],
        caller: &Caller,
    ) -> Result<Attr> {
        let lower = self.names.symlinks.encode(target).map_err(|_| Error::NameTooLong)?;
        self.with_new_name(parent, name, |dir, entry| {
            storage::as_caller(caller.lower(), || storage::symlink(dir.fd(), entry, &lower))?;
            Ok(self.made(dir, entry)?.1)
        })
    }

    /// Gives an inode a further name.
    pub(in crate::vault) fn link(&self, ino: Ino, parent: Ino, name: &[u8]) -> Result<Attr> {
        let inode = self.inodes.get(ino)?;
        if inode.kind == FileKind::Directory {
            return Err(Error::NotPermitted("directories have one name"));
        }
        self.with_fd(&inode, |fd| {
            self.with_new_name(parent, name, |dir, entry| {
                storage::link_fd(fd.as_fd(), dir.fd(), entry)?;
                let (inode, attr) = self.made(dir, entry)?;
                inode.unpin_if_named();
                Ok(attr)
            })
        })
    }
}

fn take_back(dir: &Dir, entry: &[u8], e: &Error) {
    if matches!(e, Error::CrossDevice)
        && let Err(e) = storage::unlink(dir.fd(), entry)
    {
        tracing::warn!(dir = dir.ino.0, "what was made on another filesystem could not be removed: {e}");
    }
}
