//! Each operation: names resolved, the key's state machine asked, the keyring saved, the answer shaped.

use serde_json::{Value, json};

use super::error::{KmsError, KmsErrorName, alias_arn};
use super::import::Import;
use super::{Call, Keys, NewKey, responses, tags};
use crate::events::{Event, arn};
use crate::ids::{AliasName, KeyId};
use crate::keyring::deletion::Scheduled;
use crate::keyring::error::{KeyError, KeyringError, Unusable};
use crate::keyring::format::model::{Alias, Body, Key, KeyState, Manager};
use crate::keyring::keys::known;
use crate::keyring::rules::{key_refs, policy};

type Result<T> = std::result::Result<T, KeyringError>;

/// The longest description, in characters.
const DESCRIPTION_MAX: usize = 8192;

impl Keys {
    /// Does one operation. Changes are durable and in use when it returns. Gives the answer as AWS shapes it;
    /// null where there is none.
    ///
    /// # Errors
    /// [`KeyringError`]; [`KmsError::of`] is what KMS calls it.
    pub fn call(&self, call: &Call) -> Result<Value> {
        match call {
            Call::CreateKey { key } => self.create_key(key),
            Call::DescribeKey { key_id } => self.of_key(key_refs::key_or_alias, key_id, responses::metadata),
            Call::ListKeys { page } => {
                let item = |key: &Key| {
                    let id = key.id.to_string();
                    (id.clone(), json!({ "KeyId": id, "KeyArn": arn(key.id) }))
                };
                let items = self.table.read().body.keys.iter().map(item).collect();
                Ok(responses::page("Keys", items, page)?)
            }
            Call::ListAliases { key_id, page } => {
                let items = self.aliases_by_name(key_id.as_deref())?;
                Ok(responses::page("Aliases", items, page)?)
            }
            Call::CreateAlias { alias_name, target_key_id } => self.create_alias(alias_name, target_key_id),
            Call::UpdateAlias { alias_name, target_key_id } => self.update_alias(alias_name, target_key_id),
            Call::DeleteAlias { alias_name } => self.delete_alias(alias_name),
            Call::EnableKey { key_id } => self.switch_key(key_id, true),
            Call::DisableKey { key_id } => self.switch_key(key_id, false),
            Call::EnableKeyRotation { key_id, rotation_period_in_days } => {
                let (now, days) = (self.clock.now(), *rotation_period_in_days);
                self.on_key(call, key_refs::key_or_alias, key_id, |key| key.enable_rotation(days, now))?;
                Ok(Value::Null)
            }
            Call::DisableKeyRotation { key_id } => {
                self.on_key(call, key_refs::key_or_alias, key_id, Key::disable_rotation)?;
                Ok(Value::Null)
            }
            Call::GetKeyRotationStatus { key_id } => {
                self.of_key(key_refs::key_or_alias, key_id, responses::rotation_status)
            }
            Call::RotateKeyOnDemand { key_id } => {
                let now = self.clock.now();
                let (key, ()) = self.on_key_noting(call, key_refs::key_or_alias, key_id, |key| {
                    let (old, new) = key.rotate_on_demand(now)?;
                    Ok(((), Some(Event::KeyRotated { key: key.id, old, new })))
                })?;
                Ok(json!({ "KeyId": key.to_string() }))
            }
            Call::ListKeyRotations { key_id, materials, page } => {
                let mut items = Vec::new();
                self.of_key(key_refs::key_or_alias, key_id, |key| {
                    items = responses::rotations(key, *materials);
                    Value::Null
                })?;
                Ok(responses::page("Rotations", items, page)?)
            }
            Call::ScheduleKeyDeletion { key_id, pending_window_in_days: days, insist } => {
                let key = key_refs::key(&self.table.read().body, key_id)?;
                let Scheduled { key, window, date } = self.schedule_deletion(key, *days, insist.as_ref())?;
                Ok(json!({
                    "KeyId": arn(key),
                    "DeletionDate": responses::date(date),
                    "KeyState": KeyState::PendingDeletion.name(),
                    "PendingWindowInDays": window,
                }))
            }
            Call::CancelKeyDeletion { key_id } => {
                let (key, ()) = self.on_key_noting(call, key_refs::key, key_id, |key| {
                    key.cancel_deletion()?;
                    Ok(((), Some(state_changed(key))))
                })?;
                Ok(json!({ "KeyId": arn(key) }))
            }
            Call::GetParametersForImport { key_id, wrapping_algorithm, wrapping_key_spec } => {
                self.parameters_for_import(key_id, wrapping_algorithm, wrapping_key_spec)
            }
            Call::ImportKeyMaterial {
                key_id,
                import_token,
                encrypted_key_material,
                expiration_model,
                valid_to,
                import_type,
            } => {
                let asked = Import {
                    key_id,
                    token: import_token,
                    material: encrypted_key_material,
                    expiration_model: expiration_model.as_deref(),
                    valid_to: valid_to.as_deref(),
                    import_type: import_type.as_deref(),
                };
                self.import_key_material(call, &asked)
            }
            Call::DeleteImportedKeyMaterial { key_id, key_material_id } => {
                self.delete_imported(call, key_id, key_material_id.as_deref())
            }
            Call::TagResource { key_id, tags } => {
                self.on_key(call, key_refs::key, key_id, |key| {
                    key.may_be_labelled()?;
                    tags::add(&mut key.tags, tags)
                })?;
                Ok(Value::Null)
            }
            Call::UntagResource { key_id, tag_keys } => {
                self.on_key(call, key_refs::key, key_id, |key| {
                    key.may_be_labelled()?;
                    key.tags.retain(|tag| !tag_keys.contains(&tag.key));
                    Ok(())
                })?;
                Ok(Value::Null)
            }
            Call::ListResourceTags { key_id, page } => {
                let mut items = Vec::new();
                self.of_key(key_refs::key, key_id, |key| {
                    items = tags::list(&key.tags);
                    Value::Null
                })?;
                Ok(responses::page("Tags", items, page)?)
            }
            Call::UpdateKeyDescription { key_id, description } => {
                check_description(description)?;
                let key = key_refs::key(&self.table.read().body, key_id)?;
                self.describe(key, description)?;
                Ok(Value::Null)
            }
            Call::ListKeyPolicies { key_id, page } => {
                self.of_key(key_refs::key, key_id, |_| Value::Null)?;
                Ok(responses::page("PolicyNames", vec![("default".to_owned(), "default".into())], page)?)
            }
            Call::GetKeyPolicy { key_id, policy_name } => {
                default_policy(policy_name.as_deref())?;
                self.of_key(key_refs::key, key_id, |key| {
                    let text = if key.policy.is_empty() { policy::DEFAULT } else { &key.policy };
                    json!({ "Policy": text, "PolicyName": "default" })
                })
            }
            Call::PutKeyPolicy { key_id, policy_name, policy, bypass_policy_lockout_safety_check } => {
                default_policy(policy_name.as_deref())?;
                self.on_key(call, key_refs::key, key_id, |key| {
                    own(key)?;
                    policy::check(policy, key.id, owner(), *bypass_policy_lockout_safety_check)?;
                    key.policy.clone_from(policy);
                    Ok(())
                })?;
                Ok(Value::Null)
            }
        }
    }

