//! Splits the log into lines. Anyone who can write it decides how long a line is. So a line longer than any event is counted
//! and not kept, and holes in it are skipped: memory and time depend on what the log really holds.

use std::os::fd::BorrowedFd;

use crate::ids::LowerOffset;
use crate::storage::{self, Result};

/// No event is longer, in bytes: it names one path (at most 4096 bytes, each written with at most six characters).
pub(super) const LONGEST: usize = 64 << 10;

/// What is between two line feeds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Line<'a> {
    /// A line, without its line feed.
    Whole(&'a [u8]),
    /// Something longer than an event: so many bytes.
    TooLong(u64),
}

/// Makes lines of the bytes read.
#[derive(Default)]
pub struct Lines {
    /// What was read of the unfinished line, unless it is too long.
    kept: Vec<u8>,
    /// Bytes of that line.
    len: u64,
}

impl Lines {
    /// Takes the next bytes, and calls `each` with each line that ends in them.
    pub fn take(&mut self, bytes: &[u8], each: &mut dyn FnMut(Line<'_>)) {
        for part in bytes.split_inclusive(|&byte| byte == b'\n') {
            let text = part.strip_suffix(b"\n").unwrap_or(part);
            self.len += text.len() as u64;
            if self.len <= LONGEST as u64 {
                self.kept.extend_from_slice(text);
            }
            if text.len() < part.len() {
                self.end(each);
            }
        }
    }

    /// Whether there is an unfinished line.
    pub fn is_within(&self) -> bool {
        self.len > 0
    }

    /// Ends the unfinished line.
    pub fn end(&mut self, each: &mut dyn FnMut(Line<'_>)) {
        let whole = self.len <= LONGEST as u64;
        each(if whole { Line::Whole(&self.kept) } else { Line::TooLong(self.len) });
        self.forget();
    }

    /// Drops the unfinished line.
    pub fn forget(&mut self) {
        self.kept.clear();
        self.len = 0;
    }

    /// Where to continue reading, at or behind `at`: behind the hole there, if the line is too long already. The hole is a part
    /// of the line.
    ///
    /// # Errors
    /// What `lseek(2)` says.
    pub fn skip_hole(
        &mut self,
        file: BorrowedFd<'_>,
        at: LowerOffset,
        end: LowerOffset,
    ) -> Result<LowerOffset> {
        if self.len <= LONGEST as u64 {
            return Ok(at);
        }
        let next = storage::seek_data(file, at)?.unwrap_or(end).min(end).max(at);
        self.len += next.0 - at.0;
        Ok(next)
    }
}
