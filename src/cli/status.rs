//! `rekeyfs status`: keys and versions with the files on each, a bar for each on a terminal, and what is to come.

use std::collections::BTreeMap;
use std::fmt::Write;

use jiff::tz::TimeZone;

use super::args::{self, StatusOutput};
use super::errors;
use super::exit::{Exit, Failure, Outcome, note};
use super::fit;
use super::key_backup;
use super::metrics;
use super::open_target::{Access, OpenTarget};
use super::output;
use super::progress::{Display, long_work};
use super::rewrap;
use super::short_ids::ShortIds;
use super::target::Target;
use super::terminal;
use crate::ids::{KeyId, KeyVersion};
use crate::keyring::{VersionRange, VersionState};
use crate::local_time;
use crate::printable;
use crate::service::Status;

/// Columns of a number of files, at least.
const FILES: usize = 9;

/// Shows the state of a vault.
///
/// # Errors
/// What resolving the target, asking the daemon or opening the vault may say.
pub(super) fn run(args: &args::Status) -> Outcome {
    if args.output == Some(StatusOutput::Prometheus) {
        return metrics::run(args);
    }
    let prometheus_alone = |option: &str, what: &str| {
        let cause =
            format!("{what} is for --output prometheus; add that, or leave it out and name one TARGET");
        Failure::new(Exit::Usage, option, cause)
    };
    if args.output_file.is_some() {
        return Err(prometheus_alone("--output-file", "a file in whose place the text is put"));
    }
    let Some(target) = args.target.as_ref().filter(|_| !args.all) else {
        return Err(prometheus_alone("--all", "every mount at once"));
    };
    let open = OpenTarget::open(&Target::resolve(target)?, &args.open, Access::Read)?;
    let status = if args.count {
        long_work(Display::counting(), |monitor| open.operations().count_files(monitor))?
    } else {
        open.operations().status().map_err(|error| errors::operation(&error))?
    };
    if *args.json || args.output == Some(StatusOutput::Json) {
        return output::print_json(&status);
    }
    let layout = Layout { width: terminal::width(), bar: terminal::bar(), zone: local_time::zone() };
    output::print(&text(&status, &layout))
}

/// How the text is laid out.
struct Layout {
    /// Columns of a line. Only a word that is longer by itself, such as a path, goes beyond.
    width: usize,
    /// What bars are drawn with, if they are.
    bar: Option<char>,
    /// Where times are told.
    zone: TimeZone,
}

impl Layout {
    /// A text as lines of this width, of which those after the first are indented.
    fn line(&self, out: &mut String, indent: usize, text: &str) {
        out.push_str(&fit::folded(text, self.width, indent));
    }

    fn time(&self, text: &str) -> String {
        local_time::reworded(text, &self.zone)
    }
}

fn key_ids(status: &Status, layout: &Layout) -> ShortIds {
    let known = status.keys.iter().map(|key| key.key_id);
    ShortIds::of(known.chain(status.versions.iter().map(|seen| seen.key_id)), layout.width)
}

/// Nothing is wider than the layout has it but a word that can't be parted: a path, a name, an alias.
fn text(status: &Status, layout: &Layout) -> String {
    let mut out = String::new();
    let ids = key_ids(status, layout);
    let mount = status.mount.as_ref().map_or_else(
        || "not mounted".to_owned(),
        |mount| {
            let notes = [
                (mount.detached, ", detached"),
                (mount.read_only, ", read-only"),
                (mount.shared, ", shared"),
                (mount.lease.is_some_and(|lease| !lease.in_force), ", its lease is over"),
                (!mount.lazy_rewrap, ", lazy re-wrap off"),
            ];
            let notes: String = notes.iter().filter(|(on, _)| *on).map(|(_, note)| *note).collect();
            format!("{} (process {}{notes})", printable::path(mount.mountpoint.as_path()), mount.pid)
        },
    );
    layout.line(&mut out, 11, &format!("vault      {}", status.vault_id));
    layout.line(&mut out, 11, &format!("directory  {}", printable::path(status.vault.as_path())));
    layout.line(&mut out, 11, &format!("suite      {}", status.suite));
    layout.line(&mut out, 11, &format!("mount      {mount}"));
    let backup =
        status.key_backup.as_ref().map(|known| key_backup::lines(known, &layout.zone)).unwrap_or_default();
    backup.lines().for_each(|line| layout.line(&mut out, 11, line));
    out.push('\n');
    aliases(status, layout, ids, &mut out);
    out.push('\n');
    versions(status, layout, ids, &mut out);
    lost(status, layout, ids, &mut out);
    to_come(status, layout, ids, &mut out);
    out
}

