//! The open vault: what a mount serves on its socket, and what a command uses on a vault that isn't mounted. The files
//! of the latter are opened at the first operation that needs them.

use std::collections::HashMap;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use parking_lot::Mutex;

use super::blocked_deletions::BlockedDeletions;
use super::errors::{self, ErrorKind, ErrorReply};
use super::kept_counts::{CountToKeep, take_up_count, with_kept_count};
use super::key_backup::KeyBackupStatus;
use super::keys;
use super::operations::{Operations, Result};
use super::orders::{Retire, Rewrap, RewrapDestination};
use super::reports::{
    FileReencrypted, Inspected, InspectedHeader, KmsReply, ReencryptionEnded, RetireReport, RewrapReport,
};
use super::status::{LeaseStatus, MountStatus, SlotStatus, Status};
use super::tree::open_tree;
use crate::events::{Actor, Event, EventPage, EventQuery, FILE_NAME, LoggedEvent, Principal, Verification};
use crate::fsck::{self, CheckError, CheckObserver, Summary};
use crate::hosts::SlotNumber;
use crate::ids::{AliasName, BackingKeyId, Ino, PathText, SlotId, Timestamp};
use crate::keyring::{KeyRef, Keys, ManualRotation, Rotation, SlotLabel, VersionState};
use crate::kms::Call;
use crate::metrics::MetricsReport;
use crate::monitor::{Cancellation, Monitor, Progress};
use crate::rewrap::{self, SweepOptions};
use crate::storage::Errno;
use crate::unlock::SlotInfo;
use crate::vault::{Destination, HeaderInfo, Sharing, Vault, VaultOptions};

/// How long a new sweep waits for one whose client just hung up: that one ends after its batch.
const SWEEP_PATIENCE: Duration = Duration::from_secs(2);

/// What there is to a mount beside its vault.
pub(super) struct MountedAs {
    pub(super) status: MountStatus,
    /// When it began.
    pub(super) since: Timestamp,
}

/// A vault whose keyring is open.
pub struct OpenVault {
    pub(super) keys: Arc<Keys>,
    files: OnceLock<Arc<Vault>>,
    pub(super) mounted: Option<MountedAs>,
    detached: AtomicBool,
    /// Of work that changes files: the mount becomes read-only. A new one each time that it is writable again.
    pub(super) read_only: Mutex<Cancellation>,
    /// Held by the one sweep that may run.
    sweep: Mutex<()>,
    /// Held by the one check that may run.
    check: Mutex<()>,
    /// Of all long work: the mount ends.
    pub(super) ending: Cancellation,
    pub(super) blocked: BlockedDeletions,
}

impl OpenVault {
    /// A vault that isn't mounted, and that this process has for itself.
    pub fn unmounted(keys: Arc<Keys>) -> Self {
        Self::new(keys, OnceLock::new(), None)
    }

    fn new(keys: Arc<Keys>, files: OnceLock<Arc<Vault>>, mounted: Option<MountedAs>) -> Self {
        Self {
            keys,
            files,
            mounted,
            detached: AtomicBool::new(false),
            read_only: Mutex::default(),
            sweep: Mutex::new(()),
            check: Mutex::new(()),
            ending: Cancellation::default(),
            blocked: BlockedDeletions::default(),
        }
    }

    /// A vault that this process serves.
    pub fn mounted(vault: Arc<Vault>, mount: MountStatus) -> Self {
        let mounted = Some(MountedAs { status: mount, since: Timestamp::now() });
        Self::new(Arc::clone(vault.keys()), OnceLock::from(vault), mounted)
    }

    /// A vault whose files are open.
    pub fn with_files(vault: Arc<Vault>) -> Self {
        Self::new(Arc::clone(vault.keys()), OnceLock::from(vault), None)
    }

    /// The files.
    pub(super) fn files(&self) -> Result<&Arc<Vault>> {
        if let Some(files) = self.files.get() {
            return Ok(files);
        }
        let options =
            VaultOptions { read_only: false, lazy_rewrap: false, no_atime: false, sharing: Sharing::Alone };
        let files = open_tree(&self.keys, options)?;
        take_up_count(&files);
        Ok(self.files.get_or_init(|| files))
    }

    /// The files, if something has needed them.
    pub(super) fn opened_files(&self) -> Option<&Arc<Vault>> {
        self.files.get()
    }

    /// All long work stops soon, and what begins from now on: the mount ends.
    pub fn stop(&self) {
        self.ending.cancel();
    }

