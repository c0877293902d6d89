//! ReEncrypt: to which key a file's DEK can be re-wrapped. The re-wrap itself is the vault's.

use crate::ids::KeyId;
use crate::keyring::error::{KeyError, KeyringError};
use crate::keyring::format::model::Manager;
use crate::keyring::keys::Keys;
use crate::keyring::rules::key_refs;

impl Keys {
    /// The key that `asked` (an id, an alias, an ARN of either) names, if files can be wrapped under it now.
    ///
    /// # Errors
    /// [`KeyringError`]: no such key, it can't be used, or it is the service-managed one.
    pub fn re_encrypt_target(&self, asked: &str) -> Result<KeyId, KeyringError> {
        let table = self.table.read();
        let id = key_refs::key_or_alias(&table.body, asked)?;
        let key = table.body.key(id).ok_or(KeyError::UnknownKey(id))?;
        if key.manager == Manager::Service {
            return Err(KeyringError::ServiceManaged(id));
        }
        table.wrapping(table.current(id)?)?;
        Ok(id)
    }
}
