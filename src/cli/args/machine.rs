//! Commands that need no secret as clap takes them: `rekeyfs info` and `rekeyfs speed`.

use std::path::PathBuf;

use clap::Args;

use super::common::{HERE, VAULT_VARIABLE};

/// `rekeyfs info`.
#[derive(Args, Debug)]
pub(in crate::cli) struct Info {
    /// A vault's directory, a mountpoint, or any path inside a mount
    #[arg(env = VAULT_VARIABLE, hide_env_values = true, default_value = HERE)]
    pub(in crate::cli) target: PathBuf,
    /// Print JSON
    #[arg(long)]
    pub(in crate::cli) json: bool,
}

/// `rekeyfs speed`.
#[derive(Args, Debug)]
pub(in crate::cli) struct Speed {
    /// Print JSON
    #[arg(long)]
    pub(in crate::cli) json: bool,
}
