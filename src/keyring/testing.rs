//! Changes of keyrings that the tests of higher layers need.

use super::keys::{Keys, known};
use super::model::{Alias, Key, Manager};
use crate::events::Event;
use crate::ids::{AliasName, KeyId, KeyVersion};

impl Keys {
    /// Makes another customer's key and points a new alias at it.
    pub(crate) fn create_key_for_test(&self, alias: AliasName) -> KeyId {
        let now = self.clock.now();
        self.change(false, |draft| {
            let key = Key::create(Manager::Customer, "For a test", now);
            let id = key.id;
            draft.body.keys.push(key);
            draft.body.aliases.push(Alias { name: alias, key: id, created: now, updated: now });
            draft.note(Event::KeyOperation { key: id, operation: "CreateKey" });
            Ok(id)
        })
        .unwrap()
    }

    /// Leaves the keyring as one that a rollback took a key's last version from. Returns that version.
    pub(crate) fn lose_last_version_for_test(&self, key: KeyId) -> KeyVersion {
        self.change(false, |draft| {
            let key = known(&mut draft.body, key)?;
            let lost = key.versions.pop().unwrap().number;
            key.current = key.versions.last().unwrap().number;
            key.lose_up_to(lost);
            Ok(lost)
        })
        .unwrap()
    }
}
