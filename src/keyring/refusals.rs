//! Changes of keys that were refused or failed, for the audit log.

use super::error::{KeyError, KeyringError};
use super::keys::Keys;
use super::kms::{Call, KmsError, key_named};
use super::rotation::RotateTarget;
use crate::events::Event;
use crate::ids::{KeyId, SlotId};

/// The reason of what is no refusal of KMS: the keyring couldn't be read or written.
const NOT_KMS: &str = "KeyringError";

impl Keys {
    /// Notes an operation of the KMS interface that changed nothing, with the reason's name. One that only looks
    /// isn't noted.
    pub fn note_refused_call(&self, call: &Call, code: &str) {
        if call.changes() {
            let key = key_named(&self.table.read().body, call);
            self.note_refused(call.operation(), key, None, code);
        }
    }

    /// Notes a rotation that was refused.
    pub fn note_refused_rotation(&self, target: &RotateTarget, error: &KeyringError) {
        let key = match target {
            RotateTarget::Key(key) => Some(*key),
            RotateTarget::Alias(name) => self.table.read().body.alias(name).map(|alias| alias.key),
        };
        self.note_refused("RotateKey", key, None, &code(error));
    }

    /// Notes a change of unlock slots that was refused, and hands it on.
    pub(super) fn noting_slot<T>(
        &self,
        operation: &'static str,
        slot: Option<SlotId>,
        done: Result<T, KeyringError>,
    ) -> Result<T, KeyringError> {
        if let Err(error) = &done {
            self.note_refused(operation, None, slot, &code(error));
        }
        done
    }

    fn note_refused(&self, operation: &'static str, key: Option<KeyId>, slot: Option<SlotId>, code: &str) {
        self.log.record_durably(&Event::OperationRefused { key, slot, operation, code: code.to_owned() });
    }
}

/// KMS's name of the reason, where it has one.
fn code(error: &KeyringError) -> String {
    use super::kms::KmsErrorName as Name;
    match error {
        KeyringError::Kms(KmsError { name, .. }) => name.to_string(),
        KeyringError::Key(
            KeyError::UnknownKey(_)
            | KeyError::UnknownVersion(_)
            | KeyError::LostVersion(_)
            | KeyError::UnknownAlias(_),
        ) => Name::NotFoundException.to_string(),
        KeyringError::Key(KeyError::NotUsable { .. }) => Name::KMSInvalidStateException.to_string(),
        KeyringError::ServiceManaged(_) | KeyringError::Imported(_) => {
            Name::UnsupportedOperationException.to_string()
        }
        KeyringError::UnknownSlot(_) => "UnknownSlot".to_owned(),
        KeyringError::LastSlot(_) => "LastSlot".to_owned(),
        KeyringError::NoRoomForSlot(_) => "NoRoomForSlot".to_owned(),
        KeyringError::NotVerified(_) => "NotVerified".to_owned(),
        KeyringError::Unlock { .. } => "WrongSecret".to_owned(),
        _ => NOT_KMS.to_owned(),
    }
}
