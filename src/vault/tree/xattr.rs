//! Extended attributes: `user.`, `trusted.` and `security.` ones with encrypted names and sealed values, POSIX
//! ACLs as they are, `user.rekeyfs.*` made up. Of these only the alias that a directory was given itself is listed, for
//! a copy of the directory to keep it; the others can't be set, and copying tools would trip over them.
//!
//! Below, sealed attributes are `user.` ones on files and directories. Other inodes can't have those: there they are
//! `trusted.` ones, which takes a daemon that is root.

use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::inode::Inode;
use super::locks::Mode;
use super::{Tree, opening};
use crate::events::{Class, Event};
use crate::ids::{AliasName, Ino};
use crate::keyring::KeyUse;
use crate::names::{DirRecord, XattrSpace};
use crate::storage::{self, Errno};
use crate::vault::{Caller, Damage, Error, FileKind, Result, Vault, XattrMode};

/// File capabilities, which a write by an unprivileged user and a change of owner clear.
const CAPABILITY: &[u8] = b"security.capability";
const ACCESS_ACL: &[u8] = b"system.posix_acl_access";
const ACLS: [&[u8]; 2] = [ACCESS_ACL, b"system.posix_acl_default"];
/// The one made-up attribute that can be set.
const ALIAS: &[u8] = b"user.rekeyfs.alias";
const SETUID: u32 = 0o4000;
const SETGID: u32 = 0o2000;
const GROUP_EXECUTE: u32 = 0o010;

/// An attribute that is made up.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Virtual {
    KeyId,
    KeyVersion,
    Alias,
    Suite,
}

/// What is done with an attribute, by its name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum XattrKind {
    Sealed,
    PassedThrough,
    /// `None`: of a name that doesn't exist.
    Virtual(Option<Virtual>),
    NotSupported,
}

impl XattrKind {
    pub(in crate::vault) fn of(name: &[u8]) -> Self {
        if let Some(made_up) = name.strip_prefix(b"user.rekeyfs.") {
            return Self::Virtual(match made_up {
                b"key-id" => Some(Virtual::KeyId),
                b"key-version" => Some(Virtual::KeyVersion),
                b"alias" => Some(Virtual::Alias),
                b"suite" => Some(Virtual::Suite),
                _ => None,
            });
        }
        let spaces: [&[u8]; 3] = [b"user.", b"trusted.", b"security."];
        if spaces.iter().any(|space| name.len() > space.len() && name.starts_with(space)) {
            Self::Sealed
        } else if ACLS.contains(&name) {
            Self::PassedThrough
        } else {
            Self::NotSupported
        }
    }
}

/// Where the lower filesystem can keep sealed attributes of an inode.
fn space(inode: &Inode) -> XattrSpace {
    match inode.kind {
        FileKind::Regular | FileKind::Directory => XattrSpace::User,
        _ => XattrSpace::Trusted,
    }
}

const NOT_SUPPORTED: Error = Error::NotSupported("this namespace of extended attributes");

impl Tree {
    /// The value of an attribute that isn't made up.
    pub(in crate::vault) fn getxattr(&self, inode: &Inode, name: &[u8]) -> Result<Vec<u8>> {
        let sealed = match XattrKind::of(name) {
            XattrKind::Sealed => true,
            XattrKind::PassedThrough => false,
            XattrKind::Virtual(_) | XattrKind::NotSupported => return Err(NOT_SUPPORTED),
        };
        if !sealed {
            return self.with_fd(inode, |fd| storage::getxattr(fd, name)?.ok_or(Error::NoData));
        }
        if name == CAPABILITY && !inode.may_have_capability.load(Ordering::Relaxed) {
            return Err(Error::NoData);
        }
        // A name that has no lower form can't have been set.
        let lower = self.names.xattrs.lower_name(space(inode), name).map_err(|_| Error::NoData)?;
        let value = self.with_fd(inode, |fd| {
            if name != CAPABILITY {
                return Ok(storage::getxattr(fd, &lower)?);
            }
            // Under the slot's lock the mark can't be outrun by a set.
            let _slot = inode.file.lock();
            let value = storage::getxattr(fd, &lower)?;
            inode.may_have_capability.store(value.is_some(), Ordering::Relaxed);
            Ok(value)
        })?;
        let value = value.ok_or(Error::NoData)?;
        self.names.xattrs.open_value(name, &value).map_err(opening(Damage::Xattr))
    }

    /// Sets an attribute that isn't made up.
    pub(in crate::vault) fn setxattr(
        &self,
        inode: &Inode,
        name: &[u8],
        value: &[u8],
        mode: XattrMode,
    ) -> Result<()> {
        match XattrKind::of(name) {
            XattrKind::Sealed => {}
            XattrKind::PassedThrough => {
                return self.with_fd(inode, |fd| Ok(storage::setxattr(fd, name, value, mode)?));
            }
            XattrKind::Virtual(_) | XattrKind::NotSupported => return Err(NOT_SUPPORTED),
        }
        let lower = self.names.xattrs.lower_name(space(inode), name).map_err(|_| Error::Range)?;
        let sealed = self.names.xattrs.seal_value(name, value);
        self.with_fd(inode, |fd| {
            let _slot = (name == CAPABILITY).then(|| inode.file.lock());
            if name == CAPABILITY {
                inode.may_have_capability.store(true, Ordering::Relaxed);
            }
            Ok(storage::setxattr(fd, &lower, &sealed, mode)?)
        })
    }

