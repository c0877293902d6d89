//! Commands that need no secret as clap takes them: `rekeyfs info` and `rekeyfs speed`.

use clap::Args;

use super::common::TargetArg;

/// `rekeyfs info`.
#[derive(Args, Debug)]
pub(in crate::cli) struct Info {
    #[command(flatten)]
    pub(in crate::cli) target: TargetArg,
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
