//! Who holds data keys hears of keys that go: before, while they still wrap, and after, when that is durable.
use parking_lot::Mutex;

use super::super::kms::Call;
use super::*;
use crate::keyring::observer::KeyWatch;

/// Notes what it is told, whether the key could be used then, and the generation on disk.
struct Notes {
    keys: Arc<Keys>,
    told: Mutex<Vec<(&'static str, KeyId, bool, Generation)>>,
}

impl Notes {
    fn note(&self, what: &'static str, key: KeyId) {
        let usable = self.keys.usable(self.keys.current_of(key).unwrap()).is_ok();
        self.told.lock().push((what, key, usable, self.keys.generation()));
    }
}

impl KeyWatch for Notes {
    fn going(&self, keys: &[KeyId]) {
        keys.iter().for_each(|key| self.note("going", *key));
    }

    fn back(&self) {}

    fn gone(&self, backings: &[BackingKeyId]) {
        backings.iter().for_each(|backing| self.note("gone", backing.key));
    }
}

#[test]
fn the_watch_hears_of_a_key_before_it_goes_and_when_it_is_gone() {
    let fixture = Fixture::new();
    let secret = Secret::KeyFile(Zeroizing::new([7; 32]));
    let keys = fixture.create(&[&secret]).keys;
    let notes = Arc::new(Notes { keys: Arc::clone(&keys), told: Mutex::default() });
    let watch: Arc<dyn KeyWatch> = Arc::clone(&notes) as Arc<dyn KeyWatch>;
    keys.set_watch(Arc::downgrade(&watch));
    let key = keys.current(&AliasName::default_alias()).unwrap().key;
    let call = |call: Call| drop(keys.call(&call).unwrap());
    let told = || std::mem::take(&mut *notes.told.lock());
    let id = || key.to_string();

    keys.rotate(&RotateTarget::Key(key)).unwrap();
    assert_eq!(told(), [], "a rotation takes no key away");
    for shut in [
        Call::DisableKey { key_id: id() },
        Call::ScheduleKeyDeletion { key_id: id(), pending_window_in_days: None, insist: None },
    ] {
        let before = keys.generation();
        call(shut);
        let after = Generation(before.0 + 1);
        assert_eq!(
            told(),
            [("going", key, true, before), ("gone", key, false, after), ("gone", key, false, after)],
            "one for each version"
        );
        if keys.keys()[0].state == KeyState::PendingDeletion {
            call(Call::CancelKeyDeletion { key_id: id() });
        }
        call(Call::DisableKey { key_id: id() });
        assert_eq!(told(), [], "it was gone already");
        call(Call::EnableKey { key_id: id() });
        assert_eq!(told(), []);
    }
}
