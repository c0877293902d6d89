//! What a change of a file's content or owner takes from it: the set-user-ID and set-group-ID bits and file capabilities,
//! as the kernel does on other filesystems (`file_remove_privs`). The kernel asks for it with the request
//! (HANDLE_KILLPRIV_V2), or the caller is known not to be root.

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::Ordering;

use super::Tree;
use super::inode::Inode;
use super::inode::xattr_marks::Known;
use super::xattr::CAPABILITY;
use crate::names::XattrSpace;
use crate::storage::{self, AnyFd, Errno};
use crate::vault::{Caller, FileKind, Result};

const SETUID: u32 = 0o4000;
const SETGID: u32 = 0o2000;
const GROUP_EXECUTE: u32 = 0o010;

impl Tree {
    /// Clears what lets a program run with more rights than its user's: the set-user-ID bit, the set-group-ID bit
    /// (where it means that), file capabilities. `fd` is the inode's.
    pub(in crate::vault) fn clear_privileges(&self, inode: &Inode, fd: BorrowedFd<'_>) -> Result<()> {
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
    pub(in crate::vault) fn clear_setgid(&self, inode: &Inode, caller: &Caller) -> Result<()> {
        self.with_fd(inode, |fd| {
            let stat = storage::fstat(fd.as_fd())?;
            if stat.mode & SETGID == 0
                || storage::may_keep_setgid(caller.uid, caller.gid, caller.pid, stat.gid)
            {
                return Ok(());
            }
            let _slot = inode.file.lock();
            Ok(storage::chmod(fd, stat.mode & !SETGID)?)
        })
    }

    /// Whether it may have file capabilities, as far as is known.
    pub(in crate::vault) fn may_have_capability(&self, inode: &Inode) -> bool {
        inode.kind == FileKind::Regular
            && inode.may_have_capability.load(Ordering::Relaxed)
            && inode.xattrs.known() != Known::None
    }

    /// Clears file capabilities. `fd` is the inode's.
    pub(in crate::vault) fn clear_capability<'a>(
        &self,
        inode: &Inode,
        fd: impl Into<AnyFd<'a>>,
    ) -> Result<()> {
        if !self.may_have_capability(inode) {
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
