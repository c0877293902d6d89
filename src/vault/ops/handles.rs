//! The table of handles that open and create give out and release takes back.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use crate::ids::{Handle, Ino};
use crate::vault::file::{HandleAccess, OpenFile};

/// The open handles of regular files.
#[derive(Default)]
pub(in crate::vault) struct Handles {
    next: AtomicU64,
    open: Mutex<HashMap<Handle, OpenHandle>>,
}

/// What a handle stands for.
pub(super) struct OpenHandle {
    pub(super) file: Arc<OpenFile>,
    /// What it was opened for.
    pub(super) access: HandleAccess,
}

impl Handles {
    /// Gives a handle out.
    pub(super) fn add(&self, file: Arc<OpenFile>, access: HandleAccess) -> Handle {
        let handle = Handle(self.next.fetch_add(1, Ordering::Relaxed) + 1);
        file.add_handle(access);
        self.open.lock().insert(handle, OpenHandle { file, access });
        handle
    }

    /// Has the handles of a file stand for what it was loaded as since.
    pub(in crate::vault) fn pass_on(&self, before: &Arc<OpenFile>, file: &Arc<OpenFile>) {
        if !before.is_open() {
            return;
        }
        for open in self.open.lock().values_mut().filter(|open| Arc::ptr_eq(&open.file, before)) {
            file.add_handle(open.access);
            before.drop_handle(open.access);
            open.file = Arc::clone(file);
        }
    }

    /// Takes a handle back.
    pub(super) fn remove(&self, handle: Handle) -> Option<OpenHandle> {
        self.open.lock().remove(&handle)
    }

    /// Whether no handle is out.
    pub(super) fn is_empty(&self) -> bool {
        self.open.lock().is_empty()
    }

    /// Whether it is a handle of this inode that was opened for writing.
    pub(in crate::vault) fn writes(&self, handle: Handle, ino: Ino) -> bool {
        self.open
            .lock()
            .get(&handle)
            .is_some_and(|open| open.access == HandleAccess::Writing && open.file.ino() == ino)
    }
}
