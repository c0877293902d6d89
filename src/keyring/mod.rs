//! The keyring: keys, their versions, aliases and tree keys, sealed under the root key in one file with the
//! unlock slots (docs/format.md, "Keyring"). [`KeyringFile`] makes and opens it, [`Keys`] is what an open one
//! does: wrap, unwrap, rotate, change slots.
//!
//! Three folders hold what needs nothing of the rest: `format` the bytes, `rules` what keys may do (both without I/O),
//! `store` the files and what this host remembers of them.

mod aliases;
mod backup;
#[cfg(any(test, feature = "benchmarks"))]
mod bulk;
mod check;
mod deletion;
mod error;
mod force_token;
mod format;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod info;
mod key_table;
mod keys;
pub mod kms;
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
mod slots;
mod store;
#[cfg(test)]
pub(crate) mod testing;
mod version_state;

pub use backup::{BackupInfo, Imported};
pub use deletion::PendingDeletion;
pub use error::{KeyError, KeyringError, Unusable};
pub use force_token::Authority;
pub use format::header::Header;
pub use format::model::{KeyState, Manager};
pub use format::ranges::VersionRange;
pub use format::untagged::Untagged;
pub use info::{AliasInfo, KeyInfo, VersionInfo};
pub use keys::{Keys, WrapGuard};
pub use look::{Beside, Looked, Sealed};
pub use merge::Merged;
pub use observer::KeyWatch;
pub use open::{KeyringFile, OpenOptions, Opened};
pub use replace_key::Renewal;
pub use retire::{RetireOrder, Retired, Retirement};
pub use revoke::Revocation;
pub use rotation::{RotateTarget, Rotation};
pub use rules::follow::{Belonging, Followed, KeyringView, Staying, follow};
pub use rules::policy::KeyUse;
pub use rules::state::{Clock, SystemClock};
pub use slots::Proof;
pub use store::RESERVE_NAMES;
pub use store::seen_generations::HostMemory;
pub use store::vault_dir::{FILE_NAME, LOCK_NAME, PREV_NAME, is_set_aside};
pub use version_state::{UnusableReason, VersionState};

#[cfg(test)]
mod tests;
