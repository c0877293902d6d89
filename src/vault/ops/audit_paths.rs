//! Plain names for lower paths, as events state them: of files that may be gone, in directories that may have
//! moved. A lower name tells its plain one only in the directory it was made in, so no wrong one is ever given.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use crate::crypto::keys::TreeKey;
use crate::events::FileRef;
use crate::ids::{DirId, Ino};
use crate::names::{LowerKind, TreeCiphers};
use crate::storage;
use crate::vault::lower_path::{decoded, encoded};
use crate::vault::tree::dirs::open_dir;
use crate::vault::tree::{dir_record, long_names};
use crate::vault::{Result, Vault};

/// The longest path, in bytes, that goes into an event; of a longer one there is only the inode number.
const PATH_MAX: usize = 16 << 10;

/// Translates lower paths.
pub struct PlainNames {
    root: OwnedFd,
    root_id: DirId,
    names: TreeCiphers,
}

impl PlainNames {
    /// Of the tree with this root and key.
    pub fn new(root: OwnedFd, key: Arc<TreeKey>) -> Self {
        Self { root, root_id: key.root_dir_id(), names: TreeCiphers::new(key) }
    }

    /// The plain path, relative to the mountpoint, of a lower path in an event: `tree/…`, bytes percent-encoded.
    /// None if a name of it can't be known any more: a long one that was removed, or a directory that was moved
    /// here and removed.
    pub fn of(&self, lower: &str) -> Option<Vec<u8>> {
        let mut entries = lower.split('/').map(decoded);
        if *entries.next()? != *b"tree" {
            return None;
        }
        let mut dir = self.root.try_clone().ok();
        let mut id = self.root_id;
        let mut path = Vec::new();
        for entry in entries {
            if !path.is_empty() {
                path.push(b'/');
            }
            path.extend(self.name(dir.as_ref(), id, &entry)?);
            // One that is gone had the id that its place gives it, unless it was moved there.
            let below = dir.as_ref().and_then(|dir| open_dir(dir.as_fd(), &entry).ok());
            let stored =
                below.as_ref().and_then(|below| dir_record::read(&self.names, below.as_fd()).ok()?);
            id = stored.map_or_else(|| self.names.derived_id(id, &entry), |record| record.id);
            dir = below;
        }
        Some(if path.is_empty() { b".".to_vec() } else { path })
    }

    fn name(&self, dir: Option<&OwnedFd>, id: DirId, entry: &[u8]) -> Option<Vec<u8>> {
        match LowerKind::of(entry) {
            LowerKind::Name => self.names.names.decrypt(id, entry).ok(),
            LowerKind::LongEntry => {
                let full = long_names::read(dir?.as_fd(), entry).ok()?;
                self.names.names.decrypt_long(id, entry, &full).ok()
            }
            LowerKind::LongCompanion | LowerKind::DirRecord | LowerKind::Temporary | LowerKind::Unknown => {
                None
            }
        }
    }
}

impl Vault {
    /// What translates lower paths of this vault.
    ///
    /// # Errors
    /// What the lower filesystem says.
    pub fn plain_names(&self) -> Result<PlainNames> {
        let root = storage::open_dir(self.tree.dir(Ino::ROOT)?.fd(), b".")?;
        Ok(PlainNames::new(root, self.keys.tree_key()))
    }

    /// How an event names a file or directory.
    pub(in crate::vault) fn file_ref(&self, ino: Ino) -> FileRef {
        FileRef { ino, file: None, path: self.lower_path(ino) }
    }

    /// Its path in the vault directory as events and log lines state it; none if it has no name any more.
    pub(in crate::vault) fn lower_path(&self, ino: Ino) -> Option<String> {
        let mut entries = Vec::new();
        let (mut at, mut len) = (ino, 0);
        while at != Ino::ROOT {
            let location = self.tree.inodes.find(at)?.location()?;
            len += location.entry.len() + 1;
            if len > PATH_MAX {
                return None;
            }
            at = location.parent;
            entries.push(location.entry);
        }
        let mut path = "tree".to_owned();
        for entry in entries.iter().rev() {
            path.push('/');
            path.extend(encoded(entry));
        }
        Some(path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::PlainOffset;
    use crate::storage::RenameFlags;
    use crate::vault::Privileges;
    use crate::vault::testing::{READ_WRITE, TestVault, me};

    #[test]
    fn lower_paths_come_back_as_plain_ones_also_of_what_is_gone() {
        let vault = TestVault::new();
        let v = &vault.vault;
        let names = v.plain_names().unwrap();
        let long = "long ".repeat(45);
        let dir = v.mkdir(Ino::ROOT, b"a b", 0o755, &me()).unwrap().ino;
        let sub = v.mkdir(dir, long.as_bytes(), 0o755, &me()).unwrap().ino;
        let (file, handle) = v.create(sub, "na\u{308}me".as_bytes(), 0o644, READ_WRITE, &me()).unwrap();
        v.write(file.ino, PlainOffset(0), b"x", Privileges::Keep).unwrap();
        v.release(file.ino, handle).unwrap();
        let lower = v.file_ref(file.ino).path.unwrap();
        let plain = format!("a b/{long}/na\u{308}me").into_bytes();
        assert_eq!(names.of(&lower), Some(plain.clone()));
        assert_eq!(names.of("tree"), Some(b".".to_vec()));

        v.unlink(sub, "na\u{308}me".as_bytes()).unwrap();
        assert_eq!(names.of(&lower), Some(plain), "a name is in its lower name");
        v.rmdir(dir, long.as_bytes()).unwrap();
        assert_eq!(names.of(&lower), None, "a long one is gone with its companion");

        let gone = v.mkdir(dir, b"gone", 0o755, &me()).unwrap().ino;
        let lower = v.file_ref(gone).path.unwrap();
        v.rename((Ino::ROOT, b"a b"), (Ino::ROOT, b"moved"), RenameFlags::empty()).unwrap();
        assert_eq!(names.of(&lower), Some(b"a b/gone".to_vec()), "as it was called then");
        let now = v.file_ref(gone).path.unwrap();
        assert_eq!(names.of(&now), Some(b"moved/gone".to_vec()));
        for wrong in ["", "x", "tree/%", "tree/%zz", "tree/AAAA", "tree/..", "tree//", "tree/.dir"] {
            assert_eq!(names.of(wrong), None, "{wrong}");
        }
    }
}
