//! What is known of an inode's extended attributes. Programs ask for ACLs and labels of each file that they list, the kernel for
//! capabilities before it writes, and nearly no file has any: that it has none is answered from here.
//!
//! **The rule:** an inode is marked only by a list of all its attributes during which no change of one began or ended. A
//! change takes the mark away before its lower call and again after it, whether that succeeds or not. So what was set is seen
//! by each question that begins after the answer to the set, and a list that was read before it marks nothing.
//!
//! That holds because the vault alone changes the tree (where another host does, nothing is marked), and attributes of an inode in the table only through
//! `tree::xattr`. What a new inode inherits (a default ACL), and what re-encryption copies, is there before the inode is
//! known. Names have no part in it: renames and links keep the mark. It goes with the inode.

use std::sync::atomic::{AtomicU32, Ordering};

/// Bits of the mark; the bits above count changes.
const NONE: u32 = 1;
const SOME: u32 = 2;
const CHANGE: u32 = 4;

/// See the module.
#[derive(Default)]
pub(in crate::vault::tree) struct XattrMarks(AtomicU32);

/// What is known.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::vault::tree) enum Known {
    Unknown,
    /// It has none that users could ask for.
    None,
    /// It has some.
    Some,
}

/// The changes that there had been when a list was begun.
#[derive(Clone, Copy)]
pub(in crate::vault::tree) struct Seen(u32);

/// A change under way, until it is dropped.
#[must_use]
pub(in crate::vault::tree) struct Change<'a>(&'a XattrMarks);

impl XattrMarks {
    pub(in crate::vault::tree) fn known(&self) -> Known {
        match self.0.load(Ordering::SeqCst) & (NONE | SOME) {
            NONE => Known::None,
            SOME => Known::Some,
            _ => Known::Unknown,
        }
    }

    /// To be called before the attributes are listed.
    pub(in crate::vault::tree) fn before_list(&self) -> Seen {
        Seen(self.0.load(Ordering::SeqCst))
    }

    /// Marks what a list has found, unless something was changed since.
    pub(in crate::vault::tree) fn listed(&self, seen: Seen, any: bool) {
        let marked = (seen.0 & !(NONE | SOME)) | if any { SOME } else { NONE };
        // Failing, it leaves what is newer.
        let _ = self.0.compare_exchange(seen.0, marked, Ordering::SeqCst, Ordering::SeqCst);
    }

    /// To be called before an attribute is set or removed, and kept until that is done.
    pub(in crate::vault::tree) fn change(&self) -> Change<'_> {
        self.forget();
        Change(self)
    }

    fn forget(&self) {
        let next = |marks: u32| Some((marks & !(NONE | SOME)).wrapping_add(CHANGE));
        let _ = self.0.fetch_update(Ordering::SeqCst, Ordering::SeqCst, next);
    }
}

impl Drop for Change<'_> {
    fn drop(&mut self) {
        self.0.forget();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_marks_only_what_no_change_has_overtaken() {
        let marks = XattrMarks::default();
        assert_eq!(marks.known(), Known::Unknown);
        marks.listed(marks.before_list(), false);
        assert_eq!(marks.known(), Known::None);
        let before = marks.before_list();
        let change = marks.change();
        assert_eq!(marks.known(), Known::Unknown, "taken away before the lower call");
        marks.listed(before, false);
        assert_eq!(marks.known(), Known::Unknown, "listed before the change began");
        let during = marks.before_list();
        marks.listed(during, false);
        drop(change);
        assert_eq!(marks.known(), Known::Unknown, "listed before the change was made");
        marks.listed(during, false);
        assert_eq!(marks.known(), Known::Unknown, "of before the change ended");
        marks.listed(marks.before_list(), true);
        assert_eq!(marks.known(), Known::Some);
    }
}
