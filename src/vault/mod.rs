//! What a filesystem does, without knowing FUSE: inodes, directories, handles, file content.
//!
//! - `tree`: names, inodes and directories of the lower tree. It knows nothing of a [`Vault`].
//! - `file`: the content of open files: sizes, pages, headers.
//! - `key_usage`: which key wraps what, who may use it, and which keys files still need.
//! - `ops`: what a request does with these.
//! - `reclaim`: memory and descriptors given back off the path of requests.
//!
//! `lock_order` has the order of their locks; no other file states it.

mod error;
mod file;
mod key_usage;
mod lock_order;
mod lower_path;
#[cfg(test)]
mod model;
mod ops;
mod reclaim;
#[cfg(test)]
pub(crate) mod testing;
mod tree;
mod types;

use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, OnceLock, Weak};

use parking_lot::{Mutex, RwLock};

pub use error::{Damage, Error, Result};
pub use file::kernel_pages::Stale;
pub use file::{BatchOutcome, PageCache, holds_data, states_file_id, unwrap};
pub use key_usage::census::SavedCensus;
pub use key_usage::scan::{CountError, KeyReferences, NAMED_FILES_MAX, NamedFile};
pub use key_usage::wrapping::Destination;
pub use ops::audit_paths::PlainNames;
pub use ops::counters::RewrapCounts;
pub use ops::counts::InUse;
pub use ops::file_names::Measure;
pub use ops::reencrypt::Reencrypted;
pub use types::{
    Attr, Caller, DirEntry, FallocMode, FileKind, HeaderInfo, OpenFlags, PlusSink, Privileges, SetAttr,
    Sharing, StatFs, SyncScope, Whence, XattrMode,
};

use crate::ids::{BackingKeyId, Ino, Timestamp};
use crate::keyring::Keys;
use crate::storage::{self, Lease, LowerFs, Writable};

/// How a vault is to be used.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct VaultOptions {
    /// Change nothing.
    pub read_only: bool,
    /// Queue stale files for re-wrap when they are opened.
    pub lazy_rewrap: bool,
    /// Let reading change no time of last access.
    pub no_atime: bool,
    /// Which other hosts use it.
    pub sharing: Sharing,
}

/// An unlocked vault in use. The caller holds the vault's lock: nobody else changes the tree, unless it is open as
/// [`Sharing::Reader`].
pub struct Vault {
    keys: Arc<Keys>,
    tree: tree::Tree,
    lower: LowerFs,
    /// Leave to change the tree; all that does asks for it first.
    writable: Option<Writable>,
    lazy_rewrap: bool,
    sharing: Sharing,
    /// See [`Vault::set_kernel_keeps_times`].
    kernel_keeps_times: AtomicBool,
    gates: ops::inode_gates::InodeGates,
    handles: ops::handles::Handles,
    census: key_usage::census::Census,
    file_ids: file::file_ids::FileIds,
    stale: key_usage::stale::RewrapQueue,
    forgets: reclaim::memory::ForgetCounter,
    deferred_close: reclaim::deferred_close::DeferredClose,
    /// Held shared over a batch of re-wraps, from choosing the backing keys until the headers bear them, and
    /// over every other work that puts a header in a file's place: a count waits for them.
    rewraps: RwLock<()>,
    moves: key_usage::moves::Moves,
    /// Held by the one count that may run.
    counting: Mutex<()>,
    open_files: Arc<file::OpenFileTable<file::OpenFile>>,
    unwritten: file::Unwritten,
    emptied: file::Emptied,
    counters: ops::counters::Counters,
    /// The newest keyring generation in a file's tag that was reported since the keyring's is older.
    newest_reported: AtomicU64,
    page_cache: OnceLock<Arc<dyn PageCache>>,
    /// A reader's.
    lease: OnceLock<Arc<Lease>>,
}

impl Vault {
    /// Takes a vault into use: `tree` is its directory of ciphertext. Begins with one `syncfs` of the lower
    /// filesystem: sizes that a killed mount left behind are durable before anything is built on them. From now
    /// on it receives the backing keys that become unusable, and wipes the DEKs of open files.
    ///
    /// # Errors
    /// Errors of the lower filesystem; damage of the root's record.
    pub fn new(tree: OwnedFd, keys: Arc<Keys>, options: VaultOptions) -> Result<Arc<Self>> {
        let lower = LowerFs::probe(tree.as_fd())?;
        Self::on(lower, tree, keys, options)
    }

