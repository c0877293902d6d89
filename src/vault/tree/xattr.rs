//! Extended attributes: `user.`, `trusted.` and `security.` ones with encrypted names and sealed values, POSIX
//! ACLs as they are, `user.rekeyfs.*` made up. Of these only the alias that a directory was given itself is listed, for
//! a copy of the directory to keep it; the others can't be set, and copying tools would trip over them.
//!
//! Nearly all inodes have none, which is answered from memory: `inode::xattr_marks` has the rule.
//!
//! Below, sealed attributes are `user.` ones on files and directories. Other inodes can't have those: there they are
//! `trusted.` ones, which takes a daemon that is root.

use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::Tree;
use super::errors::opening;
use super::inode::Inode;
use super::inode::xattr_marks::Known;
use super::locks::Mode;
use super::xattr_support::LowerXattr;
use crate::ids::{AliasName, Ino};
use crate::names::{DirRecord, XattrSpace};
use crate::storage::{self, AnyFd, Errno};
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

fn is_acl(name: &[u8]) -> bool {
    ACLS.contains(&name)
}

const NOT_SUPPORTED: Error = Error::NotSupported("this namespace of extended attributes");

impl Tree {
    /// The value of an attribute that isn't made up.
    pub(in crate::vault) fn getxattr(&self, inode: &Inode, name: &[u8]) -> Result<Vec<u8>> {
        let kind = match XattrKind::of(name) {
            XattrKind::Sealed => LowerXattr::Sealed,
            XattrKind::PassedThrough => LowerXattr::Acl,
            XattrKind::Virtual(_) | XattrKind::NotSupported => return Err(NOT_SUPPORTED),
        };
        if name == CAPABILITY && !inode.may_have_capability.load(Ordering::Relaxed) {
            return Err(Error::NoData);
        }
        // Other inodes have other kinds of attributes below, for which the lower filesystem answers otherwise.
        let plain = matches!(inode.kind, FileKind::Regular | FileKind::Directory);
        let ask_marks = plain && self.xattr_support.list_counts(kind);
        if ask_marks && inode.xattrs.known() == Known::None {
            inode.check_current()?;
            return Err(Error::NoData);
        }
        let lower = match kind {
            LowerXattr::Acl => name.to_vec(),
            // A name that has no lower form can't have been set.
            LowerXattr::Sealed => {
                self.names.xattrs.lower_name(space(inode), name).map_err(|_| Error::NoData)?
            }
        };
        if ask_marks
            && inode.xattrs.known() == Known::Unknown
            // If they can't be listed, what follows tells what is the matter.
            && self.lower_xattrs(inode).is_ok_and(|names| !names.contains(&lower))
        {
            return Err(Error::NoData);
        }
        let value = if name == CAPABILITY {
            self.with_fd(inode, |fd| {
                // Under the slot's lock the mark can't be outrun by a set.
                let _slot = inode.file.lock();
                let value = storage::getxattr(fd, &lower)?;
                if !self.others_write {
                    inode.may_have_capability.store(value.is_some(), Ordering::Relaxed);
                }
                Ok(value)
            })?
        } else {
            let named = |dir: BorrowedFd<'_>, entry: &[u8]| storage::getxattr_at(dir, entry, &lower);
            self.read_below(inode, named, |fd| storage::getxattr(fd, &lower))?
        };
        if plain {
            self.xattr_support.answered(kind);
        }
        let value = value.ok_or(Error::NoData)?;
        match kind {
            LowerXattr::Acl => Ok(value),
            LowerXattr::Sealed => self.names.xattrs.open_value(name, &value).map_err(opening(Damage::Xattr)),
        }
    }

    /// The lower names of all attributes that the lower filesystem lists; what that says is marked.
    fn lower_xattrs(&self, inode: &Inode) -> Result<Vec<Vec<u8>>> {
        let seen = inode.xattrs.before_list();
        let names = self.read_below(inode, storage::listxattr_at, |fd| storage::listxattr(fd))?;
        if self.xattr_support.lists_all && !self.others_write {
            inode
                .xattrs
                .listed(seen, names.iter().any(|name| XattrSpace::of(name).is_some() || is_acl(name)));
        }
        Ok(names)
    }

    /// Reads attributes by the inode's name, where it has one and isn't open: opening it for that would be three calls
    /// more. Changes are made through descriptors, which are checked after they were opened.
    fn read_below<T>(
        &self,
        inode: &Inode,
        named: impl Fn(BorrowedFd<'_>, &[u8]) -> storage::Result<T>,
        opened: impl FnOnce(AnyFd<'_>) -> storage::Result<T>,
    ) -> Result<T> {
        let open = inode.opened().is_some()
            || (inode.kind == FileKind::Directory && self.dirs.get(inode.ino).is_some());
        if !open {
            let read = self.by_name(inode, |dir, entry| {
                let found = self.is(inode, &storage::stat(dir, entry)?);
                Ok(found.then(|| named(dir, entry)))
            })?;
            if let Some(read) = read {
                inode.check_current()?;
                return Ok(read?);
            }
        }
        self.with_fd(inode, |fd| Ok(opened(fd)?))
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
                return self.with_fd(inode, |fd| {
                    let _change = inode.xattrs.change();
                    Ok(storage::setxattr(fd, name, value, mode)?)
                });
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
            let _change = inode.xattrs.change();
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
        self.with_fd(inode, |fd| {
            let _change = inode.xattrs.change();
            match storage::removexattr(fd, &lower) {
                Err(Errno::NODATA) => Err(Error::NoData),
                done => Ok(done?),
            }
        })
    }

    /// The names of all attributes but the made-up ones; those that don't decrypt are left out.
    pub(in crate::vault) fn listxattr(&self, inode: &Inode) -> Result<Vec<Vec<u8>>> {
        if inode.xattrs.known() == Known::None {
            inode.check_current()?;
            return Ok(Vec::new());
        }
        let lower = self.lower_xattrs(inode)?;
        let shown = lower
            .into_iter()
            .filter_map(|name| if is_acl(&name) { Some(name) } else { self.names.xattrs.plain_name(&name) });
        Ok(shown.collect())
    }

    /// The alias that a directory was given itself.
    pub(in crate::vault) fn own_alias(&self, ino: Ino) -> Result<AliasName> {
        let dir = self.dir(ino)?;
        let alias = match self.others_write {
            true => super::dir_record::read(&self.names, dir.fd())?.and_then(|record| record.alias),
            false => dir.alias.clone(),
        };
        alias.ok_or(Error::NoData)
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
