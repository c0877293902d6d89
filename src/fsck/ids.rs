//! Finds files with the same file id: copies that other tools made inside the tree. A page of one authenticates in the other, so
//! pages written to either can be moved to the other unnoticed, and a mount opens only one of them.
//!
//! The walk records id and inode number of each file: 24 bytes, twice that at worst, sorted at the end. Only if an id occurs
//! twice, a second walk, over names and inode numbers alone, finds the paths of all files that have it.

use std::collections::HashMap;
use std::os::fd::AsFd;
use std::sync::Arc;

use super::dir::{Dir, EntryChecker, PendingDir};
use super::finding::Code;
use super::reporter::Reporter;
use crate::ids::FileId;
use crate::names::{LowerKind, bad_name};
use crate::storage::{self, Access, DirStream, FileKind};
use crate::vault;

/// The ids seen, with the inode that bears each.
#[derive(Default)]
pub(super) struct FileIds(Vec<(FileId, u64)>);

impl FileIds {
    pub(super) fn note(&mut self, id: FileId, ino: u64) {
        self.0.push((id, ino));
    }

    /// The inodes whose id another one bears, too; empties the table.
    fn take_shared(&mut self) -> HashMap<u64, FileId> {
        let mut all = std::mem::take(&mut self.0);
        all.sort_unstable();
        // A file that was renamed during the walk is recorded twice.
        all.dedup();
        let pairs = all.windows(2).filter(|pair| pair[0].0 == pair[1].0);
        pairs.flatten().map(|(id, ino)| (*ino, *id)).collect()
    }
}

/// The walk over names and inode numbers alone, of what was walked before.
pub(super) struct SecondWalk<'a, 'w> {
    pub(super) checker: &'a EntryChecker,
    pub(super) reporter: &'a Reporter<'w>,
    pub(super) dev: u64,
}

impl SecondWalk<'_, '_> {
    /// Reports the files below a directory, which was walked, whose id is that of another one. Empties `ids`.
    pub(super) fn report_shared(&self, ids: &mut FileIds, from: &Arc<Dir>) {
        let mut shared = ids.take_shared();
        if shared.is_empty() {
            return;
        }
        let mut below: Vec<PendingDir> = Vec::new();
        self.find_shared_in(from, &mut shared, &mut below);
        while let Some(next) = below.pop() {
            if shared.is_empty() || self.reporter.stopped() {
                return;
            }
            if let Some(dir) = self.quietly(&next) {
                self.find_shared_in(&Arc::new(dir), &mut shared, &mut below);
            }
        }
    }

    /// Opens a directory that was walked already. Reports nothing: the walk has.
    fn quietly(&self, next: &PendingDir) -> Option<Dir> {
        let fd = storage::open_dir(next.parent.fd.as_fd(), &next.entry).ok()?;
        let derived = next.parent.id.map(|id| self.checker.0.derived_id(id, &next.entry));
        let id = self.checker.stored_id(fd.as_fd()).ok().and_then(|stored| stored.or(derived));
        Some(Dir { fd, derived, id, place: next.parent.place.child(&next.name, &next.entry) })
    }

    fn find_shared_in(&self, dir: &Arc<Dir>, shared: &mut HashMap<u64, FileId>, below: &mut Vec<PendingDir>) {
        let at = dir.fd.as_fd();
        let Ok(mut stream) = storage::open_dir(at, b".").map(DirStream::new) else { return };
        while let Ok(Some(raw)) = stream.next() {
            self.reporter.tick();
            if !matches!(LowerKind::of(raw.name), LowerKind::Name | LowerKind::LongEntry) {
                continue;
            }
            let Ok(stat) = storage::stat(at, raw.name) else { continue };
            if stat.dev != self.dev || stat.mount_root {
                continue;
            }
            let shown = || {
                let name = dir.id.and_then(|id| self.checker.name(at, id, raw.name).ok());
                name.unwrap_or_else(|| bad_name(raw.name))
            };
            match stat.kind() {
                FileKind::Directory => {
                    below.push(PendingDir {
                        parent: Arc::clone(dir),
                        entry: raw.name.to_vec(),
                        name: shown(),
                    });
                }
                FileKind::Regular => {
                    let Some(id) = shared.remove(&stat.ino) else { continue };
                    let opened = storage::open_file(at, raw.name, Access::ReadOnly);
                    if opened.and_then(|fd| vault::states_file_id(fd.as_fd(), id)).unwrap_or(true) {
                        let place = dir.place.child(&shown(), raw.name);
                        let detail =
                            format!("file id {id}, which another file has, too: one is a copy of the other");
                        self.reporter.find(&place, Code::FileIdTwice, None, detail);
                    }
                }
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_ids_of_several_inodes_are_shared() {
        let id = |n: u8| FileId::from_bytes([n; 16]);
        let mut ids = FileIds::default();
        for (n, ino) in [(1, 10), (2, 20), (1, 11), (3, 30), (2, 20), (1, 12)] {
            ids.note(id(n), ino);
        }
        let shared = ids.take_shared();
        assert_eq!(shared, HashMap::from([(10, id(1)), (11, id(1)), (12, id(1))]));
        assert!(ids.take_shared().is_empty());
        assert_eq!(size_of_val(&(id(1), 0_u64)), 24, "docs/fsck.md says what a million files cost");
    }
}
