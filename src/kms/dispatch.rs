//! Does each operation: parses what was typed, calls the keyring, shapes the answer.

use serde_json::{Value, json};

use super::error::{CallError, KmsError, KmsErrorName};
use super::import::Import;
use super::request::{Call, NewKey, Page};
use super::{data, responses, tags};
use crate::events::arn;
use crate::ids::{AliasName, KeyId};
use crate::keyring::{
    Alias, DEFAULT_POLICY, Key, KeyRef, KeyState, KeyTemplate, KeyUse, Keys, LockOut, Origin, own_alias,
};

type Result<T> = std::result::Result<T, CallError>;

/// The longest description, in characters.
const DESCRIPTION_MAX: usize = 8192;

impl Keys {
    /// Does one operation. Changes are durable and in use when it returns. Gives the answer as AWS shapes it;
    /// null where there is none.
    ///
    /// # Errors
    /// [`CallError`].
    pub fn call(&self, call: &Call) -> Result<Value> {
        match call {
            Call::CreateKey { key } => self.create_key_as_asked(key),
            Call::DescribeKey { key_id } => Ok(self.of_key(&KeyRef::parse(key_id)?, responses::metadata)?),
            Call::ListKeys { page } => Ok(self.page_of_keys(page)?),
            Call::ListAliases { key_id, page } => self.page_of_aliases(key_id.as_deref(), page),
            Call::CreateAlias { alias_name, target_key_id } => {
                self.create_alias(own_alias(alias_name)?, &KeyRef::parse_target(target_key_id)?)?;
                Ok(Value::Null)
            }
            Call::UpdateAlias { alias_name, target_key_id } => {
                // AWS's own documentation leaves the prefix out here.
                let whole = format!("{}{alias_name}", AliasName::PREFIX);
                let name = if alias_name.starts_with(AliasName::PREFIX) { alias_name } else { &whole };
                self.update_alias(own_alias(name)?, &KeyRef::parse_target(target_key_id)?)?;
                Ok(Value::Null)
            }
            Call::DeleteAlias { alias_name } => {
                self.delete_alias(own_alias(alias_name)?)?;
                Ok(Value::Null)
            }
            Call::EnableKey { key_id } => {
                self.enable_key(self.id_of_key(key_id)?)?;
                Ok(Value::Null)
            }
            Call::DisableKey { key_id } => {
                self.disable_key(self.id_of_key(key_id)?)?;
                Ok(Value::Null)
            }
            Call::EnableKeyRotation { key_id, rotation_period_in_days } => {
                self.enable_rotation(&KeyRef::parse(key_id)?, *rotation_period_in_days)?;
                Ok(Value::Null)
            }
            Call::DisableKeyRotation { key_id } => {
                self.disable_rotation(&KeyRef::parse(key_id)?)?;
                Ok(Value::Null)
            }
            Call::GetKeyRotationStatus { key_id } => {
                Ok(self.of_key(&KeyRef::parse(key_id)?, responses::rotation_status)?)
            }
            Call::RotateKeyOnDemand { key_id } => {
                let key = self.rotate_on_demand(&KeyRef::parse(key_id)?)?;
                Ok(json!({ "KeyId": key.to_string() }))
            }
            Call::ListKeyRotations { key_id, materials, page } => {
                let items =
                    self.of_key(&KeyRef::parse(key_id)?, |key| responses::rotations(key, *materials))?;
                Ok(responses::page("Rotations", items, page)?)
            }
            Call::ScheduleKeyDeletion { key_id, pending_window_in_days: days, force } => {
                let key = self.of_key(&KeyRef::parse_key(key_id)?, |key| key.id)?;
                let scheduled = self.schedule_deletion(key, *days, force.as_ref())?;
                Ok(json!({
                    "KeyId": arn(scheduled.key),
                    "DeletionDate": responses::date(scheduled.date),
                    "KeyState": KeyState::PendingDeletion.name(),
                    "PendingWindowInDays": scheduled.window,
                }))
            }
            Call::CancelKeyDeletion { key_id } => {
                let key = self.cancel_deletion(&KeyRef::parse_key(key_id)?)?;
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
                key_material_id,
            } => self.import_key_material(&Import {
                key_id,
                token: import_token,
                material: encrypted_key_material,
                expiration_model: expiration_model.as_deref(),
                valid_to: valid_to.as_deref(),
                import_type: import_type.as_deref(),
                material_id: key_material_id.as_deref(),
            }),
            Call::DeleteImportedKeyMaterial { key_id, key_material_id } => {
                self.delete_imported(key_id, key_material_id.as_deref())
            }
            Call::TagResource { key_id, tags } => {
                self.add_tags(&KeyRef::parse_key(key_id)?, tags::checked(tags)?)?;
                Ok(Value::Null)
            }
            Call::UntagResource { key_id, tag_keys } => {
                tags::check_keys(tag_keys)?;
                self.remove_tags(&KeyRef::parse_key(key_id)?, tag_keys)?;
                Ok(Value::Null)
            }
            Call::ListResourceTags { key_id, page } => {
                let items = self.of_key(&KeyRef::parse_key(key_id)?, |key| tags::list(&key.tags))?;
                Ok(responses::page("Tags", items, page)?)
            }
            Call::UpdateKeyDescription { key_id, description } => {
                KmsError::check_length(description, 0, DESCRIPTION_MAX, "description")?;
                self.describe(&KeyRef::parse_key(key_id)?, description)?;
                Ok(Value::Null)
            }
            Call::ListKeyPolicies { key_id, page } => {
                self.of_key(&KeyRef::parse_key(key_id)?, |_| ())?;
                Ok(responses::page("PolicyNames", vec![("default".to_owned(), "default".into())], page)?)
            }
            Call::GetKeyPolicy { key_id, policy_name } => {
                default_policy(policy_name.as_deref())?;
                Ok(self.of_key(&KeyRef::parse_key(key_id)?, |key| {
                    let text = if key.policy.is_empty() { DEFAULT_POLICY } else { &key.policy };
                    json!({ "Policy": text, "PolicyName": "default" })
                })?)
            }
            Call::PutKeyPolicy { key_id, policy_name, policy, bypass_policy_lockout_safety_check } => {
                default_policy(policy_name.as_deref())?;
                let lock_out = lock_out(*bypass_policy_lockout_safety_check);
                self.set_policy(&KeyRef::parse_key(key_id)?, policy, lock_out)?;
                Ok(Value::Null)
            }
            Call::Encrypt(asked) => Ok(self.recorded(call, self.encrypt(asked)?)),
            Call::Decrypt(asked) => Ok(self.recorded(call, self.decrypt(asked)?)),
            Call::ReEncrypt(asked) => Ok(self.recorded(call, self.re_encrypt(asked)?)),
            Call::GenerateDataKey(asked) => {
                Ok(self.recorded(call, self.data_key(asked, KeyUse::GenerateDataKey)?))
            }
            Call::GenerateDataKeyWithoutPlaintext(asked) => {
                Ok(self.recorded(call, self.data_key(asked, KeyUse::GenerateDataKeyWithoutPlaintext)?))
            }
            Call::GenerateRandom(asked) => Ok(self.recorded(call, data::random_answer(asked)?)),
        }
    }

