//! `rekeyfs events`, as it is typed.

use clap::{Args, Subcommand};

use super::common::{Json, Open, TargetArg};
use crate::events::{EventFilter, EventKey, EventName, LogTime, Who};

/// `rekeyfs events`.
#[derive(Args, Debug)]
#[command(args_conflicts_with_subcommands = true)]
#[command(mut_arg("json", |arg| arg.help("Print the lines of the log as they are; with --verify, one JSON object")))]
pub(in crate::cli) struct Events {
    #[command(subcommand)]
    pub(in crate::cli) command: Option<EventsCommand>,
    #[command(flatten)]
    pub(in crate::cli) target: TargetArg,
    #[command(flatten)]
    pub(in crate::cli) open: Open,
    /// Continue with what comes, until interrupted; also across an unmount and the next mount
    #[arg(long, short, conflicts_with = "verify")]
    pub(in crate::cli) follow: bool,
    /// Show nothing and check the log: exit status 45 if a line was changed, moved, added or taken out, or if
    /// the log ends before the place that the keyring remembers
    #[arg(long)]
    pub(in crate::cli) verify: bool,
    /// Show times in UTC, as the log has them, not in local time
    #[arg(long)]
    pub(in crate::cli) utc: bool,
    /// Show whole lines on a terminal too, and whole ids
    #[arg(long)]
    pub(in crate::cli) full: bool,
    /// Only events from this time on (UTC, as the log has it): 2026-11-22, or 2026-11-22T09:30
    #[arg(long, value_name = "TIME", conflicts_with = "verify")]
    since: Option<LogTime>,
    /// Only events up to this time: to the end of a day, a minute
    #[arg(long, value_name = "TIME", conflicts_with = "verify")]
    until: Option<LogTime>,
    /// Only events whose type, or whose operation, has these words: rotation, DisableKey
    #[arg(long, value_name = "WORDS", conflicts_with = "verify")]
    event: Option<EventName>,
    /// Only events about this key: its id, 4 or more characters from its beginning, or its ARN
    #[arg(long, value_name = "KEY", conflicts_with = "verify")]
    key: Option<EventKey>,
    /// Only what this user did, by uid, or admin: who an endpoint's client acts as
    #[arg(long, value_name = "UID", conflicts_with = "verify")]
    who: Option<Who>,
    #[command(flatten)]
    pub(in crate::cli) json: Json,
}

impl Events {
    /// Which events are shown.
    pub(in crate::cli) fn filter(&self) -> EventFilter {
        EventFilter {
            since: self.since.clone(),
            until: self.until.clone(),
            event: self.event.clone(),
            key: self.key.clone(),
            who: self.who,
        }
    }
}

/// What is done with the log's files.
#[derive(Subcommand, Debug)]
pub(in crate::cli) enum EventsCommand {
    /// Close the log's file and continue the log in a new one; the chain goes on, and --verify checks all files
    Rotate(EventsRotate),
    /// Remove the oldest closed files of the log; --verify says from where on it begins then
    Prune(EventsPrune),
}

/// `rekeyfs events rotate`.
#[derive(Args, Debug)]
pub(in crate::cli) struct EventsRotate {
    #[command(flatten)]
    pub(in crate::cli) target: TargetArg,
    #[command(flatten)]
    pub(in crate::cli) open: Open,
    #[command(flatten)]
    pub(in crate::cli) json: Json,
}

/// `rekeyfs events prune`.
#[derive(Args, Debug)]
pub(in crate::cli) struct EventsPrune {
    #[command(flatten)]
    pub(in crate::cli) target: TargetArg,
    #[command(flatten)]
    pub(in crate::cli) open: Open,
    /// How many of the newest closed files stay
    #[arg(long, value_name = "N")]
    pub(in crate::cli) keep: usize,
    #[command(flatten)]
    pub(in crate::cli) json: Json,
}
