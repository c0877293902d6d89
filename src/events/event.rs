//! The events of the audit log. What each says in JSON is in `detail`, what the program's log says of it in `notice`.

use super::anchor::Anchor;
use super::subject::{FailedUnlock, FileRef, RefusalReason, UnmountReason};
use crate::ids::{BackingKeyId, Generation, Ino, KeyId, KeyVersion, PageIndex, SlotId, Timestamp};

/// An event of the audit log.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Event {
    /// The vault was made.
    VaultCreated,
    /// The vault was mounted.
    Mounted {
        /// Where, as text; bytes that aren't UTF-8 are replaced.
        mountpoint: String,
        /// Whether writes are refused.
        read_only: bool,
        /// The unlock slot that was opened, and its kind. Not its label: that is sealed.
        slot: (SlotId, String),
    },
    /// A mount ended in order. One that was killed leaves none.
    Unmounted(UnmountReason),
    /// A key got a new version.
    KeyRotated {
        /// The key.
        key: KeyId,
        /// The version until now.
        old: KeyVersion,
        /// The version from now on.
        new: KeyVersion,
    },
    /// A key changed its state.
    KeyStateChanged {
        /// The key.
        key: KeyId,
        /// The new state, as KMS names it.
        state: &'static str,
    },
    /// A key, or an alias that points at it, was made or changed.
    KeyOperation {
        /// The key.
        key: KeyId,
        /// The operation, as KMS names it.
        operation: &'static str,
    },
    /// An operation on keys that was refused or failed; nothing was changed. The message to the user isn't recorded: it names
    /// aliases and quotes policies, and the log lies beside the ciphertext.
    OperationRefused {
        /// The key, if there is one of that name.
        key: Option<KeyId>,
        /// The unlock slot, if it is about one.
        slot: Option<SlotId>,
        /// The operation, as KMS names it.
        operation: &'static str,
        /// KMS's name of the reason.
        code: String,
    },
    /// A request of the KMS interface that changed no key: one that used it for data, or, on behalf of somebody, one that only
    /// looked or was refused. Neither data nor the encryption context is recorded: the log lies beside the ciphertext.
    KmsRequest {
        /// The operation, as KMS names it.
        operation: &'static str,
        /// The key, if there is one of that name.
        key: Option<KeyId>,
        /// The version that was used.
        version: Option<KeyVersion>,
        /// KMS's name of the reason why it was refused.
        code: Option<String>,
    },
    /// The material of a version is gone, and with it what it wrapped.
    MaterialDeleted {
        /// The version.
        backing: BackingKeyId,
        /// Why: `expired`, `deleted`, `trimmed`.
        why: &'static str,
    },
    /// Versions of a key were retired, restored, or trimmed.
    VersionsRetired {
        /// The key.
        key: KeyId,
        /// Those below this one are retired.
        below: KeyVersion,
        /// Whether their material was deleted too.
        trimmed: bool,
    },
    /// A key was deleted, with all its versions and aliases.
    KeyDeleted(KeyId),
    /// An unlock slot was added.
    SlotAdded(SlotId),
    /// An unlock slot was given a label, or it was taken away. Not which: the log lies beside the ciphertext.
    SlotLabelled(SlotId),
    /// An unlock slot was removed.
    SlotRemoved(SlotId),
    /// Somebody who can unlock the vault said that a host is dead, which had it in use and ended without unmounting; or a host's
    /// readers, which renewed no lease, were evicted.
    HostEvicted {
        /// Its name, by its record.
        host: String,
    },
    /// The vault was marked as one that several hosts share.
    VaultShared,
    /// Mounts on other hosts didn't confirm in time that a change of the keyring is in force there. Each shows nothing more
    /// under a key until it is.
    ChangeUnconfirmed {
        /// The hosts, by their own records.
        hosts: Vec<String>,
    },
    /// A new root key was drawn; the slots of the old one are gone.
    RootKeyReplaced,
    /// The event key is about to be replaced: the last line that the old one makes, unless the change that it is a
    /// part of fails.
    EventKeyReplaced,
    /// The event key was replaced: the first line that the new one makes.
    EventKeyInUse,
    /// A secret opened no slot.
    UnlockFailed {
        /// How often since the last event of this kind.
        attempts: u64,
        /// Which kind of secret was tried last, where that is known.
        kind: Option<String>,
        /// The slot that it was tried with, where it was one.
        slot: Option<SlotId>,
        /// The last of them, as recorded then without a key: anyone who can write to the vault can have forged it.
        last: Option<FailedUnlock>,
    },
    /// An older or diverged keyring than this host had seen was refused.
    RollbackNoticed(Generation),
    /// An older or diverged keyring than this host had seen was accepted on the user's word.
    RollbackAccepted(Generation),
    /// A newer keyring than this host had seen was accepted. Its line of earlier generations doesn't go back that far, so it isn't
    /// known whether it descends from the one seen.
    DescentUnproven {
        /// Its generation.
        found: Generation,
        /// The one that this host had seen.
        seen: Generation,
    },
    /// The log has events of changes that the keyring doesn't have: a crash came between the two, or an older
    /// keyring was put back.
    ChangesLost {
        /// The newest generation that the log knows.
        logged: Generation,
        /// The keyring's.
        found: Generation,
    },
    /// A keyring could not be saved: the events of this generation may not have taken effect.
    ChangeFailed {
        /// The generation.
        generation: Generation,
        /// Whether the keyring file may have been replaced nevertheless.
        replaced: bool,
    },
    /// Versions of keys that a newer keyring may have had are marked lost: their numbers are never used again.
    VersionsLost {
        /// The keyring's generation.
        found: Generation,
        /// The newest generation known from anywhere, if one is.
        known: Option<Generation>,
        /// How many versions the key lost that lost most.
        versions: u32,
    },
    /// A keyring that was found again was merged.
    KeyringMerged {
        /// Its generation.
        found: Generation,
        /// How many versions came back.
        versions: u64,
        /// How many keys did.
        keys: u64,
    },
    /// The keyring was written to a backup.
    BackupExported(Generation),
    /// A backup of the keys is kept at this path from now on.
    BackupKept(String),
    /// The backup at this path is no longer kept.
    BackupKeepingStopped(String),
    /// The keyring was brought back from a backup.
    BackupImported {
        /// The generation that the backup had.
        backup: Generation,
        /// The newest generation that was known here, if one was.
        known: Option<Generation>,
    },
    /// A re-wrap of the whole tree began.
    SweepBegan,
    /// A re-wrap of the whole tree ended.
    SweepEnded {
        /// Files looked at.
        files: u64,
        /// Of these, re-wrapped.
        rewrapped: u64,
        /// Of these, left as they were or failed.
        failed: u64,
        /// Whether it saw the whole tree.
        complete: bool,
    },
    /// Files came under another key by a re-wrap: one line for each pair of keys in a batch, which is up to 64 files
    /// that were opened, or up to 4,096 of a sweep.
    FilesMoved {
        /// The key before.
        from: KeyId,
        /// The key now.
        to: KeyId,
        /// How many files.
        files: u64,
    },
    /// A file was met that was wrapped with a newer keyring than this one: an older keyring was put back. Of each newer
    /// generation the first file in a mount that was met.
    FileNewerThanKeyring {
        /// The file.
        file: FileRef,
        /// What wraps it.
        backing: BackingKeyId,
        /// The keyring's generation then.
        written: Generation,
        /// The keyring's generation now.
        keyring: Generation,
    },
    /// A directory was given an alias, or it was taken away: that new files in it take another key.
    DirectoryAlias {
        /// The directory.
        directory: FileRef,
        /// The key of new files in it.
        key: Option<KeyId>,
        /// Whether it was taken away.
        removed: bool,
    },
    /// A file was re-encrypted under another DEK.
    FileReencrypted {
        /// The file that is there now, at the path that both have had.
        file: FileRef,
        /// The inode number of the one that it replaced.
        replaced: Ino,
        /// What wraps the new DEK.
        backing: BackingKeyId,
    },
    /// A re-encryption of all files below directories began.
    ReencryptionBegan,
    /// A re-encryption of all files below directories ended, as the command that did it counted.
    ReencryptionEnded {
        /// Files looked at.
        files: u64,
        /// Of these, those that have a new DEK.
        reencrypted: u64,
        /// Files left as they were, and directories that could not be read.
        left: u64,
        /// Whether it saw all of them.
        complete: bool,
    },
    /// The opening, creation or truncation of a file, or the setting of an alias, was refused.
    AccessRefused {
        /// `open`, `create`, `truncate` or `set-alias`.
        operation: &'static str,
        /// The file; for `create` the directory.
        file: FileRef,
        /// Why.
        reason: RefusalReason,
        /// The backing key concerned, where it is known.
        backing: Option<BackingKeyId>,
    },
    /// Ciphertext that failed authentication, or an impossible record.
    Damage {
        /// The file or directory.
        file: FileRef,
        /// Which part of it: `page`, `header`, `directory record`, `xattr` and so on.
        part: &'static str,
        /// Which page, for a page.
        page: Option<PageIndex>,
        /// The backing key that its header names, where it could be read.
        backing: Option<BackingKeyId>,
    },
    /// Two inodes bear one file id: someone has copied a header below.
    FileIdTwice {
        /// The one that was opened now.
        file: FileRef,
        /// The one that had the id before.
        other: FileRef,
        /// Whether the first one was refused; if not, the other one no longer bears the id.
        refused: bool,
    },
    /// Rate-limited events that were held back since the last line.
    HeldBack,
    /// Events that could neither be written nor kept in memory.
    EventsLost {
        /// How many.
        events: u64,
        /// When the first of them happened.
        since: Timestamp,
        /// When the last of them did.
        until: Timestamp,
    },
    /// The log was shorter than the keyring's anchor says, or had another event in its place.
    LogCut,
    /// The log is continued in a new file, of which this is the first line.
    LogContinued {
        /// The last place in the file before.
        previous: Anchor,
    },
    /// The oldest files of the log are about to be removed, as was asked for.
    LogPruned {
        /// The sequence number of the last event in them.
        until: u64,
        /// How many files.
        files: u64,
    },
    /// Lines that no holder of the event key wrote stand before this line, behind the last one that one did.
    LinesForged {
        /// How many bytes.
        bytes: u64,
        /// Their SHA-256, in hexadecimal.
        sha256: String,
    },
    /// A crash tore what was being written; what is left of it stands before this line.
    LineTorn {
        /// How many bytes are left of it.
        bytes: u64,
        /// Their SHA-256, in hexadecimal.
        sha256: String,
    },
}

