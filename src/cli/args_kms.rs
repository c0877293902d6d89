//! `rekeyfs kms VERB` as clap takes it: the flags that `aws kms VERB` has.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use super::args::Open;
use super::args_import::{
    DeleteImportedKeyMaterial, GetParametersForImport, ImportKeyMaterial, TagResource, UntagResource,
    UpdateKeyDescription,
};

/// `rekeyfs kms`.
#[derive(Args, Debug)]
#[command(subcommand_required = true, arg_required_else_help = true, disable_help_subcommand = true)]
pub(super) struct Kms {
    #[command(subcommand)]
    pub(super) verb: Verb,
}

/// The verbs.
#[derive(Subcommand, Debug)]
#[allow(clippy::large_enum_variant)] // There is one, once, and clap flattens no box.
pub(super) enum Verb {
    #[command(flatten)]
    OfKeys(Box<KeyVerb>),
    /// Re-wrap the data keys of files under another key; contents stay as they are (`rekeyfs reencrypt` encrypts
    /// them anew). They follow no alias from then on
    ReEncrypt(ReEncrypt),
}

/// The verbs that are about keys and aliases.
#[derive(Subcommand, Debug)]
pub(super) enum KeyVerb {
    /// Make a key
    CreateKey(CreateKey),
    /// Show a key's metadata
    DescribeKey(Key),
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
    EnableKey(Key),
    /// Make a key unusable: its files can't be opened until it is enabled again
    DisableKey(Key),
    /// Switch automatic rotation on
    EnableKeyRotation(EnableKeyRotation),
    /// Switch automatic rotation off; all versions are kept
    DisableKeyRotation(Key),
    /// Show whether and when a key rotates by itself
    GetKeyRotationStatus(Key),
    /// Rotate a key now; a key takes 25 of these (`rekeyfs rotate` has no limit)
    RotateKeyOnDemand(Key),
    /// List a key's rotations
    ListKeyRotations(ListKeyRotations),
    /// Make a key unusable, and delete it after a window unless that is cancelled. Refused while files need
    /// it; counted again before it is deleted
    ScheduleKeyDeletion(ScheduleKeyDeletion),
    /// Take a scheduled deletion back; the key is disabled then
    CancelKeyDeletion(Key),
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
    ListResourceTags(Key),
    /// Change what a key is said to be for
    UpdateKeyDescription(UpdateKeyDescription),
    /// List the names of a key's policies
    ListKeyPolicies(Key),
    /// Show a key's policy
    GetKeyPolicy(GetKeyPolicy),
    /// Replace a key's policy: which users may create, open and change the files of the key, whatever their modes
    /// say. Asked when a file is opened; handles that are open go on
    PutKeyPolicy(PutKeyPolicy),
}

/// What every verb takes.
#[derive(Args, Debug)]
pub(super) struct Common {
    /// A vault's directory, a mountpoint, or any path inside a mount [default: $REKEYFS_VAULT]
    #[arg(long, value_name = "TARGET")]
    pub(super) vault: Option<PathBuf>,
    /// How the answer is printed
    #[arg(long, value_enum, default_value_t = Output::Json)]
    pub(super) output: Output,
    #[command(flatten)]
    pub(super) open: Open,
}

/// How an answer is printed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(super) enum Output {
    /// Indented JSON.
    Json,
    /// Values parted by tabs, a line for each object.
    Text,
    /// Boxes.
    Table,
}

/// Verbs about one key.
#[derive(Args, Debug)]
pub(super) struct Key {
    /// The key's id or ARN; describe-key and the verbs of rotation take an alias or its ARN too
    #[arg(long, value_name = "KEY")]
    pub(super) key_id: String,
    #[command(flatten)]
    pub(super) common: Common,
}

/// `rekeyfs kms create-key`.
#[derive(Args, Debug)]
pub(super) struct CreateKey {
    /// What it is for
    #[arg(long, default_value = "")]
    pub(super) description: String,
    /// ENCRYPT_DECRYPT
    #[arg(long)]
    pub(super) key_usage: Option<String>,
    /// AWS_KMS: material made here; EXTERNAL: it will be imported
    #[arg(long)]
    pub(super) origin: Option<String>,
    /// Its policy as JSON, or file://PATH
    #[arg(long)]
    pub(super) policy: Option<String>,
    /// Take a policy by which the vault's owner can't use the key
    #[arg(long)]
    pub(super) bypass_policy_lockout_safety_check: bool,
    /// TagKey=NAME,TagValue=VALUE for each tag, or a JSON list of them
    #[arg(long, num_args = 1..)]
    pub(super) tags: Vec<String>,
    #[command(flatten)]
    pub(super) common: Common,
}

