//! Key policies at work: whom a key lets create, open and truncate its files, whatever their modes say.
//!
//! Asked once, as modes are: when a file is opened, created, or truncated by name. What a handle may do is fixed then; a
//! policy that is put later doesn't change it. The kernel asks here for every open, also of files whose pages it
//! has. Root is no exception; what the mount does by itself (write-back, re-wrap) asks nobody.

use crate::ids::{AliasName, KeyId};
use crate::keyring::KeyUse;
use crate::vault::file::{OpenFile, Purpose};
use crate::vault::tree::inode::Inode;
use crate::vault::{Caller, Error, OpenFlags, Result, SetAttr, Vault};

impl OpenFlags {
    /// What opening a file so takes of its key. A write inside a page reads what is around it.
    fn uses(self) -> &'static [KeyUse] {
        if self.write || self.truncate { &[KeyUse::Decrypt, KeyUse::Encrypt] } else { &[KeyUse::Decrypt] }
    }

    /// What making a file takes of the key that it is going to bear.
    pub(in crate::vault) fn uses_of_new(self) -> &'static [KeyUse] {
        if self.read { &[KeyUse::Encrypt, KeyUse::Decrypt] } else { &[KeyUse::Encrypt] }
    }
}

impl Vault {
    /// Whether the caller may open a file so.
    ///
    /// # Errors
    /// EACCES.
    pub(in crate::vault) fn authorize_open(
        &self,
        inode: &Inode,
        file: &OpenFile,
        flags: OpenFlags,
        caller: &Caller,
    ) -> Result<()> {
        if self.keys.restricts() { self.authorize_file(inode, file, caller, flags.uses()) } else { Ok(()) }
    }

    /// Whether the caller may set the size of a file: by name, or through a handle that wasn't opened for
    /// writing. Who has one that was has been asked.
    ///
    /// # Errors
    /// EACCES; those of opening the file.
    pub(in crate::vault) fn authorize_size(
        &self,
        inode: &Inode,
        set: &SetAttr,
        caller: &Caller,
    ) -> Result<()> {
        if !self.keys.restricts() || set.handle.is_some_and(|handle| self.handles.writes(handle, inode.ino)) {
            return Ok(());
        }
        let file = self.file_of(inode, Purpose::Truncate)?;
        self.authorize_file(inode, &file, caller, &[KeyUse::Encrypt])
    }

    /// Whether the caller may make a file under an alias.
    ///
    /// # Errors
    /// EACCES.
    pub(in crate::vault) fn authorize_new(
        &self,
        alias: &AliasName,
        caller: &Caller,
        uses: &[KeyUse],
    ) -> Result<()> {
        if !self.keys.restricts() {
            return Ok(());
        }
        self.authorize_key(self.keys.current(alias).ok().map(|current| current.key), caller, uses)
    }

    /// An empty file has no key yet: that counts which its first write takes.
    fn authorize_file(&self, inode: &Inode, file: &OpenFile, caller: &Caller, uses: &[KeyUse]) -> Result<()> {
        match file.backing() {
            Some(backing) => self.authorize_key(Some(backing.key), caller, uses),
            None if !self.keys.restricts() => Ok(()),
            None => self.authorize_key(self.key_of_empty(inode, file)?, caller, uses),
        }
    }

    /// A key that isn't there has no policy, nor can it be used.
    fn authorize_key(&self, key: Option<KeyId>, caller: &Caller, uses: &[KeyUse]) -> Result<()> {
        let permitted = key.is_none_or(|key| self.keys.permits(key, caller.uid, uses));
        if permitted { Ok(()) } else { Err(Error::Denied) }
    }
}

#[cfg(test)]
mod tests;
