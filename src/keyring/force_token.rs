//! Force tokens. An order that is carried out though files need the key takes an unlock secret, also while the vault is
//! mounted. The secret never passes the control socket: the process that gave it to the keyring gets a token, a MAC under
//! a key derived from the root key, over the order and the keyring's generation. A token is good for one order, once.

use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq;

use super::error::KeyringError;
use super::keys::Keys;
use super::slots::Proof;
use super::store::Draft;

/// Proves that one order was given with an unlock secret.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ForceToken(String);

impl Keys {
    /// A token for one order, good until the keyring is saved next.
    pub fn force_token(&self, _proof: &Proof, order: &str) -> ForceToken {
        let store = self.store.lock();
        let mac = store.state().root.force_token(self.vault_id(), store.newest(), order);
        ForceToken(data_encoding::HEXLOWER.encode(&mac))
    }
}

impl Draft {
    /// Whether the token is for this order on the keyring as it is before this change.
    ///
    /// # Errors
    /// [`KeyringError::NotAuthorized`].
    pub(super) fn check_force(&self, token: &ForceToken, order: &str) -> Result<(), KeyringError> {
        let before = crate::ids::Generation(self.body.generation.0.saturating_sub(1));
        let wanted = self.root.force_token(self.header.vault, before, order);
        let given = data_encoding::HEXLOWER.decode(token.0.as_bytes()).unwrap_or_default();
        if bool::from(given.ct_eq(&wanted)) { Ok(()) } else { Err(KeyringError::NotAuthorized) }
    }
}
