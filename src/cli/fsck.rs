//! `rekeyfs fsck`. Findings go to standard output as they come, progress to standard error.

use std::fmt::Write as _;
use std::path::Path;

use super::args_fsck as args;
use super::exit::{Exit, Failure, Outcome, one_line};
use super::fsck_display::Display;
use super::interrupt::Interrupt;
use super::offline::Offline;
use super::output;
use super::target::{self, Target};
use crate::control::{ClientError, Entry, Reply, Request};
use crate::fsck::{self, Fate, Finding, Mend, Options, Pages, Progress, Severity, Summary, Watch};
use crate::ids::PathText;

/// Status for what kept a vault from being checked.
const OPERATIONAL: u8 = 8;
/// Status for a command line that isn't right.
const USAGE: u8 = 16;
/// Status for a check that was stopped.
const CANCELLED: u8 = 32;

/// The status that fsck(8) has for a failure.
pub(super) fn status(exit: Exit) -> u8 {
    match exit {
        Exit::Usage => USAGE,
        Exit::Interrupted => CANCELLED,
        _ => OPERATIONAL,
    }
}

/// Checks a vault. Returns the status.
///
/// # Errors
/// What resolving the target and opening the vault may say; [`Exit::Vault`] for a path that isn't in it.
pub(super) fn run(args: &args::Fsck) -> Outcome<u8> {
    let target = Target::resolve(&args.target)?;
    let mountpoint = match &target {
        Target::Mounted(entry) => Some(entry.mountpoint.as_path()),
        Target::Vault(_) => None,
    };
    let options = Options { path: args.path.as_deref().map(|path| inside(mountpoint, path)) };
    let interrupt = Interrupt::watch(CANCELLED)?;
    let mend = Mend { repair: args.repair, quarantine: args.quarantine.clone(), salvage: args.salvage };
    let changes = mend.repair || mend.quarantine.is_some();
    let mut report = Report {
        json: args.json,
        display: Display::new(),
        interrupt,
        unwritten: None,
        held_back: changes.then(Vec::new),
    };
    let summary = match &target {
        Target::Mounted(entry) if changes => {
            let at = entry.mountpoint.as_path().display();
            let cause = "it is mounted, and repairs and moves files only when it isn't; unmount it first";
            return Err(Failure::new(Exit::Busy, at, cause));
        }
        Target::Mounted(entry) => beside(entry, options.path, &mut report)?,
        Target::Vault(vault) => {
            let offline = Offline::open(vault, &args.open)?;
            let failed = |error| Failure::new(Exit::Vault, vault.display(), error);
            let checked = fsck::check(offline.keys(), None, &options, &mut report).map_err(failed)?;
            match report.held_back.take() {
                None => checked,
                Some(found) => {
                    fsck::mend(offline.keys(), &mend, found, checked, &mut report).map_err(failed)?
                }
            }
        }
    };
    report.finish(target.vault(), &summary)?;
    Ok(summary.status())
}

/// Has a mount's daemon check what it serves: it has the keys, and holds still what it is to look at twice.
fn beside(entry: &Entry, path: Option<PathText>, report: &mut Report) -> Outcome<Summary> {
    let mut stopped = Summary::default();
    let interrupt = report.interrupt.clone();
    let reply = target::connect(entry)?.follow(
        &Request::Fsck { path },
        &mut |reply| match reply {
            Reply::Found(finding) => {
                stopped.count(&finding);
                report.found(&finding);
                None
            }
            Reply::Checking(progress) => {
                (stopped.files, stopped.bytes) = (progress.files, progress.bytes);
                report.display.update(&progress);
                None
            }
            reply => Some(reply),
        },
        &mut || !interrupt.came(),
    );
    match reply {
        Ok(Reply::Checked(summary)) => Ok(*summary),
        Ok(_) => Err(target::unexpected(entry)),
        Err(ClientError::Stopped) => Ok(Summary { complete: false, ..stopped }),
        Err(error) => Err(target::failure(error)),
    }
}

