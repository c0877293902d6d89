//! One function for each FUSE request: it converts the arguments, calls the vault, and answers. What more there is to decide is
//! in `data` (content), `listing`, `xattrs`, and `adapter`.
//!
//! Left to fuser's own answer, ENOSYS, on purpose: `getlk` and `setlk` (the kernel keeps locks by itself),
//! `copy_file_range`, `ioctl`, `poll` and `bmap` (the kernel falls back to what it does without them).

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::SystemTime;

use fuser::{
    AccessFlags, BsdFileFlags, Errno, FileHandle, Filesystem, INodeNo, InitFlags, KernelConfig, LockOwner,
    OpenFlags, RenameFlags, ReplyAttr, ReplyCreate, ReplyData, ReplyDirectory, ReplyDirectoryPlus,
    ReplyEmpty, ReplyEntry, ReplyLseek, ReplyOpen, ReplyStatfs, ReplyWrite, ReplyXattr, Request, TimeOrNow,
    WriteFlags,
};

use super::adapter::{Adapter, Work};
use super::answer::NoReply;
use super::convert;
use super::errno::errno;
use super::kernel::negotiate;
use super::pool::Task;
use super::replies::{empty, looked_up};
use crate::ids::{Handle, PlainOffset};
use crate::metrics::Operation;
use crate::vault::{Error, SetAttr};

/// From so many bytes on, serving a request takes longer than waking a thread on another core.
const BULK: usize = 64 << 10;

const PERMISSION_BITS: u32 = 0o7777;

impl Filesystem for Adapter {
    fn init(&mut self, _request: &Request, config: &mut KernelConfig) -> io::Result<()> {
        let unit = self.vault.time_granularity();
        let agreed = negotiate(config, self.permissions, self.writeback, self.caching, unit);
        self.vault.set_kernel_keeps_times(agreed.contains(InitFlags::FUSE_WRITEBACK_CACHE));
        Ok(())
    }

    fn lookup(&self, request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        self.serve(request, Work::on(Operation::Lookup, parent), reply, |reply| {
            looked_up(reply, self.vault.lookup(convert::ino(parent), name.as_bytes()), self.caching.ttl());
        });
    }

    fn forget(&self, request: &Request, node: INodeNo, lookups: u64) {
        self.serve(request, Work::on(Operation::Forget, node).no_use(), NoReply, |reply| {
            self.vault.forget(convert::ino(node), lookups);
            reply.send(drop);
        });
    }

    fn getattr(&self, request: &Request, node: INodeNo, _handle: Option<FileHandle>, reply: ReplyAttr) {
        self.serve(request, Work::on(Operation::GetAttr, node), reply, |reply| {
            self.attributes(reply, self.vault.getattr(convert::ino(node)))
        });
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
        handle: Option<FileHandle>,
        _crtime: Option<SystemTime>,
        _chgtime: Option<SystemTime>,
        _bkuptime: Option<SystemTime>,
        _flags: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        self.serve(request, Work::on(Operation::SetAttr, node), reply, |reply| {
            let change = SetAttr {
                mode: mode.map(|mode| mode & PERMISSION_BITS),
                uid,
                gid,
                size,
                atime: atime.map(convert::time_change),
                mtime: mtime.map(convert::time_change),
                ctime: ctime.map(convert::sent_time),
                handle: handle.map(|h| Handle(h.0)),
            };
            let caller = convert::caller(request, 0);
            self.change_attributes(convert::ino(node), &change, &caller, reply);
        });
    }

    fn readlink(&self, request: &Request, node: INodeNo, reply: ReplyData) {
        self.serve(request, Work::on(Operation::ReadLink, node), reply, |reply| {
            match self.vault.readlink(convert::ino(node)) {
                Ok(target) => reply.send(|reply| reply.data(&target)),
                Err(error) => reply.error(errno(&error)),
            }
        });
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
        self.serve(request, Work::on(Operation::Mknod, parent), reply, |reply| {
            let caller = convert::caller(request, umask);
            let parent = convert::ino(parent);
            self.entry(reply, self.vault.mknod(parent, name.as_bytes(), mode, u64::from(rdev), &caller));
        });
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
        self.serve(request, Work::on(Operation::Mkdir, parent), reply, |reply| {
            let caller = convert::caller(request, umask);
            let mode = mode & PERMISSION_BITS;
            self.entry(reply, self.vault.mkdir(convert::ino(parent), name.as_bytes(), mode, &caller));
        });
    }

