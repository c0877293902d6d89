//! From a lower file to an open one: its size, its header, and the error for a damaged one.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use super::block_locks::BlockLocks;
use super::growth::Growth;
use super::looks::Looks;
use super::lower::LowerFile;
use super::mtime::Mtime;
use super::{Body, OpenFile, Sealed, State};
use crate::content::block;
use crate::content::layout;
use crate::crypto::keys::Dek;
use crate::crypto::suite::Suite;
use crate::header::{self, OpenError, SLOTS, UnverifiedSlot, UnwrapFailure};
use crate::ids::{AliasName, Format, Ino, LowerOffset, PageCount, Time};
use crate::keyring::{KeyError, Keys};
use crate::storage::{self, Access, Errno, Stat};
use crate::vault::lock_order::Ordered;
use crate::vault::tree::inode::Inode;
use crate::vault::{Damage, Error, Result, Vault};

/// What an open file is wanted for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(in crate::vault) enum Purpose {
    /// To read: a damaged header is EIO.
    Read,
    /// To be changed: one that a power cut took before the file was ever synced will do.
    Write,
    /// To be truncated to zero: a damaged one will do.
    Truncate,
}

impl Body {
    /// What keeps a file from being used like this, if anything does.
    fn damage(&self, purpose: Purpose) -> Option<Damage> {
        match self {
            Self::Unreadable(damage) if purpose != Purpose::Truncate => Some(*damage),
            Self::Unsynced if purpose == Purpose::Read => Some(Damage::Header),
            _ => None,
        }
    }
}

impl Vault {
    /// The open file of an inode, loaded if no one has it open. A key that can't be used is ENOKEY, also
    /// when the file is open already.
    pub(in crate::vault) fn file_of(&self, inode: &Inode, purpose: Purpose) -> Result<Arc<OpenFile>> {
        if self.others_write() {
            return self.current_file(inode, purpose);
        }
        let mut slot = inode.file.lock();
        if let Some(file) = slot.upgrade() {
            drop(slot);
            self.reopen(&file)?;
            let state = file.state.read();
            match &state.body {
                Body::Sealed(sealed) => self.keys.usable(sealed.header.backing()).map_err(key_error)?,
                Body::KeyEvicted(_) => return Err(state.key_evicted_error()),
                Body::Unknown => return Err(Error::Lower(Errno::IO)),
                body => {
                    if let Some(damage) = body.damage(purpose) {
                        return Err(damage.into());
                    }
                }
            }
            drop(state);
            return Ok(file);
        }
        let opened = self.open_data(inode)?;
        let file = self.load(inode.ino, opened, purpose)?;
        self.note_loaded(inode, &file)?;
        *slot = Arc::downgrade(&file);
        Ok(file)
    }

    /// What follows a load.
    pub(super) fn note_loaded(&self, inode: &Inode, file: &OpenFile) -> Result<()> {
        if let Some(keys) = file.slot_keys() {
            // The key may have become unusable while its DEK was being unwrapped, before the thread that evicts DEKs
            // could see it.
            self.keys.usable(keys.backing).map_err(key_error)?;
            self.report_if_newer(inode.ino, &keys);
            self.record_in_census(inode, keys);
        } else if let Ok(alias) = self.tree.alias_of(inode) {
            // Else the first write tells what is the matter.
            let _ = file.found_under.set(alias);
        }
        Ok(())
    }

    /// The open file of an inode that has a handle.
    pub(in crate::vault) fn opened(&self, inode: &Inode) -> Result<Arc<OpenFile>> {
        if self.others_write() {
            return self.current_if_changed(inode);
        }
        let open = inode.file.lock().upgrade();
        match open {
            Some(file) => {
                self.reopen(&file)?;
                Ok(file)
            }
            // With the writeback cache the kernel may write after the last close that it announced.
            None => self.file_of(inode, Purpose::Write),
        }
    }

