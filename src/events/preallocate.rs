//! Blocks that are allocated behind the log's end, so that appending takes none when the disk is full. They are
//! allocated while the disk has space. On a full disk what users bring about at will stops first, then all but the changes
//! of keys, which have most of these blocks to themselves.

use std::os::fd::BorrowedFd;

use crate::ids::LowerOffset;
use crate::storage::{self, Errno, Result};

/// Bytes that are allocated behind the end of the log.
const ALLOCATED: u64 = 128 << 10;
/// More are allocated when fewer bytes than these are left.
const LOW: u64 = 96 << 10;

/// How much of the allocated space a line may use.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Priority {
    /// Events that users of a mount can cause as fast as they like.
    Limited,
    /// All other events.
    Ordinary,
    /// A change of keys, which fails if its event can't be written.
    Change,
    /// How many events are lost.
    Closing,
}

impl Priority {
    /// Bytes that it must leave for higher priorities.
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
    /// Forgets what was allocated: someone else wrote the log, or it is another file.
    pub(super) fn forget(&mut self) {
        self.0 = None;
    }

    /// Makes sure that there is space for a line of `len` bytes at the log's end, which is at `size`. Does nothing on a
    /// filesystem that can't allocate blocks ahead.
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
        match storage::allocate_keep_size(file, size, len + ALLOCATED) {
            Ok(()) => self.0 = Some(LowerOffset(size.0 + len + ALLOCATED)),
            Err(e) if storage::is_disk_full(e) => {
                if self.left(file, size) < len + priority.leaves() {
                    return Err(Errno::NOSPC);
                }
            }
            // Not supported, or another error: the write itself will report it.
            Err(_) => {}
        }
        Ok(())
    }

    /// Bytes that are allocated behind the end, on a full disk: what can be allocated there already is.
    fn left(&mut self, file: BorrowedFd<'_>, size: LowerOffset) -> u64 {
        if let Some(end) = self.0 {
            return end.0.saturating_sub(size.0);
        }
        let mut step = ALLOCATED;
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
