//! Which backing keys the files need: the count that comes before a key or a version of it goes. It reads
//! every header of the lower tree, those under hidden names too, whatever the state of their keys, and says
//! which files' keys are unknown: what can't be seen, for it lies on another filesystem or below a mount point, can't
//! be read or makes no sense, counts as unknown, never as nothing. Nothing is changed.
//!
//! Files move while they are counted: one that is renamed or linked into a directory that was read already
//! would be missed, so the namespace records what moves (`moves`), and after a directory moved the count begins
//! again. That no new file takes up what is to go is for the caller: a version below the current one wraps
//! nothing new, and re-wraps that chose it before are waited for here.

mod named_files;

use std::collections::{BTreeMap, HashSet};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use named_files::{KnownKeys, NamedFiles, Reason};
pub use named_files::{NAMED_FILES_MAX, NamedFile};

use super::header_keys::FileKeys;
use super::moves::Moving;
use crate::ids::{BackingKeyId, Ino};
use crate::monitor::{Cancelled, Monitor, Progress};
use crate::names::LowerKind;
use crate::storage::{self, Access, DirStream, Errno, Stat};
use crate::vault::{Error, FileKind, Result, Vault};

/// How often a count is begun again because directories moved.
const TRIES: u32 = 5;
/// How often a header that makes no sense is read again: it may be in the middle of being written.
const READS: u32 = 4;
const READ_PAUSE: Duration = Duration::from_millis(5);
/// Entries of a directory between two questions whether to continue.
const STEP: u64 = 256;

/// How many files need which backing keys.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct KeyReferences {
    /// Regular files looked at.
    pub files: u64,
    /// Files by the backing keys that their slots bear, of keys that the keyring has: one, or two while a re-wrap isn't
    /// done. Versions that a key has never had count as one, the highest number.
    pub by: BTreeMap<Vec<BackingKeyId>, u64>,
    /// Of these, those that stay under their key when an alias is pointed at another one.
    pub staying: BTreeMap<Vec<BackingKeyId>, u64>,
    /// Files and directories whose keys are unknown.
    pub unreadable: u64,
    /// The lower path of one of these, and why.
    pub example: Option<String>,
    /// Entries of the tree that lie on another filesystem, or are mount points: what they hold, or hide, wasn't
    /// looked at.
    pub elsewhere: u64,
    /// The lower path of one of these.
    pub elsewhere_example: Option<String>,
    named: NamedFiles,
}

impl KeyReferences {
    /// Files that need one of the backing keys that `gone` chooses.
    pub fn of(&self, gone: impl Fn(BackingKeyId) -> bool) -> u64 {
        count_of(&self.by, gone)
    }

    /// As [`KeyReferences::of`], of those that no alias moves away.
    pub fn staying_of(&self, gone: impl Fn(BackingKeyId) -> bool) -> u64 {
        count_of(&self.staying, gone)
    }

    /// Some of the files that need one of the backing keys that `gone` chooses, or whose keys are unknown.
    pub fn in_the_way_of(&self, gone: impl Fn(BackingKeyId) -> bool) -> Vec<NamedFile> {
        let needing = self.named.of(|reason| match reason {
            Reason::Needs(backing) => gone(*backing),
            Reason::Unreadable | Reason::Elsewhere => false,
        });
        let untold = self.named.of(|reason| matches!(reason, Reason::Unreadable | Reason::Elsewhere));
        needing.into_iter().chain(untold).take(NAMED_FILES_MAX).collect()
    }

    fn unreadable(&mut self, path: &[u8], inode: Option<u64>, why: &dyn std::fmt::Display) {
        self.unreadable += 1;
        self.named.add(Reason::Unreadable, path, inode, || why.to_string());
        if self.example.is_none() {
            self.example = Some(format!("tree/{}: {why}", String::from_utf8_lossy(path)));
        }
    }

    fn elsewhere(&mut self, path: &[u8]) {
        self.elsewhere += 1;
        self.named.add(Reason::Elsewhere, path, None, || {
            "it lies on another filesystem, or is a mount point".to_owned()
        });
        if self.elsewhere_example.is_none() {
            self.elsewhere_example = Some(format!("tree/{}", String::from_utf8_lossy(path)));
        }
    }

    fn note(&mut self, backings: Vec<BackingKeyId>, stays: bool) {
        if backings.is_empty() {
            return;
        }
        if stays {
            *self.staying.entry(backings.clone()).or_default() += 1;
        }
        *self.by.entry(backings).or_default() += 1;
    }
}

fn count_of(files: &BTreeMap<Vec<BackingKeyId>, u64>, gone: impl Fn(BackingKeyId) -> bool) -> u64 {
    let of = files.iter().filter(|(backings, _)| backings.iter().any(|backing| gone(*backing)));
    of.map(|(_, files)| files).sum()
}

