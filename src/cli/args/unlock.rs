//! `rekeyfs unlock` as clap takes it.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::common::{NewSecret, Open, Revoke};

/// `rekeyfs unlock`.
#[derive(Args, Debug)]
#[command(subcommand_required = true, arg_required_else_help = true, disable_help_subcommand = true)]
pub(in crate::cli) struct Unlock {
    #[command(subcommand)]
    pub(in crate::cli) command: UnlockCommand,
}

/// The commands of `rekeyfs unlock`.
#[derive(Subcommand, Debug)]
pub(in crate::cli) enum UnlockCommand {
    /// Show the unlock slots; asks for no secret
    List(UnlockList),
    /// Add a passphrase, key file or recovery key
    Add(UnlockAdd),
    /// Remove a slot
    Remove(UnlockRemove),
    /// Replace the secret of a slot
    Change(UnlockChange),
}

/// `rekeyfs unlock list`.
#[derive(Args, Debug)]
pub(in crate::cli) struct UnlockList {
    /// A vault's directory, a mountpoint, or any path inside a mount
    pub(in crate::cli) target: PathBuf,
    /// Print JSON
    #[arg(long)]
    pub(in crate::cli) json: bool,
}

/// `rekeyfs unlock add`.
#[derive(Args, Debug)]
pub(in crate::cli) struct UnlockAdd {
    /// A vault's directory, a mountpoint, or any path inside a mount
    pub(in crate::cli) target: PathBuf,
    #[command(flatten)]
    pub(in crate::cli) open: Open,
    #[command(flatten)]
    pub(in crate::cli) new: NewSecret,
}

/// `rekeyfs unlock remove`.
#[derive(Args, Debug)]
pub(in crate::cli) struct UnlockRemove {
    /// A vault's directory, a mountpoint, or any path inside a mount
    pub(in crate::cli) target: PathBuf,
    /// The slot's id, as `rekeyfs unlock list` shows it, or the beginning of it
    pub(in crate::cli) slot: String,
    #[command(flatten)]
    pub(in crate::cli) open: Open,
    #[command(flatten)]
    pub(in crate::cli) revoke: Revoke,
}

/// `rekeyfs unlock change`.
#[derive(Args, Debug)]
pub(in crate::cli) struct UnlockChange {
    /// A vault's directory, a mountpoint, or any path inside a mount
    pub(in crate::cli) target: PathBuf,
    /// The slot to replace, by its id or the beginning of it; without it, the one that the given secret opens, if the new secret is of its kind
    #[arg(long, value_name = "ID")]
    pub(in crate::cli) slot: Option<String>,
    #[command(flatten)]
    pub(in crate::cli) open: Open,
    #[command(flatten)]
    pub(in crate::cli) new: NewSecret,
    #[command(flatten)]
    pub(in crate::cli) revoke: Revoke,
}