    fn on(lower: LowerFs, tree: OwnedFd, keys: Arc<Keys>, options: VaultOptions) -> Result<Arc<Self>> {
        let others_write = options.sharing == Sharing::Reader;
        let writable =
            if options.read_only || others_write || lower.read_only { None } else { keys.writable().ok() };
        if writable.is_some() {
            storage::syncfs(tree.as_fd())?;
        }
        let newest_reported = AtomicU64::new(keys.generation().0);
        let vault = Arc::new(Self {
            tree: tree::Tree::open(tree, &lower, keys.tree_key(), options.no_atime, others_write, writable)?,
            keys,
            lower,
            writable,
            lazy_rewrap: options.lazy_rewrap && writable.is_some(),
            sharing: options.sharing,
            kernel_keeps_times: AtomicBool::new(false),
            gates: ops::inode_gates::InodeGates::default(),
            handles: ops::handles::Handles::default(),
            census: key_usage::census::Census::default(),
            file_ids: file::file_ids::FileIds::default(),
            stale: key_usage::stale::RewrapQueue::default(),
            forgets: reclaim::memory::ForgetCounter::default(),
            deferred_close: reclaim::deferred_close::DeferredClose::default(),
            rewraps: RwLock::new(()),
            moves: key_usage::moves::Moves::default(),
            counting: Mutex::new(()),
            open_files: Arc::default(),
            unwritten: file::Unwritten::default(),
            emptied: file::Emptied::default(),
            counters: ops::counters::Counters::default(),
            newest_reported,
            page_cache: OnceLock::new(),
            lease: OnceLock::new(),
        });
        let watch: Weak<Self> = Arc::downgrade(&vault);
        vault.keys.set_observer(watch);
        Ok(vault)
    }

    /// Says where the files' pages are cached, once the vault is mounted; the first one stays.
    pub fn set_page_cache(&self, cache: Arc<dyn PageCache>) {
        let _ = self.page_cache.set(cache);
    }

    /// The keyring in use.
    pub fn keys(&self) -> &Arc<Keys> {
        &self.keys
    }

    /// How many descriptors may be in use before a file isn't opened for lack of one.
    pub fn most_descriptors(&self) -> usize {
        self.tree.most_descriptors()
    }

    /// What is known of the lower filesystem.
    pub fn lower(&self) -> &LowerFs {
        &self.lower
    }

    /// Whether nothing can be changed: it was asked for so, the lower filesystem is read-only, or the keyring names
    /// features with which this program may only read.
    pub fn read_only(&self) -> bool {
        self.writable.is_none()
    }

    /// Which other hosts use it.
    pub fn sharing(&self) -> Sharing {
        self.sharing
    }

    /// Backing keys, with the number of files seen so far that each wraps.
    pub fn census(&self) -> Vec<(BackingKeyId, u64)> {
        self.census.counts()
    }

    /// As [`Vault::census`], of the files of which one slot is still to be re-wrapped: it bears, or may bear, another
    /// backing key than the one in force.
    pub fn census_of_differing_slots(&self) -> Vec<(BackingKeyId, u64)> {
        self.census.counts_that_differ()
    }

    /// When the last count of all files began; what was written, re-wrapped and removed since is recorded too, so
    /// that the census holds every file. `None`: it holds those that were used so far.
    pub fn census_counted(&self) -> Option<Timestamp> {
        self.census.counted()
    }

    /// Records that [`Vault::count_file`] was asked of every file there is, from `began` on.
    pub fn census_is_complete(&self, began: Timestamp) {
        self.census.complete(began);
    }

    fn check_writable(&self) -> Result<Writable> {
        self.writable.ok_or(Error::ReadOnly)
    }

    fn inode(&self, ino: Ino) -> Result<Arc<tree::inode::Inode>> {
        self.tree.inodes.get(ino)
    }
}
