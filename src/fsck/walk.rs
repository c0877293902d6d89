//! The walk over the tree: checks each directory, name, symlink and attribute, and the header of each file, and queues its pages
//! for the workers. It holds a descriptor for each directory between the root and its position, and for each queued file.

use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::SyncSender;

use super::dir::{Dir, EntryChecker, Found, PendingDir, lower};
use super::file::{Checkable, Content, HeaderCheck, check_header};
use super::finding::Code;
use super::ids::{FileIds, SecondWalk};
use super::reporter::{Location, Reporter};
use crate::ids::DirId;
use crate::keyring::Keys;
use crate::names::{LowerKind, LowerName, TreeCiphers, bad_name};
use crate::storage::{self, Access, DirStream, Errno, FileKind, Stat};
use crate::vault::Vault;

/// Pages in one job: 16 MiB, all of one segment.
const JOB_PAGES: u64 = 4096;

/// A file whose pages are to be checked.
pub(super) struct Opened {
    pub(super) fd: OwnedFd,
    pub(super) content: Content,
    pub(super) place: Location,
    /// Whether it was reported that its key can no longer be used.
    pub(super) key_gone: AtomicBool,
}

/// Pages of a file.
pub(super) struct Job {
    pub(super) file: Arc<Opened>,
    pub(super) pages: Range<u64>,
}

struct Link {
    names: u64,
    known: u64,
    place: Location,
}

/// The state of a walk.
pub(super) struct Walk<'a, 'w> {
    keys: &'a Keys,
    /// The mount beside which this happens.
    vault: Option<&'a Vault>,
    reporter: &'a Reporter<'w>,
    jobs: SyncSender<Job>,
    checker: EntryChecker,
    dev: u64,
    /// See [`storage::LowerFs`].
    links_share_ino: bool,
    /// What the kernel has cached may be of a time when another host had the vault.
    drops_cached: bool,
    ids: FileIds,
    links: HashMap<u64, Link>,
    todo: Vec<PendingDir>,
}

impl<'a, 'w> Walk<'a, 'w> {
    pub(super) fn new(
        keys: &'a Keys,
        vault: Option<&'a Vault>,
        reporter: &'a Reporter<'w>,
        jobs: SyncSender<Job>,
    ) -> Self {
        let checker = EntryChecker(TreeCiphers::new(keys.tree_key()));
        let ids = FileIds::default();
        Self {
            keys,
            vault,
            reporter,
            jobs,
            checker,
            dev: 0,
            links_share_ino: true,
            drops_cached: false,
            ids,
            links: HashMap::new(),
            todo: Vec::new(),
        }
    }

    /// Walks what lies at `path` (its components, from the mount's root on) below the lower directory `tree`.
    ///
    /// # Errors
    /// ENOENT and the like if there is no such path; what reading the root says.
    pub(super) fn run(&mut self, tree: OwnedFd, path: &[&[u8]]) -> storage::Result<()> {
        self.dev = storage::fstat(tree.as_fd())?.dev;
        let lower = storage::LowerFs::probe(tree.as_fd())?;
        self.links_share_ino = lower.links_share_ino;
        // A mount has dropped it itself.
        self.drops_cached = lower.is_remote && self.vault.is_none();
        let place = Location { path: Vec::new(), lower: b"tree".to_vec() };
        let mut dir = self.dir(tree, Some(self.checker.0.root_id()), place);
        for (at, name) in path.iter().enumerate() {
            let id = dir.id.ok_or(Errno::IO)?;
            let entry = self.checker.0.names.locate(id, name).map_err(|_| Errno::NOENT)?.entry().to_vec();
            let stat = storage::stat(dir.fd.as_fd(), &entry)?;
            if at + 1 == path.len() && stat.kind() != FileKind::Directory {
                self.entry(&Arc::new(dir), &entry);
                return Ok(());
            }
            let fd = storage::open_dir(dir.fd.as_fd(), &entry)?;
            let derived = dir.id.map(|id| self.checker.0.derived_id(id, &entry));
            dir = self.dir(fd, derived, dir.place.child(name, &entry));
        }
        let from = Arc::new(dir);
        self.list(&from);
        while let Some(next) = self.todo.pop() {
            if self.reporter.stopped() {
                return Ok(());
            }
            self.descend(&next);
        }
        let second = SecondWalk { checker: &self.checker, reporter: self.reporter, dev: self.dev };
        second.report_shared(&mut self.ids, &from);
        // Beside a mount names come and go, and a part of the tree needn't hold all names of a file.
        if self.vault.is_none() && path.is_empty() && !self.reporter.stopped() {
            for link in self.links.values().filter(|link| link.known < link.names) {
                let detail = format!("{} hard links, of which {} are in the tree", link.names, link.known);
                self.reporter.find(&link.place, Code::LinkCount, None, detail);
            }
        }
        Ok(())
    }

