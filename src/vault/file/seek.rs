//! SEEK_DATA and SEEK_HOLE. Exact for what the vault has been given: while a file is open for writing, the
//! kernel may hold pages that it doesn't write out before it asks, and the caller has it do so first.

use std::os::fd::AsFd;

use super::{OpenFile, Sealed};
use crate::content::block::{self, Opened};
use crate::content::layout;
use crate::ids::{Ino, LowerOffset, PageIndex, PlainOffset};
use crate::storage;
use crate::vault::{Error, Result, Vault, Whence};

impl Vault {
    /// Whether the kernel may hold data of a file that it hasn't written yet: someone has it open for writing.
    pub fn kernel_may_hold_data(&self, ino: Ino) -> bool {
        let open = self.inode(ino).ok().and_then(|inode| inode.file.lock().upgrade());
        open.is_some_and(|file| file.writers.load(std::sync::atomic::Ordering::Relaxed) > 0)
    }

    /// The next data, or the next hole, at or after `offset`.
    ///
    /// # Errors
    /// ENXIO beyond the end, or if no data follows.
    pub fn lseek(&self, ino: Ino, offset: PlainOffset, whence: Whence) -> Result<PlainOffset> {
        let inode = self.inode(ino)?;
        if self.others_write() {
            return self.reading_current(&inode, |file| file.seek(offset, whence));
        }
        self.opened(&inode)?.seek(offset, whence)
    }
}

impl OpenFile {
    fn seek(&self, offset: PlainOffset, whence: Whence) -> Result<PlainOffset> {
        let state = self.state.read();
        if offset >= state.size {
            return Err(Error::NoMoreData);
        }
        let Some(sealed) = state.sealed()? else {
            // No header: all zeros, all hole.
            return match whence {
                Whence::Data => Err(Error::NoMoreData),
                Whence::Hole => Ok(offset),
            };
        };
        let (mut page, _) = layout::locate(offset);
        let end = state.pages().0;
        while page.0 < end {
            let (is_data, next) = self.extent(sealed, page, end)?;
            if is_data == (whence == Whence::Data) {
                return Ok(offset.max(layout::block_start(page)));
            }
            page = next;
        }
        match whence {
            Whence::Data => Err(Error::NoMoreData),
            Whence::Hole => Ok(state.size),
        }
    }

    /// Whether block `page` is data, and the first block after it where that may change.
    fn extent(&self, sealed: &Sealed, page: PageIndex, end: u64) -> Result<(bool, PageIndex)> {
        if page.0 == 0 {
            // Its lower page always holds the header: the block itself tells.
            let mut scratch = super::scratch::Scratch::take();
            let payload = &mut scratch.payload[..layout::payload(page) as usize];
            return Ok((self.read_block(sealed, page, payload)? == Opened::Data, PageIndex(1)));
        }
        let start = layout::page_offset(page);
        let data = storage::seek_data(self.fd.as_fd(), start)?.map_or(end, |at| at.0 / layout::PAGE);
        if data > page.0 {
            return Ok((false, PageIndex(data.min(end))));
        }
        // Reserved or zeroed pages can look like data below: what reads as a hole is one.
        let mut scratch = super::scratch::Scratch::take();
        let lower = &mut scratch.lower[..layout::PAGE as usize];
        let got = storage::pread(self.fd.as_fd(), lower, start)?;
        if block::is_zero(&lower[..got]) {
            return Ok((false, PageIndex(page.0 + 1)));
        }
        let hole = storage::seek_hole(self.fd.as_fd(), LowerOffset(start.0 + 1))?;
        let next = hole.map_or(end, |at| at.0.div_ceil(layout::PAGE)).clamp(page.0 + 1, end);
        Ok((true, PageIndex(next)))
    }
}
