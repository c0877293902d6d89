//! Requests for extended attributes. On a mount without them each is answered with ENOSYS: the kernel then sends no more of
//! its kind, answers them with EOPNOTSUPP itself, and takes no file to have ACLs or capabilities.

use fuser::{Errno, ReplyEmpty, ReplyXattr};

use super::adapter::Adapter;
use super::answer::Answer;
use super::convert;
use super::errno::errno;
use super::kernel::Permissions;
use super::replies::{empty, sized};
use crate::ids::Ino;
use crate::vault::{Caller, Error};

impl Adapter {
    pub(super) fn set_xattr(
        &self,
        ino: Ino,
        name: &[u8],
        value: &[u8],
        flags: i32,
        caller: &Caller,
        reply: Answer<ReplyEmpty>,
    ) {
        if !self.xattrs {
            return reply.error(Errno::ENOSYS);
        }
        let Some(mode) = convert::xattr_mode(flags) else { return reply.error(Errno::EINVAL) };
        let done = self.vault.setxattr_as(ino, name, value, mode, caller);
        if done.is_ok() {
            self.after_xattr_change(ino, name);
        }
        empty(reply, done);
    }

    pub(super) fn get_xattr(&self, ino: Ino, name: &[u8], size: u32, reply: Answer<ReplyXattr>) {
        if !self.xattrs {
            return reply.error(Errno::ENOSYS);
        }
        match self.vault.getxattr(ino, name) {
            Ok(value) => sized(reply, size, &value),
            Err(error) => reply.error(errno(&error)),
        }
    }

    pub(super) fn list_xattrs(&self, ino: Ino, size: u32, reply: Answer<ReplyXattr>) {
        if !self.xattrs {
            return reply.error(Errno::ENOSYS);
        }
        match self.vault.listxattr(ino) {
            Ok(names) => {
                let list: Vec<u8> = names.iter().flat_map(|n| n.iter().copied().chain([0])).collect();
                sized(reply, size, &list);
            }
            Err(error) => reply.error(errno(&error)),
        }
    }

    pub(super) fn remove_xattr(&self, ino: Ino, name: &[u8], caller: &Caller, reply: Answer<ReplyEmpty>) {
        if !self.xattrs {
            return reply.error(Errno::ENOSYS);
        }
        let done = self.vault.removexattr_as(ino, name, caller);
        empty(reply, done.inspect(|()| self.after_xattr_change(ino, name)));
    }

    /// An ACL changes the mode. The kernel expects that only where it checks permissions itself.
    fn after_xattr_change(&self, ino: Ino, name: &[u8]) {
        if self.permissions == Permissions::RootOnly && name == b"system.posix_acl_access" {
            self.refresh_attributes(ino);
        }
    }

    /// Before a change of content: on a mount without extended attributes the kernel, which else has capabilities removed
    /// before it, takes none to be there.
    pub(super) fn clearing_unseen(&self, ino: Ino) -> Result<(), Error> {
        if self.xattrs { Ok(()) } else { self.vault.clear_unseen_capability(ino) }
    }
}
