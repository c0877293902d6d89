//! Commands that need no secret as clap takes them: `rekeyfs info` and `rekeyfs speed`.

use clap::Args;

use super::common::{Json, TargetArg};

/// `rekeyfs info`.
#[derive(Args, Debug)]
pub(in crate::cli) struct Info {
    #[command(flatten)]
    pub(in crate::cli) target: TargetArg,
    #[command(flatten)]
    pub(in crate::cli) json: Json,
}

/// `rekeyfs speed`.
#[derive(Args, Debug)]
pub(in crate::cli) struct Speed {
    #[command(flatten)]
    pub(in crate::cli) json: Json,
}
