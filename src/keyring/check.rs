//! What is asked about the keyring's files and the event log: by fsck, and by who reads the log. Changes nothing.

use std::sync::Arc;

use super::error::KeyringError;
use super::keys::Keys;
use super::store;
use crate::events::{Doubtful, EventPage, EventQuery, Verification};
use crate::storage::Writable;

impl Keys {
    /// Whether `keyring.prev`, if there is one, opens under the root key in use.
    ///
    /// # Errors
    /// [`KeyringError::Damaged`], [`KeyringError::NewerFormat`]; [`KeyringError::Io`] if it can't be read.
    pub fn check_prev(&self) -> Result<(), KeyringError> {
        let held = self.store.lock();
        let Some(bytes) = held.dir().read_prev()? else { return Ok(()) };
        store::open(held.dir(), &bytes, Arc::clone(&held.state().root)).map(|_| ())
    }

    /// Whether the keyring on disk is the one in use, or one that may take its place.
    ///
    /// # Errors
    /// Why it may not: [`KeyringError`].
    pub fn check_keyring(&self) -> Result<(), KeyringError> {
        self.store.lock().found().map(drop)
    }

    /// The permission to write the vault.
    ///
    /// # Errors
    /// [`KeyringError::MayOnlyRead`].
    pub fn writable(&self) -> Result<Writable, KeyringError> {
        self.store.lock().writable()
    }

    /// Calls `look` while no process saves the keyring.
    ///
    /// # Errors
    /// [`KeyringError::Busy`] if that takes too long, [`KeyringError::Io`].
    pub fn with_saves_locked<T>(&self, look: impl FnOnce() -> T) -> Result<T, KeyringError> {
        let held = self.store.lock();
        let _held = held.dir().lock_to_look()?;
        Ok(look())
    }

    /// Calls `act`, which changes the keyring's files, while no process saves the keyring.
    ///
    /// # Errors
    /// As [`Keys::with_saves_locked`].
    pub fn with_keyring_locked<T>(
        &self,
        leave: Writable,
        act: impl FnOnce() -> T,
    ) -> Result<T, KeyringError> {
        let held = self.store.lock();
        let _lock = held.dir().lock(leave)?;
        Ok(act())
    }

    /// Checks the event log against its chain and the place that the keyring on disk remembers, or the one in
    /// use where that can't be read.
    ///
    /// # Errors
    /// If the log can't be read.
    pub fn verify_events(&self) -> crate::storage::Result<Verification> {
        // The anchor first: the log may grow meanwhile, and is never shorter than an older anchor says.
        let anchor = {
            let held = self.store.lock();
            held.anchor_on_disk().unwrap_or(held.state().body.event_anchor)
        };
        self.log.verify(anchor)
    }

    /// A page of the event log, which is checked before: lines that it doesn't vouch for are marked.
    ///
    /// # Errors
    /// If the log can't be read.
    pub fn page_of_events(&self, query: &EventQuery) -> crate::storage::Result<EventPage> {
        let found = self.verify_events()?;
        self.log.page(query, &Doubtful::of(&found))
    }
}
