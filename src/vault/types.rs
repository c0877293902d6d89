//! What goes in and out of vault operations. No FUSE type, no lower type that a caller would have to decode.

use crate::crypto::suite::Suite;
use crate::header::{AliasTag, OtherSlot, SlotKeys};
use crate::ids::{BackingKeyId, Handle, Ino, NodeGeneration, Sequence};
use crate::keyring::Belonging;
pub use crate::storage::{FileKind, StatFs, XattrMode};
use crate::storage::{Time, TimeChange};

/// Who asks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Caller {
    /// Effective user id.
    pub uid: u32,
    /// Effective group id.
    pub gid: u32,
    /// umask; applied by the lower filesystem unless the directory has a default ACL.
    pub umask: u32,
    /// Process id; 0 if unknown.
    pub pid: u32,
}

/// An inode's attributes as users see them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Attr {
    /// Inode number.
    pub ino: Ino,
    /// Tells it from others that had its number before.
    pub generation: NodeGeneration,
    /// Kind.
    pub kind: FileKind,
    /// The low 12 bits of the mode.
    pub perm: u16,
    /// Number of hard links.
    pub nlink: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Device number of a device node, as the kernel encodes it in a stat.
    pub rdev: u64,
    /// Plaintext size in bytes.
    pub size: u64,
    /// Blocks of 512 bytes that the lower file takes.
    pub blocks: u64,
    /// Preferred I/O size in bytes.
    pub blksize: u32,
    /// Last access.
    pub atime: Time,
    /// Last change of content.
    pub mtime: Time,
    /// Last change of anything.
    pub ctime: Time,
}

/// A change of attributes; `None` keeps what is there.
#[derive(Clone, Copy, Default, Debug)]
pub struct SetAttr {
    /// The low 12 bits of the mode.
    pub mode: Option<u32>,
    /// Owner.
    pub uid: Option<u32>,
    /// Group.
    pub gid: Option<u32>,
    /// Plaintext size in bytes.
    pub size: Option<u64>,
    /// Last access.
    pub atime: Option<TimeChange>,
    /// Last change of content.
    pub mtime: Option<TimeChange>,
    /// The last change of anything, as the kernel shows it if it keeps times itself. It can't be set.
    pub ctime: Option<Time>,
    /// The open handle through which it is asked, if any.
    pub handle: Option<Handle>,
}

/// Which other hosts use the vault's directory at the same time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Sharing {
    /// None: this mount alone changes the tree, and all that it knows of it stays true.
    Alone,
    /// Others read what this mount writes. A file never has a size before it has the pages, and what was written to it is
    /// with the lower filesystem when it is closed.
    Writer,
    /// Another one writes, and what is known of the tree is compared with it before it is used (`vault::file::current`).
    Reader,
}

/// How a file is opened.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OpenFlags {
    /// For reading.
    pub read: bool,
    /// For writing.
    pub write: bool,
    /// Truncated to zero.
    pub truncate: bool,
}

/// What a file's header says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct HeaderInfo {
    /// The backing key that wraps the DEK.
    pub backing: BackingKeyId,
    /// What stands in the other slot.
    pub other: OtherSlot,
    /// The content suite.
    pub suite: Suite,
    /// The slot's sequence.
    pub sequence: Sequence,
    /// The alias tag.
    pub tag: Option<AliasTag>,
    /// Why it belongs where it does.
    pub belonging: Belonging,
    /// Whether a slot bears another backing key than the one where the file belongs now, or lacks the tag that it is
    /// to get.
    pub stale: bool,
}

impl HeaderInfo {
    /// The backing keys that its slots name.
    pub fn slots(&self) -> SlotKeys {
        SlotKeys { backing: self.backing, other: self.other, tag: self.tag }
    }
}

/// What `fallocate(2)` is to do; all false: allocate and grow.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct FallocMode {
    /// Keep the size.
    pub keep_size: bool,
    /// Make a hole (with `keep_size`).
    pub punch_hole: bool,
    /// Make it read as zeros.
    pub zero_range: bool,
}

/// What `lseek(2)` looks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Whence {
    /// SEEK_DATA.
    Data,
    /// SEEK_HOLE.
    Hole,
}

/// An entry as [`readdir`](super::Vault::readdir) yields it.
#[derive(Clone, Copy, Debug)]
pub struct DirEntry<'a> {
    /// Inode number.
    pub ino: Ino,
    /// Kind.
    pub kind: FileKind,
    /// Plaintext name.
    pub name: &'a [u8],
    /// The lower cookie to continue after this entry.
    pub next_cookie: u64,
}

/// Takes entries from [`readdirplus`](super::Vault::readdirplus): attributes (none for `.` and `..`, and for what lies
/// on another filesystem), plaintext name, and the lower cookie to continue after the entry. False: full, stop before
/// this one.
pub type PlusSink<'a> = dyn FnMut(Option<&Attr>, &[u8], u64) -> bool + 'a;

/// What a change of a file's content does to its set-user-ID and set-group-ID bits and its capabilities.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Privileges {
    /// They stay.
    Keep,
    /// They are cleared first, as the kernel asks for a caller without CAP_FSETID.
    Clear,
}

/// What a sync makes durable.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SyncScope {
    /// Content, and what is needed to read it: `fdatasync(2)`.
    Data,
    /// All metadata too: `fsync(2)`.
    All,
}
