//! Rotation: a key gets another version, and new files are wrapped under that.

use super::store::Saves;
use serde::{Deserialize, Serialize};

use super::error::{KeyError, KeyringError};
use super::format::model::KeyringBody;
use super::keys::{Keys, known, tree_context};
use super::rules::key_refs::KeyRef;
use crate::events::Event;
use crate::ids::{AliasName, BackingKeyId, KeyId, KeyVersion, VaultId};

/// A rotation that has taken effect: durable and in use. The control protocol and reports write it with these names.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Rotation {
    /// The alias that was asked for, or the key's first one; none if it has none.
    pub alias: Option<AliasName>,
    /// The key.
    #[serde(rename = "key_id")]
    pub key: KeyId,
    /// The version until now.
    #[serde(rename = "old_version")]
    pub old: KeyVersion,
    /// The version from now on.
    #[serde(rename = "new_version")]
    pub new: KeyVersion,
}

impl Keys {
    /// Adds a version to a key and makes it the current one. When this returns, the new version is durable
    /// and in use: every [`WrapGuard`](super::keys::WrapGuard) for the old one is gone, and none will be given out.
    ///
    /// # Errors
    /// [`KeyringError`]; the old version stays in use then.
    pub fn rotate(&self, target: &KeyRef) -> Result<Rotation, KeyringError> {
        let now = self.clock.now();
        self.change(Saves::Once, |draft| {
            let key = target.find(&draft.body)?;
            let asked = match target {
                KeyRef::Alias(name) => Some(name.clone()),
                KeyRef::Key(_) | KeyRef::Prefix(_) => None,
            };
            let alias =
                asked.or_else(|| draft.body.aliases.iter().find(|a| a.key == key).map(|a| a.name.clone()));
            let (old, new) = known(&mut draft.body, key)?.rotate(now)?;
            draft.record(Event::KeyRotated { key, old, new });
            Ok(Rotation { alias, key, old, new })
        })
    }

    /// Rotates every key whose schedule says so, the service-managed one included: that re-wraps the tree
    /// keys. Saves nothing if none is due. Returns the rotations, which are durable and in use.
    ///
    /// # Errors
    /// [`KeyringError`]; the old versions stay in use then.
    pub fn rotate_due(&self) -> Result<Vec<Rotation>, KeyringError> {
        let now = self.clock.now();
        if !self.table.read().body.keys.iter().any(|key| key.is_due(now)) {
            return Ok(Vec::new());
        }
        self.change(Saves::Once, |draft| {
            let mut rotations = Vec::new();
            for key in &mut draft.body.keys {
                if let Some((old, new)) = key.rotate_if_due(now)? {
                    rotations.push(Rotation { alias: None, key: key.id, old, new });
                }
            }
            for rotation in &mut rotations {
                rotation.alias =
                    draft.body.aliases.iter().find(|a| a.key == rotation.key).map(|a| a.name.clone());
            }
            rewrap_tree_keys(draft.header.vault, &mut draft.body)?;
            for Rotation { key, old, new, .. } in &rotations {
                draft.record(Event::KeyRotated { key: *key, old: *old, new: *new });
            }
            Ok(rotations)
        })
    }
}

/// Wraps each tree key under the current version of its key, where another one wraps it. The tree keys
/// themselves stay.
pub(super) fn rewrap_tree_keys(vault: VaultId, body: &mut KeyringBody) -> Result<(), KeyringError> {
    let wrapping = |body: &KeyringBody, id: BackingKeyId| {
        let material = body.key(id.key)?.version(id.version)?.material.as_ref()?;
        Some(material.wrapping_key(vault, id))
    };
    for index in 0..body.tree_keys.len() {
        let tree = &body.tree_keys[index];
        let old = BackingKeyId { key: tree.key, version: tree.version };
        let version = body.key(tree.key).ok_or(KeyError::UnknownKey(tree.key))?.current;
        let new = BackingKeyId { version, ..old };
        if new == old {
            continue;
        }
        let from = wrapping(body, old).ok_or(KeyError::UnknownKey(old.key))?;
        let to = wrapping(body, new).ok_or(KeyError::UnknownKey(new.key))?;
        let plain = from
            .unwrap_tree(&tree_context(vault, tree.id, old), &tree.wrapped)
            .map_err(|_| KeyringError::Key(KeyError::Auth))?;
        let wrapped = to.wrap_tree(&tree_context(vault, tree.id, new), &plain);
        let tree = &mut body.tree_keys[index];
        (tree.version, tree.wrapped) = (version, wrapped);
    }
    Ok(())
}