    /// Runs `look` with the directory quiesced, if there is a mount.
    fn quiesced<T>(&self, dir: BorrowedFd<'_>, mut look: impl FnMut() -> T) -> T {
        match self.vault {
            Some(vault) => match vault.with_dir_quiesced(dir, &mut look) {
                Ok(seen) => seen,
                Err(_) => look(),
            },
            None => look(),
        }
    }

    /// Looks again at what looked wrong, if a mount may have changed it meanwhile.
    fn again<T>(&self, dir: BorrowedFd<'_>, seen: T, look: impl FnMut() -> T) -> T {
        if self.vault.is_some() { self.quiesced(dir, look) } else { seen }
    }

    fn dir(&self, fd: OwnedFd, derived: Option<DirId>, place: Location) -> Dir {
        self.reporter.counts.lock().directories += 1;
        let mut stored = self.checker.stored_id(fd.as_fd());
        if stored.is_err() {
            stored = self.again(fd.as_fd(), stored, || self.checker.stored_id(fd.as_fd()));
        }
        let id = match stored {
            Ok(stored) => stored.or(derived),
            Err((code, detail)) => {
                self.reporter.find(&place, code, None, detail + "; names below it aren't checked");
                None
            }
        };
        let mut found = Vec::new();
        let get = |name: &[u8]| storage::getxattr(fd.as_fd(), name);
        self.checker.xattrs(storage::listxattr(fd.as_fd()), get, &mut found);
        self.report(&place, found);
        Dir { fd, derived, id, place }
    }

    fn report(&self, place: &Location, found: Vec<Found>) {
        for (code, detail) in found {
            self.reporter.find(place, code, None, detail);
        }
    }

    fn descend(&mut self, next: &PendingDir) {
        let place = next.parent.place.child(&next.name, &next.entry);
        match storage::open_dir(next.parent.fd.as_fd(), &next.entry) {
            Ok(fd) => {
                let derived = next.parent.id.map(|id| self.checker.0.derived_id(id, &next.entry));
                let dir = self.dir(fd, derived, place);
                self.list(&Arc::new(dir));
            }
            // Moved or removed meanwhile.
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => {}
            Err(e) => self.report(&place, vec![lower(e, "the directory")]),
        }
    }

    fn list(&mut self, dir: &Arc<Dir>) {
        // The stream needs a descriptor with an offset of its own.
        let stream = storage::open_dir(dir.fd.as_fd(), b".").map(DirStream::new);
        match stream.and_then(|stream| self.entries(dir, stream)) {
            Ok(()) => {}
            // Removed since it was opened.
            Err(Errno::NOENT) if self.vault.is_some() => {}
            Err(e) => self.report(&dir.place, vec![lower(e, "its entries")]),
        }
    }

