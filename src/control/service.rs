//! The answers themselves, from an open vault: what a mount serves on its socket, and what a command does to
//! a vault that isn't mounted.

mod copies;
mod endings;
mod files;

use std::os::unix::ffi::OsStringExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

use super::protocol::{
    AliasStatus, FileReencrypted, Inspected, InspectedHeader, KeyStatus, KeyVersionStatus, KmsReply,
    MountStatus, PendingStatus, Progress, ReencryptionEnded, Refusal, RefusalKind, Renewed, Retire,
    RetireReport, Rewrap, RewrapDestination, RewrapReport, RotateTarget, Rotated, Status, VersionStatus,
};
use super::refusals::{refusal_of_keyring, refusal_of_vault};
use super::server::Handler;
use crate::events::{Event, FILE_NAME, Verification};
use crate::fsck::{self, CheckError, CheckObserver, Summary};
use crate::ids::{AliasName, BackingKeyId, Ino, PathText, Timestamp};
use crate::keyring::kms::{Call, KmsError};
use crate::keyring::{self, KeyInfo, KeyringError, Keys, Staying, VersionState};
use crate::rewrap::{self, SweepOptions};
use crate::vault::{Destination, HeaderInfo, Vault};

pub use endings::DueDeletion;
use endings::HeldUp;
use files::reencryption;

/// How long a new sweep waits for one whose client just hung up: that one ends after its batch.
const SWEEP_PATIENCE: Duration = Duration::from_secs(2);

/// Answers requests from an open vault.
pub struct Service {
    vault: Arc<Vault>,
    mount: Option<MountStatus>,
    /// Held by the one sweep that may run.
    sweep: Mutex<()>,
    /// Held by the one check that may run.
    check: Mutex<()>,
    /// The sweep under way is to stop.
    halt: AtomicBool,
    /// Every sweep is to stop.
    stopping: AtomicBool,
    held_up: HeldUp,
}

impl Service {
    /// For an open vault, mounted or not.
    pub fn new(vault: Arc<Vault>, mount: Option<MountStatus>) -> Self {
        Self {
            vault,
            mount,
            sweep: Mutex::new(()),
            check: Mutex::new(()),
            halt: AtomicBool::new(false),
            stopping: AtomicBool::new(false),
            held_up: HeldUp::default(),
        }
    }
}

impl Service {
    /// Whether a file's slots bear the version where it belongs; that it is to get a tag is no matter of its version.
    fn is_where_it_belongs(&self, info: &HeaderInfo) -> bool {
        let slots = info.slots();
        slots.only(self.vault.keys().follow(&slots).target)
    }
}

impl Handler for Service {
    fn status(&self) -> Result<Status, Refusal> {
        let versions = versions(self.vault.keys(), self.vault.census());
        let mut keys = status_of_keys(self.vault.keys());
        for pending in &mut keys.pending_deletions {
            pending.held_up = self.held_up(pending.key_id);
        }
        let files_seen = versions.iter().map(|seen| seen.files).sum();
        let (files_stale, files_staying) = self.vault.census_of_belonging();
        Ok(Status {
            files_seen,
            files_stale,
            files_staying,
            versions,
            counted: self.vault.census_counted().map(|at| at.to_string()),
            pending_rewraps: self.vault.stale_waiting() as u64,
            mount: self.mount.clone(),
            ..keys
        })
    }

    fn rotate(&self, target: &RotateTarget) -> Result<Rotated, Refusal> {
        rotate(self.vault.keys(), target).map_err(|error| refusal_of_keyring(&error))
    }

    fn renew(&self, alias: &AliasName) -> Result<Renewed, Refusal> {
        renew(self.vault.keys(), alias).map_err(|error| refusal_of_keyring(&error))
    }

    fn rotate_due(&self) -> Result<Vec<Rotated>, Refusal> {
        rotate_due(self.vault.keys()).map_err(|error| refusal_of_keyring(&error))
    }

    fn kms(&self, call: &Call, go_on: &mut dyn FnMut(Progress) -> bool) -> Result<KmsReply, Refusal> {
        match call {
            Call::ScheduleKeyDeletion { .. } => self.schedule_deletion(call, go_on),
            _ => kms(self.vault.keys(), call).map_err(|error| refusal_of_keyring(&error)),
        }
    }

    fn retire(
        &self,
        asked: &Retire,
        go_on: &mut dyn FnMut(Progress) -> bool,
    ) -> Result<RetireReport, Refusal> {
        self.retire_versions(asked, go_on)
    }

