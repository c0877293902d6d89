//! `rekeyfs hosts`: which host uses a vault on a filesystem that several hosts have mounted, and what is done when one is lost.

mod evict;
mod members;

use serde::Serialize;

use super::args::{self, HostsCommand};
use super::errors;
use super::exit::Outcome;
use super::output;
use super::target::Target;
use crate::hosts::Mode;
use crate::ids::PathText;
use crate::keyring::{Listed, lease};
use crate::mount::{Fencing, LockHolder, SharedFilesystem, lock_holder};
use crate::printable;

/// Shows the host, or evicts one.
///
/// # Errors
/// What resolving the target, the lock, or opening the keyring may say.
pub(super) fn run(args: &args::Hosts) -> Outcome {
    match &args.command {
        Some(HostsCommand::Evict(args)) => evict::run(args),
        None => show(args),
    }
}

#[derive(Serialize)]
struct Listing {
    vault: PathText,
    /// The filesystem's type, if several hosts can have it mounted.
    shared_filesystem: Option<&'static str>,
    /// Whether it keeps out what a host that has lost the lock writes late.
    fences: bool,
    hosts: Vec<Row>,
    /// The mounts that share it.
    members: Vec<MemberRow>,
}

#[derive(Serialize)]
struct MemberRow {
    slot: u8,
    host: String,
    pid: u32,
    writer: bool,
    /// Whether its slot is locked by somebody.
    holds_slot: bool,
    /// How often it has renewed its lease, and how many seconds ago the last time, if the clocks agree.
    beat: u64,
    renewed_seconds_ago: Option<u64>,
    /// Whether its lease lasts still, if the clocks agree.
    lease_in_force: Option<bool>,
    /// The generation of the keyring that it has in use.
    generation: u64,
}

impl From<Listed> for MemberRow {
    fn from(listed: Listed) -> Self {
        let Listed { member, holds, age } = listed;
        Self {
            slot: member.slot.get(),
            host: member.host.as_str().to_owned(),
            pid: member.pid,
            writer: member.mode == Mode::Writer,
            holds_slot: holds,
            beat: member.beat.0,
            renewed_seconds_ago: age.map(|age| age.as_secs()),
            lease_in_force: age.map(|age| age < lease()),
            generation: member.generation.0,
        }
    }
}

#[derive(Serialize)]
struct Row {
    host: Option<String>,
    pid: Option<u32>,
    command: Option<String>,
    mount: bool,
    this_host: bool,
    /// Whether it holds the lock; else it ended without giving it back.
    holds_lock: bool,
}

impl From<LockHolder> for Row {
    fn from(holder: LockHolder) -> Self {
        let LockHolder { host, pid, command, mount, here, holds } = holder;
        Self { host, pid, command, mount, this_host: here, holds_lock: holds }
    }
}

fn show(args: &args::Hosts) -> Outcome {
    let target = Target::resolve(&args.target)?;
    let vault = target.vault();
    let (holder, shared) = lock_holder(vault).map_err(|error| errors::mount(&error))?;
    let listing = Listing {
        members: members::of(vault)?.into_iter().map(MemberRow::from).collect(),
        vault: PathText(vault.to_owned()),
        shared_filesystem: shared.as_ref().map(|shared| shared.name),
        fences: shared.as_ref().is_some_and(|shared| shared.fencing == Fencing::ShutsOut),
        hosts: holder.into_iter().map(Row::from).collect(),
    };
    if *args.json {
        return output::print_json(&listing);
    }
    let mut text = String::new();
    for row in &listing.hosts {
        text += &line(row, shared.as_ref());
    }
    for row in &listing.members {
        text += &member_line(row);
    }
    if listing.hosts.is_empty() && listing.members.is_empty() {
        text = format!("{}: no host uses it\n", printable::path(vault));
    }
    output::print(&text)
}

fn line(row: &Row, shared: Option<&SharedFilesystem>) -> String {
    let host = row.host.as_deref().unwrap_or("a host whose name isn't known").escape_default();
    let mut who = format!("{host}{}", if row.this_host && row.host.is_some() { " (this host)" } else { "" });
    if let Some(pid) = row.pid {
        who += &format!(": process {pid}");
    }
    if let Some(command) = &row.command {
        who += &format!(" (rekeyfs {command})");
    }
    let what = match (row.holds_lock, shared) {
        (true, _) if row.mount => "has the vault mounted",
        (true, _) => "has the vault in use",
        (false, Some(SharedFilesystem { fencing: Fencing::None, .. })) if !row.this_host => {
            "ended without unmounting: other hosts may mount once it is evicted"
        }
        (false, _) => "ended without unmounting: the next mount goes on from there",
    };
    format!("{who}: {what}\n")
}

fn member_line(row: &MemberRow) -> String {
    let MemberRow { slot, host, pid, generation, .. } = row;
    let host = host.escape_default();
    let what = if row.writer { "writes" } else { "reads" };
    let gone = if row.holds_slot { "" } else { ", and has ended without unmounting" };
    let over = if row.lease_in_force == Some(false) { " (it is over)" } else { "" };
    let renewed = row
        .renewed_seconds_ago
        .map_or_else(String::new, |ago| format!(", renewed its lease {ago} s ago{over}"));
    format!(
        "{host}: process {pid} in slot {slot:02} {what}{renewed}, has generation {generation} of the keyring in use{gone}\n"
    )
}
