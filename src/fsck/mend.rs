//! After a check: what was found is repaired or moved aside, one by one, and told with what became of it.

use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;

use super::finding::{Fate, Finding, Summary};
use super::quarantine::Quarantine;
use super::repair::repair;
use super::run::CheckError;
use super::sink::{Progress, Watch};
use crate::keyring::Keys;
use crate::storage::{self, Writable};

/// What is to be done about findings.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Mend {
    /// Repair what can be repaired without losing what might be saved.
    pub repair: bool,
    /// Move files that can't be read whole into this directory, which is not in the vault.
    pub quarantine: Option<PathBuf>,
    /// Decrypt what can be read of them there.
    pub salvage: bool,
}

/// Mends what a check found, and tells `watch` of each finding with its fate. The caller holds the vault's lock, and
/// nothing is mounted. Returns the check's summary with the findings counted by what they are now.
///
/// # Errors
/// If the vault's directory or the quarantine can't be opened; what can't be mended is no error.
pub fn mend(
    keys: &Keys,
    leave: Writable,
    options: &Mend,
    found: Vec<Finding>,
    checked: Summary,
    watch: &mut dyn Watch,
) -> Result<Summary, CheckError> {
    let vault: OwnedFd = keys.open_vault().map_err(CheckError::Vault)?;
    // A cut that isn't on disk yet must not come back under a repair.
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
                finding.fate = repair(keys, leave, &vault, &finding);
            }
            if let Some(quarantine) = &mut quarantine
                && matches!(finding.fate, Fate::Left | Fate::Refused { .. })
                && let Some(fate) = quarantine.take(leave, &vault, &finding)
            {
                finding.fate = fate;
            }
        }
        let findings = before as u64 + 1;
        summary.count(&finding);
        watch.found(&finding);
        summary.complete &= watch.go_on(Progress { files: summary.files, bytes: summary.bytes, findings });
    }
    Ok(summary)
}
