//! `rekeyfs kms VERB` as clap takes it: the flags that `aws kms VERB` has.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

pub(in crate::cli) use super::common::KmsCommon;
use super::common::{Form, KmsKey, Part};
pub(in crate::cli) use super::kms_import::ImportKeyMaterial;
use super::kms_import::{
    DeleteImportedKeyMaterial, GetParametersForImport, TagResource, UntagResource, UpdateKeyDescription,
};
use super::kms_serve::KmsServe;

/// `rekeyfs kms`.
#[derive(Args, Debug)]
#[command(subcommand_required = true, arg_required_else_help = true)]
pub(in crate::cli) struct Kms {
    #[command(subcommand)]
    pub(in crate::cli) verb: Verb,
}

/// The verbs.
#[derive(Subcommand, Debug)]
#[allow(clippy::large_enum_variant)] // There is one, once, and clap flattens no box.
pub(in crate::cli) enum Verb {
    #[command(flatten)]
    OfKeys(Box<KeyVerb>),
    /// Re-wrap the data keys of files under another key; contents stay as they are (`rekeyfs reencrypt` encrypts
    /// them again). They follow no alias from then on
    ReEncrypt(ReEncrypt),
    /// Serve AWS KMS's protocol to programs of this host, for the vault of a mount: the aws command, AWS's SDKs
    Serve(KmsServe),
}

impl KeyVerb {
    /// The part of a list that a verb asks for, if it lists.
    pub(in crate::cli) fn part(&self) -> Option<&Part> {
        match self {
            Self::ListKeys(args) => Some(&args.part),
            Self::ListAliases(args) => Some(&args.part),
            Self::ListKeyRotations(args) => Some(&args.part),
            Self::ListResourceTags(args) | Self::ListKeyPolicies(args) => Some(&args.part),
            _ => None,
        }
    }
}

/// The verbs that are about keys and aliases.
#[derive(Subcommand, Debug)]
pub(in crate::cli) enum KeyVerb {
    /// Make a key
    CreateKey(CreateKey),
    /// Show a key's metadata
    DescribeKey(KmsKey),
    /// List the keys
    ListKeys(ListKeys),
    /// Point a new alias at a key
    CreateAlias(Alias),
    /// Point an alias at another key; files created from now on use that one
    UpdateAlias(Alias),
    /// Remove an alias
    DeleteAlias(DeleteAlias),
    /// List the aliases
    ListAliases(ListAliases),
    /// Make a key usable again; one whose rotation is overdue is rotated at once
    EnableKey(KmsKey),
    /// Make a key unusable: its files can't be opened until it is enabled again
    DisableKey(KmsKey),
    /// Switch automatic rotation on
    EnableKeyRotation(EnableKeyRotation),
    /// Switch automatic rotation off; all versions are kept
    DisableKeyRotation(KmsKey),
    /// Show whether and when a key rotates by itself
    GetKeyRotationStatus(KmsKey),
    /// Rotate a key now; a key takes 25 of these (`rekeyfs rotate` has no limit)
    RotateKeyOnDemand(KmsKey),
    /// List a key's rotations
    ListKeyRotations(ListKeyRotations),
    /// Make a key unusable, and delete it after a window unless that is cancelled. Refused while files need
    /// it; counted again before it is deleted
    ScheduleKeyDeletion(ScheduleKeyDeletion),
    /// Take a scheduled deletion back; the key is disabled then
    CancelKeyDeletion(KmsKey),
    /// Get what is needed to wrap key material for import-key-material
    GetParametersForImport(GetParametersForImport),
    /// Give a key of --origin EXTERNAL its material
    ImportKeyMaterial(ImportKeyMaterial),
    /// Delete imported material: files can't be opened until the same material is imported again
    DeleteImportedKeyMaterial(DeleteImportedKeyMaterial),
    /// Add tags to a key
    TagResource(TagResource),
    /// Remove tags from a key
    UntagResource(UntagResource),
    /// List a key's tags
    ListResourceTags(ListOfKey),
    /// Change what a key is said to be for
    UpdateKeyDescription(UpdateKeyDescription),
    /// List the names of a key's policies
    ListKeyPolicies(ListOfKey),
    /// Show a key's policy
    GetKeyPolicy(GetKeyPolicy),
    /// Replace a key's policy: which users may create, open and change the files of the key, whatever their modes
    /// say. Asked when a file is opened; handles that are open continue to work
    PutKeyPolicy(PutKeyPolicy),
}

/// `rekeyfs kms create-key`.
#[derive(Args, Debug)]
pub(in crate::cli) struct CreateKey {
    /// What it is for
    #[arg(long, default_value = "")]
    pub(in crate::cli) description: String,
    /// ENCRYPT_DECRYPT
    #[arg(long)]
    pub(in crate::cli) key_usage: Option<String>,
    /// AWS_KMS: material made here; EXTERNAL: it will be imported
    #[arg(long)]
    pub(in crate::cli) origin: Option<String>,
    /// Its policy as JSON, or file://PATH
    #[arg(long)]
    pub(in crate::cli) policy: Option<String>,
    /// Take a policy by which the vault's owner can't use the key
    #[arg(long)]
    pub(in crate::cli) bypass_policy_lockout_safety_check: bool,
    /// TagKey=NAME,TagValue=VALUE for each tag, or a JSON list of them
    #[arg(long, num_args = 1..)]
    pub(in crate::cli) tags: Vec<String>,
    #[command(flatten)]
    pub(in crate::cli) common: KmsCommon,
}

