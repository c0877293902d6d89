//! What is compared of a file that another host may change (`current`).

use crate::content::layout;
use crate::ids::Time;
use crate::storage::Stat;

/// What tells that a file is another one than it was.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Looks {
    size: u64,
    mtime: Time,
    ctime: Time,
}

impl Looks {
    pub(super) fn of(stat: &Stat) -> Self {
        // As users see it, by which attributes are compared.
        let size = layout::plain_size(stat.lower_size()).map_or(stat.size, |size| size.0);
        Self { size, mtime: stat.mtime, ctime: stat.ctime }
    }

    /// Of attributes as users see them.
    pub(super) fn shown(size: u64, mtime: Time, ctime: Time) -> Self {
        Self { size, mtime, ctime }
    }
}
