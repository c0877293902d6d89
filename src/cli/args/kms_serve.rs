//! `rekeyfs kms serve` as clap takes it.

use std::num::NonZeroU16;
use std::path::PathBuf;

use clap::Args;

use super::common::TargetArg;
use crate::console::{AccountId, Loopback, Principal, Region};

/// `rekeyfs kms serve`.
#[derive(Args, Debug)]
pub(in crate::cli) struct KmsServe {
    #[command(flatten)]
    pub(in crate::cli) target: TargetArg,
    /// Where programs of this host connect, on its loopback; port 0 takes a free one, which is printed
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:4599", conflicts_with = "unix")]
    pub(in crate::cli) listen: Loopback,
    /// Listen at a socket in the filesystem instead, which only you can use
    #[arg(long, value_name = "PATH")]
    pub(in crate::cli) unix: Option<PathBuf>,
    /// The region that clients are to be configured with; it is in ARNs and signatures
    #[arg(long, value_name = "REGION", default_value = "us-east-1")]
    pub(in crate::cli) region: Region,
    /// The account that clients see in ARNs
    #[arg(long, value_name = "DIGITS", default_value = "000000000000")]
    pub(in crate::cli) account_id: AccountId,
    /// How long a call waits for the mount: one that hangs is answered with a DependencyTimeoutException then. Clients wait for 60
    /// seconds by default
    #[arg(long, value_name = "SECONDS", default_value = "50")]
    pub(in crate::cli) answer_within: NonZeroU16,
    /// The file of credentials, mode 600, a line for each: ACCESS_KEY_ID SECRET_ACCESS_KEY admin|uid:NUMBER [read-only]
    /// [default: $XDG_CONFIG_HOME/rekeyfs/kms-credentials, /etc/rekeyfs/kms-credentials for root]
    #[arg(long, value_name = "FILE")]
    pub(in crate::cli) credentials: Option<PathBuf>,
    /// Add new credentials to the file, print them as a profile for ~/.aws/credentials, and serve nothing
    #[arg(long)]
    pub(in crate::cli) new_credentials: bool,
    /// As whom the new credentials act: admin, who manages keys, or uid:NUMBER, who uses them as their policies allow
    /// [default: admin]
    #[arg(long, value_name = "WHO", requires = "new_credentials")]
    pub(in crate::cli) principal: Option<Principal>,
    /// The new credentials change nothing
    #[arg(long, requires = "new_credentials")]
    pub(in crate::cli) read_only: bool,
}