/// A path from the mount's root on: one that leads into the mount is cut to that.
fn inside(mountpoint: Option<&Path>, path: &Path) -> PathText {
    let below = mountpoint.and_then(|mountpoint| path.strip_prefix(mountpoint).ok());
    PathText(below.unwrap_or(path).to_owned())
}

/// Shows findings as they come.
struct Report {
    json: bool,
    display: Display,
    interrupt: Interrupt,
    /// Why a finding couldn't be written.
    unwritten: Option<Failure>,
    /// Findings that are told once it is known what becomes of them.
    held_back: Option<Vec<Finding>>,
}

impl Watch for Report {
    fn found(&mut self, finding: &Finding) {
        if let Some(held_back) = &mut self.held_back {
            return held_back.push(finding.clone());
        }
        let text = if self.json { json_line(finding) } else { Ok(line(finding)) };
        let written = self.display.aside(|| text.and_then(|text| output::print(&text)));
        if let Err(failure) = written {
            self.unwritten.get_or_insert(failure);
        }
    }

    fn go_on(&mut self, progress: Progress) -> bool {
        self.display.update(&progress);
        self.unwritten.is_none() && !self.interrupt.came()
    }
}

impl Report {
    fn finish(self, vault: &Path, summary: &Summary) -> Outcome {
        drop(self.display);
        if let Some(failure) = self.unwritten {
            return Err(failure);
        }
        output::print(&if self.json { json_line(summary)? } else { text(vault, summary) })
    }
}

fn json_line(value: &impl serde::Serialize) -> Outcome<String> {
    let line = serde_json::to_string(value);
    line.map(|line| line + "\n").map_err(|error| Failure::new(Exit::Other, "standard output", error))
}

/// A finding as one line: how bad, what, where.
fn line(finding: &Finding) -> String {
    let severity = match finding.severity {
        Severity::Error => "error",
        Severity::Leftover => "leftover",
        Severity::Unchecked => "unchecked",
        Severity::Warning => "warning",
    };
    let mut line = format!("{severity}: {}: ", finding.code.name());
    let shown = if finding.path.as_path().as_os_str().is_empty() { &finding.lower } else { &finding.path };
    // Writing to a string can't fail.
    let _ = write!(line, "{}", shown.as_path().display());
    if let Some(pages) = &finding.pages {
        let _ = write!(line, ": {pages}");
    }
    if !finding.detail.is_empty() {
        let _ = write!(line, ": {}", finding.detail);
    }
    let _ = match &finding.fate {
        Fate::Left => Ok(()),
        Fate::Repaired { how } => write!(line, "; repaired: {how}"),
        Fate::Quarantined { into, saved } => {
            let saved: Vec<String> = saved.iter().map(Pages::to_string).collect();
            let saved = if saved.is_empty() { "nothing".to_owned() } else { saved.join(", ") };
            write!(line, "; moved to {}, readable: {saved}", into.as_path().display())
        }
        Fate::Refused { why } => write!(line, "; not repaired: {why}"),
    };
    one_line(&line) + "\n"
}

fn text(vault: &Path, summary: &Summary) -> String {
    let Summary { files, directories, symlinks, others, .. } = summary;
    let mut text = format!(
        "{}: {files} files, {directories} directories, {symlinks} symlinks, {others} others, {} of content\n",
        one_line(&vault.display().to_string()),
        indicatif::HumanBytes(summary.bytes)
    );
    for version in &summary.versions {
        let _ =
            writeln!(text, "{} files of key {} version {}", version.files, version.key_id, version.version);
    }
    let counts = [
        (summary.errors, "errors"),
        (summary.leftovers, "leftovers"),
        (summary.unchecked, "not checked"),
        (summary.warnings, "warnings"),
        (summary.repaired, "repaired"),
        (summary.quarantined, "quarantined"),
    ];
    let counts: Vec<String> =
        counts.iter().filter(|(n, _)| *n > 0).map(|(n, what)| format!("{n} {what}")).collect();
    text += &if counts.is_empty() { "nothing found".to_owned() } else { counts.join(", ") };
    text += if summary.complete { "\n" } else { "; stopped before the end\n" };
    text
}