    fn entries(&mut self, dir: &Arc<Dir>, mut stream: DirStream) -> storage::Result<()> {
        let (mut companions, mut long) = (Vec::new(), HashSet::new());
        while let Some(raw) = stream.next()? {
            self.reporter.tick();
            if self.reporter.stopped() {
                return Ok(());
            }
            match LowerKind::of(raw.name) {
                LowerKind::DirRecord => {}
                LowerKind::Unknown if matches!(raw.name, b"." | b"..") => {}
                LowerKind::Temporary => self.temporary(dir, raw.name),
                LowerKind::Unknown => {
                    let place = dir.place.child(&bad_name(raw.name), raw.name);
                    let detail = "not of this version of rekeyfs; it is hidden and kept";
                    self.reporter.find(&place, Code::UnknownEntry, None, detail);
                }
                LowerKind::LongCompanion => companions.push(raw.name.to_vec()),
                LowerKind::LongEntry => {
                    long.insert(LowerName::companion_of(raw.name));
                    let entry = raw.name.to_vec();
                    self.entry(dir, &entry);
                }
                LowerKind::Name => {
                    let entry = raw.name.to_vec();
                    self.entry(dir, &entry);
                }
            }
        }
        for companion in companions.iter().filter(|companion| !long.contains(*companion)) {
            self.orphan(dir, companion);
        }
        Ok(())
    }

    fn temporary(&self, dir: &Dir, entry: &[u8]) {
        if self.vault.is_some() && LowerKind::is_reencryption(entry) {
            // It may belong to a re-encryption that is under way, which takes longer the larger the file is.
            return;
        }
        let there = self.quiesced(dir.fd.as_fd(), || storage::stat(dir.fd.as_fd(), entry));
        let Ok(stat) = there else { return };
        let place = dir.place.child(&bad_name(entry), entry);
        match stat.kind() {
            FileKind::Regular => {
                let detail = "a temporary file of a change that was interrupted";
                self.reporter.find(&place, Code::Temporary, None, detail);
            }
            _ => {
                self.reporter.find(&place, Code::UnknownEntry, None, "named as a temporary file, and no file")
            }
        }
    }

    fn orphan(&self, dir: &Dir, companion: &[u8]) {
        let entry = companion.strip_suffix(crate::names::LONG_SUFFIX).unwrap_or(companion);
        let orphaned = self.quiesced(dir.fd.as_fd(), || {
            let gone = matches!(storage::stat(dir.fd.as_fd(), entry), Err(Errno::NOENT));
            gone && storage::stat(dir.fd.as_fd(), companion).is_ok()
        });
        if orphaned {
            let place = dir.place.child(&bad_name(companion), companion);
            self.reporter.find(
                &place,
                Code::LongNameOrphan,
                None,
                "it holds the name of an entry that is gone",
            );
        }
    }

    /// Checks an entry whose name is, or should be, encrypted.
    fn entry(&mut self, dir: &Arc<Dir>, entry: &[u8]) {
        let at = dir.fd.as_fd();
        let named = match dir.id {
            None => Ok(Some(bad_name(entry))),
            Some(id) => match self.checker.name(at, id, entry) {
                Ok(name) => Ok(Some(name)),
                bad => self.again(at, bad.map(Some), || {
                    // Removed, and its long name too. It must be looked at in here: outside the lock it may come back.
                    if matches!(storage::stat(at, entry), Err(Errno::NOENT)) {
                        return Ok(None);
                    }
                    // The id too may have been read while the directory was being removed.
                    let id = self.checker.stored_id(at)?.or(dir.derived).unwrap_or(id);
                    self.checker.name(at, id, entry).map(Some)
                }),
            },
        };
        let stat = match storage::stat(at, entry) {
            Ok(stat) => stat,
            Err(Errno::NOENT) => return,
            Err(e) => return self.report(&dir.place.child(&bad_name(entry), entry), vec![lower(e, "it")]),
        };
        let (name, found) = match named {
            Ok(None) => return,
            Ok(Some(name)) => (name, None),
            Err(found) => (bad_name(entry), Some(found)),
        };
        let place = dir.place.child(&name, entry);
        if stat.dev != self.dev || stat.mount_root {
            let detail = "it lies on another filesystem, or something is mounted over it; it was not checked";
            return self.reporter.find(&place, Code::OtherDevice, None, detail);
        }
        self.report(&place, found.into_iter().collect());
        match stat.kind() {
            FileKind::Directory => {
                self.todo.push(PendingDir { parent: dir.clone(), entry: entry.to_vec(), name });
                return;
            }
            FileKind::Regular => return self.file(dir, entry, &stat, place),
            FileKind::Symlink => {
                self.reporter.counts.lock().symlinks += 1;
                self.report(&place, self.checker.symlink(at, entry).err().into_iter().collect());
            }
            FileKind::Fifo | FileKind::Socket | FileKind::CharDevice | FileKind::BlockDevice => {
                self.reporter.counts.lock().others += 1;
            }
        }
        let mut found = Vec::new();
        let get = |name: &[u8]| storage::getxattr_at(at, entry, name);
        self.checker.xattrs(storage::listxattr_at(at, entry), get, &mut found);
        self.report(&place, found);
    }

