//! `rekeyfs fsck`. Findings go to standard output as they come, progress to standard error.

mod display;
mod place;

use std::fmt::Write as _;
use std::os::fd::AsFd;
use std::path::Path;

use super::args;
use super::errors;
use super::exit::{Exit, Failure, Outcome, one_line};
use super::interrupt;
use super::open_keyring::look_at_keyring;
use super::open_target::{Access, Unmounted};
use super::output;
use super::target::{self, Target};
use display::Display;

use crate::control::Client;
use crate::fsck::{
    self, CheckObserver, CheckProgress, CopiedTree, Disposition, Finding, Options, Pages, RepairOptions,
    Severity, Summary, VersionCount,
};
use crate::ids::PathText;
use crate::keyring::{FILE_NAME, Looked};
use crate::monitor::Cancellation;
use crate::mount::VaultLock;
use crate::printable::{self, counted};
use crate::service::{self, Operations};
use crate::storage;

/// Status for what is wrong and was left.
const LEFT: u8 = 4;
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
        Exit::Pipe => Exit::Pipe as u8,
        _ => OPERATIONAL,
    }
}

/// Checks a vault. Returns the status.
///
/// # Errors
/// What resolving the target and opening the vault may say; [`Exit::Vault`] for a path that isn't in it.
pub(super) fn run(args: &args::Fsck) -> Outcome<u8> {
    if let Some(keyring) = &args.keyring {
        return copy(args, keyring);
    }
    let target = Target::resolve(&args.target)?;
    let path = args.path.as_deref().map(|path| match &target {
        Target::Mounted(entry) => place::in_mount(entry, &args.target, path),
        Target::Vault(_) => PathText(path.to_owned()),
    });
    let mut options = Options { path, ..Options::default() };
    let repairs =
        RepairOptions { repair: args.repair, quarantine: args.quarantine.clone(), salvage: args.salvage };
    let changes = repairs.repair || repairs.quarantine.is_some();
    let mut report = Report::new(args)?;
    let cancellation = report.cancellation.clone();
    let summary = match &target {
        Target::Mounted(entry) if changes => {
            let at = entry.mountpoint.as_path().display();
            let cause = "it is mounted, and repairs and moves files only when it isn't; unmount it first";
            return Err(Failure::new(Exit::Busy, at, cause));
        }
        Target::Mounted(entry) => {
            let checked = Client::of(entry).fsck(options.path.as_ref(), &cancellation, &mut report);
            checked.map_err(|error| errors::operation(&error))?
        }
        Target::Vault(vault) if changes => {
            report.held_back = Some(Vec::new());
            let unmounted = Unmounted::open(vault, &args.open, Access::Change)?;
            let leave = unmounted.keys().writable().map_err(|error| errors::opening(&error))?;
            let failed = |error| Failure::new(Exit::Vault, vault.display(), error);
            let checked =
                fsck::check(unmounted.keys(), None, &options, &cancellation, &mut report).map_err(failed)?;
            service::distrust_count(unmounted.keys());
            let found = report.held_back.take().unwrap_or_default();
            fsck::apply(unmounted.keys(), leave, &repairs, found, checked, &cancellation, &mut report)
                .map_err(failed)?
        }
        Target::Vault(vault) => {
            let _lock = VaultLock::look(vault).map_err(|error| errors::mount(&error))?;
            let looked = look_at_keyring(&vault.join(FILE_NAME), &args.open, None)?;
            options.behind = behind(&looked, args);
            let failed = |error| Failure::new(Exit::Vault, vault.display(), error);
            fsck::check(&looked.keys, None, &options, &cancellation, &mut report).map_err(failed)?
        }
    };
    report.finish(target.vault(), &summary)?;
    Ok(summary.status())
}

/// Checks a copy of a vault with the keyring given. Files that it doesn't open count as wrong here, whatever the state
/// of their keys: the question is whether they can be had back.
fn copy(args: &args::Fsck, keyring: &Path) -> Outcome<u8> {
    let failed = |error: &dyn std::fmt::Display| Failure::new(Exit::Vault, args.target.display(), error);
    let (dir, copied) = storage::open_walked(&args.target).map_err(|error| failed(&error))?;
    let device = storage::fstat(dir.as_fd()).map_err(|error| failed(&error))?.dev;
    if let Some(mount) = target::known().iter().find(|entry| entry.mount_dev == device) {
        let cause = format!("it is in a mount of {}; name a copy of that", mount.vault.as_path().display());
        return Err(failed(&cause));
    }
    let copied = CopiedTree::at(&copied);
    let lock = copied.vault.as_deref().map(VaultLock::look).transpose();
    let _lock = lock.map_err(|error| errors::mount(&error))?;
    let file = if keyring.is_dir() { keyring.join(FILE_NAME) } else { keyring.to_owned() };
    let looked = look_at_keyring(&file, &args.open, args.identity.as_deref())?;
    let options =
        Options { path: args.path.clone().map(PathText), behind: behind(&looked, args), copy: Some(copied) };
    let mut report = Report::new(args)?;
    let cancellation = report.cancellation.clone();
    let summary = fsck::check(&looked.keys, None, &options, &cancellation, &mut report)
        .map_err(|error| failed(&error))?;
    report.finish(&args.target, &summary)?;
    Ok(summary.status() | if summary.unopened.is_empty() { 0 } else { LEFT })
}

fn behind(looked: &Looked, args: &args::Fsck) -> Option<String> {
    looked.behind.as_ref().filter(|_| !args.open.accept_rollback).map(ToString::to_string)
}