    fn rewrap(
        &self,
        asked: &Rewrap,
        go_on: &mut dyn FnMut(Progress) -> bool,
    ) -> Result<RewrapReport, Refusal> {
        let path = self.vault.keys().vault_path().display();
        if self.vault.read_only() {
            let message = format!("{path}: it is read-only; mount it writable to re-wrap its files");
            return Err(Refusal::new(RefusalKind::ReadOnly, message));
        }
        let Some(_only) = self.sweep.try_lock_for(SWEEP_PATIENCE) else {
            let message = format!("{path}: a sweep is under way already");
            return Err(Refusal::new(RefusalKind::Busy, message));
        };
        let to = match &asked.to {
            RewrapDestination::Followed => Destination::Followed,
            RewrapDestination::Adopted => Destination::Adopted,
            RewrapDestination::Alias(alias) => {
                let current = self.vault.keys().current(alias);
                let usable = current.and_then(|current| self.vault.keys().usable(current));
                usable.map_err(|error| refusal_of_keyring(&error.into()))?;
                Destination::Alias(alias.clone())
            }
        };
        let (max_rate, top) = (asked.max_rate, asked.top.map(Ino));
        self.halt.store(self.stopping.load(Ordering::SeqCst), Ordering::SeqCst);
        let events = self.vault.keys().events();
        events.record(&Event::SweepBegan);
        let report = rewrap::sweep(
            &self.vault,
            SweepOptions { max_rate, to, top },
            |p| {
                let progress =
                    Progress { seen: p.seen, rewrapped: p.rewrapped, failed: p.failed, total: p.total };
                if self.stopping.load(Ordering::SeqCst) || !go_on(progress) {
                    self.halt.store(true, Ordering::SeqCst);
                }
            },
            &self.halt,
        )
        .map_err(|error| refusal_of_vault(&path.to_string(), &error))?;
        let progress = Progress {
            seen: report.files,
            rewrapped: report.rewrapped,
            failed: report.failed + report.skipped + report.left_out,
            total: None,
        };
        events.record(&Event::SweepEnded {
            files: progress.seen,
            rewrapped: progress.rewrapped,
            failed: progress.failed,
            complete: !report.stopped,
        });
        Ok(RewrapReport {
            progress,
            complete: !report.stopped,
            versions: versions(self.vault.keys(), report.census),
            staying: self.vault.census_of_belonging().1,
        })
    }

    fn fsck(&self, path: Option<&PathText>, watch: &mut dyn CheckObserver) -> Result<Summary, Refusal> {
        let vault = self.vault.keys().vault_path().display();
        let Some(_only) = self.check.try_lock_for(SWEEP_PATIENCE) else {
            return Err(Refusal::new(RefusalKind::Busy, format!("{vault}: a check is under way already")));
        };
        let options = fsck::Options { path: path.cloned(), ..fsck::Options::default() };
        let beside = Some(&*self.vault);
        fsck::check(self.vault.keys(), beside, &options, watch).map_err(|error| {
            let kind = match error {
                CheckError::Path(..) => RefusalKind::NotFound,
                CheckError::Vault(_)
                | CheckError::Copy(..)
                | CheckError::Quarantine(..)
                | CheckError::QuarantineInside(_)
                | CheckError::Thread(_) => RefusalKind::Other,
            };
            Refusal::new(kind, format!("{vault}: {error}"))
        })
    }

    fn plain_names(&self, paths: &[String]) -> Result<Vec<Option<PathText>>, Refusal> {
        let object = self.vault.keys().vault_path().display().to_string();
        let names = self.vault.plain_names().map_err(|error| refusal_of_vault(&object, &error))?;
        let text = |name: Vec<u8>| PathText(std::ffi::OsString::from_vec(name).into());
        Ok(paths.iter().map(|path| names.of(path).map(text)).collect())
    }

    fn verify_events(&self) -> Result<Verification, Refusal> {
        self.vault.keys().verify_events().map_err(|error| {
            let log = self.vault.keys().vault_path().join(FILE_NAME);
            Refusal::new(RefusalKind::Other, format!("{}: {}", log.display(), std::io::Error::from(error)))
        })
    }

    fn count(&self, go_on: &mut dyn FnMut(Progress) -> bool) -> Result<Status, Refusal> {
        let (files_unknown, files_noted) = self.count_files(go_on)?;
        Ok(Status { files_unknown, files_noted, ..self.status()? })
    }

