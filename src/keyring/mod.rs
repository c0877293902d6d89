//! The keyring: keys, their versions, aliases and tree keys, sealed under the root key in one file with the
//! unlock slots (docs/format.md, "Keyring"). [`KeyringFile`] makes and opens it, [`Keys`] is what an open one
//! does: wrap, unwrap, rotate, change slots.
//!
//! Four folders hold what needs nothing of the rest: `format` the bytes, `rules` what keys may do (both without I/O),
//! `hosts` who shares the vault, `store` the files and what this host remembers of them.

mod administration;
mod aliases;
mod backup;
mod backup_file;
mod blobs;
#[cfg(any(test, feature = "benchmarks"))]
mod bulk;
mod catch_up;
mod check;
mod closed;
mod deletion;
mod error;
mod event_files;
mod force_token;
mod format;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod hosts;
mod imported;
mod info;
mod kept;
mod key_table;
mod keys;
mod look;
mod merge;
mod observer;
mod open;
mod refusals;
mod replace_key;
mod retire;
mod revoke;
mod rotation;
mod rules;
mod sharing;
mod slots;
mod store;
#[cfg(test)]
pub(crate) mod testing;
mod tree_names;
mod unsettled;
mod version_state;

pub(crate) use administration::KeyTemplate;
pub use backup::{BackupInfo, ImportOrder, Imported, Maker, Replace};
pub use backup_file::{BackupOpener, BackupSeal, SealedBackup};
pub use closed::{ClosedKeyring, KeyringDir};
pub use deletion::PendingDeletion;
pub use error::{KeyError, KeyringError, Left, Unusable};
pub use force_token::ForceToken;
pub use format::header::Header;
pub(crate) use format::model::{Alias, Cause, Key, Origin, Tag, Usage, Version};
pub use format::model::{KeyState, Manager};
pub use format::ranges::VersionRange;
pub use format::slot_labels::{LabelError, SlotLabel};
pub use format::untagged::Untagged;
pub use hosts::{
    DIR_NAME as HOSTS_NAME, Identity, Listed, Membership, NotRenewed, lease, list as list_hosts, patience,
    stillness,
};
pub use info::{AliasInfo, KeyInfo, RotationInfo, VersionInfo};
pub use kept::writer::{ExportInfo, KeptInfo, KeyBackupInfo, Lag};
pub use keys::{Keys, WrapGuard};
pub use look::{Beside, Looked, Sealed};
pub use merge::Merged;
pub use observer::KeyObserver;
pub use open::{KeyringFile, OpenOptions, Opened};
pub use replace_key::ManualRotation;
pub use retire::{RetireOrder, Retired, Retirement};
pub use revoke::Revocation;
pub use rotation::Rotation;
pub use rules::error::{Quantity, RuleError};
pub use rules::follow::{Belonging, Followed, KeyringView, Staying, follow};
pub(crate) use rules::import::ImportType;
pub use rules::key_refs::{KeyRef, own_alias};
pub(crate) use rules::labels::TAGS_MAX;
pub(crate) use rules::policy::DEFAULT as DEFAULT_POLICY;
pub use rules::policy::{KeyUse, LockOut, PolicyError, policy_is_understood};
pub use rules::state::{Clock, SystemClock};
pub use slots::{NewSlot, Proof};
pub use store::RESERVE_NAMES;
pub use store::seen_generations::SeenGenerations;
pub use store::vault_dir::{FILE_NAME, LOCK_NAME, PREV_NAME, is_set_aside};
pub use tree_names::NamesOpened;
pub use version_state::{UnusableReason, VersionState};

#[cfg(test)]
mod tests;
