//! Encrypting data outside of files, and decrypting it: what lies in no file is a blob (docs/format.md, "Blobs").
//!
//! The first blob of a key is given out once the keyring that says so is durable ([`Keys::seal_blob`]), so that no crash leaves a
//! blob of a key that counts as unused. Later ones change nothing, and write nothing.

use std::sync::Arc;

use zeroize::Zeroizing;

use super::error::{KeyError, KeyringError};
use super::key_table::Backing;
use super::keys::Keys;
use super::store::Saves;
use crate::blob::{BlobKey, EncryptionContext, Plaintext, UnverifiedBlob};
use crate::events::Event;
use crate::ids::{BackingKeyId, KeyId};

type Result<T> = std::result::Result<T, KeyringError>;

/// The operation by which a key's first use for data is recorded.
const FIRST_USE: &str = "BeginDataUse";

/// The version of a key that encrypts data now.
struct Encrypting {
    backing: Arc<Backing>,
    /// Whether the keyring says that the key encrypts data.
    recorded: bool,
}

impl Keys {
    fn encrypting(&self, key: KeyId) -> Result<Encrypting> {
        let table = self.table.read();
        let backing = Arc::clone(table.wrapping(table.current(key)?)?);
        table.key(key).ok_or(KeyError::UnknownKey(key))?.may_be_managed()?;
        Ok(Encrypting { backing, recorded: table.body.first_data_version(key).is_some() })
    }

    /// The version of a key that would encrypt data now.
    ///
    /// # Errors
    /// [`KeyringError`]: no such key, it is rekeyfs' own, or it isn't usable.
    pub fn encrypts_with(&self, key: KeyId) -> Result<BackingKeyId> {
        self.encrypting(key).map(|encrypting| encrypting.backing.id())
    }

    /// Encrypts data under a key's current version. Gives the version and the blob.
    ///
    /// # Errors
    /// As [`Keys::encrypts_with`]; for a key's first blob those of a change of the keyring.
    pub fn seal_blob(
        &self,
        key: KeyId,
        plaintext: Plaintext<'_>,
        context: &EncryptionContext,
    ) -> Result<(BackingKeyId, Vec<u8>)> {
        let mut with = self.encrypting(key)?;
        if !with.recorded {
            self.change(Saves::Once, |draft| {
                draft.body.begin_data_use(key)?;
                draft.record(Event::KeyOperation { key, operation: FIRST_USE });
                Ok(())
            })?;
            // It may have been rotated or disabled before that, and recorded by another thread.
            with = self.encrypting(key)?;
        }
        Ok((with.backing.id(), self.blob_key(&with.backing).seal(plaintext, context)))
    }

    /// Decrypts a blob of this vault.
    ///
    /// # Errors
    /// [`KeyError`]: the version isn't known, isn't usable, or the blob fails authentication.
    pub fn open_blob(
        &self,
        blob: &UnverifiedBlob<'_>,
        context: &EncryptionContext,
    ) -> std::result::Result<Zeroizing<Vec<u8>>, KeyError> {
        if blob.vault() != self.vault_id() {
            return Err(KeyError::Auth);
        }
        let backing = Arc::clone(self.table.read().wrapping(blob.backing())?);
        blob.open(&self.blob_key(&backing), context).map_err(|_| KeyError::Auth)
    }

    /// Derived for each blob, and wiped: a key that wraps files alone costs no memory for it.
    fn blob_key(&self, backing: &Backing) -> BlobKey {
        BlobKey::new(self.vault_id(), backing.id(), backing.material())
    }
}
