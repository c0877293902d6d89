//! Open files: per inode, not per handle, one lower descriptor, one size, one DEK, one set of locks.
//!
//! **Memory says what the disk says.** A body counts as sealed only once its slot is known to be written, a size
//! once the lower file has it. A change that fails is undone below as far as the lower filesystem lets it, and then
//! `State` is what loading the file again finds (`reload`); if even that can't be read, the file is
//! [`Body::Unknown`] and each further use tries again. So no operation builds on what is in memory alone.
//!
//! Locks (their order: `lock_order`): the inode lock (`state`) is shared for reading and for writing inside the file,
//! exclusive for all that changes size, header, tail or holes. Under it a write locks one range of the file's blocks
//! ([`block_locks`]), all that it touches. Nothing waits for the kernel while it holds one. What takes a lock
//! of the namespace is asked before the inode lock is taken.
//!
//! Readers take no range: what they see of a write beside them may be half of it, block by block, as on ext4, and a
//! block that is torn is read again under the exclusive lock. A thread that waits for a range holds the inode lock
//! shared, as the range's holder does: no thread that has a range waits for the inode lock.

mod block_locks;
mod current;
mod direct_write;
mod disk_full;
mod emptied;
mod evict;
mod fallocate;
pub(super) mod file_ids;
mod filled;
mod floor;
mod growth;
mod header_fields;
mod kept;
pub(super) mod kernel_pages;
mod load;
mod looks;
mod lower;
mod mtime;
mod open_files;
mod open_lower;
mod page_cache;
mod read;
mod reencrypt;
mod reload;
mod rewrap;
mod scratch;
mod seek;
mod sync;
mod times;
mod truncate;
mod unwritten;
mod withhold;
mod write;
mod write_back;

use std::collections::HashMap;
use std::ops::Deref;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use parking_lot::RwLock;

pub(super) use emptied::Emptied;
pub use header_fields::states_file_id;
pub(super) use load::{Purpose, key_error};
pub use load::{holds_data, unwrap};
pub(super) use open_files::OpenFileTable;
pub use page_cache::PageCache;
pub(super) use reencrypt::Copied;
pub use rewrap::BatchOutcome;
pub(super) use unwritten::Unwritten;

use super::lock_order::{OfInode, Ordered};
use super::{Damage, Error, OpenFlags, Result};
use crate::content::layout;
use crate::crypto::page::ContentKey;
use crate::header::{Header, SlotKeys};
use crate::ids::{AliasName, BackingKeyId, FileId, Ino, PageCount, PageIndex, PlainOffset, SegmentIndex};
use crate::storage;

/// How long a look at a quiesced file waits for the re-wrap of the file: its syncs may take a while on a busy disk.
const REWRAP_WAIT: Duration = Duration::from_secs(30);
/// How often it looks whether the re-wrap has ended.
const REWRAP_POLL: Duration = Duration::from_millis(1);

