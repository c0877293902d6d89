//! Who is notified when backing keys become unusable (disabled, pending deletion, material deleted or expired), so that
//! data still under way is written while they wrap, and data keys that they gave out are wiped afterwards.

use std::sync::{Arc, Weak};

use parking_lot::RwLock;

use crate::ids::{BackingKeyId, KeyId};

/// The holder of data keys. Called without any lock of the keyring, possibly from several threads at once. Each call may
/// take as long as writing out files takes; it may look keys up but not change them.
pub trait KeyObserver: Send + Sync {
    /// These keys are about to become unusable, unless the change fails: they still wrap and unwrap. What has to be
    /// wrapped or written is, now, as far as it can be. Nothing needs to be undone if they stay.
    fn before_unusable(&self, keys: &[KeyId]);

    /// These backing keys wrap and unwrap nothing from now on, and that is durable. When this returns, no
    /// data key that they gave out is in memory, unless one of them is usable again by then.
    fn after_unusable(&self, backings: &[BackingKeyId]);

    /// Backing keys that didn't wrap and unwrap do so now, new ones too.
    fn usable_again(&self);
}

/// The one observer of a keyring in use.
#[derive(Default)]
pub(super) struct Observer(RwLock<Option<Weak<dyn KeyObserver>>>);

impl Observer {
    pub(super) fn set(&self, observer: Weak<dyn KeyObserver>) {
        *self.0.write() = Some(observer);
    }

    pub(super) fn get(&self) -> Option<Arc<dyn KeyObserver>> {
        self.0.read().as_ref().and_then(Weak::upgrade)
    }
}