    fn file(&mut self, dir: &Dir, entry: &[u8], stat: &Stat, place: Location) {
        if stat.nlink > 1 {
            let known = self.links.get_mut(&stat.ino);
            if let Some(link) = known {
                link.known += 1;
                return;
            }
            let (path, lower) = (place.path.clone(), place.lower.clone());
            let link = Link { names: stat.nlink, known: 1, place: Location { path, lower } };
            self.links.insert(stat.ino, link);
        }
        self.reporter.counts.lock().files += 1;
        let fd = match storage::open_file(dir.fd.as_fd(), entry, Access::ReadOnly) {
            Ok(fd) => fd,
            // Removed or replaced meanwhile.
            Err(Errno::NOENT | Errno::LOOP | Errno::NXIO) => return,
            Err(e) => return self.report(&place, vec![lower(e, "the file")]),
        };
        match storage::fstat(fd.as_fd()) {
            Ok(stat) if stat.kind() == FileKind::Regular => {}
            _ => return,
        }
        if self.drops_cached {
            storage::drop_cached(fd.as_fd());
        }
        let mut found = Vec::new();
        let get = |name: &[u8]| storage::getxattr(fd.as_fd(), name);
        self.checker.xattrs(storage::listxattr(fd.as_fd()), get, &mut found);
        let header_check = match check_header_quiesced(fd.as_fd(), self.keys, self.vault) {
            Ok(header_check) => header_check,
            Err(e) => {
                found.push(lower(e, "the header"));
                return self.report(&place, found);
            }
        };
        found.extend(header_check.found);
        self.report(&place, found);
        if let Some(backing) = header_check.lacks {
            self.reporter.lacks(backing);
        }
        let Checkable::Sealed(content) = header_check.body else { return };
        self.reporter.wrapped(content.header.backing());
        // Otherwise its other names may have inode numbers of their own.
        if stat.nlink == 1 || self.links_share_ino {
            self.ids.note(content.header.file(), stat.ino);
        }
        let pages = content.pages.0;
        let file = Arc::new(Opened { fd, content: *content, place, key_gone: AtomicBool::new(false) });
        let mut at = 0;
        while at < pages && !self.reporter.stopped() {
            let end = pages.min(at + JOB_PAGES);
            // The workers outlive the walk.
            if self.jobs.send(Job { file: file.clone(), pages: at..end }).is_err() {
                return;
            }
            at = end;
        }
    }
}

/// Checks the header of a file; if anything looks wrong beside a mount, again with the file quiesced.
pub(super) fn check_header_quiesced(
    fd: BorrowedFd<'_>,
    keys: &Keys,
    vault: Option<&Vault>,
) -> storage::Result<HeaderCheck> {
    let seen = check_header(fd, keys);
    let (Some(vault), true) = (vault, !matches!(&seen, Ok(header_check) if header_check.found.is_empty()))
    else {
        return seen;
    };
    vault.with_file_quiesced(fd, || check_header(fd, keys)).unwrap_or(seen)
}
