//! From an inode number to an open directory: cached, or reopened by name from the nearest one that is still there.
//! Its id is that of its record, or else derived from where it lies.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use super::Tree;
use super::descriptors::Descriptors;
use super::dir_cache::{Dir, DirCache};
use super::dir_handles::DirHandles;
use super::errors::out_of_descriptors;
use super::generation::Generations;
use super::inode::Table;
use super::locks::DirLocks;
use super::name_cache::NameCache;
use super::xattr_support::XattrSupport;
use crate::crypto::keys::TreeKey;
use crate::ids::{AliasName, DirId, Ino};
use crate::names::TreeCiphers;
use crate::storage::{self, Errno, LowerFs, Writable};
use crate::vault::{Error, Result};

/// How often a way down is tried again that a rename has changed under it.
const TRIES: usize = 16;
/// No tree is deeper: what walks further goes in a circle, over directories moved behind our back.
const DEEPEST: usize = 1 << 20;
/// Directories kept open, at the least and at the most.
const OPEN_DIRS: std::ops::RangeInclusive<u64> = 64..=4096;

impl Tree {
    /// The tree below the directory `root`, which is on `lower`. Keeps at most a quarter of the descriptor limit's directories open.
    /// `others_write`: another host changes it (`changed_elsewhere`).
    ///
    /// # Errors
    /// Damage of the root's record; what the lower filesystem says.
    pub(in crate::vault) fn open(
        root: OwnedFd,
        lower: &LowerFs,
        key: Arc<TreeKey>,
        no_atime: bool,
        others_write: bool,
        writable: Option<Writable>,
    ) -> Result<Self> {
        let stat = storage::fstat(root.as_fd())?;
        let root_id = key.root_dir_id();
        let names = TreeCiphers::new(key);
        let root = make_dir(&names, root, Ino::ROOT, || root_id)?;
        let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current.unwrap_or(u64::MAX);
        let open_dirs = (limit / 4).clamp(*OPEN_DIRS.start(), *OPEN_DIRS.end()) as usize;
        Ok(Self {
            dev: stat.dev,
            root_ino: stat.ino,
            inodes: Table::new(open_dirs),
            dirs: DirCache::new(root, open_dirs),
            descriptors: Descriptors::of(limit),
            locks: DirLocks::new(),
            names,
            name_cache: NameCache::default(),
            handles: DirHandles::default(),
            generations: Generations::default(),
            xattr_support: XattrSupport::of(lower),
            no_atime,
            no_noreplace: AtomicBool::default(),
            others_write,
            writable,
        })
    }

    /// The open directory of this inode.
    ///
    /// # Errors
    /// [`Error::Stale`] if it isn't known or has no name any more; damage of its record; what opening says.
    pub(in crate::vault) fn dir(&self, ino: Ino) -> Result<Arc<Dir>> {
        for _ in 0..TRIES {
            if let Some(dir) = self.dirs.get(ino) {
                return Ok(dir);
            }
            if let Some(dir) = self.load(ino)? {
                return Ok(dir);
            }
        }
        Err(Error::Stale)
    }

    /// Opens the directories down to `ino` from the nearest that is open. `None`: a name has changed meanwhile.
    fn load(&self, ino: Ino) -> Result<Option<Arc<Dir>>> {
        let mut down = Vec::new();
        let mut at = ino;
        let mut dir = loop {
            if let Some(dir) = self.dirs.get(at) {
                break dir;
            }
            let location = self.inodes.get(at)?.location().ok_or(Error::Stale)?;
            let parent = location.parent;
            down.push((at, location.entry));
            if down.len() > DEEPEST {
                return Err(Error::Stale);
            }
            at = parent;
        };
        while let Some((ino, entry)) = down.pop() {
            match self.child_dir(&dir, &entry, ino)? {
                Some(child) => dir = child,
                None => return Ok(None),
            }
        }
        Ok(Some(dir))
    }

    /// The directory that `entry` leads to, cached or opened. `None`: it doesn't lead to that inode.
    pub(super) fn child_dir(&self, parent: &Dir, entry: &[u8], ino: Ino) -> Result<Option<Arc<Dir>>> {
        let mut shrunk = false;
        loop {
            if let Some(dir) = self.dirs.get(ino) {
                return Ok(Some(dir));
            }
            let epoch = self.dirs.epoch();
            let fd = match self.with_free_fd(|| open_dir(parent.fd(), entry)) {
                Ok(fd) => fd,
                Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(None),
                Err(e) => return Err(e.into()),
            };
            let stat = storage::fstat(fd.as_fd())?;
            if self.ino(&stat)? != ino {
                return Ok(None);
            }
            let dir = match self.make_dir(fd, ino, || self.names.derived_id(parent.id, entry)) {
                // There was a descriptor for the directory, but none for its record.
                Err(Error::Lower(e)) if out_of_descriptors(e) && !shrunk => {
                    self.dirs.shrink();
                    shrunk = true;
                    continue;
                }
                dir => dir?,
            };
            if let Some(dir) = self.dirs.insert(dir, epoch) {
                return Ok(Some(dir));
            }
        }
    }

    /// A directory from its descriptor: by its record, or else by the derived id.
    pub(super) fn make_dir(&self, fd: OwnedFd, ino: Ino, derive: impl FnOnce() -> DirId) -> Result<Dir> {
        make_dir(&self.names, fd, ino, derive)
    }

    /// After a change of a directory's record, or its removal. The caller holds its lock exclusively.
    pub(super) fn dir_changed(&self, dir: &Dir) -> Result<()> {
        if dir.ino == Ino::ROOT {
            let fd = storage::open_dir(dir.fd(), b".")?;
            let fresh = self.make_dir(fd, Ino::ROOT, || dir.id)?;
            self.dirs.set_root(fresh);
        } else {
            self.dirs.invalidate(dir.ino);
        }
        Ok(())
    }

    /// The alias under which new files in a directory are wrapped: its own, else that of the nearest directory
    /// above which has one, else the default one.
    pub(in crate::vault) fn alias_in(&self, dir: &Arc<Dir>) -> Result<AliasName> {
        let epoch = self.dirs.alias_epoch();
        let mut below = Vec::new();
        let mut at = dir.clone();
        let alias = loop {
            if let Some(alias) = &at.alias {
                break alias.clone();
            }
            if let Some(alias) = at.effective_alias(epoch) {
                break alias;
            }
            if at.ino == Ino::ROOT {
                break AliasName::default_alias();
            }
            let parent = self.inodes.get(at.ino)?.parent().ok_or(Error::Stale)?;
            let above = self.dir(parent)?;
            below.push(std::mem::replace(&mut at, above));
            if below.len() > DEEPEST {
                return Err(Error::Stale);
            }
        };
        for dir in below {
            dir.keep_effective_alias(epoch, alias.clone());
        }
        Ok(alias)
    }
}

/// A directory from its descriptor: by its record, or else by the derived id.
fn make_dir(names: &TreeCiphers, fd: OwnedFd, ino: Ino, derive: impl FnOnce() -> DirId) -> Result<Dir> {
    Ok(match super::dir_record::read(names, fd.as_fd())? {
        Some(record) => Dir::recorded(fd, ino, record),
        None => Dir::derived(fd, ino, derive()),
    })
}

/// Opens a directory, as O_PATH if it may be searched but not read.
pub(in crate::vault) fn open_dir(at: BorrowedFd<'_>, name: &[u8]) -> storage::Result<OwnedFd> {
    match storage::open_dir(at, name) {
        // It can't be listed, but what is in it can still be reached by name.
        Err(Errno::ACCESS) => storage::open_path(at, name),
        done => done,
    }
}