    /// Registers the lower file of an inode that was just created, empty, through `fd`, in a directory of this alias, and
    /// whose mtime the kernel is about to learn.
    pub(in crate::vault) fn file_created(
        &self,
        inode: &Inode,
        fd: OwnedFd,
        mtime: Time,
        alias: AliasName,
    ) -> Arc<OpenFile> {
        // Its number may be that of a file that was truncated to zero and removed behind our back.
        self.emptied.forget(inode.ino);
        let file = self.file_from(
            inode.ino,
            self.tree.for_reading(fd),
            Access::ReadWrite,
            mtime,
            None,
            State::empty(),
        );
        let _ = file.found_under.set(alias);
        *inode.file.lock() = Arc::downgrade(&file);
        file
    }

    fn load(
        &self,
        ino: Ino,
        (fd, stat, access): (OwnedFd, Stat, Access),
        purpose: Purpose,
    ) -> Result<Arc<OpenFile>> {
        let loaded = self.load_unreported(ino, (fd, stat, access), purpose);
        // Of an id that belongs to another inode there is an event already.
        if let Err(Error::Corrupt(damage)) = &loaded
            && !matches!(damage, Damage::FileId(_))
        {
            self.report_damage(ino, *damage);
        }
        loaded
    }

    /// As [`Vault::load`]; nobody is told of damage.
    pub(super) fn load_unreported(
        &self,
        ino: Ino,
        (fd, stat, access): (OwnedFd, Stat, Access),
        purpose: Purpose,
    ) -> Result<Arc<OpenFile>> {
        // Before the header is read.
        let fd = self.tree.for_reading(fd);
        let mut state = self.load_state(ino, fd.as_fd(), stat.lower_size())?;
        let other = state.body.file_id().and_then(|id| self.claim_file_id(id, ino, stat.nlink));
        if let Some(other) = other {
            state.body = Body::Unreadable(Damage::FileId(other));
        }
        if let Some(damage) = state.body.damage(purpose) {
            return Err(damage.into());
        }
        let looks = self.others_write().then(|| Looks::of(&stat));
        Ok(self.file_from(ino, fd, access, stat.mtime, looks, state))
    }

    fn file_from(
        &self,
        ino: Ino,
        fd: OwnedFd,
        access: Access,
        mtime: Time,
        loaded_as: Option<Looks>,
        state: State,
    ) -> Arc<OpenFile> {
        let hands_over = self.flushes_at_close() && self.kernel_keeps_times.load(Ordering::Relaxed);
        Arc::new_cyclic(|file| OpenFile {
            ino,
            fd: LowerFile::new(fd, access),
            handles: AtomicU32::new(0),
            writers: AtomicU32::new(0),
            doubtful: AtomicBool::new(false),
            looked: AtomicBool::new(false),
            rewraps: AtomicU32::new(0),
            edits: AtomicU64::new(0),
            changes: AtomicU64::new(0),
            flushed_changes: AtomicU64::new(0),
            growth: Growth::on(&self.lower, self.sharing),
            hands_over,
            is_remote: self.lower.is_remote,
            loaded_as,
            stable_pages_needed: self.lower.stable_needed,
            lost: AtomicI32::new(0),
            must_reload: AtomicBool::new(false),
            writing_out: AtomicBool::new(false),
            mtime: Mtime::new(mtime, hands_over && self.lower.shows_changes_by_mtime),
            found_under: OnceLock::new(),
            _registration: self.open_files.register(file.clone()),
            state: Ordered::rwlock(state),
            block_locks: BlockLocks::default(),
        })
    }

    /// As [`Vault::load_body`], for a file that is known.
    pub(super) fn load_body_of(
        &self,
        ino: Ino,
        fd: impl AsFd,
        lower: LowerOffset,
        pages: PageCount,
    ) -> Result<Body> {
        let mut body = self.load_body(fd, lower, pages)?;
        if let Body::Sealed(sealed) = &mut body
            && self.stale.has_unsynced_slot(ino)
        {
            sealed.header.other_is_unknown();
        }
        Ok(body)
    }

