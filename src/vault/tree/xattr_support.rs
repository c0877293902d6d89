//! Where a list of an inode's attributes answers questions for them. Not on filesystems below that may list fewer than they
//! have: an ACL that isn't seen isn't enforced. Nor where the filesystem keeps no attributes of a kind: it lists none, and says
//! EOPNOTSUPP when it is asked for one, which users are to see. So a list counts for a kind of attributes only once the
//! filesystem has answered for one of that kind. All of the tree is one filesystem.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::storage::LowerFs;

/// How an attribute is kept below, on files and directories.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum LowerXattr {
    /// Sealed, as a `user.` attribute.
    Sealed,
    /// As it is: a POSIX ACL.
    Acl,
}

/// See the module.
pub(super) struct XattrSupport {
    /// A list has all that there are.
    pub(super) lists_all: bool,
    sealed: AtomicBool,
    acls: AtomicBool,
}

impl XattrSupport {
    pub(super) fn of(lower: &LowerFs) -> Self {
        Self { lists_all: lower.lists_xattrs, sealed: AtomicBool::new(false), acls: AtomicBool::new(false) }
    }

    /// Whether a list that lacks an attribute of this kind says that there is none.
    pub(super) fn list_counts(&self, kind: LowerXattr) -> bool {
        self.lists_all && self.kept(kind).load(Ordering::Relaxed)
    }

    /// It has answered for one of this kind.
    pub(super) fn answered(&self, kind: LowerXattr) {
        let kept = self.kept(kind);
        if !kept.load(Ordering::Relaxed) {
            kept.store(true, Ordering::Relaxed);
        }
    }

    fn kept(&self, kind: LowerXattr) -> &AtomicBool {
        match kind {
            LowerXattr::Sealed => &self.sealed,
            LowerXattr::Acl => &self.acls,
        }
    }
}