/// A regular file that has handles, or that an operation works on.
pub(super) struct OpenFile {
    ino: Ino,
    fd: lower::LowerFile,
    /// Open handles.
    handles: AtomicU32,
    /// Those open for writing: while there are any, the kernel may hold data we don't know of.
    writers: AtomicU32,
    /// Whether a write-out has failed: what the lower file shows need not be what is, or will be, on disk.
    doubtful: AtomicBool,
    /// Whether an fsync has looked for pages that hold data: the first one does.
    looked: AtomicBool,
    /// Re-wraps under way.
    rewraps: AtomicU32,
    /// Changes of content or size that began.
    edits: AtomicU64,
    /// Changes of content or size that ended, and of these so many were with the lower filesystem when a handle was last closed.
    changes: AtomicU64,
    flushed_changes: AtomicU64,
    /// How it grows.
    growth: growth::Growth,
    /// Whether closes hand over what was written, and the mtime with it.
    hands_over: bool,
    /// Whether each call below may be a round trip.
    is_remote: bool,
    /// What it was like when it was loaded, where another host may change it.
    loaded_as: Option<looks::Looks>,
    /// Whether pages must be stable while they are written out (see [`storage::wait_stable`]).
    stable_pages_needed: bool,
    /// A write-out that failed in a sync of ours, which took the error from the descriptor: the next fsync
    /// reports it.
    lost: AtomicI32,
    /// Whether the body is [`Body::KeyEvicted`] or [`Body::Unknown`]: changed with it, looked at without the lock.
    must_reload: AtomicBool,
    /// Whether the kernel is writing its pages out because the key becomes unusable.
    writing_out: AtomicBool,
    /// The mtime that the kernel knows.
    mtime: mtime::Mtime,
    /// Of one without a header, the alias under which it was made, or found: its first header comes under that, though
    /// it is taken elsewhere before its first write, which the kernel keeps for half a minute.
    found_under: OnceLock<AliasName>,
    /// Its entry in the table in which eviction finds it.
    _registration: open_files::Registration<OpenFile>,
    state: Ordered<OfInode, RwLock<State>>,
    /// Blocks being written under the shared inode lock.
    block_locks: block_locks::BlockLocks,
}

/// What a handle was opened for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum HandleAccess {
    /// For reading alone.
    Reading,
    /// For writing, whether it reads too or not.
    Writing,
}

impl HandleAccess {
    pub(super) fn of(flags: OpenFlags) -> Self {
        if flags.write { Self::Writing } else { Self::Reading }
    }

    fn writers(self) -> u32 {
        (self == Self::Writing).into()
    }
}

/// What the inode lock guards.
struct State {
    size: PlainOffset,
    body: Body,
    /// Pages that an fsync may have promised: overwriting them waits for write-out first.
    synced: PageCount,
    /// The last block is zero past `size` and block N is a hole: growing needs no more preparation.
    tail_clean: bool,
    /// Truncates made (not to zero), and how many of them are durable.
    truncates: u64,
    durable_truncates: u64,
    /// Pages that hold data.
    filled: filled::Filled,
    /// The blocks in which the last writes began or ended.
    kept: kept::Kept,
    /// Whether the floor was lowered since the file was loaded.
    floor_lowered: bool,
}

/// What is behind the size.
enum Body {
    /// No header: empty, or all zeros since a power cut took the header of a file that was never synced.
    NoHeader,
    /// A verified header.
    Sealed(Box<Sealed>),
    /// There was one, under this backing key, which can't be used: no DEK is in memory. Nothing works but what
    /// needs no key, until the header can be read again.
    KeyEvicted(BackingKeyId),
    /// It can be truncated to zero or removed; reading and writing fail with this.
    Unreadable(Damage),
    /// Pages of a file that was never synced, whose page 0 and with it the header never reached the disk before a
    /// power cut: no one can ever open them. Reading fails; a change gives them up.
    Unsynced,
    /// A change failed, and then the file couldn't be loaded again: nothing is known of it until that succeeds.
    Unknown,
}

impl Body {
    fn file_id(&self) -> Option<FileId> {
        match self {
            Self::Sealed(sealed) => Some(sealed.header.file()),
            Self::NoHeader | Self::KeyEvicted(_) | Self::Unreadable(_) | Self::Unsynced | Self::Unknown => {
                None
            }
        }
    }
}

/// A header and the content keys derived from it.
struct Sealed {
    header: Header,
    first: ContentKey,
    others: RwLock<HashMap<SegmentIndex, Arc<ContentKey>>>,
}

enum KeyRef<'a> {
    First(&'a ContentKey),
    Other(Arc<ContentKey>),
}

impl Deref for KeyRef<'_> {
    type Target = ContentKey;
    fn deref(&self) -> &ContentKey {
        match self {
            Self::First(key) => key,
            Self::Other(key) => key,
        }
    }
}

