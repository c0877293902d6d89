//! Extended attributes: `user.`, `trusted.` and `security.` ones with encrypted names and sealed values, POSIX
//! ACLs as they are, `user.rekeyfs.*` made up. Of these only the alias that a directory was given itself is listed, for
//! a copy of the directory to keep it; the others can't be set, and copying tools would trip over them.
//!
//! Below, sealed attributes are `user.` ones on files and directories. Other inodes can't have those: there they are
//! `trusted.` ones, which takes a daemon that is root.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::Tree;
use super::errors::opening;
use super::inode::Inode;
use super::locks::Mode;
use crate::ids::{AliasName, Ino};
use crate::names::{DirRecord, XattrSpace};
use crate::storage::{self, Errno};
use crate::vault::{Damage, Error, FileKind, Result, XattrMode};

/// File capabilities, which a write by an unprivileged user and a change of owner clear.
pub(super) const CAPABILITY: &[u8] = b"security.capability";
pub(in crate::vault) const ACCESS_ACL: &[u8] = b"system.posix_acl_access";
const ACLS: [&[u8]; 2] = [ACCESS_ACL, b"system.posix_acl_default"];
/// The one made-up attribute that can be set.
pub(in crate::vault) const ALIAS: &[u8] = b"user.rekeyfs.alias";

/// An attribute that is made up.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::vault) enum Virtual {
    KeyId,
    KeyVersion,
    Alias,
    Suite,
}

/// What is done with an attribute, by its name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::vault) enum XattrKind {
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
    pub(in crate::vault) fn own_alias(&self, ino: Ino) -> Result<AliasName> {
        self.dir(ino)?.alias.clone().ok_or(Error::NoData)
    }

    /// The alias for new files in a directory if it had none itself.
    pub(in crate::vault) fn alias_without_own(&self, ino: Ino) -> Result<AliasName> {
        match self.inodes.get(ino)?.parent() {
            Some(parent) if ino != Ino::ROOT => self.alias_in(&self.dir(parent)?),
            _ => Ok(AliasName::default_alias()),
        }
    }

    /// Gives a directory an alias, or takes it away: durable when it returns, and in force for files created
    /// after that.
    pub(in crate::vault) fn set_own_alias(
        &self,
        ino: Ino,
        alias: Option<AliasName>,
        mode: XattrMode,
    ) -> Result<()> {
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
}
