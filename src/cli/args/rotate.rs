//! `rekeyfs rotate` as clap takes it.

use clap::Args;

use super::common::{Json, Open, TargetArg};

/// `rekeyfs rotate`.
#[derive(Args, Debug)]
pub(in crate::cli) struct Rotate {
    #[command(flatten)]
    pub(in crate::cli) target: TargetArg,
    #[command(flatten)]
    pub(in crate::cli) open: Open,
    /// Which key, by alias
    #[arg(long, value_name = "ALIAS", conflicts_with = "key_id")]
    pub(in crate::cli) alias: Option<String>,
    /// Which key, by its id or the beginning of it
    #[arg(long, value_name = "ID")]
    pub(in crate::cli) key_id: Option<String>,
    /// Make a new key with the old one's policy, tags and rotation, and point the alias at it; the old key keeps
    /// its files, and an alias with today's date
    #[arg(long, conflicts_with = "key_id")]
    pub(in crate::cli) new_key: bool,
    /// Every key whose automatic rotation is due, and no other. A mount does that by itself
    #[arg(long, conflicts_with_all = ["alias", "key_id", "new_key"])]
    pub(in crate::cli) due: bool,
    #[command(flatten)]
    pub(in crate::cli) json: Json,
}
