//! Extended attributes as requests: those that are kept (`tree::xattr`), and `user.rekeyfs.*`, which are made up from a
//! file's header. Of these only a directory's alias can be set.

use crate::events::{Class, Event};
use crate::ids::{AliasName, Ino};
use crate::keyring::KeyUse;
use crate::vault::tree::inode::Inode;
use crate::vault::tree::xattr::{ACCESS_ACL, ALIAS, Virtual, XattrKind};
use crate::vault::{Caller, Error, FileKind, Result, Vault, XattrMode};

impl Vault {
    /// Clears file capabilities before a change of content, on a mount without extended attributes: there the kernel, which
    /// else asks for them before a write and has them removed, takes none to be there.
    ///
    /// # Errors
    /// ESTALE; what the lower filesystem says.
    pub fn clear_unseen_capability(&self, ino: Ino) -> Result<()> {
        let inode = self.inode(ino)?;
        if !self.tree.may_have_capability(&inode) {
            return Ok(());
        }
        self.check_writable()?;
        self.tree.with_fd(&inode, |fd| self.tree.clear_capability(&inode, fd))
    }

    /// The value of an attribute.
    ///
    /// # Errors
    /// ENODATA; EOPNOTSUPP for a namespace that isn't kept; EIO if the value is damaged.
    pub fn getxattr(&self, ino: Ino, name: &[u8]) -> Result<Vec<u8>> {
        let inode = self.inode(ino)?;
        let found = match XattrKind::of(name) {
            XattrKind::Virtual(Some(which)) => self.virtual_xattr(&inode, which),
            XattrKind::Virtual(None) => Err(Error::NoData),
            _ => self.tree.getxattr(&inode, name),
        };
        self.if_live(self.reporting_damage(ino, found))
    }

    /// Sets an attribute. `user.rekeyfs.alias` can be set on a directory by its owner: files created below it from then
    /// on are wrapped under that alias; durable when it returns. An ACL clears the set-group-ID bit of a file whose
    /// group the caller isn't in, unless that is root.
    ///
    /// # Errors
    /// EEXIST, ENODATA as `mode` says; EPERM for made-up attributes, and for an alias of someone else's directory; EINVAL
    /// for what is no alias name, ENOKEY for one that resolves to no usable key, EACCES if that key's policy doesn't
    /// let the caller encrypt; ERANGE for a name that is too long; EOPNOTSUPP, EROFS; what the lower filesystem says.
    pub fn setxattr_as(
        &self,
        ino: Ino,
        name: &[u8],
        value: &[u8],
        mode: XattrMode,
        caller: &Caller,
    ) -> Result<()> {
        self.check_writable()?;
        let _gate = self.gates.enter(ino);
        let inode = self.inode(ino)?;
        if let XattrKind::Virtual(which) = XattrKind::of(name) {
            let alias = changeable(&inode, which).and_then(|()| parse_alias(value))?;
            self.check_alias(&alias)?;
            return self.change_alias(&inode, Some(alias), mode, caller);
        }
        self.reporting_damage(ino, self.tree.setxattr(&inode, name, value, mode))?;
        if name == ACCESS_ACL {
            self.tree.clear_setgid(&inode, caller)?;
        }
        Ok(())
    }

    /// The names of all attributes but the made-up ones, and `user.rekeyfs.alias` of a directory that was given one.
    ///
    /// # Errors
    /// What the lower filesystem says; EIO if the directory's record is damaged.
    pub fn listxattr(&self, ino: Ino) -> Result<Vec<Vec<u8>>> {
        let inode = self.inode(ino)?;
        let mut names = self.tree.listxattr(&inode)?;
        if inode.kind == FileKind::Directory {
            match self.reporting_damage(ino, self.tree.own_alias(ino)) {
                Ok(_) => names.push(ALIAS.to_vec()),
                // It has none, or was removed.
                Err(Error::NoData | Error::Stale) => {}
                Err(e) => return Err(e),
            }
        }
        Ok(names)
    }

