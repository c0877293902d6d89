//! Everything that is encrypted under the tree key.

use std::sync::Arc;

use super::{NameCipher, RecordCipher, SymlinkCipher, XattrCipher};
use crate::crypto::keys::TreeKey;
use crate::ids::DirId;

/// The ciphers under the tree key, and the directory ids that are derived from it.
pub struct TreeCiphers {
    key: Arc<TreeKey>,
    /// Of names.
    pub names: NameCipher,
    /// Of directory records.
    pub records: RecordCipher,
    /// Of symlink targets.
    pub symlinks: SymlinkCipher,
    /// Of extended attributes.
    pub xattrs: XattrCipher,
}

impl TreeCiphers {
    /// Those of this key.
    pub fn new(key: Arc<TreeKey>) -> Self {
        Self {
            names: NameCipher::new(&key),
            records: RecordCipher::new(&key),
            symlinks: SymlinkCipher::new(&key),
            xattrs: XattrCipher::new(&key),
            key,
        }
    }

    /// The id of the tree's root.
    pub fn root_id(&self) -> DirId {
        self.key.root_dir_id()
    }

    /// The derived id of the directory `entry` (its lower name) in the directory `parent`.
    pub fn derived_id(&self, parent: DirId, entry: &[u8]) -> DirId {
        self.key.dir_id(parent, entry)
    }
}