/// `rekeyfs kms list-keys`.
#[derive(Args, Debug)]
pub(in crate::cli) struct ListKeys {
    #[command(flatten)]
    pub(in crate::cli) part: Part,
    #[command(flatten)]
    pub(in crate::cli) common: KmsCommon,
}

/// Verbs that list what one key has.
#[derive(Args, Debug)]
pub(in crate::cli) struct ListOfKey {
    #[command(flatten)]
    pub(in crate::cli) key: KmsKey,
    #[command(flatten)]
    pub(in crate::cli) part: Part,
}

/// `rekeyfs kms create-alias` and `update-alias`.
#[derive(Args, Debug)]
pub(in crate::cli) struct Alias {
    /// alias/NAME; update-alias takes NAME too
    #[arg(long, value_name = "ALIAS")]
    pub(in crate::cli) alias_name: String,
    /// The key's id or ARN
    #[arg(long, value_name = "KEY")]
    pub(in crate::cli) target_key_id: String,
    #[command(flatten)]
    pub(in crate::cli) common: KmsCommon,
}

/// `rekeyfs kms delete-alias`.
#[derive(Args, Debug)]
pub(in crate::cli) struct DeleteAlias {
    /// alias/NAME
    #[arg(long, value_name = "ALIAS")]
    pub(in crate::cli) alias_name: String,
    #[command(flatten)]
    pub(in crate::cli) common: KmsCommon,
}

/// `rekeyfs kms list-aliases`.
#[derive(Args, Debug)]
pub(in crate::cli) struct ListAliases {
    /// Only those that point at this key
    #[arg(long, value_name = "KEY")]
    pub(in crate::cli) key_id: Option<String>,
    #[command(flatten)]
    pub(in crate::cli) part: Part,
    #[command(flatten)]
    pub(in crate::cli) common: KmsCommon,
}

/// `rekeyfs kms enable-key-rotation`.
#[derive(Args, Debug)]
pub(in crate::cli) struct EnableKeyRotation {
    #[command(flatten)]
    pub(in crate::cli) key: KmsKey,
    /// Days between rotations, 90 to 2560 [default: 365]
    #[arg(long, value_name = "DAYS", allow_negative_numbers = true)]
    pub(in crate::cli) rotation_period_in_days: Option<i64>,
}

/// `rekeyfs kms list-key-rotations`.
#[derive(Args, Debug)]
pub(in crate::cli) struct ListKeyRotations {
    #[command(flatten)]
    pub(in crate::cli) key: KmsKey,
    /// The first key material too, or rotations alone
    #[arg(long, value_enum, value_name = "WHICH", default_value_t = Materials::RotationsOnly)]
    pub(in crate::cli) include_key_material: Materials,
    #[command(flatten)]
    pub(in crate::cli) part: Part,
}

/// Which key materials are listed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(in crate::cli) enum Materials {
    /// All of them.
    #[value(name = "ALL_KEY_MATERIAL")]
    All,
    /// Those that a rotation brought.
    #[value(name = "ROTATIONS_ONLY")]
    RotationsOnly,
}

/// `rekeyfs kms schedule-key-deletion`.
#[derive(Args, Debug)]
pub(in crate::cli) struct ScheduleKeyDeletion {
    #[command(flatten)]
    pub(in crate::cli) key: KmsKey,
    /// Days, 7 to 30 [default: 30]
    #[arg(long, value_name = "DAYS", allow_negative_numbers = true)]
    pub(in crate::cli) pending_window_in_days: Option<i64>,
    /// Do it, and delete the key after the window, though files need it; asks for an unlock secret, also on a
    /// mounted vault
    #[arg(long)]
    pub(in crate::cli) force: bool,
}

/// `rekeyfs kms re-encrypt`.
#[derive(Args, Debug)]
pub(in crate::cli) struct ReEncrypt {
    /// Files in a mount; there is an answer for each
    #[arg(required = true)]
    pub(in crate::cli) files: Vec<PathBuf>,
    /// The key's id or ARN, an alias or its ARN
    #[arg(long, value_name = "KEY")]
    pub(in crate::cli) destination_key_id: String,
    #[command(flatten)]
    pub(in crate::cli) form: Form,
}

/// `rekeyfs kms get-key-policy`.
#[derive(Args, Debug)]
pub(in crate::cli) struct GetKeyPolicy {
    #[command(flatten)]
    pub(in crate::cli) key: KmsKey,
    /// default
    #[arg(long, value_name = "NAME")]
    pub(in crate::cli) policy_name: Option<String>,
}

/// `rekeyfs kms put-key-policy`.
#[derive(Args, Debug)]
pub(in crate::cli) struct PutKeyPolicy {
    #[command(flatten)]
    pub(in crate::cli) key: KmsKey,
    /// default
    #[arg(long, value_name = "NAME")]
    pub(in crate::cli) policy_name: Option<String>,
    /// The policy as JSON, or file://PATH. A Principal is "*" or {"AWS": "uid:NUMBER"}, root (uid:0) too; the Actions
    /// that matter are kms:Encrypt (create, truncate, open for writing) and kms:Decrypt (open)
    #[arg(long)]
    pub(in crate::cli) policy: String,
    /// Take a policy by which the vault's owner can't use the key
    #[arg(long)]
    pub(in crate::cli) bypass_policy_lockout_safety_check: bool,
}