/// The longest of some texts, which are ASCII.
fn widest<'a>(texts: impl IntoIterator<Item = &'a str>) -> usize {
    texts.into_iter().map(str::len).max().unwrap_or(0)
}

/// The columns fit; an alias for which no space is left stands in a line of its own.
fn aliases(status: &Status, layout: &Layout, ids: ShortIds, out: &mut String) {
    let state = widest(status.aliases.iter().map(|alias| alias.state.as_str()).chain(["state"]));
    let rest = 2 + ids.columns() + 2 + 7 + 2 + state;
    let column = widest(status.aliases.iter().map(|alias| alias.alias.as_str()).chain(["alias"]));
    let column = column.min(layout.width.saturating_sub(rest));
    let mut row = |alias: &str, key: &str, version: &str, state: &str| {
        let alias = if alias.len() > column {
            format!("{alias}\n{:column$}", "")
        } else {
            format!("{alias:column$}")
        };
        // Writing to a string can't fail.
        let _ = writeln!(out, "{alias}  {key:0$}  {version:>7}  {state}", ids.columns());
    };
    row("alias", "key", "version", "state");
    for alias in &status.aliases {
        row(alias.alias.as_str(), &ids.show(alias.key_id), &alias.version.to_string(), &alias.state);
    }
}

/// A line for each version that wraps files, and for each current one.
fn versions(status: &Status, layout: &Layout, ids: ShortIds, out: &mut String) {
    let mut rows: BTreeMap<(KeyId, KeyVersion), (u64, Option<VersionState>)> = BTreeMap::new();
    for seen in &status.versions {
        rows.insert((seen.key_id, seen.version), (seen.files, seen.state));
    }
    for key in status.keys.iter().filter(|key| !key.service_managed) {
        let current = key.versions.iter().find(|known| known.version == key.current);
        rows.entry((key.key_id, key.current)).or_insert((0, current.and_then(|known| known.state)));
    }
    let all: u64 = rows.values().map(|(files, _)| files).sum();
    let states: Vec<String> = rows
        .values()
        .map(|(_, state)| state.map_or_else(|| "-".to_owned(), |state| state.to_string()))
        .collect();
    let column = widest(states.iter().map(String::as_str).chain(["state"]));
    let number = rows.values().map(|(files, _)| files.to_string().len()).max().unwrap_or(0).max(FILES);
    let id = ids.columns();
    let header =
        format!("{:id$}  {:>7}  {:column$}  {:>number$}  {:>6}", "key", "version", "state", "files", "share");
    // Bars take what is left of a line.
    let cells = layout.width.saturating_sub(header.len() + 2) as u128;
    let _ = writeln!(out, "{header}");
    for (((key_id, version), (files, _)), state) in rows.iter().zip(&states) {
        let share = if all == 0 { 0.0 } else { *files as f64 * 100.0 / all as f64 };
        let id = ids.show(*key_id);
        let _ = write!(out, "{id}  {version:>7}  {state:column$}  {files:>number$}  {share:>5.1}%");
        if let Some(cell) = layout.bar.filter(|_| *files > 0) {
            // Some files are never none.
            let cells = (u128::from(*files) * cells).div_ceil(u128::from(all.max(1)));
            let _ = write!(out, "  {}", cell.to_string().repeat(cells as usize));
        }
        out.push('\n');
    }
    layout.line(out, 2, &counted(status, all, layout));
    rewrap::staying(&status.files_staying).lines().for_each(|line| layout.line(out, 2, line));
    if status.files_unknown > 0 {
        let files = printable::counted(status.files_unknown, "file or directory", "files or directories");
        let text = format!(
            "{files} could not be counted, and which key is needed there isn't known: `rekeyfs fsck` tells more"
        );
        layout.line(out, 2, &text);
    }
    status.files_noted.iter().for_each(|file| layout.line(out, 4, &printable::line(&note(file))));
}

