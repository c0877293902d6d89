//! What the observer is still to be notified of (`catch_up`).

use parking_lot::Mutex;

use crate::ids::BackingKeyId;

/// See the module.
#[derive(Default)]
pub(super) struct Unsettled(Mutex<Changes>);

/// What became of backing keys.
#[derive(Default)]
pub(super) struct Changes {
    pub(super) unusable: Vec<BackingKeyId>,
    /// Whether some became usable.
    pub(super) usable: bool,
}

impl Unsettled {
    pub(super) fn add(&self, unusable: Vec<BackingKeyId>, usable: bool) {
        let mut changes = self.0.lock();
        changes.unusable.extend(unusable);
        changes.usable |= usable;
    }

    pub(super) fn take(&self) -> Changes {
        std::mem::take(&mut *self.0.lock())
    }
}
