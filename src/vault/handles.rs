//! Handles: what open and create give out and release takes back.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use parking_lot::Mutex;

use super::file::{OpenFile, Purpose};
use super::{Attr, Caller, Error, FileKind, OpenFlags, Result, Vault};
use crate::ids::{Handle, Ino, PlainOffset};

/// The open handles of regular files.
#[derive(Default)]
pub(super) struct Handles {
    next: AtomicU64,
    open: Mutex<HashMap<Handle, OpenHandle>>,
}

struct OpenHandle {
    file: Arc<OpenFile>,
    write: bool,
}

impl Handles {
    fn add(&self, file: Arc<OpenFile>, write: bool) -> Handle {
        let handle = Handle(self.next.fetch_add(1, Ordering::Relaxed) + 1);
        file.add_handle(write);
        self.open.lock().insert(handle, OpenHandle { file, write });
        handle
    }

    /// Whether it is a handle of this inode that was opened for writing.
    pub(super) fn writes(&self, handle: Handle, ino: Ino) -> bool {
        self.open.lock().get(&handle).is_some_and(|open| open.write && open.file.ino() == ino)
    }
}

impl Vault {
    /// Opens a regular file: [`Vault::open`].
    pub(super) fn open_file(&self, ino: Ino, flags: OpenFlags, caller: &Caller) -> Result<Handle> {
        let _gate = self.gates.enter(ino);
        let inode = self.inode(ino)?;
        if inode.kind != FileKind::Regular {
            return Err(Error::Invalid("not a regular file"));
        }
        if flags.write || flags.truncate {
            self.check_writable()?;
        }
        let purpose = if flags.write || flags.truncate { Purpose::Empty } else { Purpose::Use };
        let file = self.file_of(&inode, purpose)?;
        self.permit_open(&inode, &file, flags, caller)?;
        if flags.write {
            self.demand_writable(&inode, &file)?;
        }
        if flags.truncate {
            if caller.uid != 0 {
                self.tree.kill_priv(&inode, file.fd())?;
            }
            self.truncate(&inode, PlainOffset(0))?;
        } else if let Some(slots) = file.slot_keys() {
            self.queue_if_stale(ino, &slots);
        }
        Ok(self.handles.add(file, flags.write))
    }

    /// Creates a regular file and opens it: [`Vault::create`].
    pub(super) fn create_file(
        &self,
        parent: Ino,
        name: &[u8],
        mode: u32,
        flags: OpenFlags,
        caller: &Caller,
    ) -> Result<(Attr, Handle)> {
        self.check_writable()?;
        let (inode, fd, attr) = self.tree.create_file(parent, name, mode, caller, |alias| {
            self.permit_new(alias, caller, flags.uses_of_new())?;
            self.check_alias(alias)
        })?;
        let file = self.file_created(&inode, fd, attr.mtime);
        Ok((attr, self.handles.add(file, flags.write)))
    }

    /// Closes a handle.
    ///
    /// # Errors
    /// EBADF; what the lower filesystem says when a cut has to be made durable before the file is let go.
    pub fn release(&self, ino: Ino, handle: Handle) -> Result<()> {
        let open = self.handles.open.lock().remove(&handle).ok_or(Error::BadHandle)?;
        open.file.drop_handle(open.write);
        self.put_mtime_back_if_closed(&open.file);
        let settled = self.settle(&open.file);
        if open.write {
            self.raise_floor(&open.file);
        }
        drop(open);
        self.empty_slot(ino);
        settled
    }

    /// Lets go of the memory of a file that no one has open any more: what is weakly referred to keeps it.
    fn empty_slot(&self, ino: Ino) {
        if let Some(inode) = self.tree.inodes.find(ino)
            // Whoever holds it is opening the file.
            && let Some(mut slot) = inode.file.try_lock()
            && slot.strong_count() == 0
        {
            *slot = Weak::new();
            drop(slot);
            if inode.is_gone() {
                self.emptied.forget(ino);
            }
        }
    }
}
