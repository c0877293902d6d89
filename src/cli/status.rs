//! `rekeyfs status`.

use std::fmt::Write;

use super::args;
use super::exit::Outcome;
use super::offline;
use super::output;
use super::target::{self, Target};
use crate::control::{Reply, Request, Status};

/// Shows the state of a vault.
///
/// # Errors
/// What resolving the target, asking the daemon or opening the vault may say.
pub(super) fn run(args: &args::Status) -> Outcome {
    let status = match &Target::resolve(&args.target)? {
        Target::Mounted(entry) => match target::ask(entry, &Request::Status)? {
            Reply::Status(status) => *status,
            _ => return Err(target::unexpected(entry)),
        },
        Target::Vault(vault) => offline::status(vault, &args.open)?,
    };
    if args.json { output::print_json(&status) } else { output::print(&text(&status)) }
}

fn text(status: &Status) -> String {
    let mut out = String::new();
    // Writing to a string can't fail.
    let _ = writeln!(out, "vault      {}", status.vault_id);
    let _ = writeln!(out, "directory  {}", status.vault.as_path().display());
    let _ = writeln!(out, "suite      {}", status.suite);
    match &status.mount {
        None => {
            let _ = writeln!(out, "mount      not mounted");
        }
        Some(mount) => {
            let notes = [(mount.read_only, ", read-only"), (!mount.lazy_rewrap, ", lazy re-wrap off")];
            let notes: String = notes.iter().filter(|(on, _)| *on).map(|(_, note)| *note).collect();
            let _ = writeln!(
                out,
                "mount      {} (process {}{notes})",
                mount.mountpoint.as_path().display(),
                mount.pid
            );
        }
    }
    let _ = writeln!(out, "\nalias                 key                                   version  state");
    for alias in &status.aliases {
        let _ = writeln!(
            out,
            "{:<20}  {}  {:>7}  {}",
            alias.alias.as_str(),
            alias.key_id,
            alias.version.0,
            alias.state
        );
    }
    for pending in &status.pending_deletions {
        let insisted = if pending.insisted { ", though files need it" } else { "" };
        let _ = writeln!(out, "\nkey {} will be deleted at {}{insisted}", pending.key_id, pending.date);
        if let Some(why) = &pending.held_up {
            let _ = writeln!(out, "  its date has passed, and it is held up: {why}");
        }
    }
    let (seen, stale, waiting) = (status.files_seen, status.files_stale, status.pending_rewraps);
    let _ = writeln!(
        out,
        "\n{seen} files seen so far, {stale} of them stale, {waiting} waiting for their re-wrap"
    );
    if !status.versions.is_empty() {
        let _ = writeln!(out, "key                                   version  files seen");
    }
    for version in &status.versions {
        let _ = writeln!(out, "{}  {:>7}  {:>10}", version.key_id, version.version.0, version.files);
    }
    out
}
