//! What moves in the namespace while the files are counted: one that is renamed or linked into a directory that was read
//! already would be missed.

use parking_lot::{Mutex, RwLock, RwLockReadGuard};

use crate::ids::BackingKeyId;

/// What moved in the namespace since a count began; nothing is recorded while none is under way.
#[derive(Default)]
pub(in crate::vault) struct Moves(RwLock<Option<Mutex<Moved>>>);

/// What moved during a count.
#[derive(Default)]
pub(super) struct Moved {
    /// A directory moved, or something whose keys are unknown: the count must begin again.
    pub(super) again: bool,
    /// The backing keys of each file that moved, and whether it stays under its key.
    pub(super) files: Vec<(Vec<BackingKeyId>, bool)>,
}

/// A move under way; counts begin before or after it, not meanwhile.
pub(in crate::vault) struct Moving<'a>(RwLockReadGuard<'a, Option<Mutex<Moved>>>);

impl Moves {
    /// Begins a rename or link. (`lock_order` says what it comes before.)
    pub(in crate::vault) fn begin(&self) -> Moving<'_> {
        Moving(self.0.read())
    }

    /// A count begins: what moves from now on is recorded. Waits for moves under way.
    pub(super) fn record(&self) {
        *self.0.write() = Some(Mutex::default());
    }

    /// The count is over. Returns what has moved meanwhile.
    pub(super) fn end(&self) -> Moved {
        self.0.write().take().map(Mutex::into_inner).unwrap_or_default()
    }
}

impl Moving<'_> {
    /// Where to record what moved, if a count is under way.
    pub(super) fn recorded(&self) -> Option<&Mutex<Moved>> {
        self.0.as_ref()
    }
}
