//! The lower tree as the namespace sees it: inodes by their lower names, directories, their locks, and the
//! ciphers of names. Everything here works on names and descriptors, never on paths.

mod attr;
mod changed_elsewhere;
mod clear_privileges;
mod create;
mod descriptors;
pub(super) mod dir_cache;
mod dir_handles;
pub(super) mod dir_record;
pub(super) mod dirs;
mod elsewhere;
mod errors;
mod generation;
pub(super) mod inode;
pub(super) mod locks;
pub(super) mod long_names;
mod lookup;
mod name_cache;
mod readdir;
mod remove;
mod rename;
pub(super) mod xattr;
mod xattr_support;

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use super::{Error, FileKind, Result};
use crate::ids::{AliasName, Ino, NodeGeneration};
use crate::names::{LowerName, TreeCiphers};
use crate::storage::{self, Access, AnyFd, Errno, FileHandle, Stat, Writable};
pub(super) use changed_elsewhere::PAUSES;
use descriptors::Descriptors;
use dir_cache::{Dir, DirCache};
use dir_handles::DirHandles;
use errors::{name_error, out_of_descriptors};
use generation::Generations;
use inode::{Inode, Links, Pin, Table};
use locks::{DirLocks, Mode};
use name_cache::NameCache;
use xattr_support::XattrSupport;

/// The lower tree.
pub(super) struct Tree {
    dev: u64,
    root_ino: u64,
    pub(super) inodes: Table,
    pub(super) dirs: DirCache,
    descriptors: Descriptors,
    pub(super) locks: DirLocks,
    pub(super) names: TreeCiphers,
    name_cache: NameCache,
    pub(super) handles: DirHandles,
    pub(super) generations: Generations,
    xattr_support: XattrSupport,
    no_atime: bool,
    /// The filesystem below was seen to lack RENAME_NOREPLACE.
    no_noreplace: AtomicBool,
    /// Whether another host changes the tree (`changed_elsewhere`).
    others_write: bool,
    writable: Option<Writable>,
}

impl Tree {
    /// The inode number of a lower inode.
    ///
    /// # Errors
    /// [`Error::CrossDevice`] if it is no part of the tree (`elsewhere`), or has the root's number.
    pub(super) fn ino(&self, stat: &Stat) -> Result<Ino> {
        if self.is_elsewhere(stat) { Err(Error::CrossDevice) } else { self.lower_ino(stat.ino) }
    }

    fn is_elsewhere(&self, stat: &Stat) -> bool {
        stat.dev != self.dev || stat.mount_root
    }

    /// The inode number for a lower one.
    pub(super) fn lower_ino(&self, lower: u64) -> Result<Ino> {
        match lower {
            root if root == self.root_ino => Ok(Ino::ROOT),
            // Taken by the root; no lower filesystem that can hold a tree uses it for anything else.
            1 => Err(Error::CrossDevice),
            other => Ok(Ino(other)),
        }
    }

    /// The generation of what has this name in a directory, or, if that is empty, of the descriptor's inode. The
    /// stat is one that says when it was made.
    pub(super) fn generation(
        &self,
        ino: Ino,
        at: BorrowedFd<'_>,
        name: &[u8],
        stat: &Stat,
    ) -> Result<NodeGeneration> {
        if let Some(born) = stat.born {
            return Ok(self.generations.of(ino, born));
        }
        let known = self.inodes.find(ino).filter(|known| known.check_current().is_ok());
        if let Some(known) = known.filter(|_| !self.others_write) {
            return Ok(known.generation);
        }
        self.generations.lack_births();
        let handle = FileHandle::of(at, name)?;
        Ok(handle.map_or_else(NodeGeneration::default, |handle| NodeGeneration(handle.generation())))
    }

    /// How many descriptors may be in use before another one isn't opened.
    pub(super) fn most_descriptors(&self) -> usize {
        self.descriptors.most()
    }

    /// Calls `open`, which changes nothing, and again with half of the cached directories closed if descriptors have run
    /// out.
    ///
    /// # Errors
    /// ENFILE if they have all the same; what `open` says.
    pub(super) fn with_free_fd(
        &self,
        open: impl Fn() -> storage::Result<OwnedFd>,
    ) -> storage::Result<OwnedFd> {
        self.freeing_fds(|| self.descriptors.open(&open))
    }

