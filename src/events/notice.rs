//! What the program's log says of the events of the audit log: one line for each event that an operator of a mount watches
//! for. This is the one mapping, and it is total: an event has its line here, or stands among those that have none, with the
//! reason. No other place logs what is an event.
//!
//! A change of keys is logged once it is saved, all other events when they happen, whether or not the audit log can be
//! written then. Users who bring events about at will can't fill the log: those events have no line here.

use super::{Actor, Event};
use crate::ids::{KeyId, KeyVersion};
use crate::printable::{self, counted};

/// The target of these lines. At level info they are what syslog calls a notice.
pub const NOTICES: &str = "rekeyfs::notice";

/// How much it matters.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Severity {
    /// Keys, or events, are lost, or somebody changed the log.
    Error,
    /// Not as it should be.
    Warning,
    /// As it was asked for.
    Notice,
    /// Of interest to those who ask for more.
    Info,
}

/// A line of the program's log.
#[derive(PartialEq, Eq, Debug)]
pub(super) struct Notice {
    pub(super) severity: Severity,
    pub(super) text: String,
    pub(super) key: Option<KeyId>,
    pub(super) version: Option<KeyVersion>,
}

impl Notice {
    fn of_key(self, key: KeyId) -> Self {
        Self { key: Some(key), ..self }
    }

    fn of_version(self, version: KeyVersion) -> Self {
        Self { version: Some(version), ..self }
    }