    /// Removes an attribute that isn't made up.
    pub(in crate::vault) fn removexattr(&self, inode: &Inode, name: &[u8]) -> Result<()> {
        let lower = match XattrKind::of(name) {
            XattrKind::Sealed => {
                self.names.xattrs.lower_name(space(inode), name).map_err(|_| Error::NoData)?
            }
            XattrKind::PassedThrough => name.to_vec(),
            XattrKind::Virtual(_) | XattrKind::NotSupported => return Err(NOT_SUPPORTED),
        };
        self.with_fd(inode, |fd| match storage::removexattr(fd, &lower) {
            Err(Errno::NODATA) => Err(Error::NoData),
            done => Ok(done?),
        })
    }

    /// The names of all attributes but the made-up ones; those that don't decrypt are left out.
    pub(in crate::vault) fn listxattr(&self, inode: &Inode) -> Result<Vec<Vec<u8>>> {
        let lower = self.with_fd(inode, |fd| Ok(storage::listxattr(fd)?))?;
        let shown = lower.into_iter().filter_map(|name| {
            if ACLS.contains(&name.as_slice()) { Some(name) } else { self.names.xattrs.plain_name(&name) }
        });
        Ok(shown.collect())
    }

    /// The alias that a directory was given itself.
    pub(super) fn own_alias(&self, ino: Ino) -> Result<AliasName> {
        self.dir(ino)?.alias.clone().ok_or(Error::NoData)
    }

    /// The alias for new files in a directory if it had none itself.
    fn alias_without_own(&self, ino: Ino) -> Result<AliasName> {
        match self.inodes.get(ino)?.parent() {
            Some(parent) if ino != Ino::ROOT => self.alias_in(&self.dir(parent)?),
            _ => Ok(AliasName::default_alias()),
        }
    }

    /// Gives a directory an alias, or takes it away: durable when it returns, and in force for files created
    /// after that.
    pub(super) fn set_own_alias(&self, ino: Ino, alias: Option<AliasName>, mode: XattrMode) -> Result<()> {
        let _lock = self.locks.one(ino, Mode::Exclusive);
        let dir: Arc<_> = self.dir(ino)?;
        match (mode, &dir.alias) {
            (XattrMode::Create, Some(_)) => return Err(Error::Exists),
            (XattrMode::Replace, None) => return Err(Error::NoData),
            _ => {}
        }
        let stored = self.store_record(&dir, &DirRecord { id: dir.id, alias });
        self.dirs.aliases_changed();
        stored
    }

    /// Clears what lets a program run with more rights than its user's: the set-user-ID bit, the set-group-ID bit
    /// (where it means that), file capabilities. `fd` is the inode's.
    pub(in crate::vault) fn kill_priv(&self, inode: &Inode, fd: BorrowedFd<'_>) -> Result<()> {
        let mode = storage::fstat(fd)?.mode;
        let gid_bit = if mode & GROUP_EXECUTE != 0 { SETGID } else { 0 };
        if mode & (SETUID | gid_bit) != 0 {
            let _slot = inode.file.lock();
            match storage::chmod(fd, mode & !(SETUID | gid_bit)) {
                // A file of another owner: the lower filesystem clears them with the change that follows, as for
                // anyone who isn't privileged.
                Err(Errno::PERM) => {}
                done => done?,
            }
        }
        self.clear_capability(inode, fd)
    }

    /// Clears the set-group-ID bit if an ACL that the caller has set doesn't let him keep it: he must be in the file's
    /// group, or root. The lower filesystem has asked that of the daemon.
    fn kill_setgid(&self, inode: &Inode, caller: &Caller) -> Result<()> {
        self.with_fd(inode, |fd| {
            let stat = storage::fstat(fd)?;
            if stat.mode & SETGID == 0
                || storage::may_keep_setgid(caller.uid, caller.gid, caller.pid, stat.gid)
            {
                return Ok(());
            }
            let _slot = inode.file.lock();
            Ok(storage::chmod(fd, stat.mode & !SETGID)?)
        })
    }

    /// Clears file capabilities. `fd` is the inode's.
    pub(super) fn clear_capability(&self, inode: &Inode, fd: BorrowedFd<'_>) -> Result<()> {
        if inode.kind != FileKind::Regular || !inode.may_have_capability.load(Ordering::Relaxed) {
            return Ok(());
        }
        let Ok(lower) = self.names.xattrs.lower_name(XattrSpace::User, CAPABILITY) else { return Ok(()) };
        let _slot = inode.file.lock();
        match storage::removexattr(fd, &lower) {
            Ok(()) | Err(Errno::NODATA | Errno::OPNOTSUPP) => {}
            Err(e) => return Err(e.into()),
        }
        inode.may_have_capability.store(false, Ordering::Relaxed);
        Ok(())
    }
}

impl Vault {
    /// The value of an attribute.
    ///
    /// # Errors
    /// ENODATA; EOPNOTSUPP for a namespace that isn't kept; EIO if the value is damaged.
    pub fn getxattr(&self, ino: Ino, name: &[u8]) -> Result<Vec<u8>> {
        let inode = self.inode(ino)?;
        self.noted(
            ino,
            match XattrKind::of(name) {
                XattrKind::Virtual(Some(which)) => self.virtual_xattr(&inode, which),
                XattrKind::Virtual(None) => Err(Error::NoData),
                _ => self.tree.getxattr(&inode, name),
            },
        )
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
        self.noted(ino, self.tree.setxattr(&inode, name, value, mode))?;
        if name == ACCESS_ACL {
            self.tree.kill_setgid(&inode, caller)?;
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
            match self.noted(ino, self.tree.own_alias(ino)) {
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
            None => self.noted(ino, self.tree.alias_without_own(ino))?,
        };
        let allowed = self.permit_new(&next, caller, &[KeyUse::Encrypt]);
        self.noting_refusal("set-alias", ino, allowed)?;
        self.noted(ino, self.tree.set_own_alias(ino, alias, mode))?;
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
