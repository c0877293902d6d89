//! `rekeyfs key-backup keep`, and how true key backups are, in words.

use std::fmt::Write;
use std::path::Path;

use jiff::tz::TimeZone;
use serde_json::json;

use super::age::Recipients;
use super::args::{self, BackupPass, Keep};
use super::errors;
use super::exit::{Exit, Failure, Outcome};
use super::open_keyring::open_keyring;
use super::open_target::{Access, OpenTarget};
use super::output;
use super::secrets::{NewSecretPlan, calibrate};
use super::target::Target;
use crate::ids::Timestamp;
use crate::keyring::{BackupSeal, Opened};
use crate::local_time::{self, Precision};
use crate::printable::{self, counted};
use crate::service::{KeptState, KeptStatus, KeyBackupStatus, OpenedBy};
use crate::unlock::Secret;

/// Keeps a backup from now on, stops that, or lists what is kept.
///
/// # Errors
/// [`Exit::Backup`] for a place where none can be kept, or that couldn't be written; those of opening a keyring and of
/// saving it.
pub(super) fn run(args: &Keep) -> Outcome {
    let target = Target::resolve(&args.target)?;
    if args.list {
        return list(args, &target);
    }
    if args.stop {
        return stop(args, &target);
    }
    let Some(to) = &args.to else {
        return Err(Failure::new(Exit::Usage, "command line", "say with --to which file is to be kept"));
    };
    let recipients = Recipients::of(&args.age)?;
    if let Target::Mounted(entry) = &target
        && std::path::absolute(to).is_ok_and(|to| to.starts_with(entry.mountpoint.as_path()))
    {
        let cause =
            "lies in the vault's own mount, and opens only where the vault does; choose another place";
        return Err(Failure::line(Exit::Backup, format!("{} {cause}", printable::path(to))));
    }
    let opened = open_keyring(target.vault(), &args.open)?.opened;
    let seal = NewSeal::read(&recipients, &args.backup, &args.kdf, to, &opened)?.seal;
    let kept = opened.keys.keep_backup(&opened.proof, to, seal).map_err(|error| errors::keyring(&error))?;
    let problem = kept.problem.clone();
    have_the_mount_look(args, &target);
    let kept = KeptStatus::from(kept);
    if *args.json {
        output::print_json(&kept)?;
    } else if problem.is_none() {
        let opener = match kept.opened_by {
            OpenedBy::Passphrase => "its passphrase",
            OpenedBy::Age => "an age identity of the recipients",
        };
        output::print(&format!(
            "{}: has all keys, and is written again after each change of them; {opener} opens it. If the keyring is lost: \
             `rekeyfs key-backup import`\n",
            printable::path(kept.to.as_path())
        ))?;
    }
    match problem {
        None => Ok(()),
        Some(problem) => {
            let line = format!(
                "{} {problem}. It is kept from now on nevertheless, and tried again",
                printable::path(kept.to.as_path())
            );
            Err(Failure::line(Exit::Backup, line))
        }
    }
}

/// What a new backup is sealed under.
pub(super) struct NewSeal {
    pub(super) seal: BackupSeal,
    /// The passphrase that opens it, if one does.
    pub(super) passphrase: Option<Secret>,
}

impl NewSeal {
    /// For the recipients if there are some, else under a new passphrase.
    ///
    /// # Errors
    /// Those of reading a secret and of age.
    pub(super) fn read(
        recipients: &Recipients<'_>,
        pass: &BackupPass,
        kdf_args: &args::Kdf,
        file: &Path,
        opened: &Opened,
    ) -> Outcome<Self> {
        let (vault, now) = (opened.keys.vault_id(), Timestamp::now());
        if !recipients.is_empty() {
            let seal = BackupSeal::for_age(vault, now, |payload| recipients.encrypt(payload));
            let seal = seal.map_err(|error| {
                error.unwrap_or_else(|| Failure::new(Exit::Usage, "--recipient", "too many recipients"))
            })?;
            return Ok(Self { seal, passphrase: None });
        }
        let plan = NewSecretPlan::of_backup(pass, kdf_args);
        let kdf = calibrate(plan.kdf, None)?;
        let secret = plan.read(file)?;
        let seal = BackupSeal::under_passphrase(vault, &secret, kdf, now);
        Ok(Self { seal: seal.map_err(|error| errors::keyring(&error))?, passphrase: Some(secret) })
    }
}