    /// The line of an event, if it has one.
    pub(super) fn of(event: &Event) -> Option<Self> {
        use Severity::{Error, Info, Notice, Warning};
        Some(match event {
            Event::Mounted { read_only: true, .. } => line(Notice, "mounted, read-only"),
            Event::Mounted { .. } => line(Notice, "mounted"),
            Event::Unmounted(reason) => line(Notice, format!("unmounted ({})", reason.name())),
            Event::KeyRotated { key, old, new } => {
                line(Notice, format!("a key was rotated from version {old} to {new}"))
                    .of_key(*key)
                    .of_version(*new)
            }
            // Beside the operation that did it, which has a notice.
            Event::KeyStateChanged { key, state } => line(Info, format!("a key is now {state}")).of_key(*key),
            Event::KeyOperation { key, operation } => {
                line(Notice, format!("{operation} was done")).of_key(*key)
            }
            Event::OperationRefused { key, operation, code, .. } => {
                let refused = line(Notice, format!("{operation} was refused: {code}"));
                Self { key: *key, ..refused }
            }
            Event::MaterialDeleted { backing, why } => {
                let severity = if *why == "expired" { Warning } else { Notice };
                line(severity, format!("the material of a key version was deleted ({why})"))
                    .of_key(backing.key)
                    .of_version(backing.version)
            }
            Event::VersionsRetired { key, below, trimmed } => {
                let what = if *trimmed { ", and their material deleted" } else { "" };
                line(Notice, format!("the versions below {below} of a key are retired{what}"))
                    .of_key(*key)
                    .of_version(*below)
            }
            Event::KeyDeleted(key) => line(Notice, "a key was deleted").of_key(*key),
            Event::SlotAdded(slot) => line(Notice, format!("unlock slot {slot} was added")),
            Event::SlotRemoved(slot) => line(Notice, format!("unlock slot {slot} was removed")),
            Event::SlotLabelled(slot) => line(Notice, format!("unlock slot {slot} was labelled")),
            Event::HostEvicted { host } => {
                line(Notice, format!("host {} was said to be dead, and evicted", host.escape_default()))
            }
            Event::VaultShared => line(Notice, "several hosts share the vault from now on"),
            Event::ChangeUnconfirmed { hosts } => {
                let hosts: Vec<_> = hosts.iter().map(|host| host.escape_default().to_string()).collect();
                line(Warning, format!("{} didn't confirm a change of the keyring in time", hosts.join(", ")))
            }
            Event::RootKeyReplaced => line(Notice, "the root key was replaced, and all unlock slots with it"),
            Event::UnlockFailed { attempts, .. } => {
                let times = counted(*attempts, "secret that was tried", "secrets that were tried");
                line(Warning, format!("{times} opened nothing, before this"))
            }
            Event::RollbackAccepted(found) => {
                line(Warning, format!("an older keyring, of generation {}, was accepted", found.0))
            }
            Event::DescentUnproven { found, seen } => line(
                Warning,
                format!(
                    "it isn't known whether the keyring, of generation {}, comes from the one seen, of {}",
                    found.0, seen.0
                ),
            ),
            Event::ChangesLost { logged, found } => line(
                Error,
                format!(
                    "the audit log has changes up to generation {}, the keyring those up to {}",
                    logged.0, found.0
                ),
            ),
            Event::ChangeFailed { generation, .. } => {
                line(Error, format!("the keyring of generation {} could not be saved", generation.0))
            }
            Event::VersionsLost { versions, .. } => {
                let versions = counted(*versions, "version", "versions");
                line(
                    Warning,
                    format!("{versions} of a key may be lost with a newer keyring; the numbers are left out"),
                )
            }
            Event::KeyringMerged { found, versions, keys } => {
                let (versions, keys) =
                    (counted(*versions, "version", "versions"), counted(*keys, "key", "keys"));
                line(
                    Notice,
                    format!(
                        "a keyring of generation {} was merged: {versions} and {keys} came back",
                        found.0
                    ),
                )
            }
            Event::BackupExported(generation) => line(
                Notice,
                format!("the keyring of generation {} was written to a key backup", generation.0),
            ),
            Event::BackupKept(to) => {
                line(Notice, format!("a key backup is kept in {} from now on", printable::line(to)))
            }
            Event::BackupKeepingStopped(to) => {
                line(Notice, format!("the key backup {} is no longer kept", printable::line(to)))
            }
            Event::BackupImported { backup, .. } => line(
                Notice,
                format!("the keyring was brought back from a key backup of generation {}", backup.0),
            ),
            Event::SweepBegan => line(Notice, "a re-wrap of all files began"),
            Event::SweepEnded { files, rewrapped, failed, complete } => {
                let (end, files) = (ended(*complete), counted(*files, "file", "files"));
                line(
                    Notice,
                    format!(
                        "the re-wrap of all files {end}: {files} seen, {rewrapped} re-wrapped, {failed} not"
                    ),
                )
            }
            Event::ReencryptionBegan => line(Notice, "a re-encryption of files began"),
            Event::ReencryptionEnded { files, reencrypted, left, complete } => {
                let (end, files) = (ended(*complete), counted(*files, "file", "files"));
                line(
                    Notice,
                    format!("the re-encryption {end}: {files} seen, {reencrypted} re-encrypted, {left} not"),
                )
            }
            Event::FilesMoved { from, to, files } => {
                let files = counted(*files, "file", "files");
                line(Info, format!("{files} came from key {from} to another one")).of_key(*to)
            }
            Event::LogCut => line(Error, "the audit log was truncated, or has another event in its place"),
            Event::LogContinued { previous } => line(
                Notice,
                format!("the audit log is continued in a new file, after event {}", previous.count),
            ),
            Event::LogPruned { until, .. } => {
                line(Notice, format!("the events up to {until} are pruned from the audit log"))
            }
            Event::LinesForged { bytes, .. } => {
                let bytes = counted(*bytes, "byte", "bytes");
                line(Error, format!("{bytes} of lines that are not the vault's were put into the audit log"))
            }
            Event::LineTorn { bytes, .. } => {
                let bytes = counted(*bytes, "byte", "bytes");
                line(Info, format!("a crash tore a line of the audit log; {bytes} are left of it"))
            }
            // A warning says it when the first of them has to wait, an error when they are lost.
            Event::EventsLost { .. } => return None,
            // Nobody is told of it in a mount: it comes at `init`, and with a command that fails and says so.
            Event::VaultCreated | Event::RollbackNoticed(_) => return None,
            // Beside `RootKeyReplaced`.
            Event::EventKeyReplaced | Event::EventKeyInUse => return None,
            // Users bring these about as often as they like. The first three have a line, with the lower path, where they are met;
            // of the others the audit log has who and what.
            Event::Damage { .. } | Event::FileIdTwice { .. } | Event::FileNewerThanKeyring { .. } => {
                return None;
            }
            Event::AccessRefused { .. }
            | Event::DirectoryAlias { .. }
            | Event::FileReencrypted { .. }
            | Event::KmsRequest { .. } => return None,
            // It counts lines of the audit log.
            Event::HeldBack => return None,
        })
    }
}

fn line(severity: Severity, text: impl Into<String>) -> Notice {
    Notice { severity, text: text.into(), key: None, version: None }
}

fn ended(complete: bool) -> &'static str {
    if complete { "ended" } else { "was stopped" }
}

/// Logs an event of a change of keys, which has been saved.
pub fn log_change(event: &Event) {
    log(event);
}

/// Logs what happened in the name of [`Actor::current`].
pub(super) fn log(event: &Event) {
    let Some(Notice { severity, text, key, version }) = Notice::of(event) else { return };
    let (key, version) = (key.map(tracing::field::display), version.map(|version| version.0));
    let Actor { uid, pid, principal } = Actor::current();
    let principal = principal.map(tracing::field::display);
    match severity {
        Severity::Error => tracing::error!(target: NOTICES, key, version, uid, pid, principal, "{text}"),
        Severity::Warning => tracing::warn!(target: NOTICES, key, version, uid, pid, principal, "{text}"),
        Severity::Notice => tracing::info!(target: NOTICES, key, version, uid, pid, principal, "{text}"),
        Severity::Info => {
            tracing::info!(target: "rekeyfs::events", key, version, uid, pid, principal, "{text}")
        }
    }
}