    /// The mount was remounted. Read-only, it changes no file: re-wraps are held back, and sweeps and re-encryptions stop
    /// after their batch or file. Nor does it change a key by itself; what is ordered of keys is done.
    pub fn remounted(&self, read_only: bool) {
        let mut stop = self.read_only.lock();
        if read_only {
            stop.cancel();
        } else {
            *stop = Cancellation::default();
        }
        if let Some(files) = self.files.get() {
            files.hold_rewraps(read_only);
        }
    }

    /// Whether the mount is read-only, from the start or by a remount.
    pub fn is_read_only(&self) -> bool {
        self.read_only.lock().is_cancelled() || self.files.get().is_some_and(|files| files.read_only())
    }

    /// Whether a sweep or a check is under way.
    pub fn is_at_work(&self) -> bool {
        self.sweep.is_locked() || self.check.is_locked()
    }

    /// No path leads to the mount any more.
    pub fn detached(&self) {
        self.detached.store(true, Ordering::Relaxed);
    }

    /// Refuses what changes files where that isn't allowed; else what stops it if that changes.
    pub(super) fn writable_files(&self, what: &str) -> Result<(&Arc<Vault>, Cancellation)> {
        let (files, stop) = (self.files()?, self.read_only.lock().clone());
        if files.read_only() || stop.is_cancelled() {
            let message = format!("{}: the mount is read-only; mount it writable to {what}", self.path());
            return Err(ErrorReply::new(ErrorKind::ReadOnly, message));
        }
        Ok((files, Cancellation::linked_to(&[&self.ending, &stop])))
    }

    /// The error of work that was stopped: by the caller, or by the end of the mount.
    pub(super) fn stopped(&self, message: String) -> ErrorReply {
        ErrorReply::new(
            if self.ending.is_cancelled() { ErrorKind::Other } else { ErrorKind::Stopped },
            message,
        )
    }

    /// The error for an event log that can't be read.
    fn unread_log(&self, error: Errno) -> ErrorReply {
        let log = self.keys.vault_path().join(FILE_NAME);
        let error = std::io::Error::from(error);
        ErrorReply::new(ErrorKind::Other, format!("{}: {error}", log.display()))
    }

    /// The vault's directory, as messages name it.
    pub(super) fn path(&self) -> String {
        self.keys.vault_path().display().to_string()
    }
}

impl Drop for OpenVault {
    /// Keeps the count of a vault that isn't mounted. A mount does so itself, later.
    fn drop(&mut self) {
        if self.mounted.is_none()
            && let Some(vault) = self.opened_files()
        {
            self.keys.events().drain();
            CountToKeep::of(vault).into_iter().for_each(CountToKeep::write);
        }
    }
}

/// Whether a file's slots bear the version where it belongs; that it is to get a tag is no matter of its version.
fn is_where_it_belongs(keys: &Keys, info: &HeaderInfo) -> bool {
    let slots = info.slots();
    slots.only(keys.follow(&slots).target)
}

impl OpenVault {
    /// The state, with the files of this use of the vault.
    fn status_now(&self) -> Status {
        let mut status = keys::status(&self.keys);
        status.key_backup = self.key_backup().ok();
        for pending in &mut status.pending_deletions {
            pending.blocked = self.blocked.reason(pending.key_id);
        }
        let Some(vault) = self.files.get() else { return status };
        let versions = keys::versions(&self.keys, vault.census());
        let (files_stale, files_staying) = vault.census_of_belonging();
        Status {
            files_seen: versions.iter().map(|seen| seen.files).sum(),
            files_stale,
            files_staying,
            versions,
            counted: vault.census_counted().map(|at| at.to_string()),
            pending_rewraps: vault.stale_waiting() as u64,
            mount: self.mounted.as_ref().map(|mounted| MountStatus {
                read_only: self.is_read_only(),
                detached: self.detached.load(Ordering::Relaxed),
                lease: vault.lease_left().map(LeaseStatus::of),
                ..mounted.status.clone()
            }),
            ..status
        }
    }
}

impl Operations for OpenVault {
    fn status(&self) -> Result<Status> {
        Ok(with_kept_count(&self.keys, self.files.get().is_some(), self.status_now()))
    }

    fn metrics(&self) -> Result<MetricsReport> {
        Ok(self.gather_metrics())
    }

    fn count_files(&self, monitor: &mut Monitor<'_>) -> Result<Status> {
        let (files_unknown, files_noted) = self.complete_census(monitor)?;
        Ok(Status { files_unknown, files_noted, ..self.status_now() })
    }