    /// Changes one key, and notes it in the audit log.
    fn on_key<T>(
        &self,
        call: &Call,
        find: fn(&Body, &str) -> Result<KeyId>,
        asked: &str,
        change: impl FnOnce(&mut Key) -> Result<T>,
    ) -> Result<(KeyId, T)> {
        self.on_key_noting(call, find, asked, |key| Ok((change(key)?, None)))
    }

    /// As [`Keys::on_key`], with a further event that `change` may give.
    fn on_key_noting<T>(
        &self,
        call: &Call,
        find: fn(&Body, &str) -> Result<KeyId>,
        asked: &str,
        change: impl FnOnce(&mut Key) -> Result<(T, Option<Event>)>,
    ) -> Result<(KeyId, T)> {
        self.change(false, |draft| {
            let key = find(&draft.body, asked)?;
            let (out, event) = change(known(&mut draft.body, key)?)?;
            draft.note(Event::KeyOperation { key, operation: call.operation() });
            if let Some(event) = event {
                draft.note(event);
            }
            Ok((key, out))
        })
    }

    /// Looks at one key.
    fn of_key(
        &self,
        find: fn(&Body, &str) -> Result<KeyId>,
        asked: &str,
        look: impl FnOnce(&Key) -> Value,
    ) -> Result<Value> {
        let table = self.table.read();
        let id = find(&table.body, asked)?;
        Ok(look(table.body.key(id).ok_or(KeyError::UnknownKey(id))?))
    }

    fn switch_key(&self, asked: &str, enabled: bool) -> Result<Value> {
        let id = key_refs::key(&self.table.read().body, asked)?;
        self.set_enabled(id, enabled)?;
        Ok(Value::Null)
    }

    fn create_key(&self, asked: &NewKey) -> Result<Value> {
        let now = self.clock.now();
        let mut key = match asked.origin.as_deref() {
            Some("EXTERNAL") => Key::external(&asked.description, now),
            _ => Key::create(Manager::Customer, &asked.description, now),
        };
        check_new(asked)?;
        if let Some(text) = &asked.policy {
            policy::check(text, key.id, owner(), asked.bypass_policy_lockout_safety_check)?;
            key.policy.clone_from(text);
        }
        key.tags = asked.tags.iter().map(tags::stored).collect();
        let id = key.id;
        let out = responses::metadata(&key);
        self.change(false, |draft| {
            draft.body.keys.push(key);
            draft.note(Event::KeyOperation { key: id, operation: "CreateKey" });
            Ok(())
        })?;
        Ok(out)
    }