    fn unlink(&self, request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        self.serve(request, Work::on(Operation::Unlink, parent), reply, |reply| {
            self.unlinked(reply, self.vault.unlink_one_of(convert::ino(parent), name.as_bytes()));
        });
    }

    fn rmdir(&self, request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        self.serve(request, Work::on(Operation::Rmdir, parent), reply, |reply| {
            empty(reply, self.vault.rmdir(convert::ino(parent), name.as_bytes()))
        });
    }

    fn symlink(&self, request: &Request, parent: INodeNo, name: &OsStr, target: &Path, reply: ReplyEntry) {
        self.serve(request, Work::on(Operation::Symlink, parent), reply, |reply| {
            let caller = convert::caller(request, 0);
            let target = target.as_os_str().as_bytes();
            self.entry(reply, self.vault.symlink(convert::ino(parent), name.as_bytes(), target, &caller));
        });
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
        self.serve(request, Work::on(Operation::Rename, parent), reply, |reply| {
            let Some(flags) = convert::rename_flags(flags) else { return reply.error(Errno::EINVAL) };
            let from = (convert::ino(parent), name.as_bytes());
            let to = (convert::ino(new_parent), new_name.as_bytes());
            self.unlinked(reply, self.vault.rename_over_one_of(from, to, flags));
        });
    }

    fn link(
        &self,
        request: &Request,
        node: INodeNo,
        new_parent: INodeNo,
        new_name: &OsStr,
        reply: ReplyEntry,
    ) {
        self.serve(request, Work::on(Operation::Link, node), reply, |reply| {
            let new_parent = convert::ino(new_parent);
            self.entry(reply, self.vault.link(convert::ino(node), new_parent, new_name.as_bytes()));
        });
    }

    fn open(&self, request: &Request, node: INodeNo, flags: OpenFlags, reply: ReplyOpen) {
        self.serve(request, Work::on(Operation::Open, node), reply, |reply| {
            let (ino, flags) = (convert::ino(node), convert::open_flags(flags));
            let open = || self.vault.open(ino, flags, &convert::caller(request, 0));
            match self.clearing_suid(ino, convert::privileges(flags.truncate), open) {
                Ok(handle) => {
                    reply.send(|reply| reply.opened(FileHandle(handle.0), self.caching.of_file()));
                }
                Err(error) => reply.error(errno(&error)),
            }
        });
    }

    fn create(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        flags: i32,
        reply: ReplyCreate,
    ) {
        self.serve(request, Work::on(Operation::Create, parent), reply, |reply| {
            let caller = convert::caller(request, umask);
            let flags = convert::open_flags(OpenFlags(flags));
            let mode = mode & PERMISSION_BITS;
            match self.vault.create(convert::ino(parent), name.as_bytes(), mode, flags, &caller) {
                Ok((attr, handle)) => reply.send(|reply| {
                    reply.created(
                        &self.caching.ttl(),
                        &convert::file_attr(&attr),
                        convert::generation(attr.generation),
                        FileHandle(handle.0),
                        self.caching.of_file(),
                    );
                }),
                Err(error) => reply.error(errno(&error)),
            }
        });
    }

    fn read(
        &self,
        request: &Request,
        node: INodeNo,
        _handle: FileHandle,
        offset: u64,
        size: u32,
        _flags: OpenFlags,
        lock_owner: Option<LockOwner>,
        reply: ReplyData,
    ) {
        self.serve(request, Work::on(Operation::Read, node).bulk(size as usize >= BULK), reply, |reply| {
            self.read_into(convert::ino(node), PlainOffset(offset), size, lock_owner, reply);
        });
    }