    fn key_backup(&self) -> Result<KeyBackupStatus> {
        let known = self.keys.key_backup();
        known.map(KeyBackupStatus::from).map_err(|error| errors::of_keyring(&error))
    }

    fn rotate(&self, target: &KeyRef) -> Result<Rotation> {
        keys::rotate(&self.keys, target)
    }

    fn replace_key(&self, alias: &AliasName) -> Result<ManualRotation> {
        self.keys.replace_key(alias).map_err(|error| errors::of_keyring(&error))
    }

    fn rotate_due(&self) -> Result<Vec<Rotation>> {
        self.keys.rotate_due().map_err(|error| errors::of_keyring(&error))
    }

    fn kms(&self, call: &Call, principal: Option<Principal>, monitor: &mut Monitor<'_>) -> Result<KmsReply> {
        let _acting = principal.map(|principal| Actor::current().on_behalf_of(principal).act());
        if let Some(refused) = principal.and_then(|principal| keys::refused(&self.keys, call, principal)) {
            return Ok(refused);
        }
        if let Some(files) = self.opened_files() {
            // A reader whose lease is over has keys that may not be in force any more.
            files.check_lease().map_err(|error| errors::of_vault(&self.path(), &error))?;
        }
        match call {
            Call::ScheduleKeyDeletion { .. } => self.schedule_deletion(call, monitor),
            _ => keys::kms(&self.keys, call),
        }
    }

    fn retire(&self, order: &Retire, monitor: &mut Monitor<'_>) -> Result<RetireReport> {
        self.retire_versions(order, monitor)
    }

    fn rewrap(&self, order: &Rewrap, monitor: &mut Monitor<'_>) -> Result<RewrapReport> {
        let ((vault, stop), path) = (self.writable_files("re-wrap its files")?, self.path());
        let Some(_only) = self.sweep.try_lock_for(SWEEP_PATIENCE) else {
            let message = format!("{path}: a sweep is under way already");
            return Err(ErrorReply::new(ErrorKind::Busy, message));
        };
        let to = match &order.to {
            RewrapDestination::Followed => Destination::Followed,
            RewrapDestination::Adopted => Destination::Adopted,
            RewrapDestination::Alias(alias) => {
                let current = self.keys.current(alias);
                let usable = current.and_then(|current| self.keys.usable(current));
                usable.map_err(|error| errors::of_keyring(&error.into()))?;
                Destination::Alias(alias.clone())
            }
        };
        let (max_rate, top) = (order.max_rate, order.top.map(Ino));
        let events = self.keys.events();
        events.record(&Event::SweepBegan);
        let options = SweepOptions { max_rate, to, top };
        let report = rewrap::sweep(vault, options, &mut monitor.linked_to(&stop))
            .map_err(|error| errors::of_vault(&path, &error))?;
        let progress = Progress {
            seen: report.files,
            rewrapped: report.rewrapped,
            failed: report.failed + report.skipped + report.left_out,
            ..Progress::default()
        };
        events.record(&Event::SweepEnded {
            files: progress.seen,
            rewrapped: progress.rewrapped,
            failed: progress.failed,
            complete: !report.stopped,
        });
        if report.stopped && !self.ending.is_cancelled() && self.is_read_only() {
            let done = format!("{} of the {} files that were visited", progress.rewrapped, progress.seen);
            let message = format!(
                "{path}: the mount became read-only, and the sweep stopped: {done} are re-wrapped; make it writable \
                 (mount -o remount,rw), then run `rekeyfs rewrap` again"
            );
            return Err(ErrorReply::new(ErrorKind::ReadOnly, message));
        }
        Ok(RewrapReport {
            progress,
            complete: !report.stopped,
            versions: keys::versions(&self.keys, report.census),
            staying: vault.census_of_belonging().1,
        })
    }

    fn rewrap_to(&self, ino: Ino, key_id: &str) -> Result<KmsReply> {
        self.rewrap_file_to(ino, key_id)
    }

    fn reencrypt(
        &self,
        ino: Ino,
        before: Option<Timestamp>,
        monitor: &mut Monitor<'_>,
    ) -> Result<FileReencrypted> {
        self.reencrypt_file(ino, before, monitor)
    }

    fn note_reencryption(&self, ended: Option<ReencryptionEnded>) -> Result<()> {
        self.keys.events().record(&ReencryptionEnded::event(ended));
        Ok(())
    }

