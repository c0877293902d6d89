//! Counting the files below a directory by their names, without a look at any unless their sizes are asked for.

use std::os::fd::{AsFd, OwnedFd};

use crate::ids::Ino;
use crate::monitor::Cancellation;
use crate::monitor::time_left::Amount;
use crate::names::LowerKind;
use crate::storage::{self, DirStream};
use crate::vault::{FileKind, Result, Vault};

/// What is counted of files.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Measure {
    /// How many there are.
    Files,
    /// And the bytes that they take on the lower filesystem.
    Bytes,
}

/// A directory on the way down.
struct Level {
    stream: DirStream,
    below: Vec<Vec<u8>>,
}

impl Vault {
    /// The regular files below a directory, each as often as it has names; none if it was cancelled. What can't be read counts as
    /// empty.
    ///
    /// # Errors
    /// The directory itself can't be read.
    pub fn files_below(
        &self,
        top: Ino,
        measure: Measure,
        cancellation: &Cancellation,
    ) -> Result<Option<Amount>> {
        let fd = storage::open_dir(self.tree.dir(top)?.fd(), b".")?;
        let device = storage::fstat(fd.as_fd())?.dev;
        let mut all = Amount::default();
        let mut levels = vec![read(fd, measure, cancellation, &mut all)];
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
                levels.push(read(fd, measure, cancellation, &mut all));
            }
        }
        Ok(Some(all))
    }
}

/// Counts a directory's files and lists its directories.
fn read(fd: OwnedFd, measure: Measure, cancellation: &Cancellation, all: &mut Amount) -> Level {
    let mut level = Level { stream: DirStream::new(fd), below: Vec::new() };
    while !cancellation.is_cancelled() {
        let Ok(Some(entry)) = level.stream.next() else { break };
        if !matches!(LowerKind::of(entry.name), LowerKind::Name | LowerKind::LongEntry) {
            continue;
        }
        let (name, kind) = (entry.name.to_vec(), entry.kind);
        let stat = || storage::stat(level.stream.fd().as_fd(), &name).ok();
        match kind.or_else(|| stat().map(|stat| stat.kind())) {
            Some(FileKind::Regular) => {
                all.files += 1;
                if measure == Measure::Bytes {
                    all.bytes += stat().map_or(0, |stat| stat.blocks * 512);
                }
            }
            Some(FileKind::Directory) => level.below.push(name),
            _ => {}
        }
    }
    level
}
