//! What a vault's owner does to keys and aliases. Each is one change of the keyring: when it returns, it is durable,
//! recorded in the audit log and in use. The key that is meant is looked up in the same change, so that an alias which
//! another process moves meanwhile leads to where it points then.

use super::error::{KeyError, KeyringError, Unusable};
use super::format::model::{Alias, Key, KeyState, KeyringBody, Manager, Origin, Tag};
use super::key_table::owner;
use super::keys::{Keys, known};
use super::rules::error::RuleError;
use super::rules::key_refs::KeyRef;
use super::rules::policy::{self, LockOut};
use super::store::Saves;
use crate::events::Event;
use crate::ids::{AliasName, KeyId};

type Result<T> = std::result::Result<T, KeyringError>;

/// What a new key is to be.
pub(crate) struct KeyTemplate<'a> {
    /// Its description; may be empty.
    pub(crate) description: &'a str,
    /// Where its material comes from.
    pub(crate) origin: Origin,
    /// Its policy, and whether it may lock the owner out; none: everybody may use the key.
    pub(crate) policy: Option<(&'a str, LockOut)>,
    /// Its tags.
    pub(crate) tags: Vec<Tag>,
}

impl Keys {
    /// Reads a key as it is now.
    ///
    /// # Errors
    /// [`KeyringError`], if there is no such key or alias.
    pub(crate) fn of_key<T>(&self, key: &KeyRef, read: impl FnOnce(&Key) -> T) -> Result<T> {
        let table = self.table.read();
        let id = table.find(key)?;
        Ok(read(table.key(id).ok_or(KeyError::UnknownKey(id))?))
    }

    /// Reads all keys and aliases as they are now.
    pub(crate) fn of_all<T>(&self, read: impl FnOnce(&[Key], &[Alias]) -> T) -> T {
        let table = self.table.read();
        read(&table.body.keys, &table.body.aliases)
    }

    /// The key of a key id, key ARN, alias name or alias ARN.
    ///
    /// # Errors
    /// [`KeyringError`], if there is none.
    pub fn key_named(&self, asked: &str) -> Result<KeyId> {
        self.table.read().find(&KeyRef::parse(asked)?)
    }

    /// The key that `asked` (an id, an alias, an ARN of either) names, if files can be wrapped under it now.
    ///
    /// # Errors
    /// [`KeyringError`]: no such key, it can't be used, or it is the service-managed one.
    pub fn re_encrypt_target(&self, asked: &str) -> Result<KeyId> {
        let table = self.table.read();
        let id = table.find(&KeyRef::parse(asked)?)?;
        table.key(id).ok_or(KeyError::UnknownKey(id))?.may_be_managed()?;
        table.wrapping(table.current(id)?)?;
        Ok(id)
    }

    /// Makes a key.
    ///
    /// # Errors
    /// [`KeyringError`]: its policy isn't taken, or the keyring can't be saved.
    pub(crate) fn create_key(&self, new: KeyTemplate<'_>) -> Result<KeyId> {
        let now = self.clock.now();
        let mut key = match new.origin {
            Origin::External => Key::external(new.description, now),
            Origin::Local => Key::create(Manager::Customer, new.description, now),
        };
        if let Some((text, lock_out)) = new.policy {
            policy::check(text, key.id, owner(), lock_out).map_err(RuleError::from)?;
            text.clone_into(&mut key.policy);
        }
        key.tags = new.tags;
        let id = key.id;
        self.change(Saves::Once, |draft| {
            draft.body.keys.push(key);
            draft.record(Event::KeyOperation { key: id, operation: "CreateKey" });
            Ok(id)
        })
    }

    /// Points a new alias at a key.
    ///
    /// # Errors
    /// [`RuleError::AliasExists`], or the key may not be pointed at.
    pub(crate) fn create_alias(&self, name: AliasName, target: &KeyRef) -> Result<()> {
        let now = self.clock.now();
        self.change(Saves::Once, |draft| {
            if draft.body.alias(&name).is_some() {
                return Err(RuleError::AliasExists(name).into());
            }
            let key = target_of_alias(&draft.body, target)?;
            draft.body.aliases.push(Alias { name, key, created: now, updated: now });
            draft.record(Event::KeyOperation { key, operation: "CreateAlias" });
            Ok(())
        })
    }

    /// Points an alias at another key.
    ///
    /// # Errors
    /// [`KeyError::UnknownAlias`], or the key may not be pointed at.
    pub(crate) fn update_alias(&self, name: AliasName, target: &KeyRef) -> Result<()> {
        let now = self.clock.now();
        self.change(Saves::Once, |draft| {
            let Some(at) = draft.body.aliases.iter().position(|alias| alias.name == name) else {
                return Err(KeyError::UnknownAlias(name).into());
            };
            let key = target_of_alias(&draft.body, target)?;
            let alias = &mut draft.body.aliases[at];
            (alias.key, alias.updated) = (key, now);
            draft.record(Event::KeyOperation { key, operation: "UpdateAlias" });
            Ok(())
        })
    }

