//! Manual rotation in one go: a new key in the place of the one that an alias points at. The old key keeps its
//! files, and a dated alias by which it is found.

use super::store::Saves;
use serde::{Deserialize, Serialize};

use super::error::{KeyError, KeyringError};
use super::format::model::{Alias, Key, KeyringBody, Manager};
use super::keys::Keys;
use super::rules::error::RuleError;
use crate::events::Event;
use crate::ids::{AliasName, KeyId, Timestamp};

/// What is left out of an alias before the date is put behind it, as AWS names them.
const CURRENT: &str = "-current";

/// A manual rotation that has taken effect. The control protocol and reports write it with these names.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ManualRotation {
    /// The alias that moved.
    pub alias: AliasName,
    /// The key that it pointed at.
    #[serde(rename = "old_key_id")]
    pub old: KeyId,
    /// The key that it points at now.
    #[serde(rename = "new_key_id")]
    pub new: KeyId,
    /// The alias by which the old key is found.
    #[serde(rename = "dated_alias")]
    pub dated: AliasName,
}

impl Keys {
    /// Makes a key with the policy, tags, description and rotation period of the one that `alias` points at, gives
    /// that one a dated alias, and points `alias` at the new one: all of it in one generation of the keyring,
    /// durable and in use when this returns.
    ///
    /// # Errors
    /// [`KeyringError`], if there is no such alias, or it is reserved; nothing is changed then.
    pub fn replace_key(&self, alias: &AliasName) -> Result<ManualRotation, KeyringError> {
        let now = self.clock.now();
        self.change(Saves::Once, |draft| {
            let old = draft.body.alias(alias).ok_or_else(|| KeyError::UnknownAlias(alias.clone()))?.key;
            let from = draft.body.key(old).ok_or(KeyError::UnknownKey(old))?;
            if from.manager == Manager::Service {
                return Err(KeyringError::ServiceManaged(old));
            }
            let mut key = Key::create(Manager::Customer, &from.description, now);
            key.policy.clone_from(&from.policy);
            key.tags.clone_from(&from.tags);
            let (rotates, days) = (from.rotation.enabled, from.rotation.period_days);
            if rotates {
                key.enable_rotation(Some(i64::from(days)), now)?;
            }
            let (new, dated) = (key.id, dated(&draft.body, alias, now)?);
            draft.body.keys.push(key);
            draft.body.aliases.push(Alias { name: dated.clone(), key: old, created: now, updated: now });
            if let Some(moved) = draft.body.aliases.iter_mut().find(|moved| moved.name == *alias) {
                (moved.key, moved.updated) = (new, now);
            }
            draft.record(Event::KeyOperation { key: new, operation: "CreateKey" });
            draft.record(Event::KeyOperation { key: old, operation: "CreateAlias" });
            draft.record(Event::KeyOperation { key: new, operation: "UpdateAlias" });
            Ok(ManualRotation { alias: alias.clone(), old, new, dated })
        })
    }
}

/// `alias/application-20261122` for `alias/application-current` or `alias/application`; with `-2`, `-3` and so on
/// behind it where there is one already.
fn dated(body: &KeyringBody, alias: &AliasName, now: Timestamp) -> Result<AliasName, KeyringError> {
    let stem = alias.as_str().strip_suffix(CURRENT).filter(|stem| *stem != AliasName::PREFIX);
    let date: String = now.to_string().chars().take_while(|c| *c != 'T').filter(|c| *c != '-').collect();
    let stem = format!("{}-{date}", stem.unwrap_or(alias.as_str()));
    let names = (1u32..).map(|n| if n == 1 { stem.clone() } else { format!("{stem}-{n}") });
    for name in names {
        let name: AliasName = name.parse().map_err(|_| RuleError::AliasTooLong(alias.clone()))?;
        if body.alias(&name).is_none() {
            return Ok(name);
        }
    }
    Err(KeyringError::Full(format!("{alias}: there are too many aliases of this day")))
}