    fn inspect(&self, ino: Ino) -> Result<Inspected> {
        let info = self.files()?.file_header_info(ino);
        let info = info.map_err(|error| errors::of_vault(&format!("inode {ino}"), &error))?;
        Ok(Inspected {
            header: info.map(|info| InspectedHeader {
                key_id: info.backing.key,
                version: info.backing.version,
                suite: info.suite.to_string(),
                sequence: info.sequence.0,
                stale: info.stale,
                state: Some(
                    self.keys.state_of(info.backing).of_file(!is_where_it_belongs(&self.keys, &info)),
                ),
            }),
        })
    }

    fn evict_reader(&self, host: &str) -> Result<Vec<u8>> {
        let evicted =
            self.keys.evict_readers(host, &self.ending).map_err(|error| errors::of_keyring(&error))?;
        Ok(evicted.into_iter().map(SlotNumber::get).collect())
    }

    fn slot_labels(&self) -> Result<Vec<(SlotId, SlotLabel)>> {
        self.keys.slot_labels().map_err(|error| errors::of_keyring(&error))
    }

    fn inspect_files(&self, inos: &[Ino]) -> Result<Vec<Option<Inspected>>> {
        Ok(inos.iter().map(|ino| self.inspect(*ino).ok()).collect())
    }

    fn version_state(&self, backing: BackingKeyId) -> Result<VersionState> {
        Ok(self.keys.state_of(backing))
    }

    fn fsck(
        &self,
        path: Option<&PathText>,
        cancellation: &Cancellation,
        watch: &mut dyn CheckObserver,
    ) -> Result<Summary> {
        let (files, vault) = (self.files()?, self.path());
        let Some(_only) = self.check.try_lock_for(SWEEP_PATIENCE) else {
            return Err(ErrorReply::new(ErrorKind::Busy, format!("{vault}: a check is under way already")));
        };
        let options = fsck::Options { path: path.cloned(), ..fsck::Options::default() };
        let cancellation = Cancellation::linked_to(&[cancellation, &self.ending]);
        fsck::check(&self.keys, Some(files), &options, &cancellation, watch).map_err(|error| {
            let kind = match error {
                CheckError::Path(..) => ErrorKind::NotFound,
                CheckError::Vault(_)
                | CheckError::Copy(..)
                | CheckError::Quarantine(..)
                | CheckError::QuarantineInside(_)
                | CheckError::Thread(_) => ErrorKind::Other,
            };
            ErrorReply::new(kind, format!("{vault}: {error}"))
        })
    }

    fn plain_names(&self, paths: &[String]) -> Result<Vec<Option<PathText>>> {
        let names = self.files()?.plain_names();
        let names = names.map_err(|error| errors::of_vault(&self.path(), &error))?;
        let text = |name: Vec<u8>| PathText(OsString::from_vec(name).into());
        Ok(paths.iter().map(|path| names.of(path).map(text)).collect())
    }

    fn slots(&self) -> Result<Vec<SlotStatus>> {
        let slots = self.keys.slots().map_err(|error| errors::of_keyring(&error))?;
        let labels: HashMap<SlotId, SlotLabel> = self.slot_labels()?.into_iter().collect();
        let status = |slot: SlotInfo| SlotStatus {
            label: slot.id.and_then(|id| labels.get(&id).cloned()),
            id: slot.id,
            custodian: slot.custody.as_ref().map(|custody| custody.custodian().clone()),
            kind: slot.kind,
            created: slot.created.map(|at| at.to_string()),
        };
        Ok(slots.into_iter().map(status).collect())
    }

    fn events(&self, query: &EventQuery) -> Result<EventPage> {
        let mut page = self.keys.page_of_events(query).map_err(|error| self.unread_log(error))?;
        let paths: Vec<String> =
            page.events.iter().filter_map(LoggedEvent::lower_path).map(str::to_owned).collect();
        let mut names = self.plain_names(&paths)?.into_iter();
        for event in page.events.iter_mut().filter(|event| event.lower_path().is_some()) {
            event.name = names.next().flatten();
        }
        Ok(page)
    }

    fn verify_events(&self) -> Result<Verification> {
        self.keys.verify_events().map_err(|error| self.unread_log(error))
    }

    fn rotate_events(&self) -> Result<String> {
        self.keys.rotate_events().map_err(|error| errors::of_keyring(&error))
    }

    fn prune_events(&self, keep: usize) -> Result<Vec<String>> {
        self.keys.prune_events(keep).map_err(|error| errors::of_keyring(&error))
    }
}

#[cfg(test)]
mod tests;
