//! The end of a key whose deletion was scheduled: due when its date has passed, refused while files need it
//! unless its owner forces it, final when its material is in neither `keyring` nor `keyring.prev`.

use super::error::{KeyError, KeyringError};
use super::force_token::ForceToken;
use super::format::extensions::Extension;
use super::format::model::{KeyState, KeyringBody};
use super::keys::{Keys, known};
use super::rules::error::RuleError;
use super::rules::key_refs::KeyRef;
use super::store::Saves;
use crate::events::Event;
use crate::ids::{AliasName, KeyId, Timestamp};

/// The extension of the body that lists the keys, 16 bytes each, whose deletion is forced.
const FORCED: u32 = 1;

/// A key that is pending deletion.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PendingDeletion {
    /// The key.
    pub key: KeyId,
    /// The end of its window.
    pub date: Timestamp,
    /// Whether that has passed.
    pub due: bool,
    /// Whether it is to be deleted though files need it.
    pub forced: bool,
    /// Whether `alias/default` points at it: then new files could not be made.
    pub is_default: bool,
    /// Whether it has encrypted data outside of files. An older program schedules its deletion nevertheless.
    pub has_data: bool,
}

/// A deletion that is scheduled.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Scheduled {
    /// The key.
    pub(crate) key: KeyId,
    /// Days until then.
    pub(crate) window: u16,
    /// The date.
    pub(crate) date: Timestamp,
}

impl KeyringBody {
    fn is_forced(&self, key: KeyId) -> bool {
        self.extensions.data(FORCED).chunks_exact(16).any(|id| id == key.as_bytes())
    }

    fn set_forced(&mut self, key: KeyId, forced: bool) {
        let old = self.extensions.iter().position(|e| e.tag == FORCED);
        let mut data = old.map(|at| self.extensions.remove(at).data).unwrap_or_default();
        data = data.chunks_exact(16).filter(|id| id != key.as_bytes()).flatten().copied().collect();
        if forced {
            data.extend_from_slice(key.as_bytes());
        }
        if !data.is_empty() {
            self.extensions.push(Extension { tag: FORCED, data });
        }
    }
}

impl Keys {
    /// The order for which [`Keys::force_token`] gives the token that forces a deletion.
    pub fn deletion_order(key: KeyId) -> String {
        format!("ScheduleKeyDeletion {key}")
    }

    pub(crate) fn schedule_deletion(
        &self,
        key: KeyId,
        window_days: Option<i64>,
        force: Option<&ForceToken>,
    ) -> Result<Scheduled, KeyringError> {
        let now = self.clock.now();
        self.announce_unusable(&[key]);
        let (window, date) = self.change(Saves::Once, |draft| {
            match force {
                Some(token) => draft.check_force(token, &Self::deletion_order(key))?,
                None => draft.body.check_no_data(key, None)?,
            }
            let scheduled = known(&mut draft.body, key)?.schedule_deletion(window_days, now)?;
            draft.body.set_forced(key, force.is_some());
            draft.record(Event::KeyOperation { key, operation: "ScheduleKeyDeletion" });
            draft.record(Event::KeyStateChanged { key, state: KeyState::PendingDeletion.name() });
            Ok(scheduled)
        })?;
        Ok(Scheduled { key, window, date })
    }

    /// Whether a deletion that isn't forced could be scheduled now, as far as the keyring goes. Gives the key.
    ///
    /// # Errors
    /// What scheduling it would say.
    pub fn try_schedule_deletion(&self, key_id: &str, window: Option<i64>) -> Result<KeyId, KeyringError> {
        let (mut body, now) = (self.table.read().body.clone(), self.clock.now());
        let key = KeyRef::parse_key(key_id)?.find(&body)?;
        known(&mut body, key)?.schedule_deletion(window, now)?;
        body.check_no_data(key, None)?;
        Ok(key)
    }

    /// The keys that are pending deletion, in the order of their creation.
    pub fn pending_deletions(&self) -> Vec<PendingDeletion> {
        let now = self.clock.now();
        let table = self.table.read();
        let body = &table.body;
        let default = body.alias(&AliasName::default_alias()).map(|alias| alias.key);
        let pending = |key: &super::format::model::Key| {
            let date = key.deletion_date.filter(|_| key.state == KeyState::PendingDeletion)?;
            Some(PendingDeletion {
                key: key.id,
                date,
                due: date <= now,
                forced: body.is_forced(key.id),
                is_default: default == Some(key.id),
                has_data: body.first_data_version(key.id).is_some(),
            })
        };
        body.keys.iter().filter_map(pending).collect()
    }

    /// Deletes a key whose date has passed, with its aliases; its material is not in `keyring.prev` either. The
    /// caller has counted that no file needs it, or the deletion is forced.
    ///
    /// # Errors
    /// [`RuleError::NotPendingDeletion`] if the deletion was cancelled, or scheduled again, since `pending` was seen;
    /// the keyring can't be saved.
    pub fn delete_due(&self, pending: &PendingDeletion) -> Result<(), KeyringError> {
        let (id, now) = (pending.key, self.clock.now());
        self.change(Saves::Twice, |draft| {
            let body = &mut draft.body;
            let key = body.key(id).ok_or(KeyError::UnknownKey(id))?;
            let still = key.state == KeyState::PendingDeletion && key.deletion_date == Some(pending.date);
            let default = body.alias(&AliasName::default_alias()).is_some_and(|alias| alias.key == id);
            if !pending.forced {
                body.check_no_data(id, None)?;
            }
            if !still || default || pending.date > now || body.is_forced(id) != pending.forced {
                return Err(RuleError::NotPendingDeletion(id).into());
            }
            body.set_forced(id, false);
            body.forget_data_use(id);
            body.aliases.retain(|alias| alias.key != id);
            body.keys.retain(|key| key.id != id);
            body.record_deleted(id);
            draft.record(Event::KeyDeleted(id));
            Ok(())
        })
    }
}
