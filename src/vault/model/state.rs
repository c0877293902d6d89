//! The model: a tree in memory, with hard links, that follows the rules of `rename(2)` and its kin.

use std::collections::{BTreeMap, HashMap};

use super::{FileKind, Path, SeenEntry, Snapshot, note_twins};
use crate::storage::Errno;

/// An inode of the model.
pub(super) type Id = usize;
pub(super) const ROOT: Id = 0;

#[derive(Clone)]
pub(super) enum Body {
    File(Vec<u8>),
    Dir(BTreeMap<Vec<u8>, Id>),
    Symlink(Vec<u8>),
    Fifo,
}

#[derive(Clone)]
pub(super) struct Node {
    pub(super) body: Body,
    pub(super) perm: u16,
    pub(super) xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
    /// A directory's own alias.
    pub(super) alias: Option<String>,
}

impl Node {
    pub(super) fn new(body: Body) -> Self {
        let perm = match body {
            Body::File(_) | Body::Fifo => 0o644,
            Body::Dir(_) => 0o755,
            Body::Symlink(_) => 0,
        };
        Self { body, perm, xattrs: BTreeMap::new(), alias: None }
    }

    pub(super) fn kind(&self) -> FileKind {
        match self.body {
            Body::File(_) => FileKind::Regular,
            Body::Dir(_) => FileKind::Directory,
            Body::Symlink(_) => FileKind::Symlink,
            Body::Fifo => FileKind::Fifo,
        }
    }
}

/// How a rename treats what is there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum How {
    Over,
    NoReplace,
    Exchange,
}

/// An entry, or the place of one: a directory, a name, and what is there.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) dir: Id,
    pub(super) name: Vec<u8>,
    pub(super) id: Option<Id>,
}

/// What an operation may fail with: any of these.
pub(super) type Fails = Vec<Errno>;

/// A tree, and the inodes without a name that are still open.
#[derive(Clone)]
pub(super) struct Model {
    pub(super) nodes: BTreeMap<Id, Node>,
    next: Id,
}

impl Model {
    pub(super) fn new() -> Self {
        let root = Node::new(Body::Dir(BTreeMap::new()));
        Self { nodes: BTreeMap::from([(ROOT, root)]), next: 1 }
    }

    pub(super) fn dir(&self, id: Id) -> &BTreeMap<Vec<u8>, Id> {
        match &self.nodes[&id].body {
            Body::Dir(entries) => entries,
            _ => panic!("node {id} is no directory"),
        }
    }

    fn dir_mut(&mut self, id: Id) -> &mut BTreeMap<Vec<u8>, Id> {
        match self.nodes.get_mut(&id).map(|node| &mut node.body) {
            Some(Body::Dir(entries)) => entries,
            _ => panic!("node {id} is no directory"),
        }
    }

    pub(super) fn content(&mut self, id: Id) -> &mut Vec<u8> {
        match self.nodes.get_mut(&id).map(|node| &mut node.body) {
            Some(Body::File(content)) => content,
            _ => panic!("node {id} is no file"),
        }
    }

    fn is_dir(&self, id: Id) -> bool {
        matches!(self.nodes[&id].body, Body::Dir(_))
    }

    pub(super) fn at(&self, dir: Id, name: &[u8]) -> Entry {
        Entry { dir, name: name.to_vec(), id: self.dir(dir).get(name).copied() }
    }

    /// All entries, those of a directory after it.
    pub(super) fn entries(&self) -> Vec<Entry> {
        let mut found: Vec<Entry> = Vec::new();
        let mut todo = vec![ROOT];
        while let Some(dir) = todo.pop() {
            for (name, id) in self.dir(dir) {
                found.push(Entry { dir, name: name.clone(), id: Some(*id) });
                if self.is_dir(*id) {
                    todo.push(*id);
                }
            }
        }
        found
    }

    /// The directories, the root first, with how deep each is.
    pub(super) fn dirs(&self) -> Vec<(Id, usize)> {
        let mut found = vec![(ROOT, 0)];
        let mut next = 0;
        while let Some((dir, depth)) = found.get(next).copied() {
            found.extend(self.dir(dir).values().filter(|id| self.is_dir(**id)).map(|id| (*id, depth + 1)));
            next += 1;
        }
        found
    }

    /// The entries that lead to an inode.
    pub(super) fn names_of(&self, id: Id) -> Vec<Entry> {
        self.entries().into_iter().filter(|entry| entry.id == Some(id)).collect()
    }

    /// Whether `id` is `above` or below it.
    fn is_within(&self, id: Id, above: Id) -> bool {
        id == above || self.names_of(id).first().is_some_and(|entry| self.is_within(entry.dir, above))
    }

    /// The alias for new files in a directory, if it isn't the default one.
    pub(super) fn alias(&self, dir: Id) -> Option<String> {
        self.nodes[&dir]
            .alias
            .clone()
            .or_else(|| self.names_of(dir).first().and_then(|entry| self.alias(entry.dir)))
    }

