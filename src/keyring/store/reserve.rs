//! Reserved space for saving the keyring on a full disk: files beside it whose blocks are allocated and whose content is
//! never read. A save that finds no free space or inode renames one to a temporary name and writes the new keyring into it.
//! There are six: changing an unlock slot saves three times, a rotation must be possible before it, and names can take
//! space as well. The next change or mount creates missing ones again. Losing one, at any instant, loses nothing but the space.

use std::os::fd::{AsFd, OwnedFd};

use super::vault_dir::{KeyringLock, VaultDir};
use crate::crypto::random;
use crate::ids::LowerOffset;
use crate::storage::{self, Access, Errno, FileKind, RenameFlags, Stat};

/// The names of the reserve files in the vault directory.
pub const RESERVE_NAMES: [&str; 6] = [
    "keyring.reserve",
    "keyring.reserve2",
    "keyring.reserve3",
    "keyring.reserve4",
    "keyring.reserve5",
    "keyring.reserve6",
];

/// A reserve's size in bytes is a multiple of this.
const UNIT: u64 = 64 << 10;

/// The size of a reserve file for a keyring of `len` bytes: it may double.
fn wanted(len: u64) -> u64 {
    len.saturating_mul(2).max(1).div_ceil(UNIT) * UNIT
}

fn is_whole(stat: &Stat, wanted: u64) -> bool {
    let one_regular_file = stat.kind() == FileKind::Regular && stat.nlink == 1;
    one_regular_file && stat.size >= wanted && stat.blocks.saturating_mul(512) >= wanted
}

impl VaultDir {
    /// Creates the reserve files that are missing or too small for a keyring of `len` bytes. Only logs failures: there may
    /// be no space for them, or no right to create them.
    pub(in crate::keyring) fn replenish_reserve(&self, _lock: &KeyringLock, len: u64) {
        let wanted = wanted(len);
        for name in RESERVE_NAMES {
            match storage::stat(self.fd(), name.as_bytes()) {
                Ok(stat) if is_whole(&stat, wanted) => {}
                Ok(_) | Err(Errno::NOENT) => {
                    if let Err(error) = self.make_reserve(name, wanted) {
                        tracing::debug!("no space is reserved for the keyring in {name}: {error}");
                    }
                }
                Err(error) => tracing::debug!("{name}: {error}"),
            }
        }
    }

    fn make_reserve(&self, name: &str, len: u64) -> storage::Result<()> {
        let temporary = storage::temporary_name();
        let made = storage::create_temporary(self.fd(), &temporary, 0o600).and_then(|file| {
            match storage::allocate_keep_size(file.as_fd(), LowerOffset(0), len) {
                Ok(()) => storage::truncate(file.as_fd(), LowerOffset(len))?,
                // Random bytes, which compression of the lower filesystem can't shrink.
                Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => {
                    let mut bytes = vec![0; usize::try_from(len).map_err(|_| Errno::FBIG)?];
                    random::fill(&mut bytes);
                    storage::pwrite_all(file.as_fd(), &bytes, LowerOffset(0))?;
                }
                Err(error) => return Err(error),
            }
            self.keep_owner(file.as_fd());
            storage::rename(self.fd(), &temporary, self.fd(), name.as_bytes(), RenameFlags::empty())
        });
        if made.is_err() {
            self.discard(&temporary);
        }
        made
    }

    /// Writes a durable file into a reserve and returns its temporary name. The reserve is renamed first, so that after a
    /// crash it is removed as any temporary file. Only under the lock.
    ///
    /// # Errors
    /// ENOSPC if no reserve is large enough. All are removed then, and their space is free.
    pub(in crate::keyring) fn write_into_reserve(&self, bytes: &[u8]) -> storage::Result<Vec<u8>> {
        for name in RESERVE_NAMES {
            let temporary = storage::temporary_name();
            let moved = self.open_reserve(name).and_then(|file| {
                let (fd, name) = (self.fd(), name.as_bytes());
                self.with_space(|| storage::rename_to_new(fd, name, fd, &temporary))?;
                Ok(file)
            });
            let Ok(file) = moved else { continue };
            self.keep_owner(file.as_fd());
            let written = storage::pwrite_all(file.as_fd(), bytes, LowerOffset(0))
                .and_then(|()| storage::truncate(file.as_fd(), LowerOffset(bytes.len() as u64)))
                .and_then(|()| storage::fsync(file.as_fd()));
            match written {
                Ok(()) => {
                    tracing::warn!(
                        "{}: no space is left there; the keyring was saved in the space reserved for it \
                         ({name}): free some",
                        self.path().display()
                    );
                    return Ok(temporary);
                }
                Err(error) => {
                    self.discard(&temporary);
                    if !storage::is_disk_full(error) {
                        return Err(error);
                    }
                }
            }
        }
        Err(Errno::NOSPC)
    }

    /// A file of several links would be written under its other names as well.
    fn open_reserve(&self, name: &str) -> storage::Result<OwnedFd> {
        let file = storage::open_file(self.fd(), name.as_bytes(), Access::ReadWrite)?;
        let stat = storage::fstat(file.as_fd())?;
        if stat.kind() == FileKind::Regular && stat.nlink == 1 { Ok(file) } else { Err(Errno::INVAL) }
    }

    /// Truncates first: XFS frees the blocks of a removed file some time later. Then syncs: blocks are free once the
    /// journal has it. An error of either shows in the call that follows.
    fn give_up(&self, name: &str) {
        if let Ok(file) = self.open_reserve(name) {
            let _ =
                storage::truncate(file.as_fd(), LowerOffset(0)).and_then(|()| storage::fsync(file.as_fd()));
        }
        self.discard(name.as_bytes());
    }

    /// Removes the last reserve that exists and returns whether that worked. Only under the lock.
    pub(in crate::keyring) fn release_reserve(&self) -> bool {
        let is_there = |name: &str| storage::stat(self.fd(), name.as_bytes()).is_ok();
        let Some(last) = RESERVE_NAMES.iter().rev().find(|name| is_there(name)) else { return false };
        self.give_up(last);
        !is_there(last)
    }

    /// Makes a call that may need space for a name, and removes reserves one by one while it finds none.
    pub(in crate::keyring) fn with_space<T>(
        &self,
        call: impl Fn() -> storage::Result<T>,
    ) -> storage::Result<T> {
        let mut done = call();
        while done.as_ref().is_err_and(|error| storage::is_disk_full(*error)) && self.release_reserve() {
            done = call();
        }
        done
    }
}
