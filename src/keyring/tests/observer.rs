//! Who holds data keys hears of keys that go: before, while they still wrap, and after, when that is durable.
use parking_lot::Mutex;

use super::*;
use crate::keyring::observer::KeyObserver;

/// Records what it is notified of, whether the key could be used then, and the generation on disk.
struct Notes {
    keys: Arc<Keys>,
    notified: Mutex<Vec<(&'static str, KeyId, bool, Generation)>>,
}

impl Notes {
    fn note(&self, what: &'static str, key: KeyId) {
        let usable = self.keys.usable(self.keys.current_of(key).unwrap()).is_ok();
        self.notified.lock().push((what, key, usable, self.keys.generation()));
    }
}

impl KeyObserver for Notes {
    fn before_unusable(&self, keys: &[KeyId]) {
        keys.iter().for_each(|key| self.note("before", *key));
    }

    fn usable_again(&self) {}

    fn after_unusable(&self, backings: &[BackingKeyId]) {
        backings.iter().for_each(|backing| self.note("after", backing.key));
    }
}

#[test]
fn the_observer_is_notified_before_a_key_becomes_unusable_and_afterwards() {
    let fixture = Fixture::new();
    let secret = Secret::KeyFile(Zeroizing::new([7; 32]));
    let keys = fixture.create(&[&secret]).keys;
    let notes = Arc::new(Notes { keys: Arc::clone(&keys), notified: Mutex::default() });
    let observer: Arc<dyn KeyObserver> = Arc::clone(&notes) as Arc<dyn KeyObserver>;
    keys.set_observer(Arc::downgrade(&observer));
    let key = keys.current(&AliasName::default_alias()).unwrap().key;
    let notified = || std::mem::take(&mut *notes.notified.lock());
    let shuts: [fn(&Keys, KeyId); 2] = [
        |keys, key| keys.disable_key(key).unwrap(),
        |keys, key| assert_eq!(keys.schedule_deletion(key, None, None).unwrap().key, key),
    ];

    keys.rotate(&KeyRef::Key(key)).unwrap();
    assert_eq!(notified(), [], "a rotation takes no key away");
    for shut in shuts {
        let before = keys.generation();
        shut(&keys, key);
        let after = Generation(before.0 + 1);
        assert_eq!(
            notified(),
            [("before", key, true, before), ("after", key, false, after), ("after", key, false, after)],
            "one for each version"
        );
        if keys.keys()[0].state == KeyState::PendingDeletion {
            keys.cancel_deletion(&key.into()).unwrap();
        }
        keys.disable_key(key).unwrap();
        assert_eq!(notified(), [], "it was unusable already");
        keys.enable_key(key).unwrap();
        assert_eq!(notified(), []);
    }
}
