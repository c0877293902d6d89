//! The calls of the KMS interface: a variant for each operation, its parameters as they were typed. The control protocol
//! sends them with these names.

use serde::{Deserialize, Serialize};

use super::data::{DataKey, Decrypt, Encrypt, Random, ReEncrypt};
use crate::keyring::ForceToken;

/// A part of a list.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Page {
    /// At most so many items, 1 to 1000; 100 if nothing is said.
    pub limit: Option<i64>,
    /// The `NextMarker` of the part before.
    pub marker: Option<String>,
}

/// A tag.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct Tag {
    /// Its key.
    pub tag_key: String,
    /// Its value.
    pub tag_value: String,
}

/// The parameters of a new key.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct NewKey {
    /// Its description; may be empty.
    pub description: String,
    /// `ENCRYPT_DECRYPT`, or nothing.
    pub key_usage: Option<String>,
    /// `AWS_KMS`, or nothing; `EXTERNAL`: its material will be imported.
    pub origin: Option<String>,
    /// Its policy as JSON; without one everybody may use it.
    pub policy: Option<String>,
    /// Take a policy by which the vault's owner can't use the key.
    #[serde(default, skip_serializing_if = "is_false")]
    pub bypass_policy_lockout_safety_check: bool,
    /// Its tags.
    pub tags: Vec<Tag>,
}

/// A parameter that isn't set isn't sent: a mount of an older version doesn't know it.
#[allow(clippy::trivially_copy_pass_by_ref)]
fn is_false(value: &bool) -> bool {
    !value
}

/// Which materials of a key are listed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub enum Materials {
    /// Those that a rotation brought.
    #[default]
    RotationsOnly,
    /// The first one too.
    All,
}

/// One call. A `key_id` is a key id or key ARN; where said, an alias name or alias ARN too.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "operation", deny_unknown_fields)]
#[allow(missing_docs)]
pub enum Call {
    /// Make a key. Gives its metadata.
    CreateKey { key: NewKey },
    /// A key's metadata, aliases accepted.
    DescribeKey { key_id: String },
    /// Ids and ARNs, in the order of creation.
    ListKeys { page: Page },
    /// Point a new alias at a key.
    CreateAlias { alias_name: String, target_key_id: String },
    /// Point an alias at another key; the name may lack `alias/`.
    UpdateAlias { alias_name: String, target_key_id: String },
    /// Remove an alias.
    DeleteAlias { alias_name: String },
    /// Aliases by name, of one key or all.
    ListAliases { key_id: Option<String>, page: Page },
    /// Make a key usable; one whose rotation is overdue is rotated at once.
    EnableKey { key_id: String },
    /// Make a key unusable.
    DisableKey { key_id: String },
    /// Switch automatic rotation on, aliases accepted.
    EnableKeyRotation { key_id: String, rotation_period_in_days: Option<i64> },
    /// Switch it off, aliases accepted.
    DisableKeyRotation { key_id: String },
    /// Whether and when a key rotates, aliases accepted.
    GetKeyRotationStatus { key_id: String },
    /// Rotate now, aliases accepted.
    RotateKeyOnDemand { key_id: String },
    /// The rotations so far, aliases accepted.
    ListKeyRotations { key_id: String, materials: Materials, page: Page },
    /// Make a key unusable, to be deleted after a window. The caller has counted that no file needs it, or has a token by
    /// which it is deleted though files do.
    ScheduleKeyDeletion {
        key_id: String,
        pending_window_in_days: Option<i64>,
        #[serde(default, rename = "insist")]
        force: Option<ForceToken>,
    },
    /// Take that back.
    CancelKeyDeletion { key_id: String },
    /// What is needed to wrap key material on its way in.
    GetParametersForImport { key_id: String, wrapping_algorithm: String, wrapping_key_spec: String },
    /// Take wrapped key material in; it and the token in base64.
    ImportKeyMaterial {
        key_id: String,
        import_token: String,
        encrypted_key_material: String,
        expiration_model: Option<String>,
        valid_to: Option<String>,
        import_type: Option<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        key_material_id: Option<String>,
    },
    /// Delete imported key material: the current one, or that of an id.
    DeleteImportedKeyMaterial { key_id: String, key_material_id: Option<String> },
    /// Add tags, or change their values.
    TagResource { key_id: String, tags: Vec<Tag> },
    /// Remove the tags of these keys.
    UntagResource { key_id: String, tag_keys: Vec<String> },
    /// A key's tags.
    ListResourceTags { key_id: String, page: Page },
    /// Replace a key's description.
    UpdateKeyDescription { key_id: String, description: String },
    /// The names of a key's policies: there is one.
    ListKeyPolicies { key_id: String, page: Page },
    /// A key's policy.
    GetKeyPolicy { key_id: String, policy_name: Option<String> },
    /// Replace it.
    PutKeyPolicy {
        key_id: String,
        policy_name: Option<String>,
        policy: String,
        #[serde(default, skip_serializing_if = "is_false")]
        bypass_policy_lockout_safety_check: bool,
    },
    /// Encrypt data, aliases accepted. Gives a blob.
    Encrypt(Encrypt),
    /// Decrypt a blob.
    Decrypt(Decrypt),
    /// Make a blob of another key of a blob.
    ReEncrypt(ReEncrypt),
    /// Make a data key, aliases accepted. Gives it, and a blob of it.
    GenerateDataKey(DataKey),
    /// The same, without the data key.
    GenerateDataKeyWithoutPlaintext(DataKey),
    /// Make random bytes.
    GenerateRandom(Random),
}

