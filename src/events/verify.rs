//! Checking the whole log.

use std::os::fd::AsFd;

use super::chain::{Anchor, Verification, Verifier};
use super::file::{CHUNK, whole_size};
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
        let Some(file) = self.open(Access::ReadOnly)? else { return Ok(verifier.end(&[])) };
        let end = whole_size(&file)?;
        let (mut at, mut rest, mut chunk) = (LowerOffset(0), Vec::new(), vec![0; CHUNK]);
        while at < end {
            let want = (end.0 - at.0).min(CHUNK as u64) as usize;
            let read = storage::pread(file.as_fd(), &mut chunk[..want], at)?;
            if read == 0 {
                break;
            }
            at.0 += read as u64;
            let mut lines = chunk[..read].split_inclusive(|&b| b == b'\n');
            for line in &mut lines {
                rest.extend_from_slice(line);
                if rest.pop_if(|b| *b == b'\n').is_some() {
                    verifier.line(&rest);
                    rest.clear();
                }
            }
        }
        Ok(verifier.end(&rest))
    }
}
