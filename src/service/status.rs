//! The state of a vault, its keys and its mount, as `status` shows it.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::key_backup::KeyBackupStatus;
use crate::ids::{AliasName, KeyId, KeyVersion, PathText, SlotId, VaultId};
use crate::keyring::{SlotLabel, Staying, VersionRange, VersionState};
use crate::unlock::CustodianName;
use crate::vault::NamedFile;

/// The state of a vault.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Status {
    /// The vault's id.
    pub vault_id: VaultId,
    /// The directory of the ciphertext.
    pub vault: PathText,
    /// The suite of new files.
    pub suite: String,
    /// The mount, if there is one.
    pub mount: Option<MountStatus>,
    /// The aliases and what they resolve to.
    pub aliases: Vec<AliasStatus>,
    /// The keys and their versions.
    #[serde(default)]
    pub keys: Vec<KeyStatus>,
    /// When all files were counted, UTC; changes since are counted too. None: only files used in this mount so far are.
    #[serde(default)]
    pub counted: Option<String>,
    /// The numbers of files are those of a count that was kept, as of this time, UTC; they may have changed since.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub counts_as_of: Option<String>,
    /// Files by key and version, as far as they were seen.
    pub versions: Vec<VersionStatus>,
    /// How many files were seen.
    pub files_seen: u64,
    /// Of these, not wrapped by the version where they belong now, or about to get the tag that says so: re-wrapped at
    /// their next use.
    pub files_stale: u64,
    /// Of these, files that stay under their key when an alias is pointed at another one.
    #[serde(default)]
    pub files_staying: Staying,
    /// After a count: files and directories of which it isn't known which key they need, for they can't be read or lie
    /// on another filesystem. They are in none of the other numbers.
    #[serde(default)]
    pub files_unknown: u64,
    /// After a count: some of these files, and of those whose header names a key version that the keyring doesn't have.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files_noted: Vec<NamedFile>,
    /// Stale files that were used and wait for their re-wrap.
    pub pending_rewraps: u64,
    /// How true the key backups are; an older daemon doesn't say.
    #[serde(default)]
    pub key_backup: Option<KeyBackupStatus>,
    /// Keys that will be deleted.
    #[serde(default)]
    pub pending_deletions: Vec<PendingStatus>,
}

/// A key.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct KeyStatus {
    /// Its id.
    pub key_id: KeyId,
    /// Its description; may be empty.
    pub description: String,
    /// Its tags; an older daemon doesn't say.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<TagStatus>,
    /// Whether rekeyfs itself manages it.
    pub service_managed: bool,
    /// Its state, as in `kms describe-key`.
    pub state: String,
    /// The version that wraps.
    pub current: KeyVersion,
    /// Versions below this one are retired.
    pub min_decryption: KeyVersion,
    /// Days between automatic rotations, if it has them.
    pub rotation_period_days: Option<u16>,
    /// When it rotates next by itself; UTC.
    pub next_rotation: Option<String>,
    /// Its versions.
    pub versions: Vec<KeyVersionStatus>,
    /// Versions that were in a newer keyring that isn't there any more, as far as can be told.
    #[serde(default)]
    pub lost: Vec<VersionRange>,
}

/// A tag of a key.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct TagStatus {
    /// Its name.
    pub key: String,
    /// Its value.
    pub value: String,
}

/// A version of a key.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct KeyVersionStatus {
    /// Its number.
    pub version: KeyVersion,
    /// When it was made; UTC.
    pub created: String,
    /// Whether its material is there.
    pub has_material: bool,
    /// When imported material expires, if it does; UTC.
    pub expires: Option<String>,
    /// When a rotation made it the current version; UTC. None for the first version, and from an older daemon.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rotated: Option<String>,
    /// Whether that rotation was the schedule's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub automatic: Option<bool>,
    /// Whether it opens files, and why it doesn't; an older daemon doesn't say.
    #[serde(flatten)]
    pub state: Option<VersionState>,
}

/// A key whose deletion is scheduled.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct PendingStatus {
    /// The key.
    pub key_id: KeyId,
    /// When; UTC.
    pub date: String,
    /// Whether it is deleted though files need it.
    #[serde(rename = "insisted")]
    pub forced: bool,
    /// Why it is still there after its date, if it is.
    #[serde(rename = "held_up")]
    pub blocked: Option<String>,
}

/// A mount.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct MountStatus {
    /// Where.
    pub mountpoint: PathText,
    /// The daemon's process id.
    pub pid: i32,
    /// Whether writes are refused: from the start, or by a remount.
    pub read_only: bool,
    /// Whether that is so from the start: a remount can't make it writable.
    #[serde(default)]
    pub always_read_only: bool,
    /// Whether it is detached (`umount -l`): no path leads there any more, and programs with open files are still served.
    #[serde(default)]
    pub detached: bool,
    /// Whether stale files are re-wrapped when they are used.
    pub lazy_rewrap: bool,
    /// Whether it is one of several that may share the vault.
    #[serde(default)]
    pub shared: bool,
    /// The lease of one that reads what another host writes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease: Option<LeaseStatus>,
}

/// A reader's lease.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct LeaseStatus {
    /// Whether it lasts; if not, the mount shows nothing that takes a key.
    pub in_force: bool,
    /// For how many seconds, if it isn't renewed.
    pub seconds_left: u64,
}

impl LeaseStatus {
    /// That of one which lasts for so long.
    pub fn of(left: Duration) -> Self {
        Self { in_force: !left.is_zero(), seconds_left: left.as_secs() }
    }
}

/// An alias.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct AliasStatus {
    /// Its name.
    pub alias: AliasName,
    /// The key it points at.
    pub key_id: KeyId,
    /// That key's current version.
    pub version: KeyVersion,
    /// That key's state, as in `kms describe-key`.
    pub state: String,
}

/// An unlock slot.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SlotStatus {
    /// Its id; none if the slot is of a kind that the daemon doesn't know and has none.
    pub id: Option<SlotId>,
    /// What opens it: `passphrase`, `keyfile`, `recovery`, `custodian`, or a kind of a newer program.
    pub kind: String,
    /// The custodian, if that is what opens it; an older daemon doesn't say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub custodian: Option<CustodianName>,
    /// What its owner calls it.
    pub label: Option<SlotLabel>,
    /// When it was made; UTC.
    pub created: Option<String>,
}

/// The files of one version of a key.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct VersionStatus {
    /// The key.
    pub key_id: KeyId,
    /// Its version.
    pub version: KeyVersion,
    /// How many files were seen to be wrapped by it.
    pub files: u64,
    /// What it is to the keyring; an older daemon doesn't say.
    #[serde(flatten)]
    pub state: Option<VersionState>,
}