impl Sealed {
    fn new(header: Header) -> Box<Self> {
        let first = header.content_key(SegmentIndex(0));
        Box::new(Self { header, first, others: RwLock::default() })
    }

    fn key(&self, page: PageIndex) -> KeyRef<'_> {
        let segment = layout::segment(page);
        if segment.0 == 0 {
            return KeyRef::First(&self.first);
        }
        if let Some(key) = self.others.read().get(&segment) {
            return KeyRef::Other(key.clone());
        }
        let key = Arc::new(self.header.content_key(segment));
        KeyRef::Other(self.others.write().entry(segment).or_insert(key).clone())
    }

    /// The content keys for the blocks of one request.
    fn keys(&self) -> SegmentKeys<'_> {
        SegmentKeys { sealed: self, last: None }
    }

    /// A hole where the header says that there is none.
    fn forbids_hole(&self, page: PageIndex) -> bool {
        page.0 < self.header.floor().0
    }
}

/// Looks up a segment's key once for all blocks that follow each other in it: the table of keys is shared with the
/// other threads, and a look into it moves two cache lines between cores.
struct SegmentKeys<'a> {
    sealed: &'a Sealed,
    last: Option<(SegmentIndex, KeyRef<'a>)>,
}

impl SegmentKeys<'_> {
    fn of(&mut self, page: PageIndex) -> &ContentKey {
        let segment = layout::segment(page);
        let known = self.last.take().filter(|(of, _)| *of == segment);
        &self.last.insert(known.unwrap_or_else(|| (segment, self.sealed.key(page)))).1
    }
}

impl State {
    fn empty() -> Self {
        Self {
            size: PlainOffset(0),
            body: Body::NoHeader,
            synced: PageCount(0),
            tail_clean: true,
            truncates: 0,
            durable_truncates: 0,
            filled: filled::Filled::default(),
            kept: kept::Kept::default(),
            floor_lowered: false,
        }
    }

    fn pages(&self) -> PageCount {
        layout::page_count(self.size)
    }

    fn sealed(&self) -> Result<Option<&Sealed>> {
        match &self.body {
            Body::NoHeader => Ok(None),
            Body::Sealed(sealed) => Ok(Some(sealed)),
            Body::KeyEvicted(_) => Err(self.key_evicted_error()),
            Body::Unreadable(damage) => Err((*damage).into()),
            Body::Unsynced => Err(Damage::Header.into()),
            Body::Unknown => Err(Error::Lower(storage::Errno::IO)),
        }
    }

    /// The keys that its header names, if one is in memory.
    fn header_keys(&self) -> Option<SlotKeys> {
        match &self.body {
            Body::Sealed(sealed) => Some(sealed.header.keys()),
            Body::KeyEvicted(_) | Body::NoHeader | Body::Unreadable(_) | Body::Unsynced | Body::Unknown => {
                None
            }
        }
    }

    /// The error for a file whose DEK was evicted.
    fn key_evicted_error(&self) -> Error {
        Error::KeyNotUsable("the key of an open file can't be used any more".to_owned())
    }

    /// Pages below must be stable while they are written out: a torn one would cost promised bytes. Beside the
    /// pages that an fsync may have promised these are the ones behind them whose blocks lie in the same page
    /// of the kernel's cache, which it reads as a whole or not at all.
    fn guarded(&self) -> PageCount {
        let end = layout::block_start(PageIndex(self.synced.0)).0;
        match end.next_multiple_of(layout::PAGE).checked_sub(1) {
            Some(last) if self.synced.0 > 0 => PageCount(layout::locate(PlainOffset(last)).0.0 + 1),
            _ => PageCount(0),
        }
    }

    /// Whether a power cut could bring back a larger size.
    fn truncate_unsynced(&self) -> bool {
        self.truncates > self.durable_truncates
    }

