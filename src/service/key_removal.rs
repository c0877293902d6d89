//! What can't be taken back, or hardly: scheduling a key's deletion, the deletion itself, retiring versions.
//! Before each, the files are counted; a file that needs the key, or of which that isn't known, blocks it.

use std::time::{Duration, Instant};

use super::blocked_deletions::DueDeletion;
use super::errors::{self, ErrorKind, ErrorReply};
use super::keys;
use super::local::OpenVault;
use super::operations::Result;
use super::orders::Retire;
use super::reports::{KmsReply, RetireReport};
use crate::events::Event;
use crate::ids::{BackingKeyId, KeyId};
use crate::keyring::{KeyState, KeyringError, PendingDeletion, RetireOrder, Retirement};
use crate::kms::{Call, KmsError, KmsErrorName};
use crate::monitor::Monitor;
use crate::printable;
use crate::vault::{CountError, KeyReferences, NamedFile};

/// How long a blocked deletion waits before the files are counted again.
const COUNT_AGAIN: Duration = Duration::from_secs(3600);

/// How many files a message names; [`ErrorReply::files`] has more.
const SOME: usize = 3;

impl OpenVault {
    /// Counts which files need which backing keys.
    fn count_references(&self, monitor: &mut Monitor<'_>) -> Result<KeyReferences> {
        let counted = self.files()?.count_key_references(&mut monitor.linked_to(&self.ending));
        let path = self.path();
        counted.map_err(|error| match error {
            CountError::Vault(error) => errors::of_vault(&path, &error),
            CountError::Stopped => self.stopped(format!("{path}: {error}")),
            CountError::Moving => ErrorReply::new(ErrorKind::Busy, format!("{path}: {error}")),
        })
    }

    /// Some of the files that block it, with their plain paths.
    fn named(&self, counted: &KeyReferences, gone: impl Fn(BackingKeyId) -> bool) -> Result<Vec<NamedFile>> {
        let mut files = counted.in_the_way_of(gone);
        self.files()?.name_plainly(&mut files);
        Ok(files)
    }

    /// Schedules a deletion, unless files need the key and the call isn't forced.
    pub(super) fn schedule_deletion(&self, call: &Call, monitor: &mut Monitor<'_>) -> Result<KmsReply> {
        let keys = &self.keys;
        let done = |call: &Call| keys::kms(keys, call);
        let Call::ScheduleKeyDeletion { key_id, pending_window_in_days, force: None } = call else {
            return done(call);
        };
        let tried = keys.try_schedule_deletion(key_id, *pending_window_in_days);
        let key = match tried.map_err(KmsError::of) {
            Ok(key) => key,
            Err(Ok(error)) => return Ok(KmsReply::Failed { error }),
            Err(Err(error)) => return Err(errors::of_keyring(&error)),
        };
        let key_error = |error| errors::of_keyring(&KeyringError::Key(error));
        let refused = |why| {
            let error = KmsError { name: KmsErrorName::ConflictException, message: why };
            Ok(KmsReply::Failed { error })
        };
        let enabled = keys.keys().iter().any(|info| info.id == key && info.state == KeyState::Enabled);
        let wraps = keys.wraps_of(key).map_err(key_error)?;
        if let Some(why) = blocking_reason_of_key(&self.count_references(monitor)?, key) {
            return refused(why);
        }
        let reply = done(call)?;
        if matches!(reply, KmsReply::Failed { .. }) || keys.wraps_of(key).map_err(key_error)? == wraps {
            return Ok(reply);
        }
        // It was used while the files were counted; now it is closed, so that another count tells.
        let needed = self.count_references(monitor);
        let why = match &needed {
            Ok(needed) => blocking_reason_of_key(needed, key),
            Err(error) => Some(error.message.clone()),
        };
        let Some(why) = why else { return Ok(reply) };
        done(&Call::CancelKeyDeletion { key_id: key.to_string() })?;
        if enabled {
            done(&Call::EnableKey { key_id: key.to_string() })?;
        }
        refused(why)
    }

    /// Shuts, opens or trims versions of a key.
    pub(super) fn retire_versions(&self, asked: &Retire, monitor: &mut Monitor<'_>) -> Result<RetireReport> {
        let keys = &self.keys;
        let refused = |error: KeyringError| errors::of_keyring(&error);
        let key = keys.key_named(&asked.key_id).map_err(refused)?;
        let order = RetireOrder { key, below: asked.below, what: asked.what };
        keys.try_retire(&order, asked.force.is_some()).map_err(refused)?;
        if order.what != Retirement::Restore && asked.force.is_none() {
            // Versions below the current one wrap nothing new: what is counted now stays so.
            let gone = |backing: BackingKeyId| backing.key == key && backing.version < order.below;
            let what = format!("versions below {} of key {key}", order.below);
            let counted = self.count_references(monitor).map_err(|error| match error.kind {
                ErrorKind::Stopped => self.stopped(format!("{}: stopped; nothing is changed", self.path())),
                _ => error,
            })?;
            if let Some(why) = blocking_reason(&counted, gone, &what) {
                let files = self.named(&counted, gone)?;
                return Err(ErrorReply::new(ErrorKind::KeyNotUsable, why).naming(files));
            }
            self.check_copies(&asked.copies, counted.files > 0, gone, &what, monitor)?;
        }
        let done = keys.retire(&order, asked.force.as_ref()).map_err(refused)?;
        Ok(RetireReport {
            key_id: key,
            min_decryption: done.min_decryption,
            trimmed: done.trimmed,
            lost: done.lost,
        })
    }

