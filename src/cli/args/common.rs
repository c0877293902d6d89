//! Options that several commands share.

use std::ffi::OsString;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, ValueEnum};

use crate::ids::KeyVersion;

/// What `--version` says.
pub(super) const VERSION: &str = if cfg!(feature = "null-cipher") {
    concat!(env!("CARGO_PKG_VERSION"), " (null cipher: for benchmarks, encrypts nothing)")
} else {
    env!("CARGO_PKG_VERSION")
};

/// Names the vault of each command that takes a TARGET, where none is typed.
pub(in crate::cli) const VAULT_VARIABLE: &str = "REKEYFS_VAULT";
/// The TARGET where neither the command line nor the variable names one: the mount around the current directory, or the
/// vault that this is.
pub(in crate::cli) const HERE: &str = ".";

/// The vault that a command is about, by a path that leads to it.
#[derive(Args, Clone, PartialEq, Eq, Debug)]
pub(in crate::cli) struct TargetArg {
    /// A vault's directory, a mountpoint, or any path inside a mount
    #[arg(env = VAULT_VARIABLE, hide_env_values = true, default_value = HERE)]
    target: PathBuf,
}

impl TargetArg {
    /// One that was typed, or that is where nothing was: for arguments that clap can't tell apart by itself.
    pub(in crate::cli) fn or_here(typed: Option<PathBuf>) -> Self {
        let named = typed.or_else(|| std::env::var_os(VAULT_VARIABLE).map(PathBuf::from));
        Self { target: named.unwrap_or_else(|| HERE.into()) }
    }
}

impl Deref for TargetArg {
    type Target = Path;

    fn deref(&self) -> &Path {
        &self.target
    }
}

/// Whether the answer is printed as JSON.
#[derive(Args, Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::cli) struct Json {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Deref for Json {
    type Target = bool;

    fn deref(&self) -> &bool {
        &self.json
    }
}

/// Where a passphrase or key file comes from.
#[derive(Args, Clone, Debug)]
pub(in crate::cli) struct Pass {
    /// Take the passphrase from the first line of a file
    #[arg(long, value_name = "FILE", conflicts_with_all = ["extpass", "keyfile"])]
    pub(in crate::cli) passfile: Option<PathBuf>,
    /// Take the passphrase from the first line that a shell command prints
    #[arg(long, value_name = "COMMAND", conflicts_with = "keyfile")]
    pub(in crate::cli) extpass: Option<OsString>,
    /// Unlock with a key file of 32 random bytes instead of a passphrase
    #[arg(long, value_name = "FILE")]
    pub(in crate::cli) keyfile: Option<PathBuf>,
}

/// What opens a vault that isn't mounted.
#[derive(Args, Clone, Debug)]
#[command(mut_arg("next_version", |arg| arg.requires("accept_rollback")))]
pub(in crate::cli) struct Open {
    #[command(flatten)]
    pub(in crate::cli) pass: Pass,
    /// Unlock with the recovery key: what is asked for or read is that, not the passphrase
    #[arg(long, conflicts_with = "keyfile")]
    pub(in crate::cli) recovery_key: bool,
    /// Unlock by a custodian's slot and nothing else: NAME is the custodian, or at least 4 characters from the beginning of
    /// the slot's id
    #[arg(long, value_name = "NAME", conflicts_with_all = [
        "passfile", "extpass", "keyfile", "recovery_key", "no_custodian",
    ])]
    pub(in crate::cli) custodian: Option<String>,
    /// Ask no custodian, but for a passphrase
    #[arg(long)]
    pub(in crate::cli) no_custodian: bool,
    /// How long custodians may take, not counting the time that a person takes: from 1s to 10m; without it, 10s
    #[arg(long, value_name = "TIME", value_parser = super::super::options::custodian_timeout)]
    pub(in crate::cli) custodian_timeout: Option<Duration>,
    /// Take a keyring that is older than, or another one than, what this host has seen of the vault, for the path at which
    /// it is; or let the keyring of a copy be changed beside its vault
    #[arg(long)]
    pub(in crate::cli) accept_rollback: bool,
    #[command(flatten)]
    pub(in crate::cli) next: NextVersion,
    /// Try unlock slots whatever they cost and however many there are: only for a keyring that is known to be yours
    #[arg(long)]
    pub(in crate::cli) any_cost: bool,
}

impl Open {
    /// Whether a secret is given by an option, so that none is asked for.
    pub(in crate::cli) fn gives_a_secret(&self) -> bool {
        let Pass { passfile, extpass, keyfile } = &self.pass;
        passfile.is_some() || extpass.is_some() || keyfile.is_some() || self.recovery_key
    }
}

