//! The open handles of directories.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use crate::ids::{Handle, Ino};
use crate::storage::DirStream;

/// The open handles of directories.
#[derive(Default)]
pub(in crate::vault) struct DirHandles {
    next: AtomicU64,
    open: Mutex<HashMap<Handle, Arc<OpenDir>>>,
}

/// A directory that is being listed.
pub(super) struct OpenDir {
    pub(super) ino: Ino,
    pub(super) stream: Mutex<DirStream>,
}

impl DirHandles {
    /// Gives a handle out.
    pub(super) fn add(&self, ino: Ino, stream: DirStream) -> Handle {
        let handle = Handle(self.next.fetch_add(1, Ordering::Relaxed) + 1);
        self.open.lock().insert(handle, Arc::new(OpenDir { ino, stream: Mutex::new(stream) }));
        handle
    }

    /// What a handle stands for.
    pub(super) fn get(&self, handle: Handle) -> Option<Arc<OpenDir>> {
        self.open.lock().get(&handle).cloned()
    }

    /// Takes a handle back; false if it isn't open.
    pub(super) fn remove(&self, handle: Handle) -> bool {
        self.open.lock().remove(&handle).is_some()
    }
}