/// Verbs that list.
#[derive(Args, Debug)]
pub(super) struct ListKeys {
    /// At most so many, 1 to 1000; without it all are listed
    #[arg(long, allow_negative_numbers = true)]
    pub(super) limit: Option<i64>,
    /// Go on after the list that gave this NextMarker
    #[arg(long)]
    pub(super) marker: Option<String>,
    #[command(flatten)]
    pub(super) common: Common,
}

/// `rekeyfs kms create-alias` and `update-alias`.
#[derive(Args, Debug)]
pub(super) struct Alias {
    /// alias/NAME; update-alias takes NAME too
    #[arg(long, value_name = "ALIAS")]
    pub(super) alias_name: String,
    /// The key's id or ARN
    #[arg(long, value_name = "KEY")]
    pub(super) target_key_id: String,
    #[command(flatten)]
    pub(super) common: Common,
}

/// `rekeyfs kms delete-alias`.
#[derive(Args, Debug)]
pub(super) struct DeleteAlias {
    /// alias/NAME
    #[arg(long, value_name = "ALIAS")]
    pub(super) alias_name: String,
    #[command(flatten)]
    pub(super) common: Common,
}

/// `rekeyfs kms list-aliases`.
#[derive(Args, Debug)]
pub(super) struct ListAliases {
    /// Only those that point at this key
    #[arg(long, value_name = "KEY")]
    pub(super) key_id: Option<String>,
    #[command(flatten)]
    pub(super) common: Common,
}

/// `rekeyfs kms enable-key-rotation`.
#[derive(Args, Debug)]
pub(super) struct EnableKeyRotation {
    #[command(flatten)]
    pub(super) key: Key,
    /// Days between rotations, 90 to 2560 [default: 365]
    #[arg(long, value_name = "DAYS", allow_negative_numbers = true)]
    pub(super) rotation_period_in_days: Option<i64>,
}

/// `rekeyfs kms list-key-rotations`.
#[derive(Args, Debug)]
pub(super) struct ListKeyRotations {
    #[command(flatten)]
    pub(super) key: Key,
    /// The first key material too, or rotations alone
    #[arg(long, value_enum, value_name = "WHICH", default_value_t = Materials::RotationsOnly)]
    pub(super) include_key_material: Materials,
}

/// Which key materials are listed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(super) enum Materials {
    /// All of them.
    #[value(name = "ALL_KEY_MATERIAL")]
    All,
    /// Those that a rotation brought.
    #[value(name = "ROTATIONS_ONLY")]
    RotationsOnly,
}

/// `rekeyfs kms schedule-key-deletion`.
#[derive(Args, Debug)]
pub(super) struct ScheduleKeyDeletion {
    #[command(flatten)]
    pub(super) key: Key,
    /// Days, 7 to 30 [default: 30]
    #[arg(long, value_name = "DAYS", allow_negative_numbers = true)]
    pub(super) pending_window_in_days: Option<i64>,
    /// Do it, and delete the key after the window, though files need it; asks for an unlock secret, also on a
    /// mounted vault
    #[arg(long)]
    pub(super) force: bool,
}

/// `rekeyfs kms re-encrypt`.
#[derive(Args, Debug)]
pub(super) struct ReEncrypt {
    /// Files in a mount; there is an answer for each
    #[arg(required = true)]
    pub(super) files: Vec<PathBuf>,
    /// The key's id or ARN, an alias or its ARN
    #[arg(long, value_name = "KEY")]
    pub(super) destination_key_id: String,
    /// How the answers are printed
    #[arg(long, value_enum, default_value_t = Output::Json)]
    pub(super) output: Output,
}

/// `rekeyfs kms get-key-policy`.
#[derive(Args, Debug)]
pub(super) struct GetKeyPolicy {
    #[command(flatten)]
    pub(super) key: Key,
    /// default
    #[arg(long, value_name = "NAME")]
    pub(super) policy_name: Option<String>,
}

/// `rekeyfs kms put-key-policy`.
#[derive(Args, Debug)]
pub(super) struct PutKeyPolicy {
    #[command(flatten)]
    pub(super) key: Key,
    /// default
    #[arg(long, value_name = "NAME")]
    pub(super) policy_name: Option<String>,
    /// The policy as JSON, or file://PATH. A Principal is "*" or {"AWS": "uid:NUMBER"}, root (uid:0) too; the Actions
    /// that matter are kms:Encrypt (create, truncate, open for writing) and kms:Decrypt (open)
    #[arg(long)]
    pub(super) policy: String,
    /// Take a policy by which the vault's owner can't use the key
    #[arg(long)]
    pub(super) bypass_policy_lockout_safety_check: bool,
}