    fn aliases_by_name(&self, key_id: Option<&str>) -> Result<Vec<(String, Value)>> {
        let table = self.table.read();
        let key = key_id.map(|asked| key_refs::key(&table.body, asked)).transpose()?;
        let of_key = |alias: &&Alias| key.is_none_or(|key| alias.key == key);
        let mut aliases: Vec<&Alias> = table.body.aliases.iter().filter(of_key).collect();
        aliases.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        Ok(aliases.into_iter().map(|alias| (alias.name.to_string(), responses::alias(alias))).collect())
    }

    fn create_alias(&self, asked: &str, target: &str) -> Result<Value> {
        let name = key_refs::own_alias(asked)?;
        let now = self.clock.now();
        self.change(false, |draft| {
            if draft.body.alias(&name).is_some() {
                let message = format!("An alias with the name {} already exists", alias_arn(&name));
                return Err(KmsError::new(KmsErrorName::AlreadyExistsException, message).into());
            }
            let key = new_target(&draft.body, target)?;
            draft.body.aliases.push(Alias { name, key, created: now, updated: now });
            draft.note(Event::KeyOperation { key, operation: "CreateAlias" });
            Ok(Value::Null)
        })
    }

    fn update_alias(&self, asked: &str, target: &str) -> Result<Value> {
        // AWS's own documentation leaves the prefix out here.
        let whole = format!("{}{asked}", AliasName::PREFIX);
        let name = key_refs::own_alias(if asked.starts_with(AliasName::PREFIX) { asked } else { &whole })?;
        let now = self.clock.now();
        self.change(false, |draft| {
            let key = match draft.body.alias(&name) {
                Some(_) => new_target(&draft.body, target)?,
                None => return Err(KeyError::UnknownAlias(name).into()),
            };
            let alias = draft.body.aliases.iter_mut().find(|alias| alias.name == name);
            let alias = alias.ok_or(KeyError::UnknownAlias(name))?;
            (alias.key, alias.updated) = (key, now);
            draft.note(Event::KeyOperation { key, operation: "UpdateAlias" });
            Ok(Value::Null)
        })
    }

    fn delete_alias(&self, asked: &str) -> Result<Value> {
        let name = key_refs::own_alias(asked)?;
        if name == AliasName::default_alias() {
            let message = format!(
                "{} is what files are created under; point it at another key instead.",
                alias_arn(&name)
            );
            return Err(KmsError::new(KmsErrorName::ConflictException, message).into());
        }
        self.change(false, |draft| {
            let aliases = &mut draft.body.aliases;
            match aliases.iter().position(|alias| alias.name == name) {
                Some(index) => {
                    let key = aliases.remove(index).key;
                    draft.note(Event::KeyOperation { key, operation: "DeleteAlias" });
                    Ok(Value::Null)
                }
                None => Err(KeyError::UnknownAlias(name).into()),
            }
        })
    }
}

fn state_changed(key: &Key) -> Event {
    Event::KeyStateChanged { key: key.id, state: key.state.name() }
}

/// A key that an alias may come to point at.
fn new_target(body: &Body, asked: &str) -> Result<KeyId> {
    let id = key_refs::target(body, asked)?;
    let key = body.key(id).ok_or(KeyError::UnknownKey(id))?;
    own(key)?;
    if key.state == KeyState::PendingDeletion {
        return Err(KeyError::NotUsable { key: id, state: Unusable::State(key.state) }.into());
    }
    Ok(id)
}

fn own(key: &Key) -> Result<()> {
    if key.manager == Manager::Service { Err(KeyringError::ServiceManaged(key.id)) } else { Ok(()) }
}

/// Whom a policy must not lock out: the user as whom the vault is open, who is its owner. Root may ask in that user's
/// place, and could not use the files of a mount that lets nobody else in.
fn owner() -> u32 {
    rustix::process::geteuid().as_raw()
}

fn default_policy(name: Option<&str>) -> Result<()> {
    match name {
        None | Some("default") => Ok(()),
        Some(_) => {
            Err(KmsError::new(KmsErrorName::NotFoundException, "No such policy exists; it is named default.")
                .into())
        }
    }
}

fn check_new(asked: &NewKey) -> Result<()> {
    let unsupported = |what: String| KmsError::new(KmsErrorName::UnsupportedOperationException, what);
    match asked.key_usage.as_deref() {
        None | Some("ENCRYPT_DECRYPT") => {}
        Some(usage) => {
            let message =
                format!("KeyUsage {} isn't supported; it is ENCRYPT_DECRYPT.", usage.escape_debug());
            return Err(unsupported(message).into());
        }
    }
    match asked.origin.as_deref() {
        None | Some("AWS_KMS" | "EXTERNAL") => {}
        Some(origin) => {
            let message =
                format!("Origin {} isn't supported; it is AWS_KMS or EXTERNAL.", origin.escape_debug());
            return Err(unsupported(message).into());
        }
    }
    check_description(&asked.description)?;
    tags::check(&asked.tags)
}

fn check_description(text: &str) -> Result<()> {
    let length = text.chars().count();
    if length > DESCRIPTION_MAX {
        let message =
            format!("The description has {length} characters; at most {DESCRIPTION_MAX} are taken.");
        return Err(KmsError::validation(message).into());
    }
    Ok(())
}
