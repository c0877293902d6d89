//! The aliases of a keyring in use, by name and by id. The id of an alias is derived once: a new table takes it from the
//! former one.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use super::format::model::Alias;
use crate::crypto::keys::TreeKey;
use crate::ids::{AliasId, AliasName, KeyId, Timestamp};

/// An alias as the data path needs it.
#[derive(Clone, Copy)]
pub(super) struct Named {
    /// What files that follow it bear.
    pub(super) id: AliasId,
    /// The key it points at.
    pub(super) key: KeyId,
    created: Timestamp,
}

/// All of them.
pub(super) struct Aliases {
    by_name: HashMap<AliasName, Named>,
    by_id: HashMap<AliasId, (KeyId, AliasName)>,
    /// By key: the one alias that points at it, or that there are several.
    of_key: HashMap<KeyId, Option<AliasId>>,
}

impl Aliases {
    pub(super) fn new(tree: &TreeKey, aliases: &[Alias], before: Option<&Self>) -> Self {
        let mut all = Self { by_name: HashMap::new(), by_id: HashMap::new(), of_key: HashMap::new() };
        for Alias { name, key, created, .. } in aliases {
            let known = before.and_then(|before| before.by_name.get(name));
            let known = known.filter(|known| known.created == *created);
            let id = known.map_or_else(|| tree.alias_id(*created, name), |known| known.id);
            all.by_name.insert(name.clone(), Named { id, key: *key, created: *created });
            all.by_id.insert(id, (*key, name.clone()));
            match all.of_key.entry(*key) {
                Entry::Vacant(first) => drop(first.insert(Some(id))),
                Entry::Occupied(mut several) => *several.get_mut() = None,
            }
        }
        all
    }

    pub(super) fn named(&self, name: &AliasName) -> Option<Named> {
        self.by_name.get(name).copied()
    }

    pub(super) fn with_id(&self, id: AliasId) -> Option<&(KeyId, AliasName)> {
        self.by_id.get(&id)
    }

    /// The alias that points at a key, if exactly one does.
    pub(super) fn only_one_of(&self, key: KeyId) -> Option<AliasId> {
        self.of_key.get(&key).copied().flatten()
    }
}
