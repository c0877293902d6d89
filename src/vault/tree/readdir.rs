//! Listing directories: the lower entries in the lower order, with the lower cookies, under their plaintext
//! names. The lower filesystem gives entries out in advance, so that one can be gone by the time it is looked at;
//! what looks like damage of it is only reported if, under the directory's lock, it is still there.

use super::Tree;
use super::dir_cache::Dir;
use super::locks::Mode;
use crate::ids::{Handle, Ino};
use crate::names::LowerKind;
use crate::storage::{self, DirStream, Errno, RawEntry};
use crate::vault::{Damage, DirEntry, Error, FileKind, PlusSink, Result};

/// An entry as it is shown.
struct Shown<'a> {
    ino: Ino,
    kind: Option<FileKind>,
    /// Lower name; `None` for `.` and `..`.
    entry: Option<&'a [u8]>,
    name: &'a [u8],
    next_cookie: u64,
}

/// What became of a lower entry in a listing.
enum Listed {
    /// It was given.
    Given,
    /// It isn't shown; because of this damage, if any.
    Hidden(Option<Damage>),
    /// It was refused: the buffer is full.
    Full,
    /// There was none.
    End,
}

impl Tree {
    /// Opens a directory for listing.
    pub(in crate::vault) fn opendir(&self, ino: Ino) -> Result<Handle> {
        let dir = self.dir(ino)?;
        let fd = self.with_free_fd(|| storage::open_dir(dir.fd(), b"."))?;
        Ok(self.handles.add(ino, DirStream::new(self.for_reading(fd))))
    }

    /// Closes a directory handle.
    pub(in crate::vault) fn releasedir(&self, handle: Handle) -> Result<()> {
        if self.handles.remove(handle) { Ok(()) } else { Err(Error::BadHandle) }
    }

