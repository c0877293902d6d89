//! Insisting: what a user orders though files need the key asks for an unlock secret, also while the vault is
//! mounted. The secret never passes the control socket: whoever gave it to the keyring gets a MAC under a key
//! of the root key's, over the order and the keyring's generation, so that it is good for one order, once.

use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq;

use super::error::KeyringError;
use super::keys::Keys;
use super::slots::Proof;
use super::store::Draft;

/// That an order was given with an unlock secret.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Authority(String);

impl Keys {
    /// An authority for one order, good until the keyring is saved next.
    pub fn authority(&self, _proof: &Proof, order: &str) -> Authority {
        let store = self.store.lock();
        let mac = store.state().root.insist(self.vault_id(), store.newest(), order);
        Authority(data_encoding::HEXLOWER.encode(&mac))
    }
}

impl Draft {
    /// Whether the authority is for this order on the keyring as it is before this change.
    ///
    /// # Errors
    /// [`KeyringError::NotAuthorized`].
    pub(super) fn check(&self, authority: &Authority, order: &str) -> Result<(), KeyringError> {
        let before = crate::ids::Generation(self.body.generation.0.saturating_sub(1));
        let wanted = self.root.insist(self.header.vault, before, order);
        let given = data_encoding::HEXLOWER.decode(authority.0.as_bytes()).unwrap_or_default();
        if bool::from(given.ct_eq(&wanted)) { Ok(()) } else { Err(KeyringError::NotAuthorized) }
    }
}