    fn reencrypt(
        &self,
        ino: Ino,
        before: Option<Timestamp>,
        go_on: &mut dyn FnMut(Progress) -> bool,
    ) -> Result<FileReencrypted, Refusal> {
        self.reencrypt_file(ino, before, go_on)
    }

    fn note_reencryption(&self, ended: Option<ReencryptionEnded>) {
        self.vault.keys().events().record(&reencryption(ended));
    }

    fn rewrap_to(&self, ino: Ino, key_id: &str) -> Result<KmsReply, Refusal> {
        self.rewrap_file_to(ino, key_id)
    }

    fn inspect(&self, ino: Ino) -> Result<Inspected, Refusal> {
        let info = self
            .vault
            .file_header_info(ino)
            .map_err(|error| refusal_of_vault(&format!("inode {ino}"), &error))?;
        Ok(Inspected {
            header: info.map(|info| InspectedHeader {
                key_id: info.backing.key,
                version: info.backing.version,
                suite: info.suite.to_string(),
                sequence: info.sequence.0,
                stale: info.stale,
                state: Some(
                    self.vault.keys().state_of(info.backing).of_file(!self.is_where_it_belongs(&info)),
                ),
            }),
        })
    }

    fn version_state(&self, backing: BackingKeyId) -> VersionState {
        self.vault.keys().state_of(backing)
    }

    fn stop(&self) {
        self.stopping.store(true, Ordering::SeqCst);
        self.halt.store(true, Ordering::SeqCst);
    }
}

fn versions(keys: &Keys, census: Vec<(BackingKeyId, u64)>) -> Vec<VersionStatus> {
    let version = |(backing, files): (BackingKeyId, u64)| VersionStatus {
        key_id: backing.key,
        version: backing.version,
        files,
        state: Some(keys.state_of(backing)),
    };
    census.into_iter().map(version).collect()
}

/// What the keyring alone says of a vault: no mount, no files.
pub fn status_of_keys(keys: &Keys) -> Status {
    let known: Vec<KeyInfo> = keys.keys();
    let aliases = keys.aliases().into_iter().filter_map(|alias| {
        let key = known.iter().find(|key| key.id == alias.key)?;
        Some(AliasStatus {
            alias: alias.name,
            key_id: key.id,
            version: key.current,
            state: key.state.name().to_owned(),
        })
    });
    Status {
        vault_id: keys.vault_id(),
        vault: keys.vault_path().into(),
        suite: keys.suite().to_string(),
        mount: None,
        aliases: aliases.collect(),
        keys: known.iter().map(key_status).collect(),
        counted: None,
        versions: Vec::new(),
        files_seen: 0,
        files_stale: 0,
        files_staying: Staying::default(),
        files_unknown: 0,
        files_noted: Vec::new(),
        pending_rewraps: 0,
        pending_deletions: keys.pending_deletions().iter().map(pending).collect(),
    }
}

fn key_status(key: &KeyInfo) -> KeyStatus {
    let version = |version: &keyring::VersionInfo| KeyVersionStatus {
        version: version.number,
        created: version.created.to_string(),
        has_material: version.has_material,
        expires: version.expires.map(|at| at.to_string()),
        state: Some(version.state),
    };
    KeyStatus {
        key_id: key.id,
        description: key.description.clone(),
        service_managed: key.manager == keyring::Manager::Service,
        state: key.state.name().to_owned(),
        current: key.current,
        min_decryption: key.min_decryption,
        rotation_period_days: key.rotation_days,
        next_rotation: key.next_rotation.map(|at| at.to_string()),
        versions: key.versions.iter().map(version).collect(),
        lost: key.lost.clone(),
    }
}

fn pending(pending: &keyring::PendingDeletion) -> PendingStatus {
    PendingStatus {
        key_id: pending.key,
        date: pending.date.to_string(),
        insisted: pending.insisted,
        held_up: None,
    }
}

/// Rotates a key of an open keyring.
///
/// # Errors
/// As [`Keys::rotate`].
pub fn rotate(keys: &Keys, target: &RotateTarget) -> Result<Rotated, KeyringError> {
    let target = match target {
        RotateTarget::Alias(alias) => keyring::RotateTarget::Alias(alias.clone()),
        RotateTarget::Key(key) => keyring::RotateTarget::Key(*key),
    };
    match keys.rotate(&target) {
        Ok(rotation) => Ok(rotated(rotation)),
        Err(error) => {
            keys.note_refused_rotation(&target, &error);
            Err(error)
        }
    }
}

