//! What lies on another filesystem than the tree's directories, or below a mount point, also one of the same filesystem (a
//! bind mount): that hides what is part of the tree, and shows what isn't. A node id is a lower inode
//! number, which each filesystem gives out on its own, so nothing of another one is used: its name is shown, and all
//! else is EXDEV. It is never taken for nothing: a count of the files says how much of the tree it has not seen.
//!
//! On an overlayfs whose layers lie on several filesystems that is every file, and its number changes when it is first
//! written: a vault works there only if the overlay is mounted with `xino=on`, which makes them one filesystem.

use std::os::fd::AsFd;

use super::Tree;
use crate::ids::Ino;
use crate::storage::{self, DirStream, LowerFs};
use crate::vault::{FileKind, Result};

/// Entries of the root that are looked at.
const GLANCE: usize = 64;

impl Tree {
    /// Whether files of the tree lie on another filesystem than its directories, as far as a glance tells: by some
    /// entries of the root, and by a new file without a name.
    ///
    /// # Errors
    /// What reading the root says.
    pub(in crate::vault) fn files_lie_elsewhere(&self, lower: &LowerFs) -> Result<bool> {
        let root = self.dir(Ino::ROOT)?;
        let mut entries = DirStream::new(storage::open_dir(root.fd(), b".")?);
        let device = storage::fstat(root.fd())?.dev;
        for _ in 0..GLANCE {
            let Some(entry) = entries.next()? else { break };
            if entry.kind.is_some_and(|kind| kind != FileKind::Directory)
                && storage::stat(root.fd(), entry.name).is_ok_and(|stat| stat.dev != device)
            {
                return Ok(true);
            }
        }
        if self.writable.is_none() || lower.fs_type != "overlay" {
            return Ok(false);
        }
        let Ok(file) = storage::nameless_file(root.fd()) else { return Ok(false) };
        Ok(storage::fstat(file.as_fd())?.dev != device)
    }
}