    /// Removes an attribute; a directory's `user.rekeyfs.alias`, by its owner: files created below it go by the
    /// directory above.
    ///
    /// # Errors
    /// ENODATA; EPERM for made-up attributes, and for an alias of someone else's directory; EACCES if the policy of the
    /// key that new files take then doesn't let the caller encrypt; EOPNOTSUPP, EROFS; what the lower filesystem says.
    pub fn removexattr_as(&self, ino: Ino, name: &[u8], caller: &Caller) -> Result<()> {
        self.check_writable()?;
        let _gate = self.gates.enter(ino);
        let inode = self.inode(ino)?;
        if let XattrKind::Virtual(which) = XattrKind::of(name) {
            changeable(&inode, which)?;
            return self.change_alias(&inode, None, XattrMode::Replace, caller);
        }
        self.tree.removexattr(&inode, name)
    }

    /// Gives a directory an alias, or takes it away. Which key new files take is the owner's to say, as their modes are,
    /// and for somebody who may use that key; that a mode lets others write the directory is not enough.
    fn change_alias(
        &self,
        inode: &Inode,
        alias: Option<AliasName>,
        mode: XattrMode,
        caller: &Caller,
    ) -> Result<()> {
        let ino = inode.ino;
        if caller.uid != 0 && self.tree.stat(inode)?.uid != caller.uid {
            return Err(Error::NotPermitted("a directory's alias is its owner's to set"));
        }
        let removed = alias.is_none();
        let next = match &alias {
            Some(alias) => alias.clone(),
            None => self.reporting_damage(ino, self.tree.alias_without_own(ino))?,
        };
        let allowed = self.authorize_new(&next, caller, &[KeyUse::Encrypt]);
        self.reporting_refusal("set-alias", ino, allowed)?;
        self.reporting_damage(ino, self.tree.set_own_alias(ino, alias, mode))?;
        self.keys.events().record_limited(Class::DirectoryAliases, || Event::DirectoryAlias {
            directory: self.file_ref(ino),
            key: self.keys.current(&next).ok().map(|current| current.key),
            removed,
        });
        Ok(())
    }

    fn virtual_xattr(&self, inode: &Inode, which: Virtual) -> Result<Vec<u8>> {
        match (inode.kind, which) {
            (FileKind::Directory, Virtual::Alias) => {
                return Ok(self.tree.own_alias(inode.ino)?.as_str().into());
            }
            (FileKind::Regular, Virtual::Alias) => return Ok(self.alias_of_file(inode)?.as_str().into()),
            (FileKind::Regular, _) => {}
            _ => return Err(Error::NoData),
        }
        // An empty file has no key yet.
        let info = self.file_header_info(inode.ino)?.ok_or(Error::NoData)?;
        Ok(match which {
            Virtual::KeyId => info.backing.key.to_string(),
            Virtual::KeyVersion => info.backing.version.to_string(),
            Virtual::Suite => info.suite.to_string(),
            Virtual::Alias => return Err(Error::NoData),
        }
        .into_bytes())
    }
}

fn changeable(inode: &Inode, which: Option<Virtual>) -> Result<()> {
    match (inode.kind, which) {
        (FileKind::Directory, Some(Virtual::Alias)) => Ok(()),
        _ => Err(Error::NotPermitted(
            "of the user.rekeyfs. attributes only a directory's alias can be changed",
        )),
    }
}

fn parse_alias(value: &[u8]) -> Result<AliasName> {
    let alias: Option<AliasName> = std::str::from_utf8(value).ok().and_then(|text| text.parse().ok());
    let alias = alias.ok_or(Error::Invalid("an alias name is alias/ and letters, digits, / _ -"))?;
    if alias.is_reserved() { Err(Error::NotPermitted("this alias is reserved")) } else { Ok(alias) }
}
