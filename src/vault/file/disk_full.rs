//! What is tried again when the lower filesystem is full: removed files whose last descriptors are still to be closed
//! (`reclaim::deferred_close`) hold space.

use crate::storage;
use crate::vault::{Error, Result, Vault};

impl Vault {
    /// Calls `go`, and again if there was no space and removed files still had to be freed. Where it finds no space, `go`
    /// has no effect.
    pub(in crate::vault) fn retry_when_full<T>(&self, mut go: impl FnMut() -> Result<T>) -> Result<T> {
        match go() {
            Err(Error::Lower(e)) if storage::is_disk_full(e) && self.deferred_close.drain() => go(),
            done => done,
        }
    }
}