/// Why there is no count.
#[derive(Debug, thiserror::Error)]
pub enum CountError {
    /// The caller wanted no more.
    #[error("stopped before all files were counted")]
    Stopped,
    /// Directories were moved all the time.
    #[error("directories are being moved while files are counted, so that some could be missed; try again")]
    Moving,
    /// The tree can't be read.
    #[error(transparent)]
    Vault(#[from] Error),
}

impl From<Cancelled> for CountError {
    fn from(_: Cancelled) -> Self {
        Self::Stopped
    }
}

/// A directory on the way down.
struct Level {
    stream: DirStream,
    /// The length of the path up to and with it.
    path: usize,
    below: Vec<Vec<u8>>,
}

/// Whose tree is counted.
#[derive(Clone, Copy, PartialEq, Eq)]
enum TreeKind {
    /// The vault's own, in use.
    Own,
    /// A copy of it, at rest.
    Copy,
}

struct Count<'a, 'm> {
    vault: &'a Vault,
    references: KeyReferences,
    tree: TreeKind,
    device: u64,
    /// Files with several names that were met.
    linked: HashSet<u64>,
    known: KnownKeys,
    path: Vec<u8>,
    monitor: &'a mut Monitor<'m>,
}

impl Vault {
    /// Counts which backing keys the files need. Re-wraps under way are waited for first, and what was counted is
    /// durable when it returns. The number of files looked at
    /// so far is reported.
    ///
    /// # Errors
    /// [`CountError`]. What can't be read below the root is no error: the count says so.
    pub fn count_key_references(
        &self,
        monitor: &mut Monitor<'_>,
    ) -> std::result::Result<KeyReferences, CountError> {
        let _only = self.counting.lock();
        drop(self.rewraps.write());
        for _ in 0..TRIES {
            self.moves.record();
            let counted = self.count_once(monitor);
            let moved = self.moves.end();
            let mut references = counted?;
            if !moved.again {
                let known = KnownKeys::of(&self.keys);
                for (backings, stays) in moved.files {
                    references.note(known.counted(&backings), stays);
                }
                self.make_durable()?;
                return Ok(references);
            }
        }
        Err(CountError::Moving)
    }

    /// A move is done: `name` in `parent` is one of its places.
    pub(in crate::vault) fn record_move(&self, moving: &Moving<'_>, parent: Ino, name: &[u8]) {
        let Some(moved) = moving.recorded() else { return };
        let found = self.tree.lookup(parent, name).and_then(|attr| {
            let needs = match attr.kind {
                FileKind::Regular => self.inode(attr.ino).and_then(|inode| {
                    let path = self.tree.path_fd(&inode)?.ok_or(Error::Stale)?;
                    self.file_keys(attr.ino, path.as_fd())
                }),
                FileKind::Directory => Err(Error::Stale),
                _ => Ok(FileKeys::Nothing),
            };
            self.forget(attr.ino, 1);
            needs
        });
        let mut moved = moved.lock();
        match found {
            Ok(FileKeys::Backings { backings, stays }) => moved.files.push((backings, stays)),
            // Moved on, or removed; the thread that did that recorded it.
            Ok(FileKeys::Nothing) | Err(Error::NotFound) => {}
            Ok(FileKeys::Unknown(_)) | Err(_) => moved.again = true,
        }
    }

    fn count_once(&self, monitor: &mut Monitor<'_>) -> std::result::Result<KeyReferences, CountError> {
        let root = self.tree.dir(Ino::ROOT)?;
        let fd = storage::open_dir(root.fd(), b".").map_err(Error::from)?;
        self.count_tree(fd, TreeKind::Own, monitor)
    }

    /// Whether a directory is this vault's own tree, by whatever path it was found.
    ///
    /// # Errors
    /// What the lower filesystem says.
    pub fn is_own_tree(&self, tree: BorrowedFd<'_>) -> Result<bool> {
        let own = storage::fstat(self.tree.dir(Ino::ROOT)?.fd())?;
        let stat = storage::fstat(tree)?;
        Ok((stat.dev, stat.ino) == (own.dev, own.ino))
    }

    /// Counts which backing keys the files of a copy of this vault's tree need, `tree`: both slots of each header
    /// count, and what bears a key or version that the keyring doesn't know counts as unknown.
    ///
    /// # Errors
    /// As [`Vault::count_key_references`].
    pub fn count_key_references_of_copy(
        &self,
        tree: OwnedFd,
        monitor: &mut Monitor<'_>,
    ) -> std::result::Result<KeyReferences, CountError> {
        self.count_tree(tree, TreeKind::Copy, monitor)
    }