/// Makes a new key in the place of the one that an alias points at.
///
/// # Errors
/// As [`Keys::renew`].
pub fn renew(keys: &Keys, alias: &AliasName) -> Result<Renewed, KeyringError> {
    let keyring::Renewal { alias, old, new, dated } = keys.renew(alias)?;
    Ok(Renewed { alias, old_key_id: old, new_key_id: new, dated_alias: dated })
}

/// Rotates every key of an open keyring whose schedule says so.
///
/// # Errors
/// As [`Keys::rotate_due`].
pub fn rotate_due(keys: &Keys) -> Result<Vec<Rotated>, KeyringError> {
    Ok(keys.rotate_due()?.into_iter().map(rotated).collect())
}

/// Does an operation of the KMS interface on an open keyring.
///
/// # Errors
/// What is no refusal of KMS: the keyring can't be read or written.
pub fn kms(keys: &Keys, call: &Call) -> Result<KmsReply, KeyringError> {
    match keys.call(call) {
        Ok(answer) => Ok(KmsReply::Done { answer }),
        Err(error) => {
            let error = KmsError::of(error);
            match &error {
                Ok(refused) => keys.note_refused_call(call, &refused.name.to_string()),
                Err(_) => keys.note_refused_call(call, "KeyringError"),
            }
            error.map(|error| KmsReply::Failed { error })
        }
    }
}

fn rotated(rotation: keyring::Rotation) -> Rotated {
    Rotated {
        alias: rotation.alias,
        key_id: rotation.key,
        old_version: rotation.old,
        new_version: rotation.new,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{AliasName, KeyId};
    use crate::vault::testing::TestVault;

    fn default_alias() -> RotateTarget {
        RotateTarget::Alias(AliasName::default_alias())
    }

    #[test]
    fn rotation_inspection_sweep_and_status_agree() {
        let vault = TestVault::new();
        let service = Service::new(Arc::clone(&vault.vault), None);
        let old = vault.written("old");
        let empty = vault.make("empty");
        let rotated = service.rotate(&default_alias()).unwrap();
        assert_eq!((rotated.old_version.0, rotated.new_version.0), (1, 2));
        let new = vault.written("new");

        let header = |ino| service.inspect(ino).unwrap().header;
        assert!(header(empty).is_none());
        assert!(header(old).is_some_and(|h| h.stale && h.version == rotated.old_version));
        assert!(header(new).is_some_and(|h| !h.stale && h.version == rotated.new_version));
        let status = service.status().unwrap();
        assert_eq!((status.files_seen, status.files_stale), (2, 1));
        assert!(
            status.aliases.iter().any(|a| a.key_id == rotated.key_id && a.version == rotated.new_version)
        );

        let mut told = 0;
        let report = service
            .rewrap(&Rewrap::default(), &mut |_| {
                told += 1;
                true
            })
            .unwrap();
        assert!(told > 0 && report.complete);
        assert_eq!((report.progress.seen, report.progress.rewrapped), (3, 1));
        assert_eq!(report.versions.len(), 1);
        assert!(header(old).is_some_and(|h| !h.stale && h.sequence == 2));
        assert_eq!(service.status().unwrap().files_stale, 0);
    }

    #[test]
    fn what_can_not_be_done_is_refused_with_its_kind() {
        let vault = TestVault::new();
        let service = Service::new(Arc::clone(&vault.vault), None);
        let kind = |refused: Result<Rotated, Refusal>| refused.unwrap_err().kind;
        let key = RotateTarget::Key(KeyId::from_bytes([1; 16]));
        assert_eq!(kind(service.rotate(&key)), RefusalKind::NotFound);
        let alias = RotateTarget::Alias("alias/none".parse().unwrap());
        assert_eq!(kind(service.rotate(&alias)), RefusalKind::NotFound);
        let tree = RotateTarget::Alias(AliasName::tree());
        assert_eq!(kind(service.rotate(&tree)), RefusalKind::KeyNotUsable);
        assert!(service.inspect(Ino(1 << 60)).is_err());
    }

    #[test]
    fn a_server_that_ends_stops_its_sweeps() {
        let vault = TestVault::new();
        vault.written("file");
        let service = Service::new(Arc::clone(&vault.vault), None);
        service.stop();
        assert!(!service.rewrap(&Rewrap::default(), &mut |_| true).unwrap().complete);
    }
}
