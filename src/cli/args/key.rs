//! `rekeyfs key` as clap takes it.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::common::{Json, Open, TargetArg};

/// `rekeyfs key`.
#[derive(Args, Debug)]
#[command(subcommand_required = true, arg_required_else_help = true)]
pub(in crate::cli) struct Key {
    #[command(subcommand)]
    pub(in crate::cli) command: KeyCommand,
}

/// The commands of `rekeyfs key`.
#[derive(Subcommand, Debug)]
pub(in crate::cli) enum KeyCommand {
    /// Retire old versions of a key, restore them, or delete their material. Files are counted first: it is refused
    /// while one needs such a version
    Retire(Retire),
}

/// `rekeyfs key retire`.
#[derive(Args, Debug)]
pub(in crate::cli) struct Retire {
    #[command(flatten)]
    pub(in crate::cli) target: TargetArg,
    /// Which key: its id, the beginning of it or its ARN, an alias or its ARN
    #[arg(long, value_name = "KEY")]
    pub(in crate::cli) key_id: String,
    /// Versions below this one; the current version is the last that can stand here
    #[arg(long, value_name = "VERSION")]
    pub(in crate::cli) below: u32,
    /// Open them again
    #[arg(long, conflicts_with_all = ["trim", "force"])]
    pub(in crate::cli) undo: bool,
    /// Delete their material too. This can't be undone. Copies of the vault whose files were not copied again since
    /// they were re-wrapped become unreadable: copy them again with `rsync --checksum` first. Asks on a terminal
    #[arg(long)]
    pub(in crate::cli) trim: bool,
    /// Count the files of this copy of the vault (or of its tree alone) too, as those of the vault: refuse while one
    /// needs what is to go. May be given several times
    #[arg(long, value_name = "DIR", conflicts_with_all = ["undo", "force"])]
    pub(in crate::cli) checked_copy: Vec<PathBuf>,
    /// With --trim: don't ask
    #[arg(long, short = 'y')]
    pub(in crate::cli) yes: bool,
    /// Do it though files need them, and without counting; asks for an unlock secret, also on a mounted vault
    #[arg(long)]
    pub(in crate::cli) force: bool,
    #[command(flatten)]
    pub(in crate::cli) open: Open,
    #[command(flatten)]
    pub(in crate::cli) json: Json,
}
