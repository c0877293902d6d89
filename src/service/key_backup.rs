//! How true a vault's key backups are, as `status` and `rotate` show it.

use serde::{Deserialize, Serialize};

use crate::ids::PathText;
use crate::keyring::{KeptInfo, KeyBackupInfo, Lag};

/// The key backups of a vault.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
pub struct KeyBackupStatus {
    /// When the keys were last exported by hand, or the keyring was made from a backup that doesn't say when; UTC. None: never.
    pub exported: Option<String>,
    /// Key versions that the newest backup, exported or kept, doesn't have; null if none is known of.
    pub behind_versions: Option<u64>,
    /// Changes of the keyring that it doesn't have.
    pub behind_generations: Option<u64>,
    /// The backups that are kept.
    pub kept: Vec<KeptStatus>,
}

/// A backup that is kept.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct KeptStatus {
    /// Where.
    pub to: PathText,
    /// How true it is.
    pub state: KeptState,
    /// Key versions that it doesn't have; null if what it holds isn't known.
    pub behind: Option<u64>,
    /// Changes of the keyring that it doesn't have.
    pub behind_generations: Option<u64>,
    /// What opens it.
    pub opened_by: OpenedBy,
    /// Why it couldn't be written, if it couldn't.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

/// How true a kept backup is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum KeptState {
    /// It has all keys.
    Current,
    /// It lacks changes, and is about to be written.
    Behind,
    /// It couldn't be read or written.
    Failed,
}

/// What opens a backup.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OpenedBy {
    /// A passphrase of its own.
    Passphrase,
    /// An age identity.
    Age,
}

impl From<KeyBackupInfo> for KeyBackupStatus {
    fn from(info: KeyBackupInfo) -> Self {
        let lag = info.lag();
        Self {
            exported: info.exported.map(|exported| exported.at.to_string()),
            behind_versions: lag.map(|lag| lag.versions),
            behind_generations: lag.map(|lag| lag.generations),
            kept: info.kept.into_iter().map(KeptStatus::from).collect(),
        }
    }
}

impl From<KeptInfo> for KeptStatus {
    fn from(kept: KeptInfo) -> Self {
        let state = match (&kept.problem, kept.lag) {
            (Some(_), _) => KeptState::Failed,
            (None, Some(Lag { versions: 0, generations: 0 })) => KeptState::Current,
            (None, _) => KeptState::Behind,
        };
        Self {
            to: PathText(kept.to),
            state,
            behind: kept.lag.map(|lag| lag.versions),
            behind_generations: kept.lag.map(|lag| lag.generations),
            opened_by: if kept.age { OpenedBy::Age } else { OpenedBy::Passphrase },
            problem: kept.problem,
        }
    }
}
