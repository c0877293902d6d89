//! `rekeyfs status`: keys and versions with the files on each, a bar for each on a terminal, and what is to come.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::io::IsTerminal;

use super::args::{self, StatusOutput};
use super::errors;
use super::exit::{Exit, Failure, Outcome, note};
use super::key_backup;
use super::metrics;
use super::open_target::{Access, OpenTarget};
use super::output;
use super::progress::{Display, long_work};
use super::rewrap;
use super::target::Target;
use crate::ids::{KeyId, KeyVersion};
use crate::keyring::{VersionRange, VersionState};
use crate::printable;
use crate::service::Status;

/// Cells of a bar that stands for all files.
const BAR: u64 = 30;

/// Shows the state of a vault.
///
/// # Errors
/// What resolving the target, asking the daemon or opening the vault may say.
pub(super) fn run(args: &args::Status) -> Outcome {
    if args.output == Some(StatusOutput::Prometheus) {
        return metrics::run(args);
    }
    let (Some(target), false, None) = (&args.target, args.all, &args.output_file) else {
        let cause = "--all and --output-file are for --output prometheus; add it, or name one target";
        return Err(Failure::new(Exit::Usage, "command line", cause));
    };
    let open = OpenTarget::open(&Target::resolve(target)?, &args.open, Access::Read)?;
    let status = if args.count {
        long_work(Display::counting(), |monitor| open.operations().count_files(monitor))?
    } else {
        open.operations().status().map_err(|error| errors::operation(&error))?
    };
    if args.json || args.output == Some(StatusOutput::Json) {
        return output::print_json(&status);
    }
    let bar = std::io::stdout().is_terminal().then(|| if in_utf8() { '█' } else { '#' });
    output::print(&text(&status, bar))
}

/// Whether the terminal shows more than ASCII, by the variables that say so, the strongest first.
fn in_utf8() -> bool {
    let set = |name: &&str| std::env::var_os(name).filter(|value| !value.is_empty());
    let locale = ["LC_ALL", "LC_CTYPE", "LANG"].iter().find_map(set).unwrap_or_default();
    let locale = locale.to_string_lossy().to_ascii_lowercase();
    locale.contains("utf-8") || locale.contains("utf8")
}

/// The columns are the same whether there are bars or not; no column but the last is of variable width.
fn text(status: &Status, bar: Option<char>) -> String {
    let mut out = String::new();
    // Writing to a string can't fail.
    let _ = writeln!(out, "vault      {}", status.vault_id);
    let _ = writeln!(out, "directory  {}", printable::path(status.vault.as_path()));
    let _ = writeln!(out, "suite      {}", status.suite);
    match &status.mount {
        None => out.push_str("mount      not mounted\n"),
        Some(mount) => {
            let notes = [
                (mount.detached, ", detached"),
                (mount.read_only, ", read-only"),
                (!mount.lazy_rewrap, ", lazy re-wrap off"),
            ];
            let notes: String = notes.iter().filter(|(on, _)| *on).map(|(_, note)| *note).collect();
            let (at, pid) = (printable::path(mount.mountpoint.as_path()), mount.pid);
            let _ = writeln!(out, "mount      {at} (process {pid}{notes})");
        }
    }
    out.push_str(&status.key_backup.as_ref().map(key_backup::lines).unwrap_or_default());
    aliases(status, &mut out);
    versions(status, bar, &mut out);
    lost(status, &mut out);
    to_come(status, &mut out);
    out
}

fn aliases(status: &Status, out: &mut String) {
    let _ = writeln!(out, "\n{:<36}  {:>7}  {:<15}  alias", "key", "version", "state");
    for alias in &status.aliases {
        let (key, version) = (alias.key_id.to_string(), alias.version.0);
        let _ = writeln!(out, "{key:<36}  {version:>7}  {:<15}  {}", alias.state, alias.alias.as_str());
    }
}

