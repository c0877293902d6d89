//! Whose the untagged files of a key are: files that programs wrote which knew no alias tags. Nothing in them says which
//! alias they follow; what the keyring says of their key does, as long as its aliases are those of that time. So when
//! an alias leaves a key (it is pointed at another one, or deleted), the same save records what could be told until
//! then, for good: the key's untagged files are of the alias that left, if it was the only one, and else of none.
//! Without it they would stay behind under the old key, or pass to an alias that came to that key later.
//!
//! The record is of files that are there by then. A program that knows no tags and continues to write under the key
//! has its files taken for older ones.

use std::collections::{HashMap, HashSet};

use crate::crypto::keys::TreeKey;
use crate::ids::{AliasName, KeyId};
use crate::keyring::format::model::{Alias, KeyringBody};
use crate::keyring::format::untagged::Untagged;

impl KeyringBody {
    /// Records, for each key that an alias has left since it had the aliases `before`, whose its untagged files are;
    /// and forgets keys that are gone.
    pub(in crate::keyring) fn record_departures(&mut self, before: &[Alias], tree: &TreeKey) {
        if self.aliases == before {
            return;
        }
        let keys: HashSet<KeyId> = self.keys.iter().map(|key| key.id).collect();
        let now: HashMap<&AliasName, &Alias> =
            self.aliases.iter().map(|alias| (&alias.name, alias)).collect();
        let points_still = |alias: &Alias| {
            let same = |now: &&Alias| (now.created, now.key) == (alias.created, alias.key);
            now.get(&alias.name).is_some_and(same)
        };
        let mut records: Vec<_> = self.untagged().filter(|(key, _)| keys.contains(key)).collect();
        let mut known: HashSet<KeyId> = records.iter().map(|(key, _)| *key).collect();
        for left in before.iter().filter(|alias| keys.contains(&alias.key) && !points_still(alias)) {
            if known.insert(left.key) {
                let alone = before.iter().filter(|alias| alias.key == left.key).count() == 1;
                let alias = alone.then(|| tree.alias_id(left.created, &left.name));
                records.push((left.key, alias.map_or(Untagged::OfNone, Untagged::Of)));
            }
        }
        self.set_untagged(&records);
    }
}

#[cfg(test)]
mod tests;