    pub(super) fn load_body(&self, fd: impl AsFd, lower: LowerOffset, pages: PageCount) -> Result<Body> {
        let fd = fd.as_fd();
        let mut slots = [0; SLOTS];
        storage::pread(fd, &mut slots, LowerOffset(0))?;
        match header::open(&slots, |slot| unwrap(&self.keys, slot)) {
            // Each truncate of ours made a lower floor durable first: someone else shortened the file.
            Ok(header) if pages < header.floor() => Ok(Body::Unreadable(Damage::Size)),
            Ok(header) => Ok(Body::Sealed(Sealed::new(header))),
            Err(OpenError::Key(e)) => Err(key_error(e)),
            Err(OpenError::Newer(what)) => Err(Error::Newer(what)),
            Err(OpenError::Damaged) => Ok(Body::Unreadable(Damage::Header)),
            Err(OpenError::Missing) if !holds_data(fd, lower)? => Ok(Body::NoHeader),
            // A sync gives page 0 its block. One that has a block and no header lost it in another way.
            Err(OpenError::Missing) if self.page_0_was_never_written(fd)? => Ok(Body::Unsynced),
            Err(OpenError::Missing) => Ok(Body::Unreadable(Damage::Header)),
        }
    }

    /// Whether page 0, whose slots are zeros, may be one that never reached the disk: all of it is zeros, and the
    /// lower filesystem doesn't say that it has a block, or its answer about blocks means nothing.
    fn page_0_was_never_written(&self, fd: BorrowedFd<'_>) -> Result<bool> {
        let mut page = [0; layout::PAGE as usize];
        if storage::pread(fd, &mut page, LowerOffset(0))? > 0 && !block::is_zero(&page) {
            return Ok(false);
        }
        if !self.lower.tells_holes {
            return Ok(true);
        }
        // What was reserved counts as data while it is cached, as it is from being read.
        storage::drop_cached(fd);
        Ok(storage::seek_data(fd, LowerOffset(0))?.is_none_or(|data| data.0 >= layout::PAGE))
    }
}

/// Unwraps the DEK that a slot bears: what [`header::open`] asks a keyring.
///
/// # Errors
/// [`UnwrapFailure`], which tells a key that must not be used now from an unknown one and from a failed unwrap.
pub fn unwrap(keys: &Keys, slot: &UnverifiedSlot) -> std::result::Result<Dek, UnwrapFailure<KeyError>> {
    let Some(suite) = Suite::from_number(slot.suite_number()) else {
        return Err(UnwrapFailure::Failed);
    };
    keys.unwrap(slot.backing(), slot.file(), suite, Format::CURRENT, &slot.wrapped()).map_err(|e| match e {
        KeyError::NotUsable { .. } => UnwrapFailure::NotUsable(e),
        KeyError::UnknownKey(_)
        | KeyError::UnknownVersion(_)
        | KeyError::LostVersion(_)
        | KeyError::UnknownAlias(_) => UnwrapFailure::Unknown(e),
        KeyError::Auth => UnwrapFailure::Failed,
    })
}

pub(in crate::vault) fn key_error(e: KeyError) -> Error {
    match e {
        KeyError::Auth => Damage::Header.into(),
        e => Error::KeyNotUsable(e.to_string()),
    }
}

/// Whether a file without a header holds anything but zeros in its pages; `lower` is its lower size. Only a file
/// that was never synced and met a power cut gets here, so reading all of it is no matter.
///
/// # Errors
/// What the lower filesystem says.
pub fn holds_data(fd: BorrowedFd<'_>, lower: LowerOffset) -> storage::Result<bool> {
    let end = lower.0 / layout::PAGE * layout::PAGE;
    let mut buf = vec![0; 1 << 17];
    let mut at = 0;
    while at < end {
        let Some(data) = storage::seek_data(fd, LowerOffset(at))? else { break };
        at = data.0;
        if at >= end {
            break;
        }
        let want = (end - at).min(buf.len() as u64) as usize;
        let n = storage::pread(fd, &mut buf[..want], LowerOffset(at))?;
        if !block::is_zero(&buf[..n]) {
            return Ok(true);
        }
        if n == 0 {
            break;
        }
        at += n as u64;
    }
    Ok(false)
}