/// What the numbers are, and of when.
fn counted(status: &Status, all: u64, layout: &Layout) -> String {
    let stale = status.files_stale;
    let holding = printable::counted(all, "file that holds data", "files that hold data");
    if let Some(at) = &status.counts_as_of {
        let at = layout.time(at);
        return format!(
            "{holding} and {stale} stale at {at}, which may have changed since: --count counts again"
        );
    }
    match (&status.counted, &status.mount) {
        (Some(at), _) => {
            format!("{holding}, counted at {} and kept count of since; {stale} stale", layout.time(at))
        }
        (None, _) if status.files_unknown > 0 => format!("{holding}, counted now; {stale} stale"),
        (None, Some(_)) => format!(
            "{} seen since it was mounted, {stale} stale; there may be others: --count counts all",
            printable::counted(all, "file", "files")
        ),
        (None, None) => "the files are not counted: --count counts them".to_owned(),
    }
}

/// Key versions that can't be had, and what can be done.
fn lost(status: &Status, layout: &Layout, ids: ShortIds, out: &mut String) {
    let mut any = false;
    for key in status.keys.iter().filter(|key| !key.service_managed && !key.lost.is_empty()) {
        let ranges: Vec<String> = key.lost.iter().map(VersionRange::to_string).collect();
        let ranges = ranges.join(", ");
        let key = ids.show(key.key_id);
        let text = format!("key {key}: lost with a newer keyring, if they were made: versions {ranges}");
        layout.line(out, 2, &text);
        any = true;
    }
    if any || status.versions.iter().any(|seen| seen.state.is_some_and(VersionState::is_missing)) {
        let text = "if a newer keyring or key backup is found, `rekeyfs key-backup merge` brings missing versions back";
        layout.line(out, 2, text);
    }
}

fn to_come(status: &Status, layout: &Layout, ids: ShortIds, out: &mut String) {
    let mut lines = Vec::new();
    for key in &status.keys {
        let what = if key.service_managed { " (names and attributes)" } else { "" };
        if let (Some(at), Some(days)) = (&key.next_rotation, key.rotation_period_days) {
            lines.push((
                at.clone(),
                format!(
                    "key {}{what} rotates, as every {}",
                    ids.show(key.key_id),
                    printable::counted(days, "day", "days")
                ),
            ));
        }
        for version in &key.versions {
            if let (Some(at), true) = (&version.expires, version.has_material) {
                let number = version.version.0;
                lines.push((
                    at.clone(),
                    format!("key {}: material of version {number} expires", ids.show(key.key_id)),
                ));
            }
        }
    }
    for pending in &status.pending_deletions {
        let note = match (&pending.blocked, pending.forced) {
            (Some(why), _) => format!("; held up: {why}"),
            (None, true) => ", though files need it".to_owned(),
            (None, false) => String::new(),
        };
        lines.push((pending.date.clone(), format!("key {} is deleted{note}", ids.show(pending.key_id))));
    }
    lines.sort();
    if !lines.is_empty() {
        out.push_str("\nto come\n");
    }
    for (at, what) in lines {
        let at = layout.time(&at);
        layout.line(out, at.len() + 2, &format!("{at}  {what}"));
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