/// From which number on versions of keys are new, when an older keyring takes a newer one's place.
#[derive(Args, Clone, Debug)]
pub(in crate::cli) struct NextVersion {
    /// The number of the next version of each key, where nothing here tells how many were made since the older keyring
    /// was saved: those before it count as lost. Without it, 64 do
    #[arg(long, value_name = "VERSION", value_parser = clap::value_parser!(u32).range(1..))]
    next_version: Option<u32>,
}

impl NextVersion {
    pub(in crate::cli) fn number(&self) -> Option<KeyVersion> {
        self.next_version.map(KeyVersion)
    }
}

/// Argon2id's costs.
#[derive(Args, Clone, Debug)]
pub(in crate::cli) struct Kdf {
    /// Memory that trying a passphrase takes; without it, chosen so that it takes about a second
    #[arg(long, value_name = "MIB")]
    pub(in crate::cli) kdf_memory: Option<u32>,
}

/// The new secret of `unlock add` and `unlock change`; without any, a passphrase is asked for.
#[derive(Args, Debug)]
pub(in crate::cli) struct NewSecret {
    /// Take the new passphrase from the first line of a file
    #[arg(long, value_name = "FILE", conflicts_with_all = ["new_extpass", "new_keyfile", "new_recovery_key"])]
    pub(in crate::cli) new_passfile: Option<PathBuf>,
    /// Take the new passphrase from the first line that a shell command prints
    #[arg(long, value_name = "COMMAND", conflicts_with_all = ["new_keyfile", "new_recovery_key"])]
    pub(in crate::cli) new_extpass: Option<OsString>,
    /// Use a key file of 32 random bytes
    #[arg(long, value_name = "FILE", conflicts_with = "new_recovery_key")]
    pub(in crate::cli) new_keyfile: Option<PathBuf>,
    /// Draw a recovery key and print it once
    #[arg(long)]
    pub(in crate::cli) new_recovery_key: bool,
    #[command(flatten)]
    pub(in crate::cli) kdf: Kdf,
}

/// The custodian of a new slot.
#[derive(Args, Debug)]
#[command(group = clap::ArgGroup::new("custodian_of_slot").conflicts_with_all([
    "new_passfile", "new_extpass", "new_keyfile", "new_recovery_key", "kdf_memory",
]))]
pub(in crate::cli) struct NewCustodian {
    /// Have the custodian NAME keep the key of the new slot: it is asked by the program rekeyfs-custodian-NAME, and this host's
    /// custodians.conf must have it
    #[arg(long, value_name = "NAME", group = "custodian_of_slot")]
    pub(in crate::cli) plugin: Option<String>,
    /// Have age keep the key, for this recipient; may be given several times, and any of them opens the slot
    #[arg(long, value_name = "RECIPIENT", group = "custodian_of_slot")]
    pub(in crate::cli) age: Vec<String>,
    /// Have clevis keep the key: {"plugin":"tang","config":{"url":"…","thp":"…"}}, as docs/custodians.md has it
    #[arg(long, value_name = "JSON", group = "custodian_of_slot")]
    pub(in crate::cli) clevis: Option<String>,
    /// Have systemd-creds keep the key, by the key host, tpm2 or host+tpm2
    #[arg(long, value_name = "KEY", group = "custodian_of_slot")]
    pub(in crate::cli) systemd_creds: Option<String>,
    /// Have AWS KMS keep the key, by the key with this ARN or alias (alias/NAME)
    #[arg(long, value_name = "KEY", group = "custodian_of_slot")]
    pub(in crate::cli) aws_kms: Option<String>,
    /// Have a token or HSM keep the key, by the key that this URI names: pkcs11:token=NAME;object=KEY
    #[arg(long, value_name = "URI", group = "custodian_of_slot")]
    pub(in crate::cli) pkcs11: Option<String>,
    /// Have this machine's TPM keep the key
    #[arg(long, group = "custodian_of_slot")]
    pub(in crate::cli) tpm2: bool,
    /// Have a FIDO2 key keep the key, by its PIN if it has one and a touch; of several that are plugged in, name one: --fido2=hidraw0
    #[arg(long, value_name = "DEVICE", group = "custodian_of_slot", num_args = 0..=1, require_equals = true)]
    pub(in crate::cli) fido2: Option<Option<String>>,
    /// With --tpm2: the registers that the key is bound to, as in 7+11, or none
    #[arg(long, value_name = "PCRS", requires = "tpm2", default_value = "7", conflicts_with_all = [
        "plugin", "age", "clevis", "systemd_creds", "aws_kms", "pkcs11", "fido2",
    ])]
    pub(in crate::cli) pcrs: String,
    /// With --tpm2: a PIN is set for the slot, and wrong ones lock the TPM
    #[arg(long, requires = "tpm2", conflicts_with_all = [
        "plugin", "age", "clevis", "systemd_creds", "aws_kms", "pkcs11", "fido2",
    ])]
    pub(in crate::cli) pin: bool,
    /// With --plugin: what the custodian finds its key by, as a JSON object; anyone who has the vault can read it
    #[arg(long, value_name = "JSON", requires = "plugin", conflicts_with_all = [
        "age", "clevis", "systemd_creds", "aws_kms", "pkcs11", "tpm2", "fido2",
    ])]
    pub(in crate::cli) params: Option<String>,
}