    /// Lists from a cookie on, until `each` refuses an entry. Returns damage found on the way: of entries that
    /// have no name that could be shown.
    pub(in crate::vault) fn readdir(
        &self,
        handle: Handle,
        cookie: u64,
        each: &mut dyn FnMut(DirEntry<'_>) -> bool,
    ) -> Result<Option<Damage>> {
        let listed = self.list(handle, cookie, |dir, shown| {
            let kind = match (shown.kind, shown.entry) {
                (Some(kind), _) => kind,
                (None, None) => FileKind::Directory,
                (None, Some(entry)) => match self.stat_entry(dir, entry) {
                    Ok(Some(stat)) => stat.kind(),
                    // Gone meanwhile, or a mount point.
                    Ok(None) | Err(Error::CrossDevice) => return Ok(true),
                    Err(e) => return Err(e),
                },
            };
            let Shown { ino, name, next_cookie, .. } = shown;
            Ok(each(DirEntry { ino, kind, name, next_cookie }))
        });
        listed.map(|(damage, _)| damage)
    }

    /// Lists from a cookie on with attributes, and counts a lookup of each entry that `each` accepts, but for
    /// `.` and `..` and what lies on another filesystem, which come without.
    pub(in crate::vault) fn readdirplus(
        &self,
        handle: Handle,
        cookie: u64,
        each: &mut PlusSink<'_>,
    ) -> Result<(Option<Damage>, u64)> {
        self.list(handle, cookie, |dir, shown| {
            let Some(entry) = shown.entry else { return Ok(each(None, shown.name, shown.next_cookie)) };
            let found = match self.find(dir, entry) {
                Ok(Some(found)) => found,
                Ok(None) => return Ok(true),
                Err(Error::CrossDevice) => return Ok(each(None, shown.name, shown.next_cookie)),
                Err(e) => return Err(e),
            };
            let (inode, attr) = self.remember(dir, entry, &found)?;
            let accepted = each(Some(&attr), shown.name, shown.next_cookie);
            if !accepted {
                self.inodes.forget(inode.ino, 1);
            }
            Ok(accepted)
        })
    }

    fn list(
        &self,
        handle: Handle,
        cookie: u64,
        mut each: impl FnMut(&Dir, Shown<'_>) -> Result<bool>,
    ) -> Result<(Option<Damage>, u64)> {
        let open = self.handles.get(handle).ok_or(Error::BadHandle)?;
        let parent = match open.ino {
            Ino::ROOT => Ino::ROOT,
            ino => self.inodes.get(ino)?.parent().unwrap_or(Ino::ROOT),
        };
        let _lock = self.locks.one(open.ino, Mode::Shared);
        self.reread_record(open.ino)?;
        let dir = match self.dir(open.ino) {
            Ok(dir) => dir,
            // Removed since it was opened: empty.
            Err(Error::Stale) => return Ok((None, 0)),
            Err(e) => return Err(e),
        };
        let mut stream = open.stream.lock();
        stream.seek(cookie)?;
        let mut damage = None;
        let mut given = false;
        // Entries hidden by damage: those met since the last one that was given come again in the next call.
        let (mut nameless, mut since) = (0, 0);
        loop {
            match self.list_one(&dir, &mut stream, parent, &mut each) {
                Ok(Listed::Given) => {
                    given = true;
                    nameless += std::mem::take(&mut since);
                }
                Ok(Listed::Hidden(found)) => {
                    since += u64::from(found.is_some());
                    damage = found.or(damage);
                }
                Ok(Listed::End) if !given => return Ok((damage, nameless + since)),
                Ok(Listed::Full | Listed::End) => return Ok((damage, nameless)),
                // What was given counts, lookups and all; the next call meets the error at its beginning.
                Err(_) if given => return Ok((damage, nameless)),
                Err(e) => return Err(e),
            }
        }
    }

    fn list_one(
        &self,
        dir: &Dir,
        stream: &mut DirStream,
        parent: Ino,
        each: &mut impl FnMut(&Dir, Shown<'_>) -> Result<bool>,
    ) -> Result<Listed> {
        let raw = match stream.next() {
            // Removed since it was opened, by another host.
            Err(Errno::NOENT | Errno::STALE) if self.others_write => None,
            next => next?,
        };
        let Some(raw) = raw else { return Ok(Listed::End) };
        let RawEntry { name: entry, kind, next_cookie, .. } = raw;
        let dot = |ino| Shown { ino, kind: Some(FileKind::Directory), entry: None, name: entry, next_cookie };
        let accepted = match entry {
            b"." => each(dir, dot(dir.ino))?,
            b".." => each(dir, dot(parent))?,
            _ => match self.shown_name(dir, &raw) {
                Ok(Some((ino, name))) => {
                    each(dir, Shown { ino, kind, entry: Some(entry), name: &name, next_cookie })?
                }
                Ok(None) => return Ok(Listed::Hidden(None)),
                // Its name may have been lost with the entry itself, since the lower filesystem gave it out: that was
                // before the lock, perhaps a call ago.
                Err(Error::Corrupt(found)) => {
                    // Or it was removed and made again by another host meanwhile.
                    if self.others_write
                        && let Ok(Some((ino, name))) = self.shown_name(dir, &raw)
                    {
                        let shown = Shown { ino, kind, entry: Some(entry), name: &name, next_cookie };
                        return Ok(if each(dir, shown)? { Listed::Given } else { Listed::Full });
                    }
                    let gone = self.stat_entry(dir, entry)?.is_none();
                    return Ok(Listed::Hidden(Some(found).filter(|_| !gone)));
                }
                Err(e) => return Err(e),
            },
        };
        Ok(if accepted { Listed::Given } else { Listed::Full })
    }

    /// The number and name under which a lower entry is shown; `None`: it isn't.
    fn shown_name(&self, dir: &Dir, raw: &RawEntry<'_>) -> Result<Option<(Ino, Vec<u8>)>> {
        let name = match LowerKind::of(raw.name) {
            LowerKind::Name => self.shown(dir, raw.name),
            LowerKind::LongEntry => self.long_name(dir, raw.name)?,
            LowerKind::LongCompanion | LowerKind::DirRecord | LowerKind::Temporary | LowerKind::Unknown => {
                return Ok(None);
            }
        };
        Ok(self.lower_ino(raw.ino).ok().map(|ino| (ino, name)))
    }
}
