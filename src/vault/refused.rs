//! What users were refused, for the audit log: by a key's state, by its policy, by a header that failed
//! authentication. Costs nothing where nothing is refused.

use std::os::fd::AsFd;

use super::inode::Inode;
use super::plain::encoded;
use super::{Attr, Caller, Damage, Error, FileKind, NotedFile, OpenFlags, Result, SetAttr, Vault};
use crate::events::{Class, Event, FileRef, Refusal};
use crate::header::{SLOTS, UnverifiedSlot};
use crate::ids::{BackingKeyId, FileId, Handle, Ino, LowerOffset};
use crate::storage::{self, Access};

/// The longest path, in bytes, that goes into an event; of a longer one there is only the inode number.
const PATH_MAX: usize = 16 << 10;

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
    pub(super) fn noting_refusal<T>(&self, operation: &'static str, ino: Ino, done: Result<T>) -> Result<T> {
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

    /// How an event names a file or directory.
    pub(super) fn file_ref(&self, ino: Ino) -> FileRef {
        FileRef { ino, file: None, path: self.lower_path(ino) }
    }

    /// A file that is named, and why; its plain path is yet to be found.
    pub fn noted_file(&self, ino: Ino, why: String) -> NotedFile {
        let lower = self.lower_path(ino).unwrap_or_default();
        NotedFile { lower, path: None, inode: Some(ino.0), why }
    }

    fn lower_path(&self, ino: Ino) -> Option<String> {
        let mut entries = Vec::new();
        let (mut at, mut len) = (ino, 0);
        while at != Ino::ROOT {
            let location = self.tree.inodes.find(at)?.location()?;
            len += location.entry.len() + 1;
            if len > PATH_MAX {
                return None;
            }
            at = location.parent;
            entries.push(location.entry);
        }
        let mut path = "tree".to_owned();
        for entry in entries.iter().rev() {
            path.push('/');
            encoded(entry, &mut path);
        }
        Some(path)
    }
}

#[cfg(test)]
mod tests;
