//! Blocks that are allocated behind the log's end, so that appending takes none when the disk is full. They are
//! allocated while the disk has space. On a full disk what users bring about at will stops first, then all but the changes
//! of keys, which have most of these blocks to themselves.

use std::os::fd::BorrowedFd;

use crate::ids::LowerOffset;
use crate::storage::{self, Errno, Result};

/// Bytes that are allocated behind the end of the log.
const ROOM: u64 = 128 << 10;
/// Bytes that are left of it when more are allocated.
const LOW: u64 = 96 << 10;

/// How much of the room a line may take up.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Priority {
    /// What users of a mount can bring about as fast as they like.
    Limited,
    /// What happens now and then.
    Ordinary,
    /// A change of keys, which isn't made without its event.
    Change,
    /// How many events are lost.
    Closing,
}

impl Priority {
    /// What it must leave for those after it, in bytes.
    fn leaves(self) -> u64 {
        match self {
            Self::Limited => 96 << 10,
            Self::Ordinary => 64 << 10,
            Self::Change => 8 << 10,
            Self::Closing => 0,
        }
    }
}

/// How far blocks are allocated, as far as this process knows.
#[derive(Default)]
pub(super) struct Preallocation(Option<LowerOffset>);

impl Preallocation {
    /// Forgets what it knows: someone else wrote the log, or it is another file.
    pub(super) fn forget(&mut self) {
        self.0 = None;
    }

    /// Sees to it that a line of `len` bytes has room at the log's end, which is at `size`. A filesystem that
    /// can't allocate ahead has what room it has.
    ///
    /// # Errors
    /// ENOSPC if the disk is full and what is left isn't for this priority.
    pub(super) fn for_line(
        &mut self,
        file: BorrowedFd<'_>,
        size: LowerOffset,
        len: u64,
        priority: Priority,
    ) -> Result<()> {
        if self.0.is_some_and(|end| end.0 >= size.0 + len + LOW) {
            return Ok(());
        }
        match storage::allocate_keep_size(file, size, len + ROOM) {
            Ok(()) => self.0 = Some(LowerOffset(size.0 + len + ROOM)),
            Err(e) if storage::is_no_room(e) => {
                if self.left(file, size) < len + priority.leaves() {
                    return Err(Errno::NOSPC);
                }
            }
            // It can't, or not now: the write itself will tell.
            Err(_) => {}
        }
        Ok(())
    }

    /// Bytes that are allocated behind the end, on a full disk: what can be allocated there already is.
    fn left(&mut self, file: BorrowedFd<'_>, size: LowerOffset) -> u64 {
        if let Some(end) = self.0 {
            return end.0.saturating_sub(size.0);
        }
        let mut step = ROOM;
        let mut left = 0;
        while step >= 1 << 10 {
            if storage::allocate_keep_size(file, LowerOffset(size.0 + left), step).is_ok() {
                left += step;
            }
            step /= 2;
        }
        self.0 = Some(LowerOffset(size.0 + left));
        left
    }
}
