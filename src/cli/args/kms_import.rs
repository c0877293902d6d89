//! The verbs of `rekeyfs kms` about imported key material and tags, as clap takes them.

use std::path::PathBuf;

use clap::Args;

use super::common::{KmsCommon, KmsKey};

/// `rekeyfs kms get-parameters-for-import`.
#[derive(Args, Debug)]
pub(in crate::cli) struct GetParametersForImport {
    #[command(flatten)]
    pub(in crate::cli) key: KmsKey,
    /// RSAES_OAEP_SHA_256 or RSAES_OAEP_SHA_1
    #[arg(long, value_name = "ALGORITHM")]
    pub(in crate::cli) wrapping_algorithm: String,
    /// RSA_2048, RSA_3072 or RSA_4096
    #[arg(long, value_name = "SPEC")]
    pub(in crate::cli) wrapping_key_spec: String,
}

/// `rekeyfs kms import-key-material`.
#[derive(Args, Debug)]
pub(in crate::cli) struct ImportKeyMaterial {
    #[command(flatten)]
    pub(in crate::cli) key: KmsKey,
    /// The import token: base64, or fileb://PATH of its bytes
    #[arg(long, value_name = "TOKEN", required_unless_present = "key_material_file")]
    pub(in crate::cli) import_token: Option<String>,
    /// The material, wrapped under the public key that came with the token: base64, or fileb://PATH of its bytes
    #[arg(long, value_name = "MATERIAL", required_unless_present = "key_material_file")]
    pub(in crate::cli) encrypted_key_material: Option<String>,
    /// A file of 32 bytes that is the material itself; it is wrapped here
    #[arg(long, value_name = "FILE", conflicts_with_all = ["import_token", "encrypted_key_material"])]
    pub(in crate::cli) key_material_file: Option<PathBuf>,
    /// KEY_MATERIAL_EXPIRES (needs --valid-to) or KEY_MATERIAL_DOES_NOT_EXPIRE [default: KEY_MATERIAL_EXPIRES]
    #[arg(long, value_name = "MODEL")]
    pub(in crate::cli) expiration_model: Option<String>,
    /// When it expires: RFC 3339, or seconds since 1970
    #[arg(long, value_name = "TIME")]
    pub(in crate::cli) valid_to: Option<String>,
    /// NEW_KEY_MATERIAL: rotate-key-on-demand takes it into use; EXISTING_KEY_MATERIAL: it was imported before
    #[arg(long, value_name = "TYPE")]
    pub(in crate::cli) import_type: Option<String>,
}

/// `rekeyfs kms delete-imported-key-material`.
#[derive(Args, Debug)]
pub(in crate::cli) struct DeleteImportedKeyMaterial {
    #[command(flatten)]
    pub(in crate::cli) key: KmsKey,
    /// Which material, as list-key-rotations shows it [default: the current one]
    #[arg(long, value_name = "ID")]
    pub(in crate::cli) key_material_id: Option<String>,
}

/// `rekeyfs kms tag-resource`.
#[derive(Args, Debug)]
pub(in crate::cli) struct TagResource {
    #[command(flatten)]
    pub(in crate::cli) key: KmsKey,
    /// TagKey=NAME,TagValue=VALUE for each tag, or a JSON list of them
    #[arg(long, num_args = 1.., required = true)]
    pub(in crate::cli) tags: Vec<String>,
}

/// `rekeyfs kms untag-resource`.
#[derive(Args, Debug)]
pub(in crate::cli) struct UntagResource {
    #[command(flatten)]
    pub(in crate::cli) key: KmsKey,
    /// The keys of the tags to remove
    #[arg(long, num_args = 1.., required = true, value_name = "NAME")]
    pub(in crate::cli) tag_keys: Vec<String>,
}

/// `rekeyfs kms update-key-description`.
#[derive(Args, Debug)]
pub(in crate::cli) struct UpdateKeyDescription {
    /// The key's id or ARN
    #[arg(long, value_name = "KEY")]
    pub(in crate::cli) key_id: String,
    /// What it is for
    #[arg(long)]
    pub(in crate::cli) description: String,
    #[command(flatten)]
    pub(in crate::cli) common: KmsCommon,
}
