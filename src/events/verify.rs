//! Checking the whole log.

use std::os::fd::AsFd;

use super::anchor::Anchor;
use super::chain::{Verification, Verifier};
use super::file::{CHUNK, whole_size};
use super::lines::Lines;
use super::log::EventLog;
use crate::ids::LowerOffset;
use crate::storage::{self, Access, Result};

impl EventLog {
    /// Checks the whole log against its chain and `anchor`, the keyring's, which was read before this is
    /// called: the log may grow meanwhile. A missing log is an empty one.
    ///
    /// # Errors
    /// If the log can't be read.
    pub fn verify(&self, anchor: Anchor) -> Result<Verification> {
        let keys = self.keys();
        let mut verifier = Verifier::new(&keys, anchor);
        let Some(file) = self.open(Access::ReadOnly)? else { return Ok(verifier.end()) };
        let end = whole_size(&file)?;
        let (mut at, mut lines, mut chunk) = (LowerOffset(0), Lines::default(), vec![0; CHUNK]);
        while at < end {
            let want = (end.0 - at.0).min(CHUNK as u64) as usize;
            let read = storage::pread(file.as_fd(), &mut chunk[..want], at)?;
            if read == 0 {
                break;
            }
            lines.take(&chunk[..read], &mut |line| verifier.line(line));
            at = lines.skip_hole(file.as_fd(), LowerOffset(at.0 + read as u64), end)?;
        }
        if lines.is_within() {
            lines.end(&mut |line| verifier.line(line));
        }
        Ok(verifier.end())
    }
}
