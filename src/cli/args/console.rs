//! `rekeyfs console` as clap takes it.

use clap::Args;

use super::common::TargetArg;
use crate::console::Loopback;

/// What is done with the address.
const AFTER: &str = "\
The address opens one session, once, within ten minutes. The session ends with Sign out, and after an hour without a
request; then start the console again. It acts as the user who runs it, and takes no unlock secret.

From another machine: ssh -L 4600:127.0.0.1:4600 HOST, and rekeyfs console --listen 127.0.0.1:4600 there.";

/// `rekeyfs console`.
#[derive(Args, Debug)]
#[command(after_help = AFTER)]
pub(in crate::cli) struct Console {
    #[command(flatten)]
    pub(in crate::cli) target: TargetArg,
    /// Where the browser connects, on this host's loopback; port 0 takes a free one
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:0")]
    pub(in crate::cli) listen: Loopback,
    /// Show everything, and change nothing
    #[arg(long)]
    pub(in crate::cli) read_only: bool,
}
