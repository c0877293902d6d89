//! A FUSE filesystem in memory: the floor that benchmarks compare with. It asks the kernel for what rekeyfs asks for, answers
//! each request from a table, and does nothing else: what it costs is the kernel's interface and fuser. No lower
//! filesystem, no names to encrypt, nothing durable. Of extended attributes a file has none, which it says when asked for one
//! (ENODATA), as a filesystem does that can have them.
//!
//! `null-fuse [--poll] MOUNTPOINT` serves in the foreground. Its threads sleep between requests; with `--poll` there is one,
//! which waits as rekeyfs does ([`waiting`]). After an unmount it mounts again, with the same files, until it is
//! terminated: so a benchmark empties the kernel's caches.

mod nodes;
mod waiting;

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStringExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use fuser::{
    Config, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation, INodeNo, InitFlags,
    KernelConfig, LockOwner, OpenFlags, RenameFlags, ReplyAttr, ReplyCreate, ReplyData, ReplyDirectory,
    ReplyDirectoryPlus, ReplyEmpty, ReplyEntry, ReplyOpen, ReplyStatfs, ReplyWrite, ReplyXattr, Request,
    Session, TimeOrNow, WriteFlags,
};
use parking_lot::{Mutex, MutexGuard};

use nodes::{Body, Content, Directory, Node, Nodes, Result, attributes_of, kind_of};
use waiting::Waiting;

const TTL: Duration = Duration::from_secs(24 * 60 * 60);
const BLOCK: u32 = 4096;
const THREADS: usize = 2;
const MAX_WRITE: u32 = 1 << 20;
const MAX_BACKGROUND: u16 = 64;
const GENERATION: Generation = Generation(0);

/// As rekeyfs asks for, with its defaults.
const WANTED: InitFlags = InitFlags::FUSE_ASYNC_READ
    .union(InitFlags::FUSE_ASYNC_DIO)
    .union(InitFlags::FUSE_BIG_WRITES)
    .union(InitFlags::FUSE_CACHE_SYMLINKS)
    .union(InitFlags::FUSE_DONT_MASK)
    .union(InitFlags::FUSE_DO_READDIRPLUS)
    .union(InitFlags::FUSE_EXPLICIT_INVAL_DATA)
    .union(InitFlags::FUSE_HANDLE_KILLPRIV_V2)
    .union(InitFlags::FUSE_MAX_PAGES)
    .union(InitFlags::FUSE_PARALLEL_DIROPS)
    .union(InitFlags::FUSE_READDIRPLUS_AUTO)
    .union(InitFlags::FUSE_WRITEBACK_CACHE);

/// The filesystem: its nodes outlive a mount.
#[derive(Clone)]
struct InMemory {
    nodes: Arc<Mutex<Nodes>>,
    waiting: Waiting,
}

impl InMemory {
    fn nodes(&self) -> MutexGuard<'_, Nodes> {
        self.nodes.lock()
    }
}

fn entry(reply: ReplyEntry, made: Result<FileAttr>) {
    match made {
        Ok(attr) => reply.entry(&TTL, &attr, GENERATION),
        Err(error) => reply.error(error),
    }
}

fn done(reply: ReplyEmpty, done: Result<()>) {
    match done {
        Ok(()) => reply.ok(),
        Err(error) => reply.error(error),
    }
}

fn time(given: TimeOrNow) -> SystemTime {
    match given {
        TimeOrNow::SpecificTime(time) => time,
        TimeOrNow::Now => SystemTime::now(),
    }
}

impl Filesystem for InMemory {
    fn init(&mut self, _request: &Request, config: &mut KernelConfig) -> io::Result<()> {
        // What the kernel doesn't have it doesn't have for rekeyfs either.
        let _ = config.add_capabilities(WANTED & config.capabilities());
        let _ = config.set_max_write(MAX_WRITE);
        let _ = config.set_max_background(MAX_BACKGROUND);
        Ok(())
    }