/// What comes before the id or the name in an ARN.
pub const ARN_PREFIX: &str = "arn:rekeyfs:kms:local:000000000000:";

/// A key's ARN: `arn:rekeyfs:kms:local:000000000000:key/UUID`.
pub fn arn(key: KeyId) -> String {
    format!("{ARN_PREFIX}key/{key}")
}

impl Event {
    /// EventBridge's `detail-type`.
    pub fn detail_type(&self) -> &'static str {
        match self {
            Self::VaultCreated => "Vault Created",
            Self::Mounted { .. } => "Vault Mounted",
            Self::Unmounted(_) => "Vault Unmounted",
            Self::KeyRotated { .. } => "KMS CMK Rotation",
            Self::KeyStateChanged { .. } => "KMS Key State Change",
            Self::KeyOperation { .. } | Self::OperationRefused { .. } => "KMS Key Operation",
            Self::KmsRequest { .. } => "KMS Request",
            Self::MaterialDeleted { .. } => "Key Material Deleted",
            Self::VersionsRetired { .. } => "Key Versions Retired",
            Self::KeyDeleted(_) => "KMS CMK Deletion",
            Self::SlotAdded(_) => "Unlock Slot Added",
            Self::SlotRemoved(_) => "Unlock Slot Removed",
            Self::SlotLabelled(_) => "Unlock Slot Labelled",
            Self::HostEvicted { .. } => "Host Evicted",
            Self::VaultShared => "Vault Shared",
            Self::ChangeUnconfirmed { .. } => "Keyring Change Unconfirmed",
            Self::RootKeyReplaced => "Root Key Replaced",
            Self::EventKeyReplaced => KEY_REPLACED,
            Self::EventKeyInUse => "Event Key In Use",
            Self::UnlockFailed { .. } => "Unlock Failed",
            Self::RollbackNoticed(_) => "Keyring Rollback Noticed",
            Self::RollbackAccepted(_) => "Keyring Rollback Accepted",
            Self::DescentUnproven { .. } => "Keyring Descent Unproven",
            Self::ChangesLost { .. } => "Keyring Changes Lost",
            Self::ChangeFailed { .. } => "Keyring Change Failed",
            Self::VersionsLost { .. } => "Key Versions Lost",
            Self::KeyringMerged { .. } => "Keyring Merged",
            Self::BackupExported(_) => "Key Backup Exported",
            Self::BackupKept(_) => "Key Backup Kept",
            Self::BackupKeepingStopped(_) => "Key Backup Keeping Stopped",
            Self::BackupImported { .. } => "Key Backup Imported",
            Self::SweepBegan => "Re-wrap Sweep Began",
            Self::SweepEnded { .. } => "Re-wrap Sweep Ended",
            Self::FilesMoved { .. } => "Files Moved To Another Key",
            Self::FileNewerThanKeyring { .. } => "File Newer Than Keyring",
            Self::DirectoryAlias { .. } => "Directory Alias Changed",
            Self::FileReencrypted { .. } => "File Re-encrypted",
            Self::ReencryptionBegan => "Re-encryption Began",
            Self::ReencryptionEnded { .. } => "Re-encryption Ended",
            Self::AccessRefused { .. } => "File Access Refused",
            Self::Damage { .. } => "Damaged Ciphertext",
            Self::FileIdTwice { .. } => "File Id Of Two Inodes",
            Self::HeldBack => "Events Held Back",
            Self::EventsLost { .. } => "Events Lost",
            Self::LogCut => "Event Log Cut",
            Self::LogContinued { .. } => LOG_CONTINUED,
            Self::LogPruned { .. } => LOG_PRUNED,
            Self::LinesForged { .. } => "Event Log Lines Forged",
            Self::LineTorn { .. } => LINE_TORN,
        }
    }

    /// The key that EventBridge lists under `resources`.
    pub(super) fn key(&self) -> Option<KeyId> {
        match self {
            Self::KeyRotated { key, .. }
            | Self::KeyStateChanged { key, .. }
            | Self::KeyOperation { key, .. }
            | Self::VersionsRetired { key, .. }
            | Self::KeyDeleted(key) => Some(*key),
            Self::OperationRefused { key, .. }
            | Self::KmsRequest { key, .. }
            | Self::DirectoryAlias { key, .. } => *key,
            Self::FilesMoved { to, .. } => Some(*to),
            Self::MaterialDeleted { backing, .. }
            | Self::FileReencrypted { backing, .. }
            | Self::FileNewerThanKeyring { backing, .. } => Some(backing.key),
            Self::AccessRefused { backing, .. } | Self::Damage { backing, .. } => backing.map(|b| b.key),
            _ => None,
        }
    }
}

/// The `detail-type` of [`Event::EventKeyReplaced`], by which a reader with the old key knows that there is a new one.
pub(super) const KEY_REPLACED: &str = "Event Key Replaced";
/// The `detail-type` of [`Event::LineTorn`], by which a check of the log knows it.
pub(super) const LINE_TORN: &str = "Event Log Line Torn";
/// The `detail-type` of [`Event::LogContinued`], by which a reader knows the first line of a file.
pub(super) const LOG_CONTINUED: &str = "Event Log Continued";
/// The `detail-type` of [`Event::LogPruned`], by which a check of the log knows which files may be missing.
pub(super) const LOG_PRUNED: &str = "Event Log Pruned";
