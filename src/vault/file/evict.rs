//! What becomes of open files when their backing key becomes unusable, and when it is usable again.
//!
//! Order: what the kernel and the lower filesystem hold is written out while the key still wraps; the change of
//! the keyring is made durable, and from then on no file of that key is opened (both by `keyring`); what came in
//! between is written out with the DEKs that open files still have; the DEKs are wiped; the kernel's pages are
//! dropped. A file whose DEK was *evicted* keeps its handles: they fail with ENOKEY, and read the header again once the key
//! is usable again. A crash anywhere in between leaves a mount that is gone, DEKs and all, and the keyring as it was saved.
//!
//! No lock is held here while the kernel is asked to write or drop pages: it waits for our session threads.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::{Body, OpenFile};
use crate::ids::{BackingKeyId, Ino, KeyId};
use crate::keyring::{KeyObserver, Keys};
use crate::vault::{Error, Result, Vault};

impl KeyObserver for Vault {
    fn before_unusable(&self, keys: &[KeyId]) {
        for file in self.open_files.all() {
            if file.writers.load(Ordering::Relaxed) > 0 && self.depends_on(&file, keys) {
                self.write_out(&file);
            }
        }
    }

    fn after_unusable(&self, backings: &[BackingKeyId]) {
        // Another host may have re-wrapped a file since it was loaded: what its key is now, its header says.
        let elsewhere = self.others_write();
        let of_gone = |file: &Arc<OpenFile>| {
            elsewhere || file.sealed_by().is_some_and(|by| self.keys.usable(by).is_err())
        };
        let files: Vec<_> = self.open_files.all().into_iter().filter(of_gone).collect();
        for file in files.iter().filter(|file| file.writers.load(Ordering::Relaxed) > 0) {
            self.write_out(file);
        }
        for file in &files {
            file.evict_if_unusable(&self.keys);
            if elsewhere {
                file.must_reload.store(true, Ordering::Relaxed);
            }
        }
        // Pages outlive the last close of a file.
        let mut cached: BTreeSet<Ino> = self.census.wrapped_by(backings).into_iter().collect();
        cached.retain(|ino| self.tree.inodes.find(*ino).is_some());
        cached.extend(files.iter().map(|file| file.ino));
        for ino in cached {
            self.drop_pages(ino);
        }
    }

    /// The kernel keeps what it could not write to a file as if it had been written: it is to show what the file
    /// holds.
    fn usable_again(&self) {
        for file in self.open_files.all() {
            if file.must_reload.load(Ordering::Relaxed) {
                self.drop_pages(file.ino);
            }
        }
        self.show_what_was_not_written();
    }
}

impl Vault {
    /// Whether the file's data, written or still to come, takes one of these keys.
    fn depends_on(&self, file: &OpenFile, keys: &[KeyId]) -> bool {
        match file.sealed_by() {
            Some(backing) => keys.contains(&backing.key),
            None => {
                let key = self.inode(file.ino).and_then(|inode| self.key_of_empty(&inode, file));
                key.ok().flatten().is_some_and(|key| keys.contains(&key))
            }
        }
    }

    /// Makes the kernel write a file's pages, then syncs the lower file. The next fsync of the file reports what fails,
    /// as for any write-back, and it is logged: the key becomes unusable nonetheless.
    fn write_out(&self, file: &OpenFile) {
        file.writing_out.store(true, Ordering::Relaxed);
        self.drop_pages(file.ino);
        file.writing_out.store(false, Ordering::Relaxed);
        if let Err(error) = file.flush() {
            self.report_loss(file.ino, &error);
        }
    }

    /// Logs that data was lost because its key became unusable.
    pub(super) fn report_loss(&self, ino: Ino, error: &Error) {
        tracing::error!(
            ino = ino.0,
            lower = self.lower_path(ino),
            "data of a file whose key becomes unusable could not be written: {error}"
        );
    }

    pub(in crate::vault) fn drop_pages(&self, ino: Ino) {
        if let Some(kernel) = self.page_cache.get()
            && let Err(error) = kernel.drop_pages(ino)
        {
            tracing::warn!(
                %error,
                ino = ino.0,
                lower = self.lower_path(ino),
                "the kernel kept pages of a file whose key becomes unusable"
            );
        }
    }

    /// Loads a file again whose DEK was evicted and whose key may be usable again, or that couldn't be read after an error.
    ///
    /// # Errors
    /// ENOKEY if its key isn't usable; what the lower filesystem says.
    pub(in crate::vault) fn reopen(&self, file: &OpenFile) -> Result<()> {
        if !file.must_reload.load(Ordering::Relaxed) {
            return Ok(());
        }
        let mut state = file.state.write();
        match state.body {
            // Not only its key as it was known counts: an interrupted re-wrap may have left a newer slot.
            Body::KeyEvicted(_) | Body::Unknown => self.load_again(file, &mut state),
            _ => Ok(()),
        }
    }
}

impl OpenFile {
    fn sealed_by(&self) -> Option<BackingKeyId> {
        match &self.state.read().body {
            Body::Sealed(sealed) => Some(sealed.header.backing()),
            Body::NoHeader | Body::KeyEvicted(_) | Body::Unreadable(_) | Body::Unsynced | Body::Unknown => {
                None
            }
        }
    }

    /// Wipes the DEK and all that was derived from it, if its key can't be used now.
    fn evict_if_unusable(&self, keys: &Keys) {
        let mut state = self.state.write();
        if let Body::Sealed(sealed) = &state.body
            && let backing = sealed.header.backing()
            && keys.usable(backing).is_err()
        {
            self.evict(&mut state.body, backing);
        }
    }

    /// As [`OpenFile::evict_if_unusable`], under the inode lock: for a header that came to bear another backing
    /// key, which may have become unusable since it was chosen.
    pub(super) fn evict(&self, body: &mut Body, backing: BackingKeyId) {
        *body = Body::KeyEvicted(backing);
        self.must_reload.store(true, Ordering::Relaxed);
    }
}
