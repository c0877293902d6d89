//! Opening: open and create give a handle out, release takes it back. Key policies are asked here (`key_usage::policy`),
//! and what users are refused is reported (`audit`).

use std::sync::Weak;

use crate::ids::{Handle, Ino, PlainOffset};
use crate::vault::file::{HandleAccess, Purpose};
use crate::vault::{Attr, Caller, Error, FileKind, OpenFlags, Result, Vault};

impl Vault {
    /// Opens a regular file.
    ///
    /// # Errors
    /// ENOKEY if its key can't be used, EACCES if the key's policy doesn't let the caller, EIO if its header is
    /// damaged (but it can be opened for writing, to be truncated to zero: the kernel opens with O_TRUNC in two
    /// steps), EROFS, ENFILE. The first three are events.
    pub fn open(&self, ino: Ino, flags: OpenFlags, caller: &Caller) -> Result<Handle> {
        self.reporting_refusal("open", ino, self.open_file(ino, flags, caller))
    }

    /// Creates a regular file and opens it.
    ///
    /// # Errors
    /// ENOKEY if the directory's alias resolves to a key that can't be used, EACCES if that key's policy doesn't
    /// let the caller (both are events), EEXIST, what the lower filesystem says.
    pub fn create(
        &self,
        parent: Ino,
        name: &[u8],
        mode: u32,
        flags: OpenFlags,
        caller: &Caller,
    ) -> Result<(Attr, Handle)> {
        let created = self.retry_when_full(|| self.create_file(parent, name, mode, flags, caller));
        self.reporting_refusal("create", parent, created)
    }

    fn open_file(&self, ino: Ino, flags: OpenFlags, caller: &Caller) -> Result<Handle> {
        let _gate = self.gates.enter(ino);
        let inode = self.inode(ino)?;
        if inode.kind != FileKind::Regular {
            return Err(Error::Invalid("not a regular file"));
        }
        if flags.write || flags.truncate {
            self.check_writable()?;
        }
        let purpose = if flags.write || flags.truncate { Purpose::Truncate } else { Purpose::Read };
        let file = self.file_of(&inode, purpose)?;
        self.authorize_open(&inode, &file, flags, caller)?;
        if flags.write {
            self.ensure_writable(&inode, &file)?;
        }
        if flags.truncate {
            if caller.uid != 0 {
                self.tree.clear_privileges(&inode, file.fd())?;
            }
            // The mtime is put back at the last close.
            self.truncate(&inode, PlainOffset(0))?;
        } else if let Some(slots) = file.slot_keys() {
            self.queue_if_stale(ino, &slots);
        }
        Ok(self.handles.add(file, HandleAccess::of(flags)))
    }

    fn create_file(
        &self,
        parent: Ino,
        name: &[u8],
        mode: u32,
        flags: OpenFlags,
        caller: &Caller,
    ) -> Result<(Attr, Handle)> {
        self.check_writable()?;
        let (inode, fd, attr, alias) = self.tree.create_file(parent, name, mode, caller, |alias| {
            self.authorize_new(alias, caller, flags.uses_of_new())?;
            self.check_alias(alias)
        })?;
        let file = self.file_created(&inode, fd, attr.mtime, alias);
        Ok((attr, self.handles.add(file, HandleAccess::of(flags))))
    }

    /// Closes a handle.
    ///
    /// # Errors
    /// EBADF; what the lower filesystem says when a truncate has to be made durable before the file is closed.
    pub fn release(&self, ino: Ino, handle: Handle) -> Result<()> {
        let open = self.handles.remove(handle).ok_or(Error::BadHandle)?;
        open.file.drop_handle(open.access);
        self.put_mtime_back_if_closed(&open.file);
        let synced = self.sync_pending_truncate(&open.file);
        if open.access == HandleAccess::Writing {
            self.raise_floor(&open.file);
        }
        drop(open);
        self.empty_slot(ino);
        synced
    }

    /// Frees the memory of a file that no one has open any more: a weak reference keeps it allocated.
    fn empty_slot(&self, ino: Ino) {
        if let Some(inode) = self.tree.inodes.find(ino)
            // A thread that holds it is opening the file.
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
