//! Opening: what open and create give out and release takes back, and what users were refused, for the audit log: by a
//! key's state, by its policy, by a header that failed authentication. That costs nothing where nothing is refused.

use std::collections::HashMap;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use parking_lot::Mutex;

use crate::events::{Class, Event, Refusal};
use crate::header::{SLOTS, UnverifiedSlot};
use crate::ids::{BackingKeyId, FileId, Handle, Ino, LowerOffset, PlainOffset};
use crate::storage::{self, Access};
use crate::vault::file::{OpenFile, Purpose};
use crate::vault::tree::inode::Inode;
use crate::vault::{Attr, Caller, Damage, Error, FileKind, OpenFlags, Result, SetAttr, Vault};

/// The open handles of regular files.
#[derive(Default)]
pub(in crate::vault) struct Handles {
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
    pub(in crate::vault) fn writes(&self, handle: Handle, ino: Ino) -> bool {
        self.open.lock().get(&handle).is_some_and(|open| open.write && open.file.ino() == ino)
    }
}

impl Vault {
    /// Opens a regular file.
    ///
    /// # Errors
    /// ENOKEY if its key can't be used, EACCES if the key's policy doesn't let the caller, EIO if its header is
    /// damaged (but it can be opened for writing, to be cut to nothing: the kernel opens with O_TRUNC in two
    /// steps), EROFS, ENFILE. The first three are events.
    pub fn open(&self, ino: Ino, flags: OpenFlags, caller: &Caller) -> Result<Handle> {
        self.noting_refusal("open", ino, self.open_file(ino, flags, caller))
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
        let created = self.with_space(|| self.create_file(parent, name, mode, flags, caller));
        self.noting_refusal("create", parent, created)
    }

    /// Changes attributes, the size first; returns those that are there then.
    ///
    /// # Errors
    /// ENOKEY for a size when the key can't be used, EACCES when its policy doesn't let the caller, EIO when
    /// the header is damaged (these are events); EPERM and the like from below.
    pub fn setattr(&self, ino: Ino, set: &SetAttr, caller: &Caller) -> Result<Attr> {
        let done = self.change_attributes(ino, set, caller);
        if set.size.is_some() { self.noting_refusal("truncate", ino, done) } else { done }
    }

    /// Makes a FIFO, socket, device node or regular file.
    ///
    /// # Errors
    /// EEXIST; as [`Vault::create`] for a regular file.
    pub fn mknod(&self, parent: Ino, name: &[u8], mode: u32, rdev: u64, caller: &Caller) -> Result<Attr> {
        let made = self.with_space(|| self.make_node(parent, name, mode, rdev, caller));
        self.noting_refusal("create", parent, made)
    }

    /// Notes an operation that was refused. `ino` is the file, or the directory of one that wasn't made.
    pub(in crate::vault) fn noting_refusal<T>(
        &self,
        operation: &'static str,
        ino: Ino,
        done: Result<T>,
    ) -> Result<T> {
        let reason = match &done {
            Err(Error::KeyNotUsable(_)) => Refusal::KeyState,
            Err(Error::Denied) => Refusal::Policy,
            Err(Error::Corrupt(Damage::Header | Damage::Size)) => Refusal::Authentication,
            _ => return done,
        };
        self.keys.events().record_limited(Class::Refusals, || {
            let (mut file, mut backing) = (self.file_ref(ino), None);
            match self.inode(ino) {
                Ok(inode) if inode.kind == FileKind::Regular => {
                    if let Some((found, id)) = self.stated(&inode) {
                        (file.file, backing) = (Some(id), Some(found));
                    }
                }
                Ok(_) => {
                    let alias = self.tree.dir(ino).and_then(|dir| self.tree.alias_in(&dir));
                    backing = alias.ok().and_then(|alias| self.keys.current(&alias).ok());
                }
                Err(_) => {}
            }
            Event::AccessRefused { operation, file, reason, backing }
        });
        done
    }

    /// What the header on disk states, whether it is genuine or not.
    fn stated(&self, inode: &Inode) -> Option<(BackingKeyId, FileId)> {
        let (fd, _) = self.tree.open_lower(inode, Access::ReadOnly).ok()?;
        let mut slots = [0; SLOTS];
        storage::pread(fd.as_fd(), &mut slots, LowerOffset(0)).ok()?;
        let [first, _] = UnverifiedSlot::parse_both(&slots);
        first.map(|slot| (slot.backing(), slot.file()))
    }
}

impl Vault {
    /// Opens a regular file: [`Vault::open`].
    pub(in crate::vault) fn open_file(&self, ino: Ino, flags: OpenFlags, caller: &Caller) -> Result<Handle> {
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
    pub(in crate::vault) fn create_file(
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

#[cfg(test)]
mod tests;
