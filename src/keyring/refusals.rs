//! Changes that were refused or failed, for the audit log.

use super::error::KeyringError;
use super::keys::Keys;
use super::rules::key_refs::KeyRef;
use crate::events::Event;
use crate::ids::{KeyId, SlotId};

impl Keys {
    /// Records an operation on a key that changed nothing, with the name of the reason.
    pub(crate) fn record_refused(&self, operation: &'static str, about: Option<&KeyRef>, code: &str) {
        let key = about.and_then(|about| self.table.read().find(about).ok());
        self.record_refusal(operation, key, None, code);
    }

    /// Records a change of unlock slots that was refused, and hands it on.
    pub(super) fn recording_refusal<T>(
        &self,
        operation: &'static str,
        slot: Option<SlotId>,
        done: Result<T, KeyringError>,
    ) -> Result<T, KeyringError> {
        if let Err(error) = &done {
            self.record_refusal(operation, None, slot, error.audit_code());
        }
        done
    }

    fn record_refusal(&self, operation: &'static str, key: Option<KeyId>, slot: Option<SlotId>, code: &str) {
        self.log.record_durably(&Event::OperationRefused { key, slot, operation, code: code.to_owned() });
    }
}

impl KeyringError {
    /// The reason's name in the audit log, for what isn't refused by the rules of keys and aliases.
    pub(crate) fn audit_code(&self) -> &'static str {
        match self {
            Self::UnknownSlot(_) => "UnknownSlot",
            Self::LastSlot(_) => "LastSlot",
            Self::NoRoomForSlot(_) => "NoRoomForSlot",
            Self::NotVerified(_) => "NotVerified",
            Self::Unlock { .. } => "WrongSecret",
            // The keyring couldn't be read or written.
            _ => "KeyringError",
        }
    }
}
