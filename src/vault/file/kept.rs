//! The block in which the last write to an open file ended, as it is below: a write that goes on there, as an append or the next
//! request of a large write does, takes it from memory. Reading back what was written just now costs a call, and where the lower
//! filesystem is remote it has its client send that first.
//!
//! **It is what is below, byte for byte.** A write takes it out before it changes the block, and puts it in once all of the write
//! is below. Whatever else changes an open file drops it ([`Vault::changing`]), and so does whatever loads the file again; after a
//! failed write-out it isn't used. It is ciphertext, which is authenticated each time that it is used: no key and no plaintext
//! stays in memory by it.
//!
//! Its lock is a leaf. Who takes a block from here, or changes one, has locked the block, or the inode exclusively.
//!
//! [`Vault::changing`]: crate::vault::Vault

use std::ops::RangeInclusive;

use parking_lot::Mutex;

use crate::ids::PageIndex;

/// See the module.
#[derive(Default)]
pub(super) struct Kept(Mutex<Slot>);

#[derive(Default)]
struct Slot {
    page: Option<PageIndex>,
    /// The block's lower bytes.
    lower: Vec<u8>,
}

impl Kept {
    /// Copies a block to `lower`, which has its length; `false` if it isn't the one.
    pub(super) fn copy(&self, page: PageIndex, lower: &mut [u8]) -> bool {
        let slot = self.0.lock();
        let is = slot.page == Some(page) && slot.lower.len() == lower.len();
        if is {
            lower.copy_from_slice(&slot.lower);
        }
        is
    }

    /// Keeps a block: these are its bytes below.
    pub(super) fn keep(&self, page: PageIndex, lower: &[u8]) {
        let mut slot = self.0.lock();
        slot.lower.clear();
        slot.lower.extend_from_slice(lower);
        slot.page = Some(page);
    }

    /// These blocks are about to change.
    pub(super) fn forget(&self, pages: &RangeInclusive<PageIndex>) {
        let mut slot = self.0.lock();
        if slot.page.is_some_and(|page| pages.contains(&page)) {
            slot.page = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_is_kept_until_it_changes_or_another_one_is() {
        let kept = Kept::default();
        let has = |page: u64, byte: u8| {
            let mut lower = [0; 3];
            kept.copy(PageIndex(page), &mut lower) && lower == [byte; 3]
        };
        kept.keep(PageIndex(7), &[1; 3]);
        assert!(has(7, 1) && !has(6, 1));
        kept.forget(&(PageIndex(8)..=PageIndex(9)));
        assert!(has(7, 1));
        kept.forget(&(PageIndex(3)..=PageIndex(7)));
        assert!(!has(7, 1));
        kept.keep(PageIndex(7), &[2; 3]);
        kept.keep(PageIndex(8), &[3; 3]);
        assert!(!has(7, 2) && has(8, 3));
    }
}