/// A line for each version that wraps files, and for each current one.
fn versions(status: &Status, bar: Option<char>, out: &mut String) {
    let mut rows: BTreeMap<(KeyId, KeyVersion), (u64, Option<VersionState>)> = BTreeMap::new();
    for seen in &status.versions {
        rows.insert((seen.key_id, seen.version), (seen.files, seen.state));
    }
    for key in status.keys.iter().filter(|key| !key.service_managed) {
        let current = key.versions.iter().find(|known| known.version == key.current);
        rows.entry((key.key_id, key.current)).or_insert((0, current.and_then(|known| known.state)));
    }
    let all: u64 = rows.values().map(|(files, _)| files).sum();
    let _ =
        writeln!(out, "\n{:<36}  {:>7}  {:<27}  {:>10}  {:>6}", "key", "version", "state", "files", "share");
    for ((key_id, version), (files, state)) in &rows {
        let share = if all == 0 { 0.0 } else { *files as f64 * 100.0 / all as f64 };
        let state = state.map_or_else(|| "-".to_owned(), |state| state.to_string());
        let (id, number) = (key_id.to_string(), version.0);
        let _ = write!(out, "{id:<36}  {number:>7}  {state:<27}  {files:>10}  {share:>5.1}%");
        if let Some(cell) = bar.filter(|_| *files > 0) {
            // Some files are never none.
            let cells = (files * BAR).div_ceil(all.max(1));
            let _ = write!(out, "  {}", cell.to_string().repeat(cells as usize));
        }
        out.push('\n');
    }
    let _ = match (&status.counted, &status.mount) {
        (Some(at), Some(_)) => {
            writeln!(
                out,
                "{}, counted at {at} and kept count of since; {} stale",
                holding(all),
                status.files_stale
            )
        }
        (Some(at), None) => {
            writeln!(out, "{}, counted at {at}; {} stale", holding(all), status.files_stale)
        }
        (None, _) if status.files_unknown > 0 => {
            writeln!(out, "{} were counted; {} stale", holding(all), status.files_stale)
        }
        (None, Some(_)) => writeln!(
            out,
            "{} seen since it was mounted, {} stale; there may be others: --count counts all",
            printable::counted(all, "file", "files"),
            status.files_stale
        ),
        (None, None) => writeln!(out, "the files are not counted: --count counts them"),
    };
    out.push_str(&rewrap::staying(&status.files_staying));
    if status.files_unknown > 0 {
        let _ = writeln!(
            out,
            "{} could not be counted, and which key is needed there isn't known: `rekeyfs fsck` tells more",
            printable::counted(status.files_unknown, "file or directory", "files or directories")
        );
    }
    for file in &status.files_noted {
        let _ = writeln!(out, "{}", printable::line(&note(file)));
    }
}

fn holding(files: u64) -> String {
    printable::counted(files, "file that holds data", "files that hold data")
}

/// Key versions that can't be had, and what can be done.
fn lost(status: &Status, out: &mut String) {
    let mut any = false;
    for key in status.keys.iter().filter(|key| !key.service_managed && !key.lost.is_empty()) {
        let ranges: Vec<String> = key.lost.iter().map(VersionRange::to_string).collect();
        let ranges = ranges.join(", ");
        let _ = writeln!(
            out,
            "key {}: lost with a newer keyring, if they were made: versions {ranges}",
            key.key_id
        );
        any = true;
    }
    if any || status.versions.iter().any(|seen| seen.state.is_some_and(VersionState::is_missing)) {
        out.push_str(
            "if a newer keyring or key backup is found, `rekeyfs key-backup merge` brings missing versions back\n",
        );
    }
}

fn to_come(status: &Status, out: &mut String) {
    let mut lines = Vec::new();
    for key in &status.keys {
        let what = if key.service_managed { " (names and attributes)" } else { "" };
        if let (Some(at), Some(days)) = (&key.next_rotation, key.rotation_period_days) {
            lines.push((
                at.clone(),
                format!(
                    "key {}{what} rotates, as every {}",
                    key.key_id,
                    printable::counted(days, "day", "days")
                ),
            ));
        }
        for version in &key.versions {
            if let (Some(at), true) = (&version.expires, version.has_material) {
                let number = version.version.0;
                lines.push((at.clone(), format!("key {}: material of version {number} expires", key.key_id)));
            }
        }
    }
    for pending in &status.pending_deletions {
        let note = match (&pending.blocked, pending.forced) {
            (Some(why), _) => format!("; held up: {why}"),
            (None, true) => ", though files need it".to_owned(),
            (None, false) => String::new(),
        };
        lines.push((pending.date.clone(), format!("key {} is deleted{note}", pending.key_id)));
    }
    lines.sort();
    if !lines.is_empty() {
        out.push_str("\nto come\n");
    }
    for (at, what) in lines {
        let _ = writeln!(out, "{at}  {what}");
    }
    if status.pending_rewraps > 0 {
        let _ = writeln!(
            out,
            "{}",
            printable::counted(
                status.pending_rewraps,
                "file waits for its re-wrap",
                "files wait for their re-wrap"
            )
        );
    }
}

#[cfg(test)]
mod tests;