fn stop(args: &Keep, target: &Target) -> Outcome {
    let opened = open_keyring(target.vault(), &args.open)?.opened;
    let stopped = opened.keys.stop_keeping(&opened.proof, args.to.as_deref());
    let stopped = stopped.map_err(|error| errors::keyring(&error))?;
    have_the_mount_look(args, target);
    if *args.json {
        let paths: Vec<_> = stopped.into_iter().map(crate::ids::PathText).collect();
        return output::print_json(&json!({ "no_longer_kept": paths }));
    }
    let line = |to: &std::path::PathBuf| {
        format!(
            "{}: is no longer written. It still opens all that it has: remove it if nobody is to have that\n",
            printable::path(to)
        )
    };
    output::print(&stopped.iter().map(line).collect::<String>())
}

/// A mount that isn't told looks within a minute. It knows then what a backup held whose disk is taken away.
fn have_the_mount_look(args: &Keep, target: &Target) {
    if let Target::Mounted(_) = target {
        let _ = OpenTarget::open(target, &args.open, Access::Beside).map(|open| known(&open));
    }
}

fn list(args: &Keep, target: &Target) -> Outcome {
    let open = OpenTarget::open(target, &args.open, Access::Beside)?;
    let known = open.operations().key_backup().map_err(|error| errors::operation(&error))?;
    if *args.json {
        return output::print_json(&known);
    }
    let mut out = String::new();
    for kept in &known.kept {
        let opener = if kept.opened_by == OpenedBy::Age { "age" } else { "passphrase" };
        // Writing to a string can't fail.
        let _ = writeln!(out, "{}  ({opener})  {}", printable::path(kept.to.as_path()), state(kept));
    }
    if known.kept.is_empty() {
        out.push_str("no key backup is kept; `rekeyfs key-backup keep TARGET --to FILE` begins one\n");
    }
    output::print(&out)
}

/// How true a kept backup is.
fn state(kept: &KeptStatus) -> String {
    let lag = lag(kept.behind, kept.behind_generations);
    match (kept.state, &kept.problem) {
        (KeptState::Current, _) => "up to date".to_owned(),
        (KeptState::Behind, _) => lag.unwrap_or_else(|| "not written yet".to_owned()),
        (KeptState::Failed, problem) => {
            let lag = lag.map(|lag| format!("{lag}; ")).unwrap_or_default();
            format!("{lag}{}", problem.as_deref().unwrap_or("can't be written"))
        }
    }
}

/// How far a backup is behind; none if it isn't known.
fn lag(versions: Option<u64>, generations: Option<u64>) -> Option<String> {
    Some(match (versions?, generations?) {
        (0, 0) => "up to date".to_owned(),
        (0, changes) => format!("{} behind, no version missing", counted(changes, "change", "changes")),
        (versions, _) => format!("{} behind", counted(versions, "version", "versions")),
    })
}

/// The lines of `status`.
pub(super) fn lines(known: &KeyBackupStatus, zone: &TimeZone) -> String {
    let mut out = String::new();
    let name = "key backup";
    if let Some(at) = &known.exported {
        let day = local_time::told(at, zone, Precision::Day);
        let newest = known.kept.is_empty();
        let behind = lag(known.behind_versions, known.behind_generations).filter(|_| newest);
        let behind = behind.map(|behind| format!("{behind} ")).unwrap_or_default();
        let _ = writeln!(out, "{name} {behind}(exported {day})");
    }
    for kept in &known.kept {
        let _ = writeln!(out, "{name} {}: {}", printable::path(kept.to.as_path()), state(kept));
    }
    if out.is_empty() {
        let _ = writeln!(out, "{name} never exported, and none is kept: `rekeyfs key-backup`");
    }
    out
}

/// What a rotation says of backups, which lack the version that it made unless they are kept: each time, while it is so.
pub(super) fn after_rotation(known: &KeyBackupStatus) -> String {
    if known.exported.is_none() && known.kept.is_empty() {
        return "there is no key backup: without one, a lost keyring is a lost vault. `rekeyfs key-backup keep` has one \
                written at each change, `rekeyfs key-backup export` one by hand\n"
            .to_owned();
    }
    lines(known, &local_time::zone())
}

/// What is known of backups, for a rotation's answer; none where an older daemon doesn't know.
pub(super) fn known(open: &OpenTarget) -> Option<KeyBackupStatus> {
    open.operations().key_backup().ok()
}

/// As the JSON of a rotation has it.
pub(super) fn with_backup(
    answer: &impl serde::Serialize,
    known: Option<KeyBackupStatus>,
) -> serde_json::Value {
    let mut answer = serde_json::to_value(answer).unwrap_or_default();
    if let (Some(fields), Some(known)) = (answer.as_object_mut(), known) {
        fields.insert("key_backup".to_owned(), serde_json::to_value(known).unwrap_or_default());
    }
    answer
}