    pub(super) fn create(&mut self, at: &Entry, node: Node) -> Result<Id, Fails> {
        if at.id.is_some() {
            return Err(vec![Errno::EXIST]);
        }
        let id = self.next;
        self.next += 1;
        self.nodes.insert(id, node);
        self.dir_mut(at.dir).insert(at.name.clone(), id);
        Ok(id)
    }

    pub(super) fn link(&mut self, id: Id, at: &Entry) -> Result<(), Fails> {
        if self.is_dir(id) {
            return Err(vec![Errno::PERM, Errno::EXIST]);
        }
        if at.id.is_some() {
            return Err(vec![Errno::EXIST]);
        }
        self.dir_mut(at.dir).insert(at.name.clone(), id);
        Ok(())
    }

    pub(super) fn unlink(&mut self, at: &Entry) -> Result<(), Fails> {
        match at.id {
            None => Err(vec![Errno::NOENT]),
            Some(id) if self.is_dir(id) => Err(vec![Errno::ISDIR]),
            Some(_) => {
                self.dir_mut(at.dir).remove(&at.name);
                Ok(())
            }
        }
    }

    pub(super) fn rmdir(&mut self, at: &Entry) -> Result<(), Fails> {
        match at.id {
            None => Err(vec![Errno::NOENT]),
            Some(id) if !self.is_dir(id) => Err(vec![Errno::NOTDIR]),
            Some(id) if !self.dir(id).is_empty() => Err(vec![Errno::NOTEMPTY]),
            Some(_) => {
                self.dir_mut(at.dir).remove(&at.name);
                Ok(())
            }
        }
    }

    pub(super) fn rename(&mut self, from: &Entry, to: &Entry, how: How) -> Result<(), Fails> {
        let Some(id) = from.id else { return Err(vec![Errno::NOENT]) };
        let mut fails = Vec::new();
        if to.id.is_some() && how == How::NoReplace {
            return Err(vec![Errno::EXIST]);
        }
        if to.id.is_none() && how == How::Exchange {
            return Err(vec![Errno::NOENT]);
        }
        if to.id == Some(id) {
            return Ok(());
        }
        if self.is_dir(id) && self.is_within(to.dir, id) {
            fails.push(Errno::INVAL);
        }
        if let Some(there) = to.id {
            if self.is_dir(there) && self.is_within(from.dir, there) {
                fails.push(if how == How::Exchange { Errno::INVAL } else { Errno::NOTEMPTY });
            }
            if how == How::Over {
                match (self.is_dir(id), self.is_dir(there)) {
                    (true, false) => fails.push(Errno::NOTDIR),
                    (false, true) => fails.push(Errno::ISDIR),
                    (true, true) if !self.dir(there).is_empty() => fails.push(Errno::NOTEMPTY),
                    _ => {}
                }
            }
        }
        if !fails.is_empty() {
            return Err(fails);
        }
        self.dir_mut(from.dir).remove(&from.name);
        self.dir_mut(to.dir).insert(to.name.clone(), id);
        if let (How::Exchange, Some(there)) = (how, to.id) {
            self.dir_mut(from.dir).insert(from.name.clone(), there);
        }
        Ok(())
    }

    /// Drops inodes without a name, but for those that are to be kept.
    pub(super) fn sweep(&mut self, keep: impl Fn(Id) -> bool) {
        let mut named: Vec<Id> = self.entries().into_iter().filter_map(|entry| entry.id).collect();
        named.push(ROOT);
        self.nodes.retain(|id, _| named.contains(id) || keep(*id));
    }

    pub(super) fn snapshot(&self) -> Snapshot {
        let alias = |id: Id| self.nodes[&id].alias.clone().map(String::into_bytes);
        let mut links: HashMap<Id, u32> = HashMap::new();
        for entry in self.entries() {
            *links.entry(entry.id.unwrap_or(ROOT)).or_default() += 1;
        }
        let mut snapshot = Snapshot { root_alias: alias(ROOT), ..Snapshot::default() };
        let mut ids = BTreeMap::new();
        let mut todo: Vec<(Id, Path)> = vec![(ROOT, Vec::new())];
        while let Some((dir, at)) = todo.pop() {
            for (name, id) in self.dir(dir) {
                let at: Path = at.iter().cloned().chain([name.clone()]).collect();
                let node = &self.nodes[id];
                let (bytes, links) = match &node.body {
                    Body::Dir(_) => {
                        todo.push((*id, at.clone()));
                        (Vec::new(), 0)
                    }
                    Body::File(bytes) | Body::Symlink(bytes) => (bytes.clone(), links[id]),
                    Body::Fifo => (Vec::new(), links[id]),
                };
                let seen = SeenEntry {
                    kind: node.kind(),
                    perm: node.perm,
                    links,
                    same_as: Vec::new(),
                    bytes,
                    xattrs: node.xattrs.clone(),
                    alias: alias(*id),
                };
                ids.insert(at.clone(), *id);
                snapshot.entries.insert(at, seen);
            }
        }
        note_twins(&mut snapshot.entries, &ids);
        snapshot
    }
}
