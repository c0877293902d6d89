//! Commands about files as clap takes them: `rekeyfs rewrap`, `reencrypt`, `inspect` and `status`.

use std::num::NonZeroU32;
use std::path::PathBuf;

use clap::builder::ArgPredicate;
use clap::{Args, ValueEnum};

use super::common::{HERE, Json, Open, TargetArg, VAULT_VARIABLE};
use crate::ids::AliasName;

/// `rekeyfs reencrypt`.
#[derive(Args, Debug)]
pub(in crate::cli) struct Reencrypt {
    /// Files in a mount; with -r also directories in a mount, or the directory of a vault that isn't mounted
    #[arg(required = true)]
    pub(in crate::cli) paths: Vec<PathBuf>,
    #[command(flatten)]
    pub(in crate::cli) open: Open,
    /// All files below directories
    #[arg(long, short)]
    pub(in crate::cli) recursive: bool,
    /// Leave out files made at or after this time, in seconds since 1970 (`date +%s`): to continue a run that
    /// began then, or since the old keys can't be known for these. Ciphertext that was copied or restored since
    /// counts as made then
    #[arg(long, value_name = "SECONDS")]
    pub(in crate::cli) before: Option<u32>,
    #[command(flatten)]
    pub(in crate::cli) json: Json,
}

/// `rekeyfs status`.
#[derive(Args, Debug)]
pub(in crate::cli) struct Status {
    /// A vault's directory, a mountpoint, or any path inside a mount
    #[arg(env = VAULT_VARIABLE, hide_env_values = true)]
    #[arg(default_value = HERE, default_value_if("all", ArgPredicate::IsPresent, None))]
    pub(in crate::cli) target: Option<PathBuf>,
    /// With --all: further vaults, which are shown as down if they aren't mounted
    #[arg(requires = "all", value_name = "VAULT")]
    pub(in crate::cli) vaults: Vec<PathBuf>,
    #[command(flatten)]
    pub(in crate::cli) open: Open,
    /// Count the files first: without it, the last count is shown, if one was kept, else what the mount has seen since it
    /// was made
    #[arg(long)]
    pub(in crate::cli) count: bool,
    #[command(flatten)]
    pub(in crate::cli) json: Json,
    /// How it is printed: `prometheus` is for node_exporter's textfile collector, and asks for no secret
    #[arg(long, value_enum, value_name = "FORMAT", conflicts_with = "json")]
    pub(in crate::cli) output: Option<StatusOutput>,
    /// With --output prometheus: every mount of this user, for root of all users, also those whose daemon is gone
    #[arg(long, conflicts_with = "count")]
    pub(in crate::cli) all: bool,
    /// With --output prometheus: put the text in the place of this file, as a whole
    #[arg(long, value_name = "FILE")]
    pub(in crate::cli) output_file: Option<PathBuf>,
}

/// How a vault's state is printed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(in crate::cli) enum StatusOutput {
    /// For people
    Text,
    /// As --json
    Json,
    /// Prometheus' text format
    Prometheus,
}

/// `rekeyfs rewrap`.
#[derive(Args, Debug)]
pub(in crate::cli) struct Rewrap {
    #[command(flatten)]
    pub(in crate::cli) target: TargetArg,
    #[command(flatten)]
    pub(in crate::cli) open: Open,
    /// Move files to the key that this alias points at, and have them follow it from then on, whatever they
    /// followed before: all of the vault, or PATHS alone; a TARGET inside a mount is such a path
    #[arg(long, value_name = "ALIAS")]
    pub(in crate::cli) to_alias: Option<AliasName>,
    /// With --to-alias: files in the mount, or directories for all files below them
    #[arg(requires = "to_alias", value_name = "PATH")]
    pub(in crate::cli) paths: Vec<PathBuf>,
    /// Give files that don't say which alias they follow, those of versions before, that of their directory, where it
    /// points at their key; no file changes its key by it
    #[arg(long, conflicts_with = "to_alias")]
    pub(in crate::cli) adopt: bool,
    /// Look at this many files in a second at most
    #[arg(long, value_name = "FILES")]
    pub(in crate::cli) max_rate: Option<NonZeroU32>,
    #[command(flatten)]
    pub(in crate::cli) json: Json,
}

/// `rekeyfs inspect`.
#[derive(Args, Debug)]
#[command(mut_arg("json", |arg| arg.help("Print JSON: one object a file; with -r each on a line")))]
pub(in crate::cli) struct Inspect {
    /// Files in a mount, or ciphertext files; with -r also directories of either, or a vault's directory
    #[arg(required = true)]
    pub(in crate::cli) paths: Vec<PathBuf>,
    /// List the files below directories: all, or those that the options below choose together
    #[arg(long, short)]
    pub(in crate::cli) recursive: bool,
    /// With -r: only files that a key wraps: its id, the beginning of it or its ARN, an alias or its ARN
    #[arg(long, value_name = "KEY", requires = "recursive")]
    pub(in crate::cli) key: Option<String>,
    /// With -r: only files that this version of their key wraps
    #[arg(long, value_name = "VERSION", requires = "recursive")]
    pub(in crate::cli) version: Option<u32>,
    /// With -r: only files that are not wrapped by the version where they belong now
    #[arg(long, requires = "recursive")]
    pub(in crate::cli) stale: bool,
    /// With -r: only files whose key or version can't be used now
    #[arg(long, requires = "recursive")]
    pub(in crate::cli) unusable: bool,
    /// With -r: print paths alone, as they are, each ended by a NUL (for `xargs -0`)
    #[arg(long, short = '0', requires = "recursive", conflicts_with = "json")]
    pub(in crate::cli) print0: bool,
    #[command(flatten)]
    pub(in crate::cli) json: Json,
}