    fn lookup(&self, request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let _serving = self.waiting.serving(request, 0);
        let mut nodes = self.nodes();
        match nodes.find(parent, name).and_then(|node| nodes.looked_up(node)) {
            Err(error) if error.code() == libc::ENOENT => {
                let none = attributes_of(INodeNo(0), FileType::RegularFile, 0, (0, 0));
                reply.entry(&TTL, &none, GENERATION);
            }
            found => entry(reply, found),
        }
    }

    fn forget(&self, request: &Request, node: INodeNo, lookups: u64) {
        let _serving = self.waiting.serving(request, 0);
        self.nodes().forget(node, lookups);
    }

    fn getattr(&self, request: &Request, node: INodeNo, _handle: Option<FileHandle>, reply: ReplyAttr) {
        let _serving = self.waiting.serving(request, 0);
        match self.nodes().attributes(node) {
            Ok(attr) => reply.attr(&TTL, &attr),
            Err(error) => reply.error(error),
        }
    }

    fn setattr(
        &self,
        request: &Request,
        node: INodeNo,
        mode: Option<u32>,
        uid: Option<u32>,
        gid: Option<u32>,
        size: Option<u64>,
        atime: Option<TimeOrNow>,
        mtime: Option<TimeOrNow>,
        ctime: Option<SystemTime>,
        _handle: Option<FileHandle>,
        _crtime: Option<SystemTime>,
        _chgtime: Option<SystemTime>,
        _bkuptime: Option<SystemTime>,
        _flags: Option<fuser::BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let _serving = self.waiting.serving(request, 0);
        let mut nodes = self.nodes();
        let mut change = || -> Result<FileAttr> {
            if let Some(size) = size {
                nodes.content(node)?.write().resize(size as usize, 0);
            }
            let attr = &mut nodes.node(node)?.attr;
            attr.perm = mode.map_or(attr.perm, |mode| (mode & 0o7777) as u16);
            (attr.uid, attr.gid) = (uid.unwrap_or(attr.uid), gid.unwrap_or(attr.gid));
            (attr.atime, attr.mtime) = (atime.map_or(attr.atime, time), mtime.map_or(attr.mtime, time));
            attr.ctime = ctime.unwrap_or_else(SystemTime::now);
            nodes.attributes(node)
        };
        match change() {
            Ok(attr) => reply.attr(&TTL, &attr),
            Err(error) => reply.error(error),
        }
    }

    fn readlink(&self, request: &Request, node: INodeNo, reply: ReplyData) {
        let _serving = self.waiting.serving(request, 0);
        match self.nodes().node(node) {
            Ok(Node { body: Body::Symlink(target), .. }) => reply.data(target),
            Ok(_) => reply.error(Errno::EINVAL),
            Err(error) => reply.error(error),
        }
    }

    fn mknod(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        rdev: u32,
        reply: ReplyEntry,
    ) {
        let _serving = self.waiting.serving(request, 0);
        let kind = kind_of(mode);
        let body = if kind == FileType::RegularFile { Body::File(Content::default()) } else { Body::Other };
        entry(reply, self.nodes().make(parent, name, (kind, mode & !umask, rdev), body, request));
    }

    fn mkdir(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        reply: ReplyEntry,
    ) {
        let _serving = self.waiting.serving(request, 0);
        let (of, body) = ((FileType::Directory, mode & !umask, 0), Body::Directory(Directory::default()));
        entry(reply, self.nodes().make(parent, name, of, body, request));
    }

    fn unlink(&self, request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let _serving = self.waiting.serving(request, 0);
        done(reply, self.nodes().remove(parent, name, false));
    }

    fn rmdir(&self, request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let _serving = self.waiting.serving(request, 0);
        done(reply, self.nodes().remove(parent, name, true));
    }

