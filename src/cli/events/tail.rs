//! Reading a log that grows: whole lines, on from where the last reading ended; from the start again where
//! the file was replaced or cut.

use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::PathBuf;

/// Bytes read at a time.
const CHUNK: usize = 1 << 20;

/// The log, and how far it was read.
pub(super) struct Tail {
    path: PathBuf,
    /// The file's inode number, to see that it was replaced.
    ino: u64,
    offset: u64,
    /// Its size before the last reading.
    len: u64,
    /// What was read of a line that isn't whole.
    rest: Vec<u8>,
    /// Whether the last lines are the first of the file.
    began: bool,
}

impl Tail {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path, ino: 0, offset: 0, len: 0, rest: Vec::new(), began: false }
    }

    /// Whether the lines that came last are the first of the log.
    pub(super) fn began_again(&self) -> bool {
        self.began
    }

    /// How far the log was read.
    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    /// The log's size before it was read last: it may be longer by now.
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// The next lines; none if there are no more by now, or there is no log. If nobody waits for more
    /// (`follow`), a last line without its end is one too.
    ///
    /// # Errors
    /// What reading says.
    pub(super) fn next_lines(&mut self, follow: bool) -> io::Result<Vec<Vec<u8>>> {
        let file = match File::open(&self.path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            file => file?,
        };
        let meta = file.metadata()?;
        if meta.ino() != self.ino || meta.len() < self.offset {
            (self.ino, self.offset) = (meta.ino(), 0);
            self.rest.clear();
        }
        self.began = self.offset == 0;
        self.len = meta.len();
        let mut chunk = vec![0; CHUNK];
        let mut lines: Vec<Vec<u8>> = Vec::new();
        while lines.is_empty() {
            let read = file.read_at(&mut chunk, self.offset)?;
            if read == 0 {
                break;
            }
            self.offset += read as u64;
            for part in chunk[..read].split_inclusive(|&byte| byte == b'\n') {
                self.rest.extend_from_slice(part);
                if self.rest.pop_if(|byte| *byte == b'\n').is_some() {
                    lines.push(std::mem::take(&mut self.rest));
                }
            }
        }
        if lines.is_empty() && !follow && !self.rest.is_empty() {
            lines.push(std::mem::take(&mut self.rest));
        }
        Ok(lines)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_come_once_and_a_replaced_log_from_its_start() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let mut tail = Tail::new(path.clone());
        assert!(tail.next_lines(true).unwrap().is_empty());
        std::fs::write(&path, "one\ntw").unwrap();
        assert_eq!(tail.next_lines(true).unwrap(), [b"one"]);
        assert!(tail.next_lines(true).unwrap().is_empty());
        std::fs::write(&path, "one\ntwo\nthree").unwrap();
        assert_eq!(tail.next_lines(false).unwrap(), [b"two"]);
        assert_eq!(tail.next_lines(false).unwrap(), [b"three"]);
        assert!(tail.next_lines(false).unwrap().is_empty());
        std::fs::write(&path, "new\n").unwrap();
        assert_eq!(tail.next_lines(true).unwrap(), [b"new"]);
    }
}