/// Shows findings as they come.
struct Report {
    json: bool,
    display: Display,
    /// At a signal, and when a finding couldn't be written.
    cancellation: Cancellation,
    /// Why a finding couldn't be written.
    unwritten: Option<Failure>,
    /// Findings that are printed once it is known whether they are repaired.
    held_back: Option<Vec<Finding>>,
}

impl CheckObserver for Report {
    fn found(&mut self, finding: &Finding) {
        if let Some(held_back) = &mut self.held_back {
            return held_back.push(finding.clone());
        }
        let written = self.display.aside(|| {
            if self.json { output::print_json_line(finding) } else { output::print(&line(finding)) }
        });
        if let Err(failure) = written {
            self.unwritten.get_or_insert(failure);
            self.cancellation.cancel();
        }
    }

    fn progress(&mut self, progress: CheckProgress) {
        self.display.update(&progress);
    }
}

impl Report {
    fn new(args: &args::Fsck) -> Outcome<Self> {
        let cancellation = Cancellation::linked_to(&[&interrupt::watch(CANCELLED)?]);
        let (json, display) = (*args.json, Display::new());
        Ok(Self { json, display, cancellation, unwritten: None, held_back: None })
    }

    fn finish(self, vault: &Path, summary: &Summary) -> Outcome {
        drop(self.display);
        if let Some(failure) = self.unwritten {
            return Err(failure);
        }
        if self.json { output::print_json_line(summary) } else { output::print(&text(vault, summary)) }
    }
}

/// What to do about versions that the keyring doesn't have.
const LACKS: &str = "The files aren't known to be damaged: keep them, look for the keyring or key backup that has these \
    versions, and bring them back with `rekeyfs key-backup merge VAULT FILE`. A copy's keyring that was read before a \
    rotation, and its tree after it, part like this: check it with a newer keyring (--keyring VAULT/keyring, or a key \
    backup), and if that opens these files, copy it into the place of the copy's own, and the event log after it \
    (docs/backup.md)\n";

/// A finding as one line: how bad, what, where.
fn line(finding: &Finding) -> String {
    let severity = match finding.severity {
        Severity::Error => "error",
        Severity::Leftover => "leftover",
        Severity::KeyMissing => "key missing",
        Severity::Unchecked => "unchecked",
        Severity::Warning => "warning",
    };
    let mut line = format!("{severity}: {}: ", finding.code.name());
    let shown = if finding.path.as_path().as_os_str().is_empty() { &finding.lower } else { &finding.path };
    // Writing to a string can't fail.
    let _ = write!(line, "{}", printable::path(shown.as_path()));
    if let Some(pages) = &finding.pages {
        let _ = write!(line, ": {pages}");
    }
    if !finding.detail.is_empty() {
        let _ = write!(line, ": {}", finding.detail);
    }
    let _ = match &finding.disposition {
        Disposition::Left => Ok(()),
        Disposition::Repaired { how } => write!(line, "; repaired: {how}"),
        Disposition::Quarantined { into, saved } => {
            let saved: Vec<String> = saved.iter().map(Pages::to_string).collect();
            let saved = if saved.is_empty() { "nothing".to_owned() } else { saved.join(", ") };
            write!(line, "; moved to {}, readable: {saved}", printable::path(into.as_path()))
        }
        Disposition::Refused { why } => write!(line, "; not repaired: {why}"),
    };
    one_line(&line) + "\n"
}

fn text(vault: &Path, summary: &Summary) -> String {
    let Summary { files, directories, symlinks, others, .. } = summary;
    let mut text = format!(
        "{}: {}, {}, {}, {}, {} of content\n",
        printable::path(vault),
        counted(*files, "file", "files"),
        counted(*directories, "directory", "directories"),
        counted(*symlinks, "symlink", "symlinks"),
        counted(*others, "other", "others"),
        indicatif::HumanBytes(summary.bytes)
    );
    for version in &summary.versions {
        let VersionCount { key_id, version, files, state } = version;
        let _ =
            writeln!(text, "{} of key {key_id} version {version}: {state}", counted(*files, "file", "files"));
    }
    for closed in &summary.unopened {
        let VersionCount { key_id, version, files, state } = closed;
        let _ = writeln!(
            text,
            "{} of key {key_id} version {version}, not opened: {state}",
            counted(*files, "file", "files")
        );
    }
    let counts = [
        (summary.errors, "error", "errors"),
        (summary.leftovers, "leftover", "leftovers"),
        (summary.keys_missing, "without its key", "without their key"),
        (summary.unchecked, "not checked", "not checked"),
        (summary.warnings, "warning", "warnings"),
        (summary.repaired, "repaired", "repaired"),
        (summary.quarantined, "quarantined", "quarantined"),
    ];
    let counts: Vec<String> =
        counts.iter().filter(|(n, ..)| *n > 0).map(|(n, one, many)| counted(*n, one, many)).collect();
    text += &if counts.is_empty() { "nothing found".to_owned() } else { counts.join(", ") };
    text += if summary.complete { "\n" } else { "; stopped before the end\n" };
    text += &missing_keys(summary).unwrap_or_default();
    text
}

/// What can be done where the keyring lacks key versions.
fn missing_keys(summary: &Summary) -> Option<String> {
    let missing = || summary.unopened.iter().filter(|version| version.state.is_missing());
    let files: u64 = missing().map(|version| version.files).sum();
    let each = missing().map(|version| format!("version {} of key {}", version.version, version.key_id));
    let each: Vec<String> = each.collect();
    (files > 0).then(|| {
        format!(
            "{} what this keyring doesn't have: {}. {LACKS}",
            counted(files, "file needs", "files need"),
            each.join(", ")
        )
    })
}