    fn write(
        &self,
        request: &Request,
        node: INodeNo,
        _handle: FileHandle,
        offset: u64,
        data: &[u8],
        write_flags: WriteFlags,
        _flags: OpenFlags,
        lock_owner: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        self.serve(request, Work::on(Operation::Write, node).bulk(data.len() >= BULK), reply, |reply| {
            self.write_from(convert::ino(node), PlainOffset(offset), data, write_flags, lock_owner, reply);
        });
    }

    /// Each close of a descriptor, before it returns. Unless it has something to do, the kernel is told not to ask again: it
    /// still writes back at a close, and reports errors.
    fn flush(
        &self,
        request: &Request,
        node: INodeNo,
        _handle: FileHandle,
        _lock_owner: LockOwner,
        reply: ReplyEmpty,
    ) {
        let work = Work::on(Operation::Flush, node).bulk(self.pool.syncs_are_slow());
        self.serve(request, work, reply, |reply| {
            if !self.vault.flushes_at_close() {
                return reply.error(Errno::ENOSYS);
            }
            self.pool.submit(Task::Flush { ino: convert::ino(node), reply });
        });
    }

    fn release(
        &self,
        request: &Request,
        node: INodeNo,
        handle: FileHandle,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        _flush: bool,
        reply: ReplyEmpty,
    ) {
        self.serve(request, Work::on(Operation::Release, node), reply, |reply| {
            let (ino, handle) = (convert::ino(node), Handle(handle.0));
            if self.vault.release_may_sync(ino) {
                self.pool.submit(Task::Release { ino, handle, reply });
            } else {
                empty(reply, self.vault.release(ino, handle));
            }
        });
    }

    fn fsync(
        &self,
        request: &Request,
        node: INodeNo,
        _handle: FileHandle,
        datasync: bool,
        reply: ReplyEmpty,
    ) {
        let work = Work::on(Operation::Fsync, node).bulk(self.pool.syncs_are_slow());
        self.serve(request, work, reply, |reply| {
            self.pool.submit(Task::SyncFile {
                ino: convert::ino(node),
                scope: convert::sync_scope(datasync),
                reply,
            })
        });
    }

    fn opendir(&self, request: &Request, node: INodeNo, _flags: OpenFlags, reply: ReplyOpen) {
        self.serve(request, Work::on(Operation::OpenDir, node), reply, |reply| {
            match self.vault.opendir(convert::ino(node)) {
                Ok(handle) => {
                    reply.send(|reply| reply.opened(FileHandle(handle.0), self.caching.of_directory()));
                }
                Err(error) => reply.error(errno(&error)),
            }
        });
    }

    fn readdir(
        &self,
        request: &Request,
        node: INodeNo,
        handle: FileHandle,
        cookie: u64,
        reply: ReplyDirectory,
    ) {
        self.serve(request, Work::on(Operation::ReadDir, node), reply, |reply| {
            self.list(convert::ino(node), Handle(handle.0), cookie, reply);
        });
    }

    fn readdirplus(
        &self,
        request: &Request,
        node: INodeNo,
        handle: FileHandle,
        cookie: u64,
        reply: ReplyDirectoryPlus,
    ) {
        self.serve(request, Work::on(Operation::ReadDirPlus, node), reply, |reply| {
            self.list_plus(convert::ino(node), Handle(handle.0), cookie, reply);
        });
    }

    fn releasedir(
        &self,
        request: &Request,
        node: INodeNo,
        handle: FileHandle,
        _flags: OpenFlags,
        reply: ReplyEmpty,
    ) {
        self.serve(request, Work::on(Operation::ReleaseDir, node), reply, |reply| {
            empty(reply, self.vault.releasedir(convert::ino(node), Handle(handle.0)));
        });
    }

