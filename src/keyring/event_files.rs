//! Continuing the event log in a new file, and removing old files of it. Each ends with a save of the keyring, whose anchor then
//! covers what was done.

use super::error::KeyringError;
use super::keys::Keys;
use super::store::Saves;
use crate::events::{self, Event};
use crate::storage::Errno;

impl Keys {
    /// Closes the file of the event log that is written and continues the log in a new one. Returns the name of the closed one.
    ///
    /// # Errors
    /// [`KeyringError::Io`] if the log can't be continued; those of saving the keyring: the log is continued then, and a later save
    /// covers it.
    pub fn rotate_events(&self) -> Result<String, KeyringError> {
        let closed = self.store.lock().rotate_log(&self.log)?;
        self.change(Saves::Once, |_| Ok(()))?;
        Ok(closed)
    }

    /// Removes the closed files of the event log but for the newest `keep`. Returns the names of those that are gone.
    ///
    /// # Errors
    /// [`KeyringError::LogNotGood`] if the log doesn't verify: what shows that it was tampered with must stay.
    /// [`KeyringError::Io`]; those of saving the keyring: nothing is removed then.
    pub fn prune_events(&self, keep: usize) -> Result<Vec<String>, KeyringError> {
        let io = |what| {
            let path = self.vault_path().join(events::FILE_NAME);
            move |source: Errno| KeyringError::Io { path, what, source: source.into() }
        };
        self.writable()?;
        let files = self.log.prunable(keep).map_err(io("look for its files"))?;
        let Some(until) = files.last().and_then(|file| file.last) else { return Ok(Vec::new()) };
        if !self.verify_events().map_err(io("check it"))?.is_good() {
            return Err(KeyringError::LogNotGood(self.vault_path().join(events::FILE_NAME)));
        }
        self.change(Saves::Once, |draft| {
            draft.record(Event::LogPruned { until, files: files.len() as u64 });
            Ok(())
        })?;
        self.log.remove_closed(&files).map_err(io("remove its old files"))?;
        Ok(files.into_iter().map(|file| file.name).collect())
    }
}
