//! Changes of keyrings that the tests of higher layers need.

use super::keys::Keys;
use super::model::{Alias, Key, Manager};
use crate::ids::{AliasName, KeyId};

impl Keys {
    /// Makes another customer's key and points a new alias at it.
    pub(crate) fn create_key_for_test(&self, alias: AliasName) -> KeyId {
        let now = self.clock.now();
        self.change(false, |draft| {
            let key = Key::create(Manager::Customer, "For a test", now);
            let id = key.id;
            draft.body.keys.push(key);
            draft.body.aliases.push(Alias { name: alias, key: id, created: now, updated: now });
            Ok(id)
        })
        .unwrap()
    }
}
