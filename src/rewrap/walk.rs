//! Walks the whole tree and visits each regular file once, however many names it has. How many there are is counted beside it
//! (`total`).

use std::cell::Cell;
use std::collections::HashSet;
use std::ops::Deref;

use super::total::{Total, counting_beside};
use crate::ids::{Handle, Ino};
use crate::monitor::Cancellation;
use crate::monitor::time_left::Amount;
use crate::vault::{Error, FileKind, Measure, Result, Vault};

/// Entries listed at a time, and files passed on at a time by default.
pub(super) const BATCH: usize = 256;

/// All files of a walk: they may be known only after the last one was found.
pub(super) type All<'a> = &'a dyn Fn() -> Option<Amount>;

/// Regular files that a walk found. The vault keeps them known until this is dropped.
pub(super) struct FoundFiles<'a> {
    vault: &'a Vault,
    inos: Vec<Ino>,
}

impl Deref for FoundFiles<'_> {
    type Target = [Ino];
    fn deref(&self) -> &[Ino] {
        &self.inos
    }
}

impl Drop for FoundFiles<'_> {
    fn drop(&mut self) {
        for ino in self.inos.drain(..) {
            self.vault.forget(ino, 1);
        }
    }
}

/// The result of a walk.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(super) struct WalkReport {
    /// Regular files found.
    pub(super) files: u64,
    /// Directories that could not be read, so that nothing below them was found.
    pub(super) dirs_left_out: u64,
    /// Entries on another filesystem, or without a name that could be decrypted.
    pub(super) entries_left_out: u64,
}

/// Calls `each` with the regular files below a directory, up to `batch` at a time (which it may change), and with what tells
/// how many there are in all, as `measure` says, once that is known. What can't be read, or lies on another filesystem, is left out and counted. Ends soon after it is cancelled.
///
/// # Errors
/// If `top` itself can't be read.
pub(super) fn walk<'a>(
    vault: &'a Vault,
    top: Ino,
    measure: Measure,
    batch: &Cell<usize>,
    cancellation: &Cancellation,
    each: &mut dyn FnMut(FoundFiles<'a>, All<'_>),
) -> Result<WalkReport> {
    counting_beside(vault, top, measure, cancellation, |total| {
        let mut walk = Walk {
            vault,
            cancellation,
            batch,
            found: FoundFiles { vault, inos: Vec::new() },
            todo: vec![top],
            linked: HashSet::new(),
            each,
            total,
            walked: WalkReport::default(),
        };
        let walked = walk.all(top);
        // If it was cancelled or failed, lookups that were counted must be forgotten too.
        for dir in std::mem::take(&mut walk.todo) {
            walk.forget_dir(dir, top);
        }
        walked.map(|()| walk.walked)
    })
}

/// Whether a file or directory has lost its last name since it was found: that doesn't count as left out.
pub(super) fn is_gone(vault: &Vault, ino: Ino) -> bool {
    match vault.getattr(ino) {
        Ok(attr) => attr.nlink == 0,
        Err(Error::Stale | Error::NotFound) => true,
        Err(_) => false,
    }
}

struct Walk<'a, 'b> {
    vault: &'a Vault,
    cancellation: &'b Cancellation,
    batch: &'b Cell<usize>,
    /// Files found and not passed on yet.
    found: FoundFiles<'a>,
    /// Directories to be read.
    todo: Vec<Ino>,
    /// Files with several names that were found.
    linked: HashSet<Ino>,
    each: &'b mut dyn FnMut(FoundFiles<'a>, All<'_>),
    total: &'b Total,
    walked: WalkReport,
}

impl WalkReport {
    /// Entries that are unknown, or whose content is.
    pub(super) fn left_out(&self) -> u64 {
        self.dirs_left_out + self.entries_left_out
    }
}

impl Walk<'_, '_> {
    fn all(&mut self, top: Ino) -> Result<()> {
        while !self.cancellation.is_cancelled() {
            let Some(dir) = self.todo.pop() else { break };
            let walked = self.dir(dir);
            let gone = walked.is_err() && dir != top && is_gone(self.vault, dir);
            self.forget_dir(dir, top);
            match walked {
                Ok(()) => {}
                Err(_) if gone => {}
                Err(e) if dir == top => return Err(e),
                Err(e) => {
                    tracing::warn!(ino = dir.0, "a directory could not be read: {e}");
                    self.walked.dirs_left_out += 1;
                }
            }
        }
        self.give();
        Ok(())
    }

    /// Passes on the files found, unless it was cancelled.
    fn give(&mut self) {
        let found = std::mem::replace(&mut self.found, FoundFiles { vault: self.vault, inos: Vec::new() });
        if !self.cancellation.is_cancelled() {
            let found_by_now = self.walked.files;
            (self.each)(found, &|| self.total.known(found_by_now));
        }
    }

    /// The caller of the walk holds a reference to `top` itself.
    fn forget_dir(&self, dir: Ino, top: Ino) {
        if dir != top {
            self.vault.forget(dir, 1);
        }
    }

    fn dir(&mut self, dir: Ino) -> Result<()> {
        let handle = self.vault.opendir(dir)?;
        let walked = self.entries(dir, handle);
        self.vault.releasedir(dir, handle)?;
        walked
    }

    fn entries(&mut self, dir: Ino, handle: Handle) -> Result<()> {
        let mut cookie = 0;
        while !self.cancellation.is_cancelled() {
            let mut entries = Vec::with_capacity(BATCH);
            let mut any = false;
            let (mut elsewhere, walked) = (0, &mut self.walked);
            let nameless = self.vault.readdirplus(dir, handle, cookie, &mut |attr, name, next_cookie| {
                if entries.len() == BATCH {
                    return false;
                }
                any = true;
                cookie = next_cookie;
                elsewhere += u64::from(attr.is_none() && !matches!(name, b"." | b".."));
                entries.extend(attr.copied());
                true
            })?;
            walked.entries_left_out += elsewhere + nameless;
            if !any {
                break;
            }
            for attr in entries {
                match attr.kind {
                    FileKind::Directory => self.todo.push(attr.ino),
                    FileKind::Regular if attr.nlink < 2 || self.linked.insert(attr.ino) => {
                        self.found.inos.push(attr.ino);
                        self.walked.files += 1;
                        if self.found.len() >= self.batch.get() {
                            self.give();
                        }
                    }
                    _ => self.vault.forget(attr.ino, 1),
                }
            }
        }
        Ok(())
    }
}
