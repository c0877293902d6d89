//! Conversions between what fuser speaks and what the vault speaks. Pure.

use std::time::{Duration, SystemTime};

use fuser::{FileAttr, FileType, Generation, INodeNo, OpenAccMode, Request, TimeOrNow};

use crate::ids::{self, Ino};
use crate::storage::{RenameFlags, Time, TimeChange};
use crate::vault::{Attr, Caller, FallocMode, FileKind, OpenFlags, Privileges, SyncScope, Whence, XattrMode};

/// Who asks; `umask` is 0 where the request carries none.
pub(super) fn caller(request: &Request, umask: u32) -> Caller {
    Caller { uid: request.uid(), gid: request.gid(), umask, pid: request.pid() }
}

pub(super) fn generation(generation: ids::NodeGeneration) -> Generation {
    Generation(generation.0.into())
}

pub(super) fn ino(node: INodeNo) -> Ino {
    Ino(node.0)
}

pub(super) fn file_type(kind: FileKind) -> FileType {
    match kind {
        FileKind::Regular => FileType::RegularFile,
        FileKind::Directory => FileType::Directory,
        FileKind::Symlink => FileType::Symlink,
        FileKind::Fifo => FileType::NamedPipe,
        FileKind::Socket => FileType::Socket,
        FileKind::CharDevice => FileType::CharDevice,
        FileKind::BlockDevice => FileType::BlockDevice,
    }
}

pub(super) fn file_attr(attr: &Attr) -> FileAttr {
    FileAttr {
        ino: INodeNo(attr.ino.0),
        size: attr.size,
        blocks: attr.blocks,
        atime: system_time(attr.atime),
        mtime: system_time(attr.mtime),
        ctime: system_time(attr.ctime),
        crtime: SystemTime::UNIX_EPOCH,
        kind: file_type(attr.kind),
        perm: attr.perm,
        nlink: attr.nlink,
        uid: attr.uid,
        gid: attr.gid,
        // The kernel's FUSE encoding is the low half of a stat's: 12 bits of major, 20 of minor.
        rdev: attr.rdev as u32,
        blksize: attr.blksize,
        flags: 0,
    }
}

/// A reply with node id 0: the kernel remembers that there is no such entry.
pub(super) fn no_entry() -> FileAttr {
    FileAttr {
        ino: INodeNo(0),
        size: 0,
        blocks: 0,
        atime: SystemTime::UNIX_EPOCH,
        mtime: SystemTime::UNIX_EPOCH,
        ctime: SystemTime::UNIX_EPOCH,
        crtime: SystemTime::UNIX_EPOCH,
        kind: FileType::RegularFile,
        perm: 0,
        nlink: 0,
        uid: 0,
        gid: 0,
        rdev: 0,
        blksize: 0,
        flags: 0,
    }
}

/// An entry of a readdirplus reply that is no lookup: `.` and `..`, of which the kernel takes number and kind; and what
/// the vault shows without attributes. Node id 0 would say that too, but readdir(3) of older C libraries leaves
/// entries with that number out; of the root's the kernel makes no dentry either, and forgets it at once.
pub(super) fn entry_without_lookup(directory: Ino, name: &[u8]) -> FileAttr {
    match name {
        b"." | b".." => FileAttr { ino: INodeNo(directory.0), kind: FileType::Directory, ..no_entry() },
        _ => FileAttr { ino: INodeNo::ROOT, ..no_entry() },
    }
}

pub(super) fn system_time(time: Time) -> SystemTime {
    let whole = Duration::from_secs(time.secs.unsigned_abs());
    let at = if time.secs >= 0 {
        SystemTime::UNIX_EPOCH.checked_add(whole)
    } else {
        SystemTime::UNIX_EPOCH.checked_sub(whole)
    };
    at.and_then(|at| at.checked_add(Duration::from_nanos(u64::from(time.nanos))))
        .unwrap_or(SystemTime::UNIX_EPOCH)
}

/// The time that the kernel sent. fuser decodes a time before 1970, (-s, n), as the epoch minus (s + n ns),
/// which is right only for n = 0; its two parts are still in there, so this puts them together again.
pub(super) fn sent_time(time: SystemTime) -> Time {
    match time.duration_since(SystemTime::UNIX_EPOCH) {
        Ok(after) => {
            Time { secs: i64::try_from(after.as_secs()).unwrap_or(i64::MAX), nanos: after.subsec_nanos() }
        }
        Err(before) => {
            let before = before.duration();
            Time { secs: 0_i64.saturating_sub_unsigned(before.as_secs()), nanos: before.subsec_nanos() }
        }
    }
}

pub(super) fn time_change(time: TimeOrNow) -> TimeChange {
    match time {
        TimeOrNow::Now => TimeChange::Now,
        TimeOrNow::SpecificTime(at) => TimeChange::At(sent_time(at)),
    }
}

pub(super) fn open_flags(flags: fuser::OpenFlags) -> OpenFlags {
    let (read, write) = match flags.acc_mode() {
        OpenAccMode::O_RDONLY => (true, false),
        OpenAccMode::O_WRONLY => (false, true),
        OpenAccMode::O_RDWR => (true, true),
    };
    OpenFlags { read, write, truncate: flags.0 & libc::O_TRUNC != 0 }
}

/// `None` for a flag that isn't known.
pub(super) fn rename_flags(flags: fuser::RenameFlags) -> Option<RenameFlags> {
    let known = RenameFlags::NOREPLACE | RenameFlags::EXCHANGE | RenameFlags::WHITEOUT;
    RenameFlags::from_bits(flags.bits()).filter(|flags| known.contains(*flags))
}

/// `None` for flags that don't go together or aren't known.
pub(super) fn xattr_mode(flags: i32) -> Option<XattrMode> {
    match flags {
        0 => Some(XattrMode::Set),
        libc::XATTR_CREATE => Some(XattrMode::Create),
        libc::XATTR_REPLACE => Some(XattrMode::Replace),
        _ => None,
    }
}

/// `None` for a mode that isn't known (collapse, insert, unshare).
pub(super) fn falloc_mode(mode: i32) -> Option<FallocMode> {
    let known = libc::FALLOC_FL_KEEP_SIZE | libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_ZERO_RANGE;
    (mode & !known == 0).then_some(FallocMode {
        keep_size: mode & libc::FALLOC_FL_KEEP_SIZE != 0,
        punch_hole: mode & libc::FALLOC_FL_PUNCH_HOLE != 0,
        zero_range: mode & libc::FALLOC_FL_ZERO_RANGE != 0,
    })
}

/// `None` for anything but SEEK_DATA and SEEK_HOLE: the kernel does the others itself.
pub(super) fn whence(whence: i32) -> Option<Whence> {
    match whence {
        libc::SEEK_DATA => Some(Whence::Data),
        libc::SEEK_HOLE => Some(Whence::Hole),
        _ => None,
    }
}

/// What the kernel asks for in a change of content: whether privileges are cleared.
pub(super) fn privileges(clear: bool) -> Privileges {
    if clear { Privileges::Clear } else { Privileges::Keep }
}

/// What an fsync is to make durable.
pub(super) fn sync_scope(datasync: bool) -> SyncScope {
    if datasync { SyncScope::Data } else { SyncScope::All }
}

#[cfg(test)]
mod tests;
