//! What holds for a key that has encrypted data outside of files. Its files are counted before it is retired, trimmed or
//! deleted; its blobs can't be. So a key whose data plane was ever used gives these up only to an owner who forces it:
//! retiring and trimming versions from the first one on that may have encrypted data, and deleting the key.
//!
//! A version below that first one, of years in which the key wrapped files alone, is free to go. Deleting imported material
//! isn't refused, for blobs as for files: its owner has it, and can import it again.

use super::error::RuleError;
use crate::ids::{KeyId, KeyVersion};
use crate::keyring::error::{KeyError, KeyringError};
use crate::keyring::format::model::KeyringBody;

impl KeyringBody {
    /// Refuses what would leave blobs of a key's versions below this one undecryptable; of all its versions without one.
    ///
    /// # Errors
    /// [`RuleError::HasEncryptedData`].
    pub(in crate::keyring) fn check_no_data(
        &self,
        key: KeyId,
        below: Option<KeyVersion>,
    ) -> Result<(), RuleError> {
        let gone = |first: &KeyVersion| below.is_none_or(|below| *first < below);
        match self.first_data_version(key).filter(gone) {
            None => Ok(()),
            Some(first) => Err(RuleError::HasEncryptedData { key, first }),
        }
    }

    /// Marks a key as one that encrypts data from its current version on.
    ///
    /// # Errors
    /// It isn't there, isn't the user's, or isn't usable.
    pub(in crate::keyring) fn begin_data_use(&mut self, key: KeyId) -> Result<(), KeyringError> {
        let known = self.key(key).ok_or(KeyError::UnknownKey(key))?;
        known.may_be_managed()?;
        known.usable()?;
        let current = known.current;
        self.record_data_use(key, current);
        Ok(())
    }
}
