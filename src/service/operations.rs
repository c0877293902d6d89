//! What can be asked of a vault: one trait, which the open vault (`local`) and the client of a mount's daemon
//! (`control::Client`) implement. A command is written once, against the trait.

use super::errors::ErrorReply;
use super::key_backup::KeyBackupStatus;
use super::orders::{Retire, Rewrap};
use super::reports::{FileReencrypted, Inspected, KmsReply, ReencryptionEnded, RetireReport, RewrapReport};
use super::status::{SlotStatus, Status};
use crate::events::{EventPage, EventQuery, Principal, Verification};
use crate::fsck::{CheckObserver, Summary};
use crate::ids::{AliasName, BackingKeyId, Ino, PathText, SlotId, Timestamp};
use crate::keyring::{KeyRef, ManualRotation, Rotation, SlotLabel, VersionState};
use crate::kms::Call;
use crate::metrics::MetricsReport;
use crate::monitor::{Cancellation, Monitor};

/// What an operation answers, or why it was not done.
pub type Result<T> = std::result::Result<T, ErrorReply>;

/// Files inspected by one request: their answers fit a message of the control protocol several times over.
pub const INSPECTED_TOGETHER: usize = 1024;

/// The operations on a vault. They are called from several threads at once.
pub trait Operations: Send + Sync {
    /// The state of vault and mount, with what is known of the files without counting them.
    ///
    /// # Errors
    /// The daemon can't be asked.
    fn status(&self) -> Result<Status>;

    /// What a monitoring system reads.
    ///
    /// # Errors
    /// The daemon can't be asked.
    fn metrics(&self) -> Result<MetricsReport>;

    /// Counts all files, and gives the state then.
    ///
    /// # Errors
    /// The tree can't be read; stopped.
    fn count_files(&self, monitor: &mut Monitor<'_>) -> Result<Status>;

    /// How true the key backups are. Waits a moment for those that are being written.
    ///
    /// # Errors
    /// The keyring can't be read; an older daemon doesn't know of them.
    fn key_backup(&self) -> Result<KeyBackupStatus>;

    /// Adds a version to a key; returns when it is durable and in use.
    ///
    /// # Errors
    /// There is no such key, or its state doesn't allow it; the keyring can't be saved.
    fn rotate(&self, target: &KeyRef) -> Result<Rotation>;

    /// Makes a new key in the place of the one that an alias points at.
    ///
    /// # Errors
    /// As [`Operations::rotate`].
    fn replace_key(&self, alias: &AliasName) -> Result<ManualRotation>;

    /// Rotates every key whose schedule says so.
    ///
    /// # Errors
    /// The keyring can't be saved.
    fn rotate_due(&self) -> Result<Vec<Rotation>>;

    /// Does an operation of the KMS interface, on behalf of a principal if one is given. It can be watched and cancelled where
    /// files are counted.
    ///
    /// # Errors
    /// Those that KMS has no name for: the keyring can't be read or saved, the files can't be counted.
    fn kms(&self, call: &Call, principal: Option<Principal>, monitor: &mut Monitor<'_>) -> Result<KmsReply>;

    /// Retires, restores or trims versions of a key.
    ///
    /// # Errors
    /// Files need them, or may; there is no such key; the keyring can't be saved.
    fn retire(&self, order: &Retire, monitor: &mut Monitor<'_>) -> Result<RetireReport>;

    /// Re-wraps files. Files done by the time it stops stay done.
    ///
    /// # Errors
    /// The vault is read-only, a sweep is under way, the alias can't be used, or the tree can't be read.
    fn rewrap(&self, order: &Rewrap, monitor: &mut Monitor<'_>) -> Result<RewrapReport>;

    /// Re-wraps the DEK of a file that the kernel holds under the current version of a key.
    ///
    /// # Errors
    /// Those that KMS has no name for: the file can't be written.
    fn rewrap_to(&self, ino: Ino, key_id: &str) -> Result<KmsReply>;

    /// Re-encrypts a file that the kernel holds, unless it was made at or after `before`.
    ///
    /// # Errors
    /// The file can't be read or written.
    fn reencrypt(
        &self,
        ino: Ino,
        before: Option<Timestamp>,
        monitor: &mut Monitor<'_>,
    ) -> Result<FileReencrypted>;

    /// Records in the event log that a re-encryption of all files below directories began, or how it ended.
    ///
    /// # Errors
    /// The daemon can't be asked.
    fn note_reencryption(&self, ended: Option<ReencryptionEnded>) -> Result<()>;

    /// What the header of a file says that the kernel holds.
    ///
    /// # Errors
    /// There is no such file, or its header doesn't open.
    fn inspect(&self, ino: Ino) -> Result<Inspected>;

    /// The same of many files, at most [`INSPECTED_TOGETHER`]: none for one that [`Operations::inspect`] has an error for.
    ///
    /// # Errors
    /// The daemon can't be asked.
    fn inspect_files(&self, inos: &[Ino]) -> Result<Vec<Option<Inspected>>>;

    /// The state of a key version.
    ///
    /// # Errors
    /// The daemon can't be asked.
    fn version_state(&self, backing: BackingKeyId) -> Result<VersionState>;

    /// Checks what is stored, or the part of it at `path`, until it is cancelled. `watch` receives findings and progress.
    ///
    /// # Errors
    /// There is no such path; a check is under way.
    fn fsck(
        &self,
        path: Option<&PathText>,
        cancellation: &Cancellation,
        watch: &mut dyn CheckObserver,
    ) -> Result<Summary>;

    /// The plain names of lower paths in the event log, each relative to the mountpoint.
    ///
    /// # Errors
    /// The root can't be read.
    fn plain_names(&self, paths: &[String]) -> Result<Vec<Option<PathText>>>;

    /// Takes a host's readers that are gone out of those that changes of keys wait for; returns the numbers of their slots. Takes some
    /// twenty seconds.
    ///
    /// # Errors
    /// The host has no reader, or they live; the records can't be written.
    fn evict_reader(&self, host: &str) -> Result<Vec<u8>>;

    /// The labels of the unlock slots.
    ///
    /// # Errors
    /// The keyring can't be read.
    fn slot_labels(&self) -> Result<Vec<(SlotId, SlotLabel)>>;

    /// The unlock slots, with their labels.
    ///
    /// # Errors
    /// The keyring can't be read; an older daemon doesn't know the question.
    fn slots(&self) -> Result<Vec<SlotStatus>>;

    /// A page of the event log, with the plain names of its files, and which of its lines aren't known to be the vault's.
    ///
    /// # Errors
    /// It can't be read; an older daemon doesn't know the question.
    fn events(&self, query: &EventQuery) -> Result<EventPage>;

    /// Checks the event log.
    ///
    /// # Errors
    /// It can't be read.
    fn verify_events(&self) -> Result<Verification>;

    /// Closes the file of the event log and continues the log in a new one. The name of the closed file.
    ///
    /// # Errors
    /// The log can't be continued, or the keyring can't be saved.
    fn rotate_events(&self) -> Result<String>;

    /// Removes the closed files of the event log but for the newest `keep`. The names of those that are gone.
    ///
    /// # Errors
    /// The log doesn't verify; the keyring can't be saved.
    fn prune_events(&self, keep: usize) -> Result<Vec<String>>;
}
