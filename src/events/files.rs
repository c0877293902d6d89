//! The files that the log consists of: the one that is written, and the closed ones before it, each named in the first line of
//! the file after it. What that chain doesn't lead to is no part of the log: an interrupted rotation leaves a second name of
//! the file that is written, and anyone may put a file there.
//!
//! Read one after another, the files are one text, and its lines one chain of MACs: a file that is missing, swapped or
//! truncated breaks it. The first line of a file, by which it is found, is checked with the rest.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use super::anchor::Anchor;
use super::chain;
use super::file_names::{FILE_NAME, closed_name};
use crate::ids::LowerOffset;
use crate::storage::{self, Access, Errno, FileKind, Result};

/// Bytes that hold the first line of a file that continues the log.
const FIRST_LINE: usize = 4 << 10;

/// A file of the log.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LogFile {
    /// Its name in the vault's directory.
    pub name: String,
    /// Its inode number, by which it is known under another name.
    pub ino: u64,
    /// Its size in bytes when it was looked at.
    pub size: u64,
    /// The sequence number of its last event, if it is closed.
    pub last: Option<u64>,
    /// The event before its first one, by what that says.
    pub before: u64,
}

impl LogFile {
    /// Opens it. Another one may have its name by now.
    ///
    /// # Errors
    /// ESTALE then; those of `openat(2)`.
    pub fn open(&self, dir: BorrowedFd<'_>) -> Result<OwnedFd> {
        let (file, stat) = open_regular(dir, &self.name)?;
        if stat.ino == self.ino { Ok(file) } else { Err(Errno::STALE) }
    }
}

/// The log's files in the vault directory, oldest first; none if there is no log.
///
/// # Errors
/// EINVAL if one of them is no regular file; those of the calls.
pub fn log_files(dir: BorrowedFd<'_>) -> Result<Vec<LogFile>> {
    let mut files = Vec::new();
    let mut next = look(dir, FILE_NAME.to_owned(), None)?;
    while let Some((file, before)) = next {
        files.push(file);
        next = match before.count {
            0 => None,
            // Numbers only fall, so this ends.
            last if files.last().is_some_and(|file| file.last.is_none_or(|own| last < own)) => {
                look(dir, closed_name(last), Some(last))?
            }
            _ => None,
        };
    }
    files.reverse();
    Ok(files)
}

/// The file of that name, and the place that its first line says it follows.
fn look(dir: BorrowedFd<'_>, name: String, last: Option<u64>) -> Result<Option<(LogFile, Anchor)>> {
    let (file, stat) = match open_regular(dir, &name) {
        Err(Errno::NOENT) => return Ok(None),
        opened => opened?,
    };
    let mut first = vec![0; FIRST_LINE];
    let read = storage::pread(file.as_fd(), &mut first, LowerOffset(0))?;
    let before = chain::start_of(&first[..read]);
    Ok(Some((LogFile { name, ino: stat.ino, size: stat.size, last, before: before.count }, before)))
}

fn open_regular(dir: BorrowedFd<'_>, name: &str) -> Result<(OwnedFd, storage::Stat)> {
    let file = storage::open_file(dir, name.as_bytes(), Access::ReadOnly)?;
    let stat = storage::fstat(file.as_fd())?;
    if stat.kind() == FileKind::Regular { Ok((file, stat)) } else { Err(Errno::INVAL) }
}
