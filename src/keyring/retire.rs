//! Retiring old versions of a key, which can be taken back, and trimming them, which can't.
//! The caller counts before whether files need them.

use serde::{Deserialize, Serialize};

use super::error::{KeyError, KeyringError};
use super::force_token::ForceToken;
use super::format::model::{Key, KeyringBody, Version};
use super::keys::{Keys, known};
use super::store::Saves;
use crate::events::Event;
use crate::ids::{BackingKeyId, KeyId, KeyVersion};

/// What an order does to the versions of a key below some version.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Retirement {
    /// They unwrap nothing.
    #[serde(rename = "shut")]
    Retire,
    /// They unwrap again.
    #[serde(rename = "open")]
    Restore,
    /// They unwrap nothing and their material is deleted, for good.
    Trim,
}

impl Retirement {
    /// The operation's name in the audit log.
    const fn operation(self) -> &'static str {
        match self {
            Self::Retire => "RetireKeyVersions",
            Self::Restore => "RestoreKeyVersions",
            Self::Trim => "TrimKeyVersions",
        }
    }
}

/// An order to retire, restore or trim.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RetireOrder {
    /// The key.
    pub key: KeyId,
    /// It is about versions below this one.
    pub below: KeyVersion,
    /// What it does to them.
    pub what: Retirement,
}

impl RetireOrder {
    /// Refuses what would leave data undecryptable that lies in no file.
    fn check_data(&self, body: &KeyringBody) -> Result<(), KeyringError> {
        match self.what {
            Retirement::Restore => Ok(()),
            Retirement::Retire | Retirement::Trim => Ok(body.check_no_data(self.key, Some(self.below))?),
        }
    }
}

impl std::fmt::Display for RetireOrder {
    /// The text for which a [`ForceToken`] is given.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {} below {}", self.what.operation(), self.key, self.below)
    }
}

/// The result of an order.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Retired {
    /// Versions below this one unwrap nothing now.
    pub min_decryption: KeyVersion,
    /// How many versions lost their material by this.
    pub trimmed: u32,
    /// How many restored versions have no material: it was trimmed before.
    pub lost: u32,
}

impl Key {
    /// Retires, restores or trims the versions below `below`.
    ///
    /// # Errors
    /// [`KeyringError::ServiceManaged`]; [`KeyringError::Versions`] if the current version would be among them,
    /// or if restoring them would leave a hole.
    pub(super) fn retire(&mut self, below: KeyVersion, what: Retirement) -> Result<Retired, KeyringError> {
        self.may_be_managed()?;
        let refused = |why: String| Err(KeyringError::Versions { key: self.id, why });
        if below < KeyVersion(2) || below > self.current {
            return refused(match self.current {
                KeyVersion(1) => "its only version stays in use; rotate the key first".to_owned(),
                KeyVersion(2) => "give --below 2: the current version 2 stays in use".to_owned(),
                most => format!("give --below 2 to {most}: the current version {most} stays in use"),
            });
        }
        let mut done = Retired { min_decryption: self.min_decryption.max(below), trimmed: 0, lost: 0 };
        match what {
            Retirement::Retire => {}
            Retirement::Restore if below < self.min_decryption => {
                let min = self.min_decryption;
                return refused(format!("versions below {min} are retired; give --below {min} --undo"));
            }
            Retirement::Restore => {
                done.min_decryption = KeyVersion(1);
                let old = self.versions.iter().filter(|version| version.number < below);
                done.lost = old.filter(|version| version.material.is_none()).count() as u32;
            }
            Retirement::Trim => {
                for version in self.versions.iter_mut().filter(|version| version.number < below) {
                    done.trimmed += u32::from(version.material.take().is_some());
                }
                self.trim_gaps(below);
            }
        }
        self.min_decryption = done.min_decryption;
        Ok(done)
    }
}

impl Keys {
    /// What an order would do to a key as it is now, without doing it. Whether the order is `forced` is the caller's word.
    ///
    /// # Errors
    /// Those of [`Keys::retire`].
    pub fn try_retire(&self, order: &RetireOrder, forced: bool) -> Result<Retired, KeyringError> {
        let mut body = self.table.read().body.clone();
        let done = known(&mut body, order.key)?.retire(order.below, order.what)?;
        if !forced {
            order.check_data(&body)?;
        }
        Ok(done)
    }

    /// Carries an order out, durably; trimmed material isn't in `keyring.prev` either. The caller has counted
    /// that no file needs the versions, or has a token that forces the order.
    ///
    /// # Errors
    /// [`RuleError::HasEncryptedData`](super::RuleError::HasEncryptedData) unless it is forced;
    /// [`KeyringError::NotAuthorized`] for another order's token; [`KeyringError::Versions`] and others of
    /// the key; the keyring can't be saved. Nothing is changed then.
    pub fn retire(&self, order: &RetireOrder, force: Option<&ForceToken>) -> Result<Retired, KeyringError> {
        if order.what != Retirement::Restore {
            self.announce_unusable(&[order.key]);
        }
        let saves = if order.what == Retirement::Trim { Saves::Twice } else { Saves::Once };
        self.change(saves, |draft| {
            match force {
                Some(token) => draft.check_force(token, &order.to_string())?,
                None => order.check_data(&draft.body)?,
            }
            let key = known(&mut draft.body, order.key)?;
            let before: Vec<_> = key.versions.iter().map(|v| v.material.is_some()).collect();
            let done = key.retire(order.below, order.what)?;
            let gone = |(version, had): (&Version, bool)| {
                (had && version.material.is_none())
                    .then_some(BackingKeyId { key: order.key, version: version.number })
            };
            let gone: Vec<_> = key.versions.iter().zip(before).filter_map(gone).collect();
            let trimmed = order.what == Retirement::Trim;
            draft.record(Event::VersionsRetired { key: order.key, below: done.min_decryption, trimmed });
            for backing in gone {
                draft.record(Event::MaterialDeleted { backing, why: "trimmed" });
            }
            Ok(done)
        })
    }

    /// How often a wrap under this key's current version began, once all of those are written. Two equal answers, with a
    /// count of the files in between, mean that no file was wrapped meanwhile. The thread must hold no [`super::WrapGuard`].
    ///
    /// # Errors
    /// [`KeyError::UnknownKey`].
    pub fn wraps_of(&self, key: KeyId) -> Result<u64, KeyError> {
        let _nothing_in_flight = self.creation_gate.write();
        self.table.read().wraps(key)
    }
}