    /// Deletes the keys whose date has passed and that no file needs, or whose deletion is forced. A deletion that is
    /// blocked is reported and recorded in the audit log; its files are counted again after an hour.
    ///
    /// # Errors
    /// If the files can't be counted or the keyring can't be saved.
    pub fn delete_due(&self, monitor: &mut Monitor<'_>) -> Result<Vec<DueDeletion>> {
        let keys = &self.keys;
        let pending = keys.pending_deletions();
        self.blocked.0.lock().retain(|key, _| pending.iter().any(|p| p.key == *key && p.due));
        let mut needed = None;
        let mut done = Vec::new();
        for pending in pending.into_iter().filter(|pending| pending.due) {
            let key = pending.key;
            if self.blocked.0.lock().get(&key).is_some_and(|(_, since)| since.elapsed() < COUNT_AGAIN) {
                continue;
            }
            let why = self.deletion_blocker(&pending, &mut needed, monitor)?;
            match &why {
                None => keys.delete_due(&pending).map_err(|error| errors::of_keyring(&error))?,
                Some(why) => {
                    let (operation, code) = ("DeleteKey", "ConflictException".to_owned());
                    keys.events().record(&Event::OperationRefused {
                        key: Some(key),
                        slot: None,
                        operation,
                        code,
                    });
                    self.blocked.0.lock().insert(key, (why.clone(), Instant::now()));
                }
            }
            done.push(DueDeletion { key, blocked: why });
        }
        Ok(done)
    }

    /// Why a key can't be deleted. One count serves all keys.
    fn deletion_blocker(
        &self,
        pending: &PendingDeletion,
        needed: &mut Option<KeyReferences>,
        monitor: &mut Monitor<'_>,
    ) -> Result<Option<String>> {
        let key = pending.key;
        if pending.is_default {
            let why = format!("key {key}: alias/default points at it; point that at another key first");
            return Ok(Some(why));
        }
        if pending.forced {
            return Ok(None);
        }
        if pending.has_data {
            let why = format!(
                "key {key}: it has encrypted data outside of files, which can't be counted and couldn't be decrypted then; \
                 cancel its deletion, or cancel it and schedule it with --force"
            );
            return Ok(Some(why));
        }
        let counted = match needed.take() {
            Some(counted) => counted,
            None => self.count_references(monitor)?,
        };
        let why = blocking_reason_of_key(&counted, key);
        *needed = Some(counted);
        Ok(why)
    }
}

/// Why files block the deletion of a key. The reason has the number of those that no alias moves to another key: a sweep
/// moves these only from an older version to the key's current one.
fn blocking_reason_of_key(needed: &KeyReferences, key: KeyId) -> Option<String> {
    let gone = |backing: BackingKeyId| backing.key == key;
    let why = blocking_reason(needed, gone, &format!("key {key}"))?;
    Some(match needed.staying_of(gone) {
        0 => why,
        staying => format!("{why}; {staying} of them no alias moves, `rekeyfs rewrap --to-alias` does"),
    })
}

/// Why files block the removal of the backing keys that `gone` chooses, and the remedy.
fn blocking_reason(
    needed: &KeyReferences,
    gone: impl Fn(BackingKeyId) -> bool,
    what: &str,
) -> Option<String> {
    let files = needed.of(&gone);
    let mut some = needed.in_the_way_of(gone);
    some.truncate(SOME);
    if files > 0 {
        let some: Vec<String> = some.into_iter().map(|file| file.lower).collect();
        let some = some.join(", ");
        return Some(format!(
            "{} {what} ({some}); point aliases at another key if need be, move them with `rekeyfs \
             rewrap`, and try again, or give --force: they can't be opened then",
            printable::counted(files, "file needs", "files need")
        ));
    }
    if needed.elsewhere > 0 {
        let example = needed.elsewhere_example.as_deref().unwrap_or_default();
        return Some(format!(
            "{} on another filesystem than the vault's directory, or below a mount point, and {} not counted \
             ({example}): it can't be determined whether files there need {what}; unmount what lies over the tree, or move \
             the vault to one filesystem, or give --force",
            printable::counted(needed.elsewhere, "entry lies", "entries lie"),
            if needed.elsewhere == 1 { "was" } else { "were" },
        ));
    }
    let some: Vec<String> = some.into_iter().map(|file| format!("{}: {}", file.lower, file.why)).collect();
    (needed.unreadable > 0).then(|| {
        let some = some.join(", ");
        format!(
            "it can't be determined whether {} {what} ({some}); repair or remove \
             what is damaged, or give --force",
            printable::counted(needed.unreadable, "file or directory needs", "files or directories need")
        )
    })
}

#[cfg(test)]
mod tests;
