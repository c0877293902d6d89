//! What an event of the audit log says in JSON, under `detail`.

use data_encoding::HEXLOWER;
use serde_json::{Value, json};

use super::event::Event;
use super::file_names::closed_name;
use super::subject::{FailedUnlock, with_backing, with_file};

impl Event {
    /// How it ended: `success`, `refused` or `failed`.
    fn outcome(&self) -> &'static str {
        match self {
            Self::OperationRefused { .. }
            | Self::KmsRequest { code: Some(_), .. }
            | Self::AccessRefused { .. }
            | Self::UnlockFailed { .. }
            | Self::RollbackNoticed(_) => "refused",
            Self::ChangesLost { .. }
            | Self::DescentUnproven { .. }
            | Self::ChangeFailed { .. }
            | Self::VersionsLost { .. }
            | Self::Damage { .. }
            | Self::FileNewerThanKeyring { .. }
            | Self::FileIdTwice { .. }
            | Self::LogCut
            | Self::EventsLost { .. }
            | Self::LinesForged { .. }
            | Self::LineTorn { .. } => "failed",
            _ => "success",
        }
    }

    /// What EventBridge has under `detail`, the outcome last.
    pub(super) fn detail(&self) -> Value {
        let mut detail = self.particulars();
        detail["outcome"] = self.outcome().into();
        detail
    }

    fn particulars(&self) -> Value {
        match self {
            Self::VaultCreated
            | Self::VaultShared
            | Self::RootKeyReplaced
            | Self::EventKeyReplaced
            | Self::EventKeyInUse
            | Self::SweepBegan
            | Self::ReencryptionBegan
            | Self::HeldBack
            | Self::LogCut => json!({}),
            Self::Mounted { mountpoint, read_only, slot: (slot, kind) } => json!({
                "mountpoint": mountpoint, "read-only": read_only, "slot-id": slot.to_string(), "slot-kind": kind,
            }),
            Self::Unmounted(reason) => json!({"reason": reason.name()}),
            Self::KeyRotated { key, old, new } => {
                json!({"key-id": key.to_string(), "previous-version": old.0, "version": new.0})
            }
            Self::KeyStateChanged { key, state } => json!({"key-id": key.to_string(), "key-state": state}),
            Self::KeyOperation { key, operation } => {
                json!({"key-id": key.to_string(), "event-name": operation})
            }
            Self::OperationRefused { key, slot, operation, code } => {
                let mut detail = json!({
                    "key-id": key.map(|key| key.to_string()), "event-name": operation, "error-code": code,
                });
                if let Some(slot) = slot {
                    detail["slot-id"] = slot.to_string().into();
                }
                detail
            }
            Self::KmsRequest { operation, key, version, code } => json!({
                "key-id": key.map(|key| key.to_string()), "version": version.map(|version| version.0),
                "event-name": operation, "error-code": code,
            }),
            Self::MaterialDeleted { backing, why } => with_backing(json!({"reason": why}), Some(*backing)),
            Self::VersionsRetired { key, below, trimmed } => {
                json!({"key-id": key.to_string(), "min-decryption-version": below.0, "trimmed": trimmed})
            }
            Self::KeyDeleted(key) => json!({"key-id": key.to_string()}),
            Self::SlotAdded(slot) | Self::SlotRemoved(slot) | Self::SlotLabelled(slot) => {
                json!({"slot-id": slot.to_string()})
            }
            Self::HostEvicted { host } => json!({"host": host}),
            Self::ChangeUnconfirmed { hosts } => json!({"hosts": hosts}),
            Self::UnlockFailed { attempts, kind, slot, last } => json!({
                "attempts": attempts, "secret-kind": kind, "slot-id": slot.map(|slot| slot.to_string()),
                "last-attempt": last.as_ref().map(FailedUnlock::detail),
            }),
            Self::RollbackNoticed(found) | Self::RollbackAccepted(found) => {
                json!({"found-generation": found.0})
            }
            Self::DescentUnproven { found, seen } => {
                json!({"found-generation": found.0, "seen-generation": seen.0})
            }
            Self::ChangesLost { logged, found } => {
                json!({"logged-generation": logged.0, "found-generation": found.0})
            }
            Self::ChangeFailed { generation, replaced } => {
                json!({"failed-generation": generation.0, "keyring-replaced": replaced})
            }
            Self::VersionsLost { found, known, versions } => json!({
                "found-generation": found.0, "known-generation": known.map(|known| known.0), "versions": versions,
            }),
            Self::KeyringMerged { found, versions, keys } => {
                json!({"merged-generation": found.0, "versions": versions, "keys": keys})
            }
            Self::BackupExported(generation) => json!({"backup-generation": generation.0}),
            Self::BackupKept(to) | Self::BackupKeepingStopped(to) => json!({"backup-path": to}),
            Self::BackupImported { backup, known } => {
                json!({"backup-generation": backup.0, "known-generation": known.map(|known| known.0)})
            }
            Self::SweepEnded { files, rewrapped, failed, complete } => json!({
                "files": files, "rewrapped": rewrapped, "not-rewrapped": failed, "complete": complete,
            }),
            Self::FilesMoved { from, to, files } => {
                json!({"previous-key-id": from.to_string(), "key-id": to.to_string(), "files": files})
            }
            Self::FileNewerThanKeyring { file, backing, written, keyring } => {
                let detail = json!({"written-generation": written.0, "keyring-generation": keyring.0});
                with_backing(with_file(detail, file), Some(*backing))
            }
            Self::DirectoryAlias { directory, key, removed } => {
                let detail = json!({"key-id": key.map(|key| key.to_string()), "removed": removed});
                with_file(detail, directory)
            }
            Self::FileReencrypted { file, replaced, backing } => {
                with_backing(with_file(json!({"replaced-inode": replaced.0}), file), Some(*backing))
            }
            Self::ReencryptionEnded { files, reencrypted, left, complete } => json!({
                "files": files, "reencrypted": reencrypted, "not-reencrypted": left, "complete": complete,
            }),
            Self::AccessRefused { operation, file, reason, backing } => {
                let detail = json!({"event-name": operation, "reason": reason.name()});
                let detail = with_file(detail, file);
                with_backing(detail, *backing)
            }
            Self::Damage { file, part, page, backing } => {
                let mut detail = with_file(json!({"part": part}), file);
                if let Some(page) = page {
                    detail["page"] = page.0.into();
                }
                with_backing(detail, *backing)
            }
            Self::FileIdTwice { file, other, refused } => with_file(
                json!({
                    "other-inode": other.ino.0, "other-lower-path": other.path, "refused": refused,
                }),
                file,
            ),
            Self::EventsLost { events, since, until } => {
                json!({"events": events, "since": since.to_string(), "until": until.to_string()})
            }
            Self::LogContinued { previous } => json!({
                "previous-file": closed_name(previous.count),
                "previous-sequence": previous.count,
                "previous-mac": HEXLOWER.encode(&previous.mac),
            }),
            Self::LogPruned { until, files } => json!({"until": until, "files": files}),
            Self::LinesForged { bytes, sha256 } | Self::LineTorn { bytes, sha256 } => {
                json!({"bytes": bytes, "sha256": sha256})
            }
        }
    }
}
