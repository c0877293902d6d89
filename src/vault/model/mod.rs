//! The vault against a model of a tree in memory: random operations ([`ops`], [`run`]), faults at every write
//! point of the namespace's operations ([`faults`]), and several threads at once ([`threads`]).

mod faults;
mod keys;
mod ops;
mod run;
mod state;
mod tests;
mod threads;

use std::collections::{BTreeMap, HashMap};
use std::fmt;

use super::{Error, FileKind, Result, Vault};
use crate::ids::{Ino, PlainOffset};
use crate::storage::Errno;

/// A path as its names; empty for the root.
type Path = Vec<Vec<u8>>;

/// A whole tree as users see it, without the root.
#[derive(Clone, Default, PartialEq, Eq)]
struct Snapshot {
    entries: BTreeMap<Path, SeenEntry>,
    root_alias: Option<Vec<u8>>,
}

/// What is seen of one entry.
#[derive(Clone, PartialEq, Eq)]
struct SeenEntry {
    kind: FileKind,
    /// 0 for a symlink.
    perm: u16,
    /// Hard links; 0 for a directory.
    links: u32,
    /// The first of the paths that lead to the same inode.
    same_as: Path,
    /// A file's content, a symlink's target.
    bytes: Vec<u8>,
    xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
    /// A directory's own alias.
    alias: Option<Vec<u8>>,
}

impl fmt::Debug for SeenEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, perm, links, same_as, bytes, xattrs, alias } = self;
        let brief: Vec<_> = xattrs.iter().map(|(k, v)| (shown(k), v.len())).collect();
        let alias = alias.as_deref().map(shown);
        let sum = bytes.iter().fold(0u32, |sum, b| sum.wrapping_mul(31).wrapping_add(u32::from(*b)));
        write!(f, "{kind:?} {perm:o} links {links} as {} {} bytes", path(same_as), bytes.len())?;
        write!(f, " (sum {sum:x}) {brief:?} {alias:?}")
    }
}

impl fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "root alias {:?}", self.root_alias.as_deref().map(shown))?;
        self.entries.iter().try_for_each(|(at, seen)| writeln!(f, "{}: {seen:?}", path(at)))
    }
}

fn shown(name: &[u8]) -> String {
    let text: String = String::from_utf8_lossy(name).chars().take(12).collect();
    if name.len() > 40 { format!("{text}..({})", name.len()) } else { text }
}

fn path(names: &[Vec<u8>]) -> String {
    names.iter().map(|name| format!("/{}", shown(name))).collect()
}

impl Snapshot {
    /// Panics unless both are the same, with the difference.
    #[track_caller]
    fn assert_is(&self, want: &Self, when: &str) {
        if self == want {
            return;
        }
        let paths: std::collections::BTreeSet<_> = self.entries.keys().chain(want.entries.keys()).collect();
        let mut found =
            format!("{when}: root alias {:?}, should be {:?}\n", self.root_alias, want.root_alias);
        for at in paths {
            let (got, want) = (self.entries.get(at), want.entries.get(at));
            if got != want {
                found += &format!("{}:\n  is {got:?}\n  should be {want:?}\n", path(at));
            }
        }
        panic!("{found}");
    }
}

/// Finds every path's first twin: `ids` tells which entries are one inode.
fn note_twins<T: std::hash::Hash + Eq + Copy>(
    entries: &mut BTreeMap<Path, SeenEntry>,
    ids: &BTreeMap<Path, T>,
) {
    let mut first: HashMap<T, Path> = HashMap::new();
    for (at, seen) in entries {
        seen.same_as = first.entry(ids[at]).or_insert_with(|| at.clone()).clone();
    }
}

/// Reads the whole tree, and forgets what it has looked up for that.
fn observe(vault: &Vault) -> Result<Snapshot> {
    let mut looked_up = Vec::new();
    let seen = observe_counting(vault, &mut looked_up);
    for ino in looked_up.into_iter().rev() {
        vault.forget(ino, 1);
    }
    seen
}

