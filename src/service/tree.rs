//! Takes the files of an opened keyring's vault into use.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use crate::keyring::Keys;
use crate::vault::{self, Vault, VaultOptions};

/// Why the files of a vault can't be taken into use.
#[derive(Debug, thiserror::Error)]
pub enum TreeError {
    /// A system call on its directory failed.
    #[error("{}: cannot open its tree: {error}", path.display())]
    Open {
        /// The vault.
        path: PathBuf,
        /// What came of it.
        error: io::Error,
    },
    /// The tree can't be used.
    #[error("{}: {source}", path.display())]
    Unusable {
        /// The vault.
        path: PathBuf,
        /// Why.
        source: vault::Error,
    },
}

/// Opens the tree of the directory that the keyring was opened in, and no symlink. The vault syncs the lower
/// filesystem first.
///
/// # Errors
/// There is no tree, or it can't be used.
pub fn open_tree(keys: &Arc<Keys>, options: VaultOptions) -> Result<Arc<Vault>, TreeError> {
    let path = || keys.vault_path().to_owned();
    let tree = keys.open_tree().map_err(|error| TreeError::Open { path: path(), error: error.into() })?;
    Vault::new(tree, Arc::clone(keys), options).map_err(|source| TreeError::Unusable { path: path(), source })
}
