//! `rekeyfs hosts`, as it is typed.

use clap::{Args, Subcommand};

use super::common::{Json, Open, TargetArg};

/// `rekeyfs hosts`.
#[derive(Args, Debug)]
#[command(args_conflicts_with_subcommands = true)]
pub(in crate::cli) struct Hosts {
    #[command(subcommand)]
    pub(in crate::cli) command: Option<HostsCommand>,
    #[command(flatten)]
    pub(in crate::cli) target: TargetArg,
    #[command(flatten)]
    pub(in crate::cli) json: Json,
}

/// What is done about hosts.
#[derive(Subcommand, Debug)]
pub(in crate::cli) enum HostsCommand {
    /// Say that a host is dead which ended without unmounting the vault, so that another one may mount it; or take a reader that
    /// is gone out of those that changes of keys wait for. Takes an unlock secret unless the vault is mounted here, and is recorded in the
    /// audit log
    Evict(HostsEvict),
}

/// `rekeyfs hosts evict`.
#[derive(Args, Debug)]
#[command(allow_missing_positional = true)]
pub(in crate::cli) struct HostsEvict {
    #[command(flatten)]
    pub(in crate::cli) target: TargetArg,
    /// The host's name, as `rekeyfs hosts` shows it
    pub(in crate::cli) host: String,
    /// It is switched off, or its client of the cluster is ended: nothing that it wrote can arrive any more. If it can, two hosts
    /// change the vault, and files are lost. Not needed for a reader
    #[arg(long)]
    pub(in crate::cli) host_is_dead: bool,
    /// For how many seconds the host stays in the way, for its client of the cluster may have something still to send. 60, and 0
    /// where the cluster shuts lost hosts out; at least 10.5 if it shared the vault; not for a reader
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(..=86_400))]
    pub(in crate::cli) drain: Option<u64>,
    #[command(flatten)]
    pub(in crate::cli) open: Open,
    #[command(flatten)]
    pub(in crate::cli) json: Json,
}
