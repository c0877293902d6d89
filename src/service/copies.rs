//! Copies of a vault that are to stay readable when versions of a key go: their files are counted as the vault's own
//! are. They are read where the client found them, with the vault's keyring; nothing is written.

use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use super::errors::{ErrorKind, ErrorReply};
use super::local::OpenVault;
use super::operations::Result;
use super::orders::CopyPlace;
use crate::ids::BackingKeyId;
use crate::monitor::Monitor;
use crate::printable;
use crate::storage::{self, Errno};
use crate::vault::{CountError, KeyReferences};

impl OpenVault {
    /// Fails if a copy has files that need one of the backing keys that `gone` chooses, or may have. `files`: the
    /// vault has some, so that a copy without any is none.
    pub(super) fn check_copies(
        &self,
        copies: &[CopyPlace],
        files: bool,
        gone: impl Fn(BackingKeyId) -> bool + Copy,
        what: &str,
        monitor: &mut Monitor<'_>,
    ) -> Result<()> {
        let vault = self.files()?;
        for copy in copies {
            let path = copy.path.as_path().display();
            let failed = |e: &dyn std::fmt::Display| {
                ErrorReply::new(ErrorKind::Other, format!("{path}: {e}; nothing is changed"))
            };
            let tree = open(copy).map_err(|e| failed(&e))?;
            let Some(tree) = tree else {
                let why = "the mount's daemon finds another directory there; nothing is changed";
                return Err(ErrorReply::new(ErrorKind::NotFound, format!("{path}: {why}")));
            };
            // Its files have just been counted; whoever names it takes it for something else.
            if vault.is_own_tree(tree.as_fd()).map_err(|e| failed(&e))? {
                let why = "this is the vault itself, not a copy; name the directory of the copy; nothing is changed";
                return Err(ErrorReply::new(ErrorKind::Other, format!("{path}: {why}")));
            }
            let counted = vault.count_key_references_of_copy(tree, &mut monitor.linked_to(&self.ending));
            let counted = counted.map_err(|error| match error {
                CountError::Stopped => self.stopped(format!("{path}: stopped; nothing is changed")),
                CountError::Moving => ErrorReply::new(ErrorKind::Busy, format!("{path}: {error}")),
                CountError::Vault(_) => ErrorReply::new(ErrorKind::Other, format!("{path}: {error}")),
            })?;
            if let Some(why) = against(&counted, files, gone, what) {
                let refused = ErrorReply::new(ErrorKind::KeyNotUsable, format!("{path}: {why}"));
                return Err(refused.naming(counted.in_the_way_of(gone)));
            }
        }
        Ok(())
    }
}

/// The tree of a copy; `None` if another directory lies at its path.
fn open(copy: &CopyPlace) -> storage::Result<Option<OwnedFd>> {
    let dir = storage::open_dir(rustix::fs::CWD, copy.path.as_path().as_os_str().as_bytes())?;
    let stat = storage::fstat(dir.as_fd())?;
    if (stat.dev, stat.ino) != (copy.device, copy.inode) {
        return Ok(None);
    }
    // No entry of a tree has so short a name.
    match storage::open_dir(dir.as_fd(), b"tree") {
        Err(Errno::NOENT) => Ok(Some(dir)),
        tree => tree.map(Some),
    }
}

/// Why a copy blocks the removal of the backing keys that `gone` chooses, and the remedy.
fn against(
    counted: &KeyReferences,
    files: bool,
    gone: impl Fn(BackingKeyId) -> bool,
    what: &str,
) -> Option<String> {
    let needing = counted.of(gone);
    if needing > 0 {
        return Some(format!(
            "{} {what}; copy them again with `rsync --checksum` (a re-wrapped file keeps size \
             and mtime, so that programs which go by these leave it out), and try again",
            printable::counted(needing, "file of this copy needs", "files of this copy need"),
        ));
    }
    if files && counted.files == 0 {
        return Some("no file is in this copy; is the disk on which it lies mounted?".to_owned());
    }
    if counted.elsewhere > 0 {
        let example = counted.elsewhere_example.as_deref().unwrap_or_default();
        return Some(format!(
            "{} not counted ({example}); unmount what lies over the copy",
            printable::counted(
                counted.elsewhere,
                "of its entries lies on another filesystem and was",
                "of its entries lie on another filesystem and were"
            )
        ));
    }
    let example = counted.example.as_deref().unwrap_or_default();
    (counted.unreadable > 0).then(|| {
        format!(
            "it can't be determined whether {} {what} ({example}); `rekeyfs \
             fsck --keyring` tells more",
            printable::counted(
                counted.unreadable,
                "file or directory of this copy needs",
                "files or directories of this copy need"
            )
        )
    })
}

#[cfg(test)]
mod tests;