    /// As [`Tree::with_free_fd`], for what creates a file, which `remove` removes.
    ///
    /// # Errors
    /// As [`Tree::with_free_fd`].
    pub(super) fn with_free_fd_to_create(
        &self,
        create: impl Fn() -> storage::Result<OwnedFd>,
        remove: impl Fn() -> storage::Result<()>,
    ) -> storage::Result<OwnedFd> {
        self.freeing_fds(|| self.descriptors.create(&create, &remove))
    }

    fn freeing_fds(&self, open: impl Fn() -> storage::Result<OwnedFd>) -> storage::Result<OwnedFd> {
        match open() {
            Err(e) if out_of_descriptors(e) => {
                self.dirs.shrink();
                open().map_err(|e| if out_of_descriptors(e) { Errno::NFILE } else { e })
            }
            done => done,
        }
    }

    /// The lower name under which an existing entry is looked for.
    pub(super) fn locate(&self, dir: &Dir, name: &[u8]) -> Result<LowerName> {
        self.derived(dir, name, || self.names.names.locate(dir.id, name).map_err(name_error))
    }

    /// The lower name for a new entry.
    pub(super) fn new_name(&self, dir: &Dir, name: &[u8]) -> Result<LowerName> {
        crate::names::check_new(name).map_err(name_error)?;
        self.derived(dir, name, || Ok(self.names.names.encrypt(dir.id, name)))
    }

    fn derived(
        &self,
        dir: &Dir,
        name: &[u8],
        derive: impl FnOnce() -> Result<LowerName>,
    ) -> Result<LowerName> {
        if let Some(entry) = self.name_cache.get(dir.id, name) {
            return Ok(LowerName::Short(entry));
        }
        let lower = derive()?;
        if let LowerName::Short(entry) = &lower {
            self.name_cache.keep(dir.id, name, entry);
        }
        Ok(lower)
    }

    /// The plaintext name under which a lower one that isn't rekeyfs's own, nor long, is shown.
    pub(super) fn shown(&self, dir: &Dir, entry: &[u8]) -> Vec<u8> {
        let name = self.names.names.show(dir.id, entry);
        self.name_cache.keep(dir.id, &name, entry);
        name
    }

    /// What an entry is; `None`: there is none. The caller holds the directory's lock.
    pub(super) fn stat_entry(&self, dir: &Dir, entry: &[u8]) -> Result<Option<Stat>> {
        match storage::stat(dir.fd(), entry) {
            Ok(stat) if self.is_elsewhere(&stat) => Err(Error::CrossDevice),
            Ok(stat) => Ok(Some(stat)),
            Err(Errno::NOENT) => Ok(None),
            Err(e) => Err(e.into()),
        }
    }

    /// An O_PATH descriptor of an entry.
    pub(super) fn open_path(&self, dir: BorrowedFd<'_>, entry: &[u8]) -> storage::Result<OwnedFd> {
        self.with_free_fd(|| storage::open_path(dir, entry))
    }