    fn fsyncdir(
        &self,
        request: &Request,
        node: INodeNo,
        _handle: FileHandle,
        datasync: bool,
        reply: ReplyEmpty,
    ) {
        let work = Work::on(Operation::FsyncDir, node).bulk(self.pool.syncs_are_slow());
        self.serve(request, work, reply, |reply| {
            self.pool.submit(Task::SyncDirectory {
                ino: convert::ino(node),
                scope: convert::sync_scope(datasync),
                reply,
            });
        });
    }

    fn statfs(&self, request: &Request, node: INodeNo, reply: ReplyStatfs) {
        self.serve(request, Work::on(Operation::StatFs, node).no_use(), reply, |reply| {
            match self.vault.statfs() {
                Ok(s) => {
                    reply.send(|reply| {
                        reply.statfs(
                            s.blocks, s.bfree, s.bavail, s.files, s.ffree, s.bsize, s.namelen, s.frsize,
                        );
                    });
                }
                Err(error) => reply.error(errno(&error)),
            }
        });
    }

    fn setxattr(
        &self,
        request: &Request,
        node: INodeNo,
        name: &OsStr,
        value: &[u8],
        flags: i32,
        _position: u32,
        reply: ReplyEmpty,
    ) {
        self.serve(request, Work::on(Operation::SetXattr, node), reply, |reply| {
            let caller = convert::caller(request, 0);
            self.set_xattr(convert::ino(node), name.as_bytes(), value, flags, &caller, reply);
        });
    }

    fn getxattr(&self, request: &Request, node: INodeNo, name: &OsStr, size: u32, reply: ReplyXattr) {
        self.serve(request, Work::on(Operation::GetXattr, node), reply, |reply| {
            self.get_xattr(convert::ino(node), name.as_bytes(), size, reply);
        });
    }

    fn listxattr(&self, request: &Request, node: INodeNo, size: u32, reply: ReplyXattr) {
        self.serve(request, Work::on(Operation::ListXattr, node), reply, |reply| {
            self.list_xattrs(convert::ino(node), size, reply);
        });
    }

    fn removexattr(&self, request: &Request, node: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        self.serve(request, Work::on(Operation::RemoveXattr, node), reply, |reply| {
            let caller = convert::caller(request, 0);
            self.remove_xattr(convert::ino(node), name.as_bytes(), &caller, reply);
        });
    }

    /// The kernel asks only if it checks no permissions itself, so for root.
    fn access(&self, request: &Request, node: INodeNo, mask: AccessFlags, reply: ReplyEmpty) {
        self.serve(request, Work::on(Operation::Access, node), reply, |reply| {
            let execute = mask.contains(AccessFlags::X_OK);
            empty(reply, if execute { self.may_root_execute(convert::ino(node)) } else { Ok(()) });
        });
    }

    fn fallocate(
        &self,
        request: &Request,
        node: INodeNo,
        _handle: FileHandle,
        offset: u64,
        length: u64,
        mode: i32,
        reply: ReplyEmpty,
    ) {
        self.serve(request, Work::on(Operation::Fallocate, node), reply, |reply| {
            let Some(mode) = convert::falloc_mode(mode) else {
                return reply.error(Errno::from_i32(libc::EOPNOTSUPP));
            };
            // Clearing suid and sgid is left to this side here too, and the caller's capabilities aren't known.
            let privileges = convert::privileges(request.uid() != 0);
            self.allocate(convert::ino(node), PlainOffset(offset), length, mode, privileges, reply);
        });
    }

    fn lseek(
        &self,
        request: &Request,
        node: INodeNo,
        _handle: FileHandle,
        offset: i64,
        whence: i32,
        reply: ReplyLseek,
    ) {
        self.serve(request, Work::on(Operation::Lseek, node), reply, |reply| {
            let Some(whence) = convert::whence(whence) else { return reply.error(Errno::EINVAL) };
            let Ok(offset) = u64::try_from(offset) else { return reply.error(errno(&Error::NoMoreData)) };
            let offset = PlainOffset(offset);
            self.pool.submit(Task::Seek { ino: convert::ino(node), offset, whence, reply });
        });
    }
}
