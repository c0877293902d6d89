//! The table of open files: what wipes DEKs finds them there, also those that have no handle.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use parking_lot::Mutex;

/// The table of what is open; of type [`OpenFile`](super::OpenFile), each of which holds its registration.
pub(in crate::vault) struct OpenFileTable<F> {
    next: AtomicU64,
    files: Mutex<HashMap<u64, Weak<F>>>,
}

/// A file's entry in the table, removed when this is dropped.
pub(super) struct Registration<F> {
    table: Arc<OpenFileTable<F>>,
    number: u64,
}

impl<F> Default for OpenFileTable<F> {
    fn default() -> Self {
        Self { next: AtomicU64::new(0), files: Mutex::default() }
    }
}

impl<F> OpenFileTable<F> {
    /// Enters a file that is being opened.
    pub(super) fn register(self: &Arc<Self>, file: Weak<F>) -> Registration<F> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        self.files.lock().insert(number, file);
        Registration { table: Arc::clone(self), number }
    }

    /// How many files are open.
    pub(in crate::vault) fn len(&self) -> usize {
        self.files.lock().len()
    }

    /// All files that are open.
    pub(super) fn all(&self) -> Vec<Arc<F>> {
        // The last owner of a file leaves under the same lock: none may be dropped while it is held.
        let weak: Vec<Weak<F>> = self.files.lock().values().cloned().collect();
        weak.iter().filter_map(Weak::upgrade).collect()
    }
}

impl<F> Drop for Registration<F> {
    fn drop(&mut self) {
        self.table.files.lock().remove(&self.number);
    }
}
