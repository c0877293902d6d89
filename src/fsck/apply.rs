//! After a check: findings are repaired or moved aside one by one, and reported with what became of them.

use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;

use super::finding::{Disposition, Finding, Summary};
use super::quarantine::Quarantine;
use super::repair::repair;
use super::reporter::{CheckObserver, CheckProgress};
use super::run::CheckError;
use crate::keyring::Keys;
use crate::monitor::Cancellation;
use crate::storage::{self, Writable};

/// What to do about findings.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct RepairOptions {
    /// Repair what can be repaired without losing what might be saved.
    pub repair: bool,
    /// Move files that can't be read whole into this directory, which is not in the vault.
    pub quarantine: Option<PathBuf>,
    /// Also write there what can be decrypted of them.
    pub salvage: bool,
}

/// Repairs what a check found, or moves it aside, and reports each finding to `observer` with its disposition. The caller
/// holds the vault's lock, and nothing is mounted. Returns the check's summary with the findings counted by what they are now.
///
/// # Errors
/// If the vault's directory or the quarantine can't be opened; what can't be repaired is no error.
pub fn apply(
    keys: &Keys,
    writable: Writable,
    options: &RepairOptions,
    found: Vec<Finding>,
    checked: Summary,
    cancellation: &Cancellation,
    observer: &mut dyn CheckObserver,
) -> Result<Summary, CheckError> {
    let vault: OwnedFd = keys.open_vault().map_err(CheckError::Vault)?;
    // If a truncate isn't on disk yet, a power cut after the repair must not undo it.
    if options.repair {
        storage::syncfs(vault.as_fd()).map_err(CheckError::Vault)?;
    }
    let mut quarantine =
        options.quarantine.as_ref().map(|dir| Quarantine::open(keys, dir, options.salvage)).transpose()?;
    let (errors, leftovers, keys_missing, unchecked, warnings) = Default::default();
    let mut summary = Summary { errors, leftovers, keys_missing, unchecked, warnings, ..checked };
    for (before, mut finding) in found.into_iter().enumerate() {
        if summary.complete {
            if options.repair {
                finding.disposition = repair(keys, writable, &vault, &finding);
            }
            if let Some(quarantine) = &mut quarantine
                && matches!(finding.disposition, Disposition::Left | Disposition::Refused { .. })
                && let Some(disposition) = quarantine.take(writable, &vault, &finding)
            {
                finding.disposition = disposition;
            }
        }
        let findings = before as u64 + 1;
        summary.count(&finding);
        observer.found(&finding);
        observer.progress(CheckProgress { files: summary.files, bytes: summary.bytes, findings });
        summary.complete &= !cancellation.is_cancelled();
    }
    Ok(summary)
}