fn observe_counting(vault: &Vault, looked_up: &mut Vec<Ino>) -> Result<Snapshot> {
    let mut snapshot = Snapshot { root_alias: alias_of(vault, Ino::ROOT)?, ..Snapshot::default() };
    let mut inos = BTreeMap::new();
    let mut todo: Vec<(Ino, Path)> = vec![(Ino::ROOT, Vec::new())];
    while let Some((dir, at)) = todo.pop() {
        let mut subdirs = 0;
        for (ino, name) in list(vault, dir, looked_up)? {
            let at: Path = at.iter().cloned().chain([name]).collect();
            let (seen, nlink) = look_at(vault, ino)?;
            if seen.kind == FileKind::Directory {
                todo.push((ino, at.clone()));
                subdirs += 1;
            }
            assert!(seen.kind == FileKind::Directory || nlink == seen.links);
            inos.insert(at.clone(), ino);
            snapshot.entries.insert(at, seen);
        }
        // Btrfs counts no subdirectories.
        let nlink = vault.getattr(dir)?.nlink;
        assert!(nlink == 2 + subdirs || nlink == 1, "{} has {nlink} links", path(&at));
    }
    note_twins(&mut snapshot.entries, &inos);
    Ok(snapshot)
}

/// Lists a directory, three entries at a time; checks that both ways of listing agree.
fn list(vault: &Vault, dir: Ino, looked_up: &mut Vec<Ino>) -> Result<Vec<(Ino, Vec<u8>)>> {
    let handle = vault.opendir(dir)?;
    let (mut found, mut plain, mut cookie) = (Vec::new(), Vec::new(), 0);
    loop {
        let mut room = 3;
        vault.readdirplus(dir, handle, cookie, &mut |attr, name, next| {
            if room == 0 {
                return false;
            }
            room -= 1;
            cookie = next;
            if let Some(attr) = attr {
                looked_up.push(attr.ino);
                found.push((attr.ino, name.to_vec()));
            }
            true
        })?;
        if room == 3 {
            break;
        }
    }
    vault.readdir(dir, handle, 0, &mut |entry| {
        if !matches!(entry.name, b"." | b"..") {
            plain.push((entry.ino, entry.name.to_vec()));
        }
        true
    })?;
    vault.releasedir(dir, handle)?;
    assert_eq!(found, plain, "readdirplus and readdir");
    Ok(found)
}

fn look_at(vault: &Vault, ino: Ino) -> Result<(SeenEntry, u32)> {
    let attr = vault.getattr(ino)?;
    let is_dir = attr.kind == FileKind::Directory;
    let bytes = match attr.kind {
        FileKind::Regular => content(vault, ino)?,
        FileKind::Symlink => vault.readlink(ino)?,
        _ => Vec::new(),
    };
    assert!(matches!(attr.kind, FileKind::Directory | FileKind::Fifo) || attr.size == bytes.len() as u64);
    let mut xattrs = BTreeMap::new();
    for name in vault.listxattr(ino)? {
        let value = vault.getxattr(ino, &name)?;
        xattrs.insert(name, value);
    }
    let alias = if is_dir { alias_of(vault, ino)? } else { None };
    // Listed where it is set; told apart from what the model keeps as attributes.
    assert_eq!(xattrs.remove(b"user.rekeyfs.alias".as_slice()), alias);
    let seen = SeenEntry {
        kind: attr.kind,
        perm: if attr.kind == FileKind::Symlink { 0 } else { attr.perm },
        links: if is_dir { 0 } else { attr.nlink },
        same_as: Vec::new(),
        bytes,
        xattrs,
        alias,
    };
    Ok((seen, attr.nlink))
}

fn alias_of(vault: &Vault, dir: Ino) -> Result<Option<Vec<u8>>> {
    match vault.getxattr(dir, b"user.rekeyfs.alias") {
        Ok(alias) => Ok(Some(alias)),
        Err(Error::NoData) => Ok(None),
        Err(e) => Err(e),
    }
}

fn content(vault: &Vault, ino: Ino) -> Result<Vec<u8>> {
    let size = vault.getattr(ino)?.size as usize;
    let mut out = vec![0xAA; size + 7];
    let n = vault.read(ino, PlainOffset(0), &mut out)?;
    assert_eq!(n, size, "a read to the end");
    out.truncate(n);
    Ok(out)
}

/// The class of an error, as a program would see it.
fn errno(e: &Error) -> Errno {
    match e {
        Error::Lower(e) => *e,
        Error::NotFound => Errno::NOENT,
        Error::Exists => Errno::EXIST,
        Error::NotEmpty => Errno::NOTEMPTY,
        Error::NotADirectory => Errno::NOTDIR,
        Error::IsADirectory => Errno::ISDIR,
        Error::NotPermitted(_) => Errno::PERM,
        Error::NoData => Errno::NODATA,
        Error::KeyNotUsable(_) => Errno::NOKEY,
        Error::Invalid(_) => Errno::INVAL,
        Error::Stale => Errno::STALE,
        Error::NameTooLong => Errno::NAMETOOLONG,
        other => panic!("not expected: {other}"),
    }
}
