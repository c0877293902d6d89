//! Reading a log that grows: whole lines of all its files, on from where the last reading ended, also where the file was closed
//! since; from the start again where the log was replaced or truncated. It is the log of one directory, and a regular file: a symlink isn't followed, and a FIFO
//! isn't waited for.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use crate::events::{Line, Lines, LogFile, log_files};
use crate::ids::LowerOffset;
use crate::storage::{self, Errno};

/// Bytes read at a time.
const CHUNK: usize = 1 << 20;

/// The log, and how far it was read.
pub(super) struct Tail {
    /// The vault's directory.
    dir: OwnedFd,
    /// The inode number of the file that is read, to know it again under a closed name, and to see that it was replaced.
    ino: u64,
    offset: LowerOffset,
    /// The size of the files before it.
    before: u64,
    /// The log's size before the last reading.
    len: u64,
    lines: Lines,
    /// Whether the last lines are the first of the log.
    began: bool,
}

/// What was read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Read {
    /// A line, without its line feed.
    Whole(Vec<u8>),
    /// Something longer than any event: so many bytes.
    TooLong(u64),
}

impl From<Line<'_>> for Read {
    fn from(line: Line<'_>) -> Self {
        match line {
            Line::Whole(text) => Self::Whole(text.to_vec()),
            Line::TooLong(len) => Self::TooLong(len),
        }
    }
}

/// What becomes of a last line without its end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum UnendedLine {
    /// It is left until its end is written.
    AwaitEnd,
    /// It is a line too: nobody waits for more.
    Take,
}

impl Tail {
    pub(super) fn new(dir: OwnedFd) -> Self {
        let (offset, lines) = (LowerOffset(0), Lines::default());
        Self { dir, ino: 0, offset, before: 0, len: 0, lines, began: false }
    }

    /// Whether the lines that came last are the first of the log.
    pub(super) fn began_again(&self) -> bool {
        self.began
    }

    /// How far the log was read.
    pub(super) fn offset(&self) -> u64 {
        self.before + self.offset.0
    }

    /// The log's size before it was read last: it may be longer by now.
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// The next lines; none if there are no more by now, or there is no log.
    ///
    /// # Errors
    /// What reading says; EINVAL for what is no regular file.
    pub(super) fn next_lines(&mut self, unended: UnendedLine) -> io::Result<Vec<Read>> {
        let files = log_files(self.dir.as_fd())?;
        let at = files.iter().position(|file| file.ino == self.ino && file.size >= self.offset.0);
        if at.is_none() {
            (self.offset, self.ino) = (LowerOffset(0), files.first().map_or(0, |file| file.ino));
            self.lines.forget();
        }
        let mut at = at.unwrap_or_default();
        let size = |files: &[LogFile]| files.iter().map(|file| file.size).sum::<u64>();
        self.before = size(files.get(..at).unwrap_or_default());
        self.len = size(&files);
        self.began = self.offset() == 0;
        let mut read_lines = Vec::new();
        while let Some(file) = files.get(at) {
            match self.read_on(file, &mut read_lines) {
                // The log was continued in a new file meanwhile: next time.
                Err(Errno::STALE | Errno::NOENT) => return Ok(read_lines),
                read => read?,
            }
            if !read_lines.is_empty() || at + 1 == files.len() {
                break;
            }
            if self.lines.is_within() {
                self.lines.end(&mut |line| read_lines.push(line.into()));
            }
            self.before += self.offset.0;
            at += 1;
            (self.offset, self.ino) = (LowerOffset(0), files[at].ino);
        }
        if read_lines.is_empty() && unended == UnendedLine::Take && self.lines.is_within() {
            self.lines.end(&mut |line| read_lines.push(line.into()));
        }
        Ok(read_lines)
    }

    /// Reads on in a file until there are lines, or it ends.
    fn read_on(&mut self, file: &LogFile, read_lines: &mut Vec<Read>) -> storage::Result<()> {
        let opened = file.open(self.dir.as_fd())?;
        let mut chunk = vec![0; CHUNK];
        while read_lines.is_empty() {
            let read = storage::pread(opened.as_fd(), &mut chunk, self.offset)?;
            if read == 0 {
                break;
            }
            self.lines.take(&chunk[..read], &mut |line| read_lines.push(line.into()));
            let at = LowerOffset(self.offset.0 + read as u64);
            self.offset = self.lines.skip_hole(opened.as_fd(), at, LowerOffset(file.size))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};

    use super::*;
    use crate::events::FILE_NAME;

    fn whole(text: &str) -> Read {
        Read::Whole(text.as_bytes().to_vec())
    }

    #[test]
    fn lines_come_once_and_a_replaced_log_from_its_start() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(FILE_NAME);
        let mut tail = Tail::new(File::open(dir.path()).unwrap().into());
        assert!(tail.next_lines(UnendedLine::AwaitEnd).unwrap().is_empty());
        fs::write(&path, "one\ntw").unwrap();
        assert_eq!(tail.next_lines(UnendedLine::AwaitEnd).unwrap(), [whole("one")]);
        assert!(tail.next_lines(UnendedLine::AwaitEnd).unwrap().is_empty());
        fs::write(&path, "one\ntwo\nthree").unwrap();
        assert_eq!(tail.next_lines(UnendedLine::Take).unwrap(), [whole("two")]);
        assert_eq!(tail.next_lines(UnendedLine::Take).unwrap(), [whole("three")]);
        assert!(tail.next_lines(UnendedLine::Take).unwrap().is_empty());
        fs::write(&path, "new\n").unwrap();
        assert_eq!(tail.next_lines(UnendedLine::AwaitEnd).unwrap(), [whole("new")]);
    }

    #[test]
    fn what_is_longer_than_an_event_is_counted_and_not_kept() {
        const LEN: u64 = 1 << 40;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(FILE_NAME);
        fs::write(&path, "one\n").unwrap();
        // A hole, which takes no room, and would take all memory.
        File::options().append(true).open(&path).unwrap().set_len(LEN).unwrap();
        let mut tail = Tail::new(File::open(dir.path()).unwrap().into());
        assert_eq!(tail.next_lines(UnendedLine::Take).unwrap(), [whole("one")]);
        assert_eq!(tail.next_lines(UnendedLine::Take).unwrap(), [Read::TooLong(LEN - 4)]);
        assert!(tail.next_lines(UnendedLine::Take).unwrap().is_empty());
    }
}
