//! A keyring that another host changes while it is in use here, and a request that meets a key that isn't known yet: the keyring is
//! read again before the next renewal of the lease does it ([`Keys::catch_up`]).
//!
//! Two steps, for they are done by different threads. [`Keys::read_again`] reads the keyring and swaps the table: from then on each
//! look-up goes by what was saved. [`Keys::settle`] notifies the observer of what became unusable meanwhile, which drops pages from
//! the kernel's cache: no thread that serves the kernel may do that, so the one that renews the lease does, before it acknowledges
//! anything.

use std::sync::atomic::Ordering;
use std::time::Duration;

use super::error::KeyringError;
use super::key_table::Table;
use super::keys::Keys;
use super::store::Store;
use super::unsettled::Changes;
use crate::ids::BackingKeyId;

/// How often a keyring that isn't there is looked for again, after which pauses.
const RENAMES: [Duration; 3] =
    [Duration::from_millis(5), Duration::from_millis(20), Duration::from_millis(50)];

impl Keys {
    /// Takes into use what was saved elsewhere since. Returns whether that was anything.
    ///
    /// # Errors
    /// The keyring can't be read, or isn't one that may follow the one in use: then that stays in use.
    pub fn read_again(&self) -> Result<bool, KeyringError> {
        let mut store = self.store.lock();
        let before = store.state().body.generation;
        let mut pauses = RENAMES.into_iter();
        loop {
            match (store.catch_up(), pauses.next()) {
                // A client of a cluster may show none while it is replaced.
                (Err(KeyringError::Missing { .. }), Some(pause)) => std::thread::sleep(pause),
                (done, _) => break done?,
            }
        }
        if store.state().body.generation == before {
            return Ok(false);
        }
        let (unusable, usable) = self.swap_table(&store);
        // With the store held: who settles sees the swap and this, or neither.
        self.unsettled.add(unusable, usable);
        Ok(true)
    }

    /// Notifies the observer of what [`Keys::read_again`] found, whoever called it. When this returns no data key that an unusable
    /// key gave out is in memory.
    pub fn settle(&self) {
        let Changes { unusable, usable } = {
            let _store = self.store.lock();
            self.unsettled.take()
        };
        self.notify(&unusable, usable);
    }

    /// Swaps the table for one of what the store holds, under the gate. Returns what became unusable, and whether something became
    /// usable.
    pub(super) fn swap_table(&self, store: &Store) -> (Vec<BackingKeyId>, bool) {
        let _gate = self.creation_gate.write();
        let mut table = self.table.write();
        let new = Table::new(
            self.vault_id(),
            &self.tree_key(),
            &store.state().body,
            Some(&table),
            self.clock.now(),
        );
        let changed = (table.no_longer_usable(&new), !new.no_longer_usable(&table).is_empty());
        self.restricted.store(new.restricts(), Ordering::Release);
        *table = new;
        changed
    }
}
