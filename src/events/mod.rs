//! The audit log: `events.jsonl` in the vault, one JSON object a line, in the shape of EventBridge events.
//! Each line ends in an HMAC over the line before it and itself, so that changed, removed or reordered lines
//! show; the keyring's anchor (count, last MAC) limits how much can be cut off the end unnoticed.
//! Plain file names never go into it: it lies beside the ciphertext, readable without a key.

mod chain;
mod limit;
mod log;

pub use chain::{Anchor, Verification};
pub use log::EventLog;

use serde_json::{Value, json};

use crate::ids::{BackingKeyId, Generation, Ino, KeyId, KeyVersion, PageIndex, SlotId};

/// Something worth a line in the audit log.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Event {
    /// The vault was made.
    VaultCreated,
    /// A key got a new version.
    KeyRotated {
        /// The key.
        key: KeyId,
        /// The version until now.
        old: KeyVersion,
        /// The version from now on.
        new: KeyVersion,
    },
    /// A key changed its state.
    KeyStateChanged {
        /// The key.
        key: KeyId,
        /// The new state, as KMS names it.
        state: &'static str,
    },
    /// A key, or an alias that points at it, was made or changed.
    KeyOperation {
        /// The key.
        key: KeyId,
        /// The operation, as KMS names it.
        operation: &'static str,
    },
    /// An unlock slot was added.
    SlotAdded(SlotId),
    /// An unlock slot was removed.
    SlotRemoved(SlotId),
    /// A new root key was drawn; the slots of the old one are gone.
    RootKeyReplaced,
    /// An older keyring than this host had seen was accepted on the user's word.
    RollbackAccepted(Generation),
    /// The log was shorter than the keyring's anchor says.
    LogCut,
    /// Ciphertext that failed authentication, or a record that makes no sense.
    Damage {
        /// The inode.
        ino: Ino,
        /// Which part of it: `page`, `header`, `directory record`, `xattr` and so on.
        part: &'static str,
        /// Which page, for a page.
        page: Option<PageIndex>,
        /// The backing key that its header names, where it could be read.
        backing: Option<BackingKeyId>,
    },
}

/// A key's ARN: `arn:rekeyfs:kms:local:000000000000:key/UUID`.
pub fn arn(key: KeyId) -> String {
    format!("arn:rekeyfs:kms:local:000000000000:key/{key}")
}

impl Event {
    /// EventBridge's `detail-type`.
    pub fn detail_type(&self) -> &'static str {
        match self {
            Self::VaultCreated => "Vault Created",
            Self::KeyRotated { .. } => "KMS CMK Rotation",
            Self::KeyStateChanged { .. } => "KMS Key State Change",
            Self::KeyOperation { .. } => "KMS Key Operation",
            Self::SlotAdded(_) => "Unlock Slot Added",
            Self::SlotRemoved(_) => "Unlock Slot Removed",
            Self::RootKeyReplaced => "Root Key Replaced",
            Self::RollbackAccepted(_) => "Keyring Rollback Accepted",
            Self::LogCut => "Event Log Cut",
            Self::Damage { .. } => "Damaged Ciphertext",
        }
    }

    fn key(&self) -> Option<KeyId> {
        match self {
            Self::KeyRotated { key, .. }
            | Self::KeyStateChanged { key, .. }
            | Self::KeyOperation { key, .. } => Some(*key),
            _ => None,
        }
    }

    fn detail(&self) -> Value {
        match self {
            Self::VaultCreated | Self::RootKeyReplaced | Self::LogCut => json!({}),
            Self::KeyRotated { key, old, new } => {
                json!({"key-id": key.to_string(), "previous-version": old.0, "version": new.0})
            }
            Self::KeyStateChanged { key, state } => json!({"key-id": key.to_string(), "key-state": state}),
            Self::KeyOperation { key, operation } => {
                json!({"key-id": key.to_string(), "event-name": operation})
            }
            Self::SlotAdded(slot) | Self::SlotRemoved(slot) => json!({"slot-id": slot.to_string()}),
            Self::RollbackAccepted(generation) => json!({"generation": generation.0}),
            Self::Damage { ino, part, page, backing } => {
                let mut detail = json!({"inode": ino.0, "part": part});
                if let Some(page) = page {
                    detail["page"] = page.0.into();
                }
                if let Some(backing) = backing {
                    detail["key-id"] = backing.key.to_string().into();
                    detail["version"] = backing.version.0.into();
                }
                detail
            }
        }
    }

    /// Whether a stream of reads can bring these about as fast as it likes.
    fn is_rate_limited(&self) -> bool {
        matches!(self, Self::Damage { .. })
    }
}

#[cfg(test)]
mod tests;
