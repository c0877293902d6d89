//! `rekeyfs reencrypt` and `rekeyfs status` as clap takes them.

use std::path::PathBuf;

use clap::Args;

use super::args::Open;

/// `rekeyfs reencrypt`.
#[derive(Args, Debug)]
pub(super) struct Reencrypt {
    /// Files in a mount; with -r also directories in a mount, or the directory of a vault that isn't mounted
    #[arg(required = true)]
    pub(super) paths: Vec<PathBuf>,
    #[command(flatten)]
    pub(super) open: Open,
    /// All files below directories
    #[arg(long, short)]
    pub(super) recursive: bool,
    /// Leave out files made at or after this time, in seconds since 1970 (`date +%s`): to go on with a run that
    /// began then, or since the old keys can't be known for these. Ciphertext that was copied or restored since
    /// counts as made then
    #[arg(long, value_name = "SECONDS")]
    pub(super) before: Option<u32>,
    /// Print the result as JSON
    #[arg(long)]
    pub(super) json: bool,
}

/// `rekeyfs status`.
#[derive(Args, Debug)]
pub(super) struct Status {
    /// A vault's directory, a mountpoint, or any path inside a mount
    pub(super) target: PathBuf,
    #[command(flatten)]
    pub(super) open: Open,
    /// Count the files first: without it, those are shown that the mount has seen since it was made
    #[arg(long)]
    pub(super) count: bool,
    /// Print JSON
    #[arg(long)]
    pub(super) json: bool,
}