    fn symlink(&self, request: &Request, parent: INodeNo, name: &OsStr, target: &Path, reply: ReplyEntry) {
        let _serving = self.waiting.serving(request, 0);
        let body = Body::Symlink(target.as_os_str().to_owned().into_vec());
        entry(reply, self.nodes().make(parent, name, (FileType::Symlink, 0o777, 0), body, request));
    }

    fn rename(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        new_parent: INodeNo,
        new_name: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        let _serving = self.waiting.serving(request, 0);
        let mut nodes = self.nodes();
        let mut go = || {
            if !(flags - RenameFlags::RENAME_NOREPLACE).is_empty() {
                return Err(Errno::EINVAL);
            }
            let node = nodes.find(parent, name)?;
            if let Ok(there) = nodes.find(new_parent, new_name) {
                if there == node {
                    return Ok(());
                }
                if !flags.is_empty() {
                    return Err(Errno::EEXIST);
                }
                let directory = matches!(nodes.node(node)?.body, Body::Directory(_));
                nodes.remove(new_parent, new_name, directory)?;
            }
            nodes.changed(parent, name, None)?;
            nodes.changed(new_parent, new_name, Some(node))?;
            nodes.node(node)?.attr.ctime = SystemTime::now();
            Ok(())
        };
        done(reply, go());
    }

    fn link(&self, request: &Request, node: INodeNo, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let _serving = self.waiting.serving(request, 0);
        let mut nodes = self.nodes();
        let mut go = || {
            if nodes.directory(parent)?.find(name).is_some() {
                return Err(Errno::EEXIST);
            }
            nodes.changed(parent, name, Some(node))?;
            nodes.node(node)?.attr.nlink += 1;
            nodes.looked_up(node)
        };
        entry(reply, go());
    }

    fn open(&self, request: &Request, _node: INodeNo, _flags: OpenFlags, reply: ReplyOpen) {
        let _serving = self.waiting.serving(request, 0);
        reply.opened(FileHandle(0), FopenFlags::FOPEN_KEEP_CACHE);
    }

    fn create(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        _flags: i32,
        reply: ReplyCreate,
    ) {
        let _serving = self.waiting.serving(request, 0);
        let of = (FileType::RegularFile, mode & !umask, 0);
        match self.nodes().make(parent, name, of, Body::File(Content::default()), request) {
            Ok(attr) => reply.created(&TTL, &attr, GENERATION, FileHandle(0), FopenFlags::FOPEN_KEEP_CACHE),
            Err(error) => reply.error(error),
        }
    }

    fn read(
        &self,
        request: &Request,
        node: INodeNo,
        _handle: FileHandle,
        offset: u64,
        size: u32,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let _serving = self.waiting.serving(request, size as usize);
        let content = self.nodes().content(node);
        match content {
            Ok(content) => {
                let content = content.read();
                let start = (offset as usize).min(content.len());
                reply.data(&content[start..(start + size as usize).min(content.len())]);
            }
            Err(error) => reply.error(error),
        }
    }

    fn write(
        &self,
        request: &Request,
        node: INodeNo,
        _handle: FileHandle,
        offset: u64,
        data: &[u8],
        _write_flags: WriteFlags,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let _serving = self.waiting.serving(request, data.len());
        let content = self.nodes().content(node);
        match content {
            Ok(content) => {
                let (mut content, start) = (content.write(), offset as usize);
                let end = start + data.len();
                if content.len() < end {
                    content.resize(end, 0);
                }
                content[start..end].copy_from_slice(data);
                reply.written(data.len() as u32);
            }
            Err(error) => reply.error(error),
        }
    }

    fn fsync(&self, request: &Request, _node: INodeNo, _handle: FileHandle, _data: bool, reply: ReplyEmpty) {
        let _serving = self.waiting.serving(request, 0);
        reply.ok();
    }

