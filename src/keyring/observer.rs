//! Who is told when backing keys stop being usable (disabled, pending deletion, material deleted or expired),
//! so that data still under way is written while they wrap, and data keys they gave out are wiped afterwards.

use std::sync::{Arc, Weak};

use parking_lot::RwLock;

use crate::ids::{BackingKeyId, KeyId};

/// Whoever holds data keys. Called without any lock of the keyring, possibly from several threads at once; both
/// may take as long as writing out files takes, and may look keys up but not change them.
pub trait KeyWatch: Send + Sync {
    /// These keys are about to go, if all goes well: they still wrap and unwrap. What has to be wrapped or
    /// written is, now, as far as it can be. Nothing needs to be undone if they stay.
    fn going(&self, keys: &[KeyId]);

    /// These backing keys wrap and unwrap nothing from now on, and that is durable. When this returns, no
    /// data key that they gave out is in memory, unless one of them is usable again by then.
    fn gone(&self, backings: &[BackingKeyId]);

    /// Backing keys that didn't wrap and unwrap do so now, new ones too.
    fn back(&self);
}

/// The one watch of a keyring in use.
#[derive(Default)]
pub(super) struct Watch(RwLock<Option<Weak<dyn KeyWatch>>>);

impl Watch {
    pub(super) fn set(&self, watch: Weak<dyn KeyWatch>) {
        *self.0.write() = Some(watch);
    }

    pub(super) fn get(&self) -> Option<Arc<dyn KeyWatch>> {
        self.0.read().as_ref().and_then(Weak::upgrade)
    }
}
