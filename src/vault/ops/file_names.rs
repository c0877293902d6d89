//! Counting the files below a directory by their names, without a look at any.

use std::os::fd::{AsFd, OwnedFd};

use crate::ids::Ino;
use crate::monitor::Cancellation;
use crate::names::LowerKind;
use crate::storage::{self, DirStream};
use crate::vault::{FileKind, Result, Vault};

/// A directory on the way down.
struct Level {
    stream: DirStream,
    below: Vec<Vec<u8>>,
}

impl Vault {
    /// How many names regular files have below a directory; none if it was cancelled. What can't be read counts as empty.
    ///
    /// # Errors
    /// The directory itself can't be read.
    pub fn count_file_names(&self, top: Ino, cancellation: &Cancellation) -> Result<Option<u64>> {
        let fd = storage::open_dir(self.tree.dir(top)?.fd(), b".")?;
        let device = storage::fstat(fd.as_fd())?.dev;
        let mut names = 0;
        let mut levels = vec![read(fd, cancellation, &mut names)];
        while let Some(level) = levels.last_mut() {
            if cancellation.is_cancelled() {
                return Ok(None);
            }
            let Some(name) = level.below.pop() else {
                levels.pop();
                continue;
            };
            let opened = storage::open_dir(level.stream.fd().as_fd(), &name);
            if let Ok(fd) = opened
                && storage::fstat(fd.as_fd()).is_ok_and(|stat| stat.dev == device)
            {
                levels.push(read(fd, cancellation, &mut names));
            }
        }
        Ok(Some(names))
    }
}

/// Counts a directory's files and lists its directories.
fn read(fd: OwnedFd, cancellation: &Cancellation, names: &mut u64) -> Level {
    let mut level = Level { stream: DirStream::new(fd), below: Vec::new() };
    while !cancellation.is_cancelled() {
        let Ok(Some(entry)) = level.stream.next() else { break };
        if !matches!(LowerKind::of(entry.name), LowerKind::Name | LowerKind::LongEntry) {
            continue;
        }
        let (name, kind) = (entry.name.to_vec(), entry.kind);
        let of_stat = || storage::stat(level.stream.fd().as_fd(), &name).ok().map(|stat| stat.kind());
        match kind.or_else(of_stat) {
            Some(FileKind::Regular) => *names += 1,
            Some(FileKind::Directory) => level.below.push(name),
            _ => {}
        }
    }
    level
}
