//! The files, directories and symlinks: what answers are made of.

use std::collections::{BTreeMap, HashMap};
use std::ffi::{OsStr, OsString};
use std::sync::Arc;
use std::time::SystemTime;

use fuser::{Errno, FileAttr, FileType, INodeNo, Request};
use parking_lot::RwLock;

const BLOCK_SIZE: u32 = 4096;
/// More entries than the kernel has room for in a listing.
const LISTED: usize = 256;

pub(crate) type Result<T> = std::result::Result<T, Errno>;
pub(crate) type Content = Arc<RwLock<Vec<u8>>>;

pub(crate) struct Node {
    pub(crate) attr: FileAttr,
    pub(crate) lookups: u64,
    pub(crate) body: Body,
}

pub(crate) enum Body {
    File(Content),
    Directory(Directory),
    Symlink(Vec<u8>),
    Other,
}

/// Entries by name, and in the order of a listing, in which a removal moves no other.
#[derive(Default)]
pub(crate) struct Directory {
    by_name: HashMap<OsString, u64>,
    listed: BTreeMap<u64, (OsString, INodeNo)>,
    next: u64,
}

impl Directory {
    pub(crate) fn find(&self, name: &OsStr) -> Option<INodeNo> {
        self.by_name.get(name).map(|at| self.listed[at].1)
    }

    pub(crate) fn add(&mut self, name: &OsStr, node: INodeNo) {
        self.next += 1;
        self.by_name.insert(name.to_owned(), self.next);
        self.listed.insert(self.next, (name.to_owned(), node));
    }

    pub(crate) fn remove(&mut self, name: &OsStr) {
        if let Some(at) = self.by_name.remove(name) {
            self.listed.remove(&at);
        }
    }
}

/// All of them, by inode number.
pub(crate) struct Nodes {
    by_number: HashMap<INodeNo, Node>,
    last: u64,
}

impl Nodes {
    /// An empty root.
    pub(crate) fn new() -> Self {
        let root = Node {
            attr: attributes_of(INodeNo::ROOT, FileType::Directory, 0o755, (0, 0)),
            lookups: 1,
            body: Body::Directory(Directory::default()),
        };
        Self { by_number: HashMap::from([(INodeNo::ROOT, root)]), last: INodeNo::ROOT.0 }
    }

    /// The kernel holds nothing any more.
    pub(crate) fn unmounted(&mut self) {
        self.by_number.retain(|_, node| node.attr.nlink > 0);
        self.by_number.values_mut().for_each(|node| node.lookups = 0);
    }

    pub(crate) fn node(&mut self, node: INodeNo) -> Result<&mut Node> {
        self.by_number.get_mut(&node).ok_or(Errno::ESTALE)
    }

    pub(crate) fn directory(&mut self, node: INodeNo) -> Result<&mut Directory> {
        match &mut self.node(node)?.body {
            Body::Directory(directory) => Ok(directory),
            _ => Err(Errno::ENOTDIR),
        }
    }

    pub(crate) fn find(&mut self, parent: INodeNo, name: &OsStr) -> Result<INodeNo> {
        self.directory(parent)?.find(name).ok_or(Errno::ENOENT)
    }

    pub(crate) fn content(&mut self, node: INodeNo) -> Result<Content> {
        match &self.node(node)?.body {
            Body::File(content) => Ok(Arc::clone(content)),
            _ => Err(Errno::EINVAL),
        }
    }

    /// Attributes with the size that the content has, for an answer that counts as a lookup.
    pub(crate) fn looked_up(&mut self, node: INodeNo) -> Result<FileAttr> {
        self.node(node)?.lookups += 1;
        self.attributes(node)
    }

    pub(crate) fn attributes(&mut self, node: INodeNo) -> Result<FileAttr> {
        let node = self.node(node)?;
        if let Body::File(content) = &node.body {
            node.attr.size = content.read().len() as u64;
            node.attr.blocks = node.attr.size.div_ceil(512);
        }
        Ok(node.attr)
    }