    fn count_tree(
        &self,
        fd: OwnedFd,
        tree: TreeKind,
        monitor: &mut Monitor<'_>,
    ) -> std::result::Result<KeyReferences, CountError> {
        let device = storage::fstat(fd.as_fd()).map_err(Error::from)?.dev;
        let mut count = Count {
            vault: self,
            references: KeyReferences::default(),
            tree,
            device,
            linked: HashSet::new(),
            known: KnownKeys::of(&self.keys),
            path: Vec::new(),
            monitor,
        };
        let mut levels = vec![count.read(fd)?];
        while let Some(level) = levels.last_mut() {
            count.path.truncate(level.path);
            let Some(name) = level.below.pop() else {
                levels.pop();
                continue;
            };
            let opened = storage::open_dir(level.stream.fd().as_fd(), &name);
            count.enter(&name);
            match opened {
                Ok(fd) => match storage::fstat(fd.as_fd()) {
                    Ok(stat) if stat.dev == device => levels.push(count.read(fd)?),
                    // Mounted over since it was met.
                    Ok(_) => count.references.elsewhere(&count.path),
                    Err(e) => count.unreadable(&e),
                },
                // Removed; one that was moved was recorded.
                Err(Errno::NOENT) => {}
                Err(e) => count.unreadable(&e),
            }
        }
        Ok(count.references)
    }

    /// What a lower file needs, through a descriptor of any kind.
    fn file_keys(&self, ino: Ino, fd: BorrowedFd<'_>) -> Result<FileKeys> {
        let readable = match storage::reopen(fd, Access::ReadOnly) {
            Err(Errno::ACCESS) => self.tree.open_widened(fd, Access::ReadOnly)?,
            opened => opened?,
        };
        for _ in 1..READS {
            match self.read_file_keys(ino, readable.as_fd())? {
                FileKeys::Unknown(_) => std::thread::sleep(READ_PAUSE),
                needs => return Ok(needs),
            }
        }
        self.read_file_keys(ino, readable.as_fd())
    }
}

impl Count<'_, '_> {
    fn enter(&mut self, name: &[u8]) {
        if !self.path.is_empty() {
            self.path.push(b'/');
        }
        self.path.extend_from_slice(name);
    }

    fn unreadable(&mut self, why: &dyn std::fmt::Display) {
        self.references.unreadable(&self.path, None, why);
    }

    /// Reads a directory: counts its files, lists its directories.
    fn read(&mut self, fd: OwnedFd) -> std::result::Result<Level, CountError> {
        let mut level = Level { stream: DirStream::new(fd), path: self.path.len(), below: Vec::new() };
        let mut looked: u64 = 0;
        loop {
            if looked.is_multiple_of(STEP) {
                self.monitor.report(Progress { seen: self.references.files, ..Progress::default() });
                self.monitor.check()?;
            }
            looked += 1;
            let (name, kind) = match level.stream.next() {
                Ok(Some(entry)) => (entry.name.to_vec(), entry.kind),
                Ok(None) => return Ok(level),
                Err(e) => {
                    self.unreadable(&e);
                    return Ok(level);
                }
            };
            if name == b"." || name == b".." {
                continue;
            }
            self.path.truncate(level.path);
            if matches!(kind, Some(kind) if kind != FileKind::Regular && kind != FileKind::Directory) {
                continue;
            }
            self.enter(&name);
            let at = level.stream.fd().as_fd();
            match storage::stat(at, &name) {
                Ok(stat) if stat.dev != self.device || stat.mount_root => {
                    self.references.elsewhere(&self.path);
                }
                Ok(stat) if stat.kind() == FileKind::Directory => level.below.push(name),
                Ok(stat) if stat.kind() == FileKind::Regular => self.file(at, &name, &stat),
                Ok(_) | Err(Errno::NOENT) => {}
                Err(e) => self.unreadable(&e),
            }
        }
    }

    fn file(&mut self, at: BorrowedFd<'_>, name: &[u8], stat: &Stat) {
        let kind = LowerKind::of(name);
        // What a temporary file holds is under its name, or nowhere, before a re-wrap or re-encryption that
        // was waited for is over: what is left of one that was killed opens nothing.
        if matches!(kind, LowerKind::DirRecord | LowerKind::LongCompanion | LowerKind::Temporary) {
            return;
        }
        self.references.files += 1;
        if stat.nlink > 1 && !self.linked.insert(stat.ino) {
            return;
        }
        let keys = if self.tree == TreeKind::Copy {
            let file = storage::open_file(at, name, Access::ReadOnly).map_err(Error::from);
            file.and_then(|file| self.vault.read_copied_file_keys(file.as_fd()))
        } else {
            self.vault.tree.ino(stat).and_then(|ino| {
                let path = storage::open_path(at, name)?;
                self.vault.file_keys(ino, path.as_fd())
            })
        };
        match keys {
            Ok(FileKeys::Nothing) | Err(Error::Lower(Errno::NOENT)) => {}
            Ok(FileKeys::Backings { backings, stays }) => {
                let counted = self.known.counted(&backings);
                self.references.named.add_needs(&counted, &backings, &self.path, stat.ino);
                self.references.note(counted, stays);
            }
            // Of no program known: it has no header that could need a key.
            Ok(FileKeys::Unknown(_)) if kind == LowerKind::Unknown => {}
            Ok(FileKeys::Unknown(why)) => self.references.unreadable(&self.path, Some(stat.ino), &why),
            Err(e) => self.references.unreadable(&self.path, Some(stat.ino), &e),
        }
    }
}

#[cfg(test)]
mod tests;
