//! What `rekeyfs fsck` takes.

use std::path::PathBuf;

use clap::Args;

use super::common::{Json, Open, TargetArg};

/// The statuses of `rekeyfs fsck`, which aren't those of the other commands.
const STATUS: &str = "\
Exit status, as fsck(8) has it; of 1, 4 and 32 the sum:
   0  nothing is wrong; warnings, and files whose key can't be used now, don't count (with --keyring: these do)
   1  something was put right
   4  something is wrong and was left as it is
   8  the vault could not be checked: no such path, wrong passphrase, damaged keyring, mount not reachable
  16  the command line isn't right
  32  stopped by SIGINT or SIGTERM

docs/fsck.md explains each finding.";

/// `rekeyfs fsck`.
#[derive(Args, Debug)]
#[command(after_help = STATUS)]
#[command(mut_arg("json", |arg| arg.help("Print JSON: one object a finding and a line, then one with the counts")))]
pub(in crate::cli) struct Fsck {
    #[command(flatten)]
    pub(in crate::cli) target: TargetArg,
    /// Check only this file or directory: in a mount its path from the current directory or from the mount's root on,
    /// of a vault that isn't mounted that from its root on
    pub(in crate::cli) path: Option<PathBuf>,
    /// TARGET is a copy of a vault, or of its tree alone: check it with this keyring (VAULT/keyring) or key backup,
    /// and tell which key versions its files need and whether both keyrings, this one and the copy's own, open
    /// them. The secret asked for is one of this keyring. Nothing is written, to the copy or beside the keyring
    #[arg(long, value_name = "FILE", conflicts_with_all = ["repair", "quarantine"])]
    pub(in crate::cli) keyring: Option<PathBuf>,
    /// With --keyring: open a key backup for age recipients with the age identity in this file
    #[arg(long, value_name = "FILE", requires = "keyring", conflicts_with_all = [
        "passfile", "extpass", "keyfile", "recovery_key",
    ])]
    pub(in crate::cli) identity: Option<PathBuf>,
    #[command(flatten)]
    pub(in crate::cli) open: Open,
    /// Repair what can be repaired, and say so for each: sizes, slots, leftovers, and pages that read as an error and
    /// that no header promises, which become zeros. What is overwritten is kept in the vault's fsck-undo.jsonl. The
    /// vault must not be mounted
    #[arg(long)]
    pub(in crate::cli) repair: bool,
    /// Move files that can't be read whole into this directory, which is not in the vault, with a list of the pages
    /// that can be read. The vault must not be mounted
    #[arg(long, value_name = "DIR")]
    pub(in crate::cli) quarantine: Option<PathBuf>,
    /// With --quarantine: write what can be read there too, decrypted, with zeros for the rest
    #[arg(long, requires = "quarantine")]
    pub(in crate::cli) salvage: bool,
    #[command(flatten)]
    pub(in crate::cli) json: Json,
}