    /// Entries behind an offset: as many as an answer can hold.
    pub(crate) fn listed(
        &mut self,
        directory: INodeNo,
        offset: u64,
    ) -> Result<Vec<(u64, OsString, FileAttr)>> {
        let entries = self.directory(directory)?.listed.range(offset + 1..).take(LISTED);
        let entries: Vec<_> = entries.map(|(&at, (name, node))| (at, name.clone(), *node)).collect();
        entries.into_iter().map(|(at, name, node)| Ok((at, name, self.attributes(node)?))).collect()
    }

    pub(crate) fn make(
        &mut self,
        parent: INodeNo,
        name: &OsStr,
        of: (FileType, u32, u32),
        body: Body,
        request: &Request,
    ) -> Result<FileAttr> {
        if self.directory(parent)?.find(name).is_some() {
            return Err(Errno::EEXIST);
        }
        let (kind, mode, rdev) = of;
        self.last += 1;
        let ino = INodeNo(self.last);
        let mut attr = attributes_of(ino, kind, mode, (request.uid(), request.gid()));
        attr.rdev = rdev;
        if let Body::Symlink(target) = &body {
            attr.size = target.len() as u64;
        }
        self.by_number.insert(ino, Node { attr, lookups: 1, body });
        self.changed(parent, name, Some(ino))?;
        Ok(attr)
    }

    /// A name is added, or removed.
    pub(crate) fn changed(&mut self, parent: INodeNo, name: &OsStr, add: Option<INodeNo>) -> Result<()> {
        let directory = self.directory(parent)?;
        match add {
            Some(node) => directory.add(name, node),
            None => directory.remove(name),
        }
        let now = SystemTime::now();
        let attr = &mut self.node(parent)?.attr;
        (attr.mtime, attr.ctime) = (now, now);
        Ok(())
    }

    pub(crate) fn remove(&mut self, parent: INodeNo, name: &OsStr, directory: bool) -> Result<()> {
        let node = self.find(parent, name)?;
        match &self.node(node)?.body {
            Body::Directory(there) if directory && !there.by_name.is_empty() => return Err(Errno::ENOTEMPTY),
            Body::Directory(_) if !directory => return Err(Errno::EISDIR),
            Body::Directory(_) => {}
            _ if directory => return Err(Errno::ENOTDIR),
            _ => {}
        }
        self.changed(parent, name, None)?;
        let removed = self.node(node)?;
        removed.attr.nlink = if directory { 0 } else { removed.attr.nlink - 1 };
        removed.attr.ctime = SystemTime::now();
        self.forget(node, 0);
        Ok(())
    }

    pub(crate) fn forget(&mut self, node: INodeNo, lookups: u64) {
        if let Some(known) = self.by_number.get_mut(&node) {
            known.lookups = known.lookups.saturating_sub(lookups);
            if known.lookups == 0 && known.attr.nlink == 0 {
                self.by_number.remove(&node);
            }
        }
    }
}

pub(crate) fn attributes_of(ino: INodeNo, kind: FileType, mode: u32, owner: (u32, u32)) -> FileAttr {
    let now = SystemTime::now();
    FileAttr {
        ino,
        size: 0,
        blocks: 0,
        atime: now,
        mtime: now,
        ctime: now,
        crtime: now,
        kind,
        perm: (mode & 0o7777) as u16,
        nlink: if kind == FileType::Directory { 2 } else { 1 },
        uid: owner.0,
        gid: owner.1,
        rdev: 0,
        blksize: BLOCK_SIZE,
        flags: 0,
    }
}

pub(crate) fn kind_of(mode: u32) -> FileType {
    match mode & libc::S_IFMT {
        libc::S_IFIFO => FileType::NamedPipe,
        libc::S_IFSOCK => FileType::Socket,
        libc::S_IFCHR => FileType::CharDevice,
        libc::S_IFBLK => FileType::BlockDevice,
        _ => FileType::RegularFile,
    }
}