    /// Removes an alias.
    ///
    /// # Errors
    /// [`KeyError::UnknownAlias`]; [`RuleError::AliasInUse`] for the one that new files are wrapped under.
    pub(crate) fn delete_alias(&self, name: AliasName) -> Result<()> {
        if name == AliasName::default_alias() {
            return Err(RuleError::AliasInUse(name).into());
        }
        self.change(Saves::Once, |draft| {
            let aliases = &mut draft.body.aliases;
            let Some(at) = aliases.iter().position(|alias| alias.name == name) else {
                return Err(KeyError::UnknownAlias(name).into());
            };
            let key = aliases.remove(at).key;
            draft.record(Event::KeyOperation { key, operation: "DeleteAlias" });
            Ok(())
        })
    }

    /// Switches automatic rotation on, or restarts its period.
    ///
    /// # Errors
    /// [`KeyringError`]: no such key, its state doesn't allow it, or the period isn't possible.
    pub(crate) fn enable_rotation(&self, key: &KeyRef, period_days: Option<i64>) -> Result<KeyId> {
        let now = self.clock.now();
        self.change_key("EnableKeyRotation", key, |key| key.enable_rotation(period_days, now).map(|()| None))
    }

    /// Switches automatic rotation off.
    ///
    /// # Errors
    /// [`KeyringError`]: no such key, or its state doesn't allow it.
    pub(crate) fn disable_rotation(&self, key: &KeyRef) -> Result<KeyId> {
        self.change_key("DisableKeyRotation", key, |key| key.disable_rotation().map(|()| None))
    }

    /// Rotates a key on demand, which is counted.
    ///
    /// # Errors
    /// [`KeyringError`]: no such key, its state doesn't allow it, or it was done too often.
    pub(crate) fn rotate_on_demand(&self, key: &KeyRef) -> Result<KeyId> {
        let now = self.clock.now();
        self.change_key("RotateKeyOnDemand", key, |key| {
            let (old, new) = key.rotate_on_demand(now)?;
            Ok(Some(Event::KeyRotated { key: key.id, old, new }))
        })
    }

    /// Takes a scheduled deletion back.
    ///
    /// # Errors
    /// [`KeyringError`]: no such key, or no deletion is pending.
    pub(crate) fn cancel_deletion(&self, key: &KeyRef) -> Result<KeyId> {
        self.change_key("CancelKeyDeletion", key, |key| {
            key.cancel_deletion()?;
            Ok(Some(Event::KeyStateChanged { key: key.id, state: key.state.name() }))
        })
    }

    /// Adds tags, or changes their values.
    ///
    /// # Errors
    /// [`KeyringError`]: no such key, it may not be labelled, or it has too many tags.
    pub(crate) fn add_tags(&self, key: &KeyRef, tags: Vec<Tag>) -> Result<KeyId> {
        self.change_key("TagResource", key, |key| key.add_tags(tags).map(|()| None))
    }

    /// Removes the tags of these keys.
    ///
    /// # Errors
    /// [`KeyringError`]: no such key, or it may not be labelled.
    pub(crate) fn remove_tags(&self, key: &KeyRef, tag_keys: &[String]) -> Result<KeyId> {
        self.change_key("UntagResource", key, |key| key.remove_tags(tag_keys).map(|()| None))
    }

    /// Replaces a key's description.
    ///
    /// # Errors
    /// [`KeyringError`]: no such key, or it may not be labelled.
    pub(crate) fn describe(&self, key: &KeyRef, text: &str) -> Result<KeyId> {
        self.change_key("UpdateKeyDescription", key, |key| key.describe(text).map(|()| None))
    }

    /// Replaces a key's policy.
    ///
    /// # Errors
    /// [`KeyringError`]: no such key, it isn't the owner's, or the policy isn't taken.
    pub(crate) fn set_policy(&self, key: &KeyRef, text: &str, lock_out: LockOut) -> Result<KeyId> {
        self.change_key("PutKeyPolicy", key, |key| {
            key.may_be_managed()?;
            policy::check(text, key.id, owner(), lock_out).map_err(RuleError::from)?;
            text.clone_into(&mut key.policy);
            Ok(None)
        })
    }

    /// Changes one key, and records the operation, with a further event that `change` may give.
    fn change_key(
        &self,
        operation: &'static str,
        key: &KeyRef,
        change: impl FnOnce(&mut Key) -> Result<Option<Event>>,
    ) -> Result<KeyId> {
        self.change(Saves::Once, |draft| {
            let key = key.find(&draft.body)?;
            let event = change(known(&mut draft.body, key)?)?;
            draft.record(Event::KeyOperation { key, operation });
            if let Some(event) = event {
                draft.record(event);
            }
            Ok(key)
        })
    }
}

/// A key that an alias may come to point at.
fn target_of_alias(body: &KeyringBody, asked: &KeyRef) -> Result<KeyId> {
    let id = asked.find(body)?;
    let key = body.key(id).ok_or(KeyError::UnknownKey(id))?;
    key.may_be_managed()?;
    if key.state == KeyState::PendingDeletion {
        return Err(KeyError::NotUsable { key: id, state: Unusable::State(key.state) }.into());
    }
    Ok(id)
}