    fn last_page(&self) -> Option<PageIndex> {
        self.pages().0.checked_sub(1).map(PageIndex)
    }
}

impl OpenFile {
    /// Its inode.
    pub(super) fn ino(&self) -> Ino {
        self.ino
    }

    /// Of one without a header, the alias of where it was made or found.
    pub(super) fn found_under(&self) -> Option<&AliasName> {
        self.found_under.get()
    }

    /// The lower descriptor.
    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// The backing key that wraps its DEK; `None` while it has none.
    pub(super) fn backing(&self) -> Option<BackingKeyId> {
        match &self.state.read().body {
            Body::Sealed(sealed) => Some(sealed.header.backing()),
            Body::KeyEvicted(backing) => Some(*backing),
            Body::NoHeader | Body::Unreadable(_) | Body::Unsynced | Body::Unknown => None,
        }
    }

    /// Whether it is in use with this file id. Doesn't wait: `Some(true)` while it is being changed. `None`: that is to
    /// be looked up on disk.
    pub(super) fn bears(&self, id: FileId) -> Option<bool> {
        let Some(state) = self.state.try_read() else { return Some(true) };
        match &state.body {
            Body::Sealed(sealed) => Some(sealed.header.file() == id),
            Body::NoHeader | Body::Unreadable(_) | Body::Unsynced => Some(false),
            Body::KeyEvicted(_) | Body::Unknown => None,
        }
    }

    /// The backing keys that its slots name; `None` while it has no DEK in memory.
    pub(super) fn slot_keys(&self) -> Option<SlotKeys> {
        self.state.read().header_keys()
    }

    /// Calls `act` with the backing keys that its slots name (`None` while it has no DEK in memory), which don't change
    /// until it returns.
    pub(super) fn with_slot_keys<T>(&self, act: impl FnOnce(Option<SlotKeys>) -> T) -> T {
        act(self.state.read().header_keys())
    }

    /// Counts a handle.
    pub(super) fn add_handle(&self, access: HandleAccess) {
        self.handles.fetch_add(1, Ordering::Relaxed);
        self.writers.fetch_add(access.writers(), Ordering::Relaxed);
    }

    /// Counts a handle out.
    pub(super) fn drop_handle(&self, access: HandleAccess) {
        let writers = access.writers();
        if writers > 0
            && self.writers.fetch_sub(writers, Ordering::Relaxed) == writers
            && let Some(state) = self.state.try_read()
        {
            state.kept.clear();
        }
        self.handles.fetch_sub(1, Ordering::Relaxed);
    }

    /// Calls `act` while no operation reads or writes the file and no re-wrap is under way: between its two slots, a
    /// re-wrap waits for a sync without the inode lock, and the old slot looks like one that was left. It is waited for
    /// [`REWRAP_WAIT`] at most.
    pub(super) fn exclusively<T>(&self, act: impl FnOnce() -> T) -> T {
        let deadline = Instant::now() + REWRAP_WAIT;
        loop {
            let state = self.state.write();
            // One that begins now needs the inode lock before it writes.
            if self.rewraps.load(Ordering::Relaxed) == 0 || Instant::now() >= deadline {
                return act();
            }
            drop(state);
            std::thread::sleep(REWRAP_POLL);
        }
    }

    pub(super) fn check_writable(&self) -> Result<()> {
        if self.fd.is_writable() { Ok(()) } else { Err(Error::ReadOnly) }
    }
}

impl Drop for OpenFile {
    fn drop(&mut self) {
        // A truncate that isn't durable must not be forgotten: the next load of the file takes its size for
        // durable. `Vault::release` has done this already, and reported its error, unless it was killed.
        if self.state.get_mut().truncate_unsynced()
            && let Err(e) = storage::fdatasync(self.fd.as_fd())
        {
            tracing::warn!(ino = self.ino.0, "syncing a truncated file at its last close failed: {e}");
        }
    }
}

#[cfg(test)]
mod tests;