    fn id_of_key(&self, asked: &str) -> Result<KeyId> {
        Ok(self.of_key(&KeyRef::parse_key(asked)?, |key| key.id)?)
    }

    fn create_key_as_asked(&self, asked: &NewKey) -> Result<Value> {
        check_usage(asked.key_usage.as_deref())?;
        let origin = origin(asked.origin.as_deref())?;
        KmsError::check_length(&asked.description, 0, DESCRIPTION_MAX, "description")?;
        let tags = tags::checked(&asked.tags)?;
        let lock_out = lock_out(asked.bypass_policy_lockout_safety_check);
        let policy = asked.policy.as_deref().map(|text| (text, lock_out));
        let id = self.create_key(KeyTemplate { description: &asked.description, origin, policy, tags })?;
        Ok(self.of_key(&id.into(), responses::metadata)?)
    }

    fn page_of_keys(&self, page: &Page) -> std::result::Result<Value, KmsError> {
        let limit = responses::page_limit(page)?;
        self.of_all(|keys, _| {
            let start = match &page.marker {
                None => 0,
                Some(marker) => {
                    let last = marker.parse::<KeyId>().ok();
                    let at = last.and_then(|last| keys.iter().position(|key| key.id == last));
                    at.ok_or_else(responses::no_marker)? + 1
                }
            };
            let item = |key: &Key| {
                let id = key.id.to_string();
                (id.clone(), json!({ "KeyId": id, "KeyArn": arn(key.id) }))
            };
            Ok(responses::page_of("Keys", keys[start..].iter().map(item), limit))
        })
    }

    /// By name. Only as many as the page has are put in order.
    fn page_of_aliases(&self, key_id: Option<&str>, page: &Page) -> Result<Value> {
        let limit = responses::page_limit(page)?;
        let key = key_id
            .map(|asked| self.of_key(&KeyRef::parse_key(asked)?, |key| key.id).map_err(CallError::from));
        let key = key.transpose()?;
        let item = |alias: &Alias| (alias.name.to_string(), responses::alias(alias));
        Ok(self.of_all(|_, aliases| {
            let mut listed: Vec<&Alias> =
                aliases.iter().filter(|alias| key.is_none_or(|key| alias.key == key)).collect();
            if let Some(marker) = &page.marker {
                let is_last = |alias: &&Alias| alias.name.as_str() == marker;
                let last = listed.iter().copied().find(is_last).ok_or_else(responses::no_marker)?;
                listed.retain(|alias| alias.name > last.name);
            }
            if listed.len() > limit {
                listed.select_nth_unstable_by(limit, |a, b| a.name.cmp(&b.name));
                // One more than the page has, which says that there are others.
                listed.truncate(limit + 1);
            }
            listed.sort_unstable_by(|a, b| a.name.cmp(&b.name));
            Ok::<_, KmsError>(responses::page_of("Aliases", listed.into_iter().map(item), limit))
        })?)
    }
}

fn lock_out(bypass: bool) -> LockOut {
    if bypass { LockOut::Meant } else { LockOut::Refused }
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

fn check_usage(asked: Option<&str>) -> Result<()> {
    match asked {
        None | Some("ENCRYPT_DECRYPT") => Ok(()),
        Some(usage) => Err(unsupported(format!(
            "KeyUsage {} isn't supported; it is ENCRYPT_DECRYPT.",
            usage.escape_debug()
        ))),
    }
}

fn origin(asked: Option<&str>) -> Result<Origin> {
    match asked {
        None | Some("AWS_KMS") => Ok(Origin::Local),
        Some("EXTERNAL") => Ok(Origin::External),
        Some(origin) => Err(unsupported(format!(
            "Origin {} isn't supported; it is AWS_KMS or EXTERNAL.",
            origin.escape_debug()
        ))),
    }
}

fn unsupported(message: String) -> CallError {
    KmsError::new(KmsErrorName::UnsupportedOperationException, message).into()
}
