//! `rekeyfs events`, as it is typed.

use std::path::PathBuf;

use clap::Args;

use super::common::{HERE, Open, VAULT_VARIABLE};

/// `rekeyfs events`.
#[derive(Args, Debug)]
pub(in crate::cli) struct Events {
    /// A vault's directory, a mountpoint, or any path inside a mount
    #[arg(env = VAULT_VARIABLE, hide_env_values = true, default_value = HERE)]
    pub(in crate::cli) target: PathBuf,
    #[command(flatten)]
    pub(in crate::cli) open: Open,
    /// Continue with what comes, until interrupted; also across an unmount and the next mount
    #[arg(long, short, conflicts_with = "verify")]
    pub(in crate::cli) follow: bool,
    /// Show nothing and check the log: exit status 45 if a line was changed, moved, added or taken out, or if
    /// the log ends before the place that the keyring remembers
    #[arg(long)]
    pub(in crate::cli) verify: bool,
    /// Only events from this time on (UTC, as the log has it): 2026-11-22, or 2026-11-22T09:30
    #[arg(long, value_name = "TIME", conflicts_with = "verify")]
    pub(in crate::cli) since: Option<String>,
    /// Print the lines of the log as they are; with --verify, one JSON object
    #[arg(long)]
    pub(in crate::cli) json: bool,
}
