//! Keyrings of any size in one change: for the tests and the benchmarks of how they scale.

use super::error::KeyringError;
use super::format::model::{Alias, Key, Manager, Tag};
use super::keys::Keys;
use super::store::Saves;
use crate::ids::AliasName;

impl Keys {
    /// Adds `keys` customer keys with `versions` versions each (at least 1), each behind an alias of its own, and with
    /// the last digit of its number in a tag.
    ///
    /// # Errors
    /// [`KeyringError`]; nothing was added then.
    pub fn add_many(&self, keys: usize, versions: u32) -> Result<(), KeyringError> {
        let now = self.clock.now();
        self.change(Saves::Once, |draft| {
            for number in 0..keys {
                let mut key = Key::create(Manager::Customer, "One of many", now);
                key.tags.push(Tag { key: "digit".to_owned(), value: (number % 10).to_string() });
                for _ in 1..versions {
                    key.rotate(now)?;
                }
                if let Ok(name) = format!("alias/many-{number}").parse::<AliasName>() {
                    draft.body.aliases.push(Alias { name, key: key.id, created: now, updated: now });
                }
                draft.body.keys.push(key);
            }
            Ok(())
        })
    }
}