    fn opendir(&self, request: &Request, _node: INodeNo, _flags: OpenFlags, reply: ReplyOpen) {
        let _serving = self.waiting.serving(request, 0);
        reply.opened(FileHandle(0), FopenFlags::FOPEN_CACHE_DIR | FopenFlags::FOPEN_KEEP_CACHE);
    }

    fn readdir(
        &self,
        request: &Request,
        node: INodeNo,
        _handle: FileHandle,
        offset: u64,
        mut reply: ReplyDirectory,
    ) {
        let _serving = self.waiting.serving(request, 0);
        match self.nodes().listed(node, offset) {
            Ok(listed) => {
                listed.iter().any(|(at, name, attr)| reply.add(attr.ino, *at, attr.kind, name));
                reply.ok();
            }
            Err(error) => reply.error(error),
        }
    }

    fn readdirplus(
        &self,
        request: &Request,
        node: INodeNo,
        _handle: FileHandle,
        offset: u64,
        mut reply: ReplyDirectoryPlus,
    ) {
        let _serving = self.waiting.serving(request, 0);
        let mut nodes = self.nodes();
        match nodes.listed(node, offset) {
            Ok(listed) => {
                let taken = |(at, name, attr): &(u64, OsString, FileAttr)| {
                    !reply.add(attr.ino, *at, name, &TTL, attr, GENERATION)
                };
                let taken: Vec<_> = listed.iter().map(taken).take_while(|taken| *taken).collect();
                for (_, _, attr) in &listed[..taken.len()] {
                    let _ = nodes.looked_up(attr.ino);
                }
                reply.ok();
            }
            Err(error) => reply.error(error),
        }
    }

    fn fsyncdir(
        &self,
        request: &Request,
        _node: INodeNo,
        _handle: FileHandle,
        _data: bool,
        reply: ReplyEmpty,
    ) {
        let _serving = self.waiting.serving(request, 0);
        reply.ok();
    }

    fn getxattr(&self, request: &Request, node: INodeNo, _name: &OsStr, _size: u32, reply: ReplyXattr) {
        let _serving = self.waiting.serving(request, 0);
        match self.nodes().node(node) {
            Ok(_) => reply.error(Errno::ENODATA),
            Err(error) => reply.error(error),
        }
    }

    fn listxattr(&self, request: &Request, node: INodeNo, size: u32, reply: ReplyXattr) {
        let _serving = self.waiting.serving(request, 0);
        match self.nodes().node(node) {
            Ok(_) if size == 0 => reply.size(0),
            Ok(_) => reply.data(&[]),
            Err(error) => reply.error(error),
        }
    }

    fn statfs(&self, request: &Request, _node: INodeNo, reply: ReplyStatfs) {
        let _serving = self.waiting.serving(request, 0);
        let blocks = 1 << 24;
        reply.statfs(blocks, blocks, blocks, 1 << 24, 1 << 24, BLOCK, 255, BLOCK);
    }
}

fn main() -> io::Result<()> {
    let words: Vec<_> = std::env::args_os().skip(1).collect();
    let (poll, mountpoint) = match &words[..] {
        [mountpoint] => (false, mountpoint),
        [option, mountpoint] if option == "--poll" => (true, mountpoint),
        _ => return Err(io::Error::other("usage: null-fuse [--poll] MOUNTPOINT")),
    };
    let nodes = Arc::new(Mutex::new(Nodes::new()));
    loop {
        let waiting = if poll { Waiting::polling()? } else { Waiting::default() };
        let filesystem = InMemory { nodes: Arc::clone(&nodes), waiting: waiting.clone() };
        let mut config = Config::default();
        (config.n_threads, config.clone_fd) = (Some(if poll { 1 } else { THREADS }), true);
        config.mount_options = vec![fuser::MountOption::FSName("null-fuse".to_owned())];
        let session = Session::new(filesystem, Path::new(mountpoint), &config)?;
        waiting.on(session.as_fd().try_clone_to_owned()?);
        session.run()?;
        drop(waiting);
        nodes.lock().unmounted();
    }
}