    /// Calls `act` with a directory and a lower name in it that lead to the inode, locked so that they do until
    /// it returns. `act` returns `None` where it finds another inode there; that name is struck out then, and
    /// the next one tried. `None` in the end: it has no known name.
    fn by_name<T>(
        &self,
        inode: &Inode,
        mut act: impl FnMut(BorrowedFd<'_>, &[u8]) -> storage::Result<Option<T>>,
    ) -> Result<Option<T>> {
        while let Some(parent) = inode.parent() {
            let _lock = self.locks.one(parent, Mode::Shared);
            // Moved between the two.
            let Some(entry) = inode.entry_in(parent) else { continue };
            match self.dir(parent) {
                Ok(dir) => match act(dir.fd(), &entry) {
                    Ok(Some(done)) => return Ok(Some(done)),
                    Ok(None) | Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => {}
                    // The directory, or the file, is gone on a lower filesystem that says so.
                    Err(Errno::STALE) if self.others_write => self.dirs.invalidate(parent),
                    Err(e) => return Err(e.into()),
                },
                Err(Error::Stale) => {}
                Err(e) => return Err(e),
            }
            self.inodes.remove_location(inode, parent, &entry);
        }
        Ok(None)
    }

    pub(super) fn is(&self, inode: &Inode, stat: &Stat) -> bool {
        self.ino(stat).is_ok_and(|ino| ino == inode.ino)
            && stat.kind() == inode.kind
            && self.stands_for(inode, stat)
    }

    /// Stats an inode, open or not, with a name or without.
    ///
    /// # Errors
    /// [`Error::Stale`] if its names lead elsewhere; what the lower filesystem says.
    pub(super) fn stat(&self, inode: &Inode) -> Result<Stat> {
        let stat = self.stat_any(inode)?;
        inode.check_current()?;
        Ok(stat)
    }

    fn stat_any(&self, inode: &Inode) -> Result<Stat> {
        if let Some(file) = inode.opened() {
            return Ok(storage::fstat(file.fd())?);
        }
        if inode.kind == FileKind::Directory
            && let Some(dir) = self.dirs.get(inode.ino)
        {
            return Ok(storage::fstat(dir.fd())?);
        }
        let named = self.by_name(inode, |dir, entry| {
            storage::stat(dir, entry).map(|s| self.is(inode, &s).then_some(s))
        })?;
        match named {
            Some(stat) => Ok(stat),
            None => storage::fstat(self.pinned(inode)?.as_fd()).map_err(forgotten),
        }
    }

    /// The O_PATH descriptor of an inode that has no known name.
    ///
    /// # Errors
    /// [`Error::Stale`] if there is none, nor a way to open one.
    fn pinned(&self, inode: &Inode) -> Result<Arc<OwnedFd>> {
        match inode.pin() {
            Pin::Gone(fd) | Pin::Spare(fd) => Ok(fd),
            Pin::None => Err(Error::Stale),
            Pin::Handle(handle) => {
                let root = self.dir(Ino::ROOT)?;
                let opened = self.with_free_fd(|| handle.open(root.fd()));
                // It takes CAP_DAC_READ_SEARCH.
                let fd = opened.map_err(|e| if e == Errno::PERM { Error::Stale } else { e.into() })?;
                Ok(Arc::new(fd))
            }
        }
    }

    /// Calls `act` with a descriptor of the inode, perhaps an O_PATH one.
    ///
    /// # Errors
    /// [`Error::Stale`] if its names lead elsewhere; what opening and `act` say.
    pub(super) fn with_fd<T>(&self, inode: &Inode, act: impl FnOnce(AnyFd<'_>) -> Result<T>) -> Result<T> {
        let done = self.with_any_fd(inode, act)?;
        inode.check_current()?;
        Ok(done)
    }

    fn with_any_fd<T>(&self, inode: &Inode, act: impl FnOnce(AnyFd<'_>) -> Result<T>) -> Result<T> {
        if let Some(file) = inode.opened() {
            return act(file.fd().into());
        }
        if inode.kind == FileKind::Directory
            && let Some(dir) = self.dirs.get(inode.ino)
        {
            return act(dir.fd().into());
        }
        match self.path_fd(inode)? {
            Some(fd) => act(AnyFd::path(fd.as_fd())),
            None => act(AnyFd::path(self.pinned(inode)?.as_fd())),
        }
    }

    /// An O_PATH descriptor of an inode with a name.
    pub(super) fn path_fd(&self, inode: &Inode) -> Result<Option<OwnedFd>> {
        self.by_name(inode, |dir, entry| {
            let fd = self.open_path(dir, entry)?;
            Ok(self.is(inode, &self.fstat(fd.as_fd())?).then_some(fd))
        })
    }

    /// Opens and stats the lower file of an inode, for writing also where its mode forbids that to its owner: what
    /// the caller may do, the kernel has checked by the mode. The caller holds the inode's `file` slot, so that
    /// no chmod comes in between.
    ///
    /// # Errors
    /// [`Error::Stale`] if its names lead elsewhere; what opening says.
    pub(super) fn open_lower(&self, inode: &Inode, access: Access) -> Result<(OwnedFd, Stat)> {
        let opened = self.by_name(inode, |dir, entry| {
            let fd = self.with_free_fd(|| storage::open_file(dir, entry, access))?;
            let stat = self.fstat(fd.as_fd())?;
            Ok(self.is(inode, &stat).then_some((fd, stat)))
        });
        let fd = match opened {
            Ok(Some(opened)) => return Ok(opened),
            Ok(None) => {
                let pin = self.pinned(inode)?;
                match self.with_free_fd(|| storage::reopen(pin.as_fd(), access)) {
                    Err(Errno::ACCESS) => self.open_widened(pin.as_fd(), access)?,
                    done => done.map_err(forgotten)?,
                }
            }
            Err(Error::Lower(Errno::ACCESS)) => {
                let path = self.path_fd(inode)?.ok_or(Error::Stale)?;
                self.open_widened(path.as_fd(), access)?
            }
            Err(e) => return Err(e),
        };
        let stat = storage::fstat(fd.as_fd())?;
        inode.check_current()?;
        Ok((fd, stat))
    }

    /// A descriptor that is to be read through: with `no_atime` that leaves the time of last access alone. Not so
    /// for a file of someone else where the daemon isn't root, as open(2) has it.
    pub(super) fn for_reading(&self, fd: OwnedFd) -> OwnedFd {
        if self.no_atime
            && let Err(e) = storage::keep_atime(fd.as_fd())
        {
            tracing::debug!("reading will change a time of last access: {e}");
        }
        fd
    }

    /// Opens a file for which its mode has to be widened, and restores that. Not in a vault that isn't to be changed.
    pub(super) fn open_widened(&self, path: BorrowedFd<'_>, access: Access) -> Result<OwnedFd> {
        let _leave = self.writable.ok_or(Errno::ACCESS)?;
        let before = storage::fstat(path)?.mode;
        // Not ours: then there is nothing to widen.
        storage::chmod(AnyFd::path(path), before | 0o600).map_err(|_| Errno::ACCESS)?;
        let opened = self.with_free_fd(|| storage::reopen(path, access));
        storage::chmod(AnyFd::path(path), before)?;
        Ok(opened?)
    }

    /// The alias that wraps an inode's content: that of a directory it is in; the default one if it has no name.
    pub(super) fn alias_of(&self, inode: &Inode) -> Result<AliasName> {
        match inode.parent() {
            Some(parent) => self.alias_in(&self.dir(parent)?),
            None => Ok(AliasName::default_alias()),
        }
    }

    /// An inode is about to lose this name, which may be its last: its number isn't used again without that being
    /// known. The descriptor keeps it until [`Tree::name_gone`] says what became of it. The caller holds the directory's
    /// lock exclusively.
    pub(super) fn before_removal(&self, dir: &Dir, entry: &[u8]) -> Result<OwnedFd> {
        Ok(self.open_path(dir.fd(), entry)?)
    }

    /// A name is gone. What the kernel knows stays reachable. `stat` is that of before, `fd` was opened before, and the
    /// lock is held since. True if the inode has no links any more.
    pub(super) fn name_gone(&self, dir: &Dir, entry: &[u8], stat: &Stat, fd: OwnedFd) -> Result<bool> {
        let ino = self.ino(stat)?;
        let gone = match stat.kind() {
            FileKind::Directory => true,
            _ if stat.nlink == 1 => true,
            // Other names may have gone meanwhile, in directories that aren't locked here.
            _ => storage::fstat(fd.as_fd())?.nlink == 0,
        };
        if gone {
            self.generations.freed(ino, stat.born);
        }
        if let Some(inode) = self.inodes.find(ino) {
            let links = if gone { Links::None } else { Links::Others };
            self.inodes.strike(&inode, dir.ino, entry, fd, links);
        }
        Ok(gone)
    }
}

/// What a call by the descriptor of what has no name failed with. A cluster may have forgotten it: GlusterFS says ESTALE then, JuiceFS
/// ENOENT, which would tell a program that a name isn't there that was given to another file just now. For ESTALE the
/// kernel looks the name up again.
fn forgotten(error: Errno) -> Error {
    match error {
        Errno::NOENT | Errno::STALE => Error::Stale,
        error => error.into(),
    }
}

#[cfg(test)]
mod tests;
