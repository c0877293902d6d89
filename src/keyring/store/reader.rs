//! The keyring of a vault that another host has mounted to write it: nothing of it is written here, but for this mount's record among
//! those that share the vault.

use super::{Result, Store};
use crate::storage::Writable;

impl Store {
    /// This keyring, of a vault that another host has mounted to write it.
    pub(in crate::keyring) fn written_elsewhere(self) -> Self {
        Self { written_elsewhere: true, ..self }
    }

    /// The permission to write this mount's record among those that share the vault, which a reader writes too.
    ///
    /// # Errors
    /// [`KeyringError::MayOnlyRead`].
    pub(in crate::keyring) fn may_register(&self) -> Result<Writable> {
        self.dir.writable(&self.state.header)
    }
}