impl Call {
    /// The operation's name, as AWS has it.
    pub fn operation(&self) -> &'static str {
        match self {
            Self::CreateKey { .. } => "CreateKey",
            Self::DescribeKey { .. } => "DescribeKey",
            Self::ListKeys { .. } => "ListKeys",
            Self::CreateAlias { .. } => "CreateAlias",
            Self::UpdateAlias { .. } => "UpdateAlias",
            Self::DeleteAlias { .. } => "DeleteAlias",
            Self::ListAliases { .. } => "ListAliases",
            Self::EnableKey { .. } => "EnableKey",
            Self::DisableKey { .. } => "DisableKey",
            Self::EnableKeyRotation { .. } => "EnableKeyRotation",
            Self::DisableKeyRotation { .. } => "DisableKeyRotation",
            Self::GetKeyRotationStatus { .. } => "GetKeyRotationStatus",
            Self::RotateKeyOnDemand { .. } => "RotateKeyOnDemand",
            Self::ListKeyRotations { .. } => "ListKeyRotations",
            Self::ScheduleKeyDeletion { .. } => "ScheduleKeyDeletion",
            Self::CancelKeyDeletion { .. } => "CancelKeyDeletion",
            Self::GetParametersForImport { .. } => "GetParametersForImport",
            Self::ImportKeyMaterial { .. } => "ImportKeyMaterial",
            Self::DeleteImportedKeyMaterial { .. } => "DeleteImportedKeyMaterial",
            Self::TagResource { .. } => "TagResource",
            Self::UntagResource { .. } => "UntagResource",
            Self::ListResourceTags { .. } => "ListResourceTags",
            Self::UpdateKeyDescription { .. } => "UpdateKeyDescription",
            Self::ListKeyPolicies { .. } => "ListKeyPolicies",
            Self::GetKeyPolicy { .. } => "GetKeyPolicy",
            Self::PutKeyPolicy { .. } => "PutKeyPolicy",
            Self::Encrypt(_) => "Encrypt",
            Self::Decrypt(_) => "Decrypt",
            Self::ReEncrypt(_) => "ReEncrypt",
            Self::GenerateDataKey(_) => "GenerateDataKey",
            Self::GenerateDataKeyWithoutPlaintext(_) => "GenerateDataKeyWithoutPlaintext",
            Self::GenerateRandom(_) => "GenerateRandom",
        }
    }

    /// Whether it changes something. What uses a key for data doesn't: that it was used is all that is kept.
    pub fn changes(&self) -> bool {
        !self.uses_data()
            && !["Describe", "List", "Get"].iter().any(|looks| self.operation().starts_with(looks))
    }

    /// The parameter that names its key or alias, if it has one.
    pub(super) fn about(&self) -> Option<String> {
        match self {
            Self::Encrypt(asked) => return Some(asked.key_id.clone()),
            Self::GenerateDataKey(asked) | Self::GenerateDataKeyWithoutPlaintext(asked) => {
                return Some(asked.key_id.clone());
            }
            Self::Decrypt(_) | Self::ReEncrypt(_) => return self.key_of_blob().map(|key| key.to_string()),
            _ => {}
        }
        let call = serde_json::to_value(self).ok()?;
        ["key_id", "target_key_id", "alias_name"]
            .iter()
            .find_map(|field| Some(call[field].as_str()?.to_owned()))
    }

    /// The page asked for, of a list.
    pub fn page_mut(&mut self) -> Option<&mut Page> {
        match self {
            Self::ListKeys { page }
            | Self::ListAliases { page, .. }
            | Self::ListResourceTags { page, .. }
            | Self::ListKeyPolicies { page, .. }
            | Self::ListKeyRotations { page, .. } => Some(page),
            _ => None,
        }
    }
}