/// A new root key with the change of a slot.
#[derive(Args, Debug)]
pub(in crate::cli) struct Revoke {
    /// Draw a new root key and a new event key and rotate every key too, so that old keyring files open nothing made from
    /// now on. Slots whose secret isn't given are dropped, and a new recovery key is printed. The vault must not be
    /// mounted
    #[arg(long)]
    pub(in crate::cli) revoke: bool,
    /// With --revoke: keep the slot of the passphrase in this file
    #[arg(long, value_name = "FILE", requires = "revoke")]
    pub(in crate::cli) keep_passfile: Vec<PathBuf>,
    /// With --revoke: keep the slot of this key file
    #[arg(long, value_name = "FILE", requires = "revoke")]
    pub(in crate::cli) keep_keyfile: Vec<PathBuf>,
}

/// What every verb of `rekeyfs kms` takes.
#[derive(Args, Debug)]
pub(in crate::cli) struct KmsCommon {
    /// A vault's directory, a mountpoint, or any path inside a mount
    #[arg(long, value_name = "TARGET", env = VAULT_VARIABLE, hide_env_values = true, default_value = HERE)]
    pub(in crate::cli) vault: PathBuf,
    #[command(flatten)]
    pub(in crate::cli) form: Form,
    #[command(flatten)]
    pub(in crate::cli) open: Open,
}

/// How the answer of a verb is printed.
#[derive(Args, Debug)]
pub(in crate::cli) struct Form {
    /// How the answer is printed
    #[arg(long, value_enum, value_name = "FORM", default_value_t = Output::Json)]
    pub(in crate::cli) output: Output,
    /// Print what this JMESPath expression finds in the answer
    #[arg(long, value_name = "EXPRESSION")]
    pub(in crate::cli) query: Option<String>,
    /// Colours in a table: by default on a terminal, unless NO_COLOR is set
    #[arg(long, value_enum, value_name = "WHEN", default_value_t = Colour::Auto)]
    pub(in crate::cli) color: Colour,
    /// Times in ISO 8601, or as they are on the wire: seconds since 1970
    #[arg(long, value_enum, value_name = "FORMAT", env = "REKEYFS_CLI_TIMESTAMP_FORMAT", hide_env_values = true,
          default_value_t = TimestampFormat::Iso8601)]
    pub(in crate::cli) cli_timestamp_format: TimestampFormat,
}

/// Whether a table is coloured.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(in crate::cli) enum Colour {
    On,
    Off,
    /// On a terminal.
    Auto,
}

/// How an answer is printed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(in crate::cli) enum Output {
    /// Indented JSON.
    Json,
    /// Values parted by tabs, a line for each object.
    Text,
    /// Boxes.
    Table,
    /// YAML, of the whole answer.
    Yaml,
    /// YAML, page by page as they come.
    YamlStream,
    /// Nothing is printed but errors.
    Off,
}

/// How times in an answer are printed (the AWS CLI's setting `cli_timestamp_format`).
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(in crate::cli) enum TimestampFormat {
    /// As version 2 of the AWS CLI shows them.
    Iso8601,
    /// As version 1 does.
    Wire,
}

/// Which part of a list is asked for.
#[derive(Args, Clone, Debug)]
pub(in crate::cli) struct Part {
    /// At most so many items; the answer has a NextToken if there are more
    #[arg(long, value_name = "NUMBER")]
    pub(in crate::cli) max_items: Option<u64>,
    /// Continue after the list that gave this NextToken
    #[arg(long, value_name = "TOKEN")]
    pub(in crate::cli) starting_token: Option<String>,
    /// Ask for so many items at a time, 1 to 1000; all are printed nevertheless
    #[arg(long, value_name = "NUMBER", allow_negative_numbers = true)]
    pub(in crate::cli) page_size: Option<i64>,
    /// Print the first page alone, with its NextMarker
    #[arg(long)]
    pub(in crate::cli) no_paginate: bool,
    /// Print one page of at most so many items, 1 to 1000
    #[arg(long, value_name = "NUMBER", allow_negative_numbers = true)]
    pub(in crate::cli) limit: Option<i64>,
    /// Print one page: the one after that which gave this NextMarker
    #[arg(long, value_name = "MARKER")]
    pub(in crate::cli) marker: Option<String>,
}
