//! Reading the whole log, and checking it.

use std::os::fd::AsFd;

use super::anchor::Anchor;
use super::chain::{Verification, Verifier};
use super::file::{CHUNK, FileEnd, whole_end};
use super::files::{LogFile, log_files};
use super::lines::{Line, Lines};
use super::log::EventLog;
use crate::ids::LowerOffset;
use crate::storage::{self, Errno, Result};

impl EventLog {
    /// The log's files, oldest first.
    ///
    /// # Errors
    /// As [`log_files`].
    pub fn files(&self) -> Result<Vec<LogFile>> {
        log_files(self.dir.as_fd())
    }

    /// Checks the whole log, all its files, against its chain and `anchor`, the keyring's, which was read before this is
    /// called: the log may grow meanwhile. A missing log is an empty one.
    ///
    /// # Errors
    /// If the log can't be read.
    pub fn verify(&self, anchor: Anchor) -> Result<Verification> {
        let keys = self.keys();
        self.read_whole(|| Verifier::new(&keys, anchor), Verifier::line).map(Verifier::end)
    }

    /// Reads the log from its first line to its last: `each` receives every line, with what `begin` makes for a reading.
    ///
    /// # Errors
    /// If the log can't be read.
    pub(super) fn read_whole<T>(&self, begin: impl Fn() -> T, each: impl Fn(&mut T, Line<'_>)) -> Result<T> {
        let read = || {
            let mut reading = begin();
            self.read_files(&mut |line| each(&mut reading, line)).map(|()| reading)
        };
        // Again if the log is continued in a new file meanwhile.
        for _ in 0..3 {
            match read() {
                Err(Errno::STALE | Errno::NOENT) => {}
                done => return done,
            }
        }
        read()
    }

    fn read_files(&self, each: &mut dyn FnMut(Line<'_>)) -> Result<()> {
        let (mut lines, mut chunk) = (Lines::default(), vec![0; CHUNK]);
        for log_file in self.files()? {
            let file = log_file.open(self.dir.as_fd())?;
            // Nobody writes to a closed file.
            let end = if log_file.last.is_none() { whole_end(&file)? } else { FileEnd::of(&file)? }.size;
            let mut at = LowerOffset(0);
            while at < end {
                let want = (end.0 - at.0).min(CHUNK as u64) as usize;
                let read = storage::pread(file.as_fd(), &mut chunk[..want], at)?;
                if read == 0 {
                    break;
                }
                lines.take(&chunk[..read], each);
                at = lines.skip_hole(file.as_fd(), LowerOffset(at.0 + read as u64), end)?;
            }
            if lines.is_within() {
                lines.end(each);
            }
        }
        Ok(())
    }
}
