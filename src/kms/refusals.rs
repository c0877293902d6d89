//! Operations that were refused or failed, for the audit log.

use super::error::{KmsError, KmsErrorName};
use super::request::Call;
use crate::keyring::{KeyError, KeyRef, KeyringError, Keys};

impl Keys {
    /// Records an operation of the KMS interface that changed nothing, with the reason's name. One that only looks isn't
    /// recorded.
    pub fn record_refused_call(&self, call: &Call, code: &str) {
        if call.changes() {
            let about = call.about().and_then(|asked| KeyRef::parse(&asked).ok());
            self.record_refused(call.operation(), about.as_ref(), code);
        }
    }

    /// Records a rotation that was refused.
    pub fn record_refused_rotation(&self, target: &KeyRef, error: &KeyringError) {
        self.record_refused("RotateKey", Some(target), &code(error));
    }
}

/// KMS's name of the reason, where it has one.
fn code(error: &KeyringError) -> String {
    match error {
        // Not DisabledException: the log has one name for all states that don't allow it.
        KeyringError::Key(KeyError::NotUsable { .. }) => KmsErrorName::KMSInvalidStateException.to_string(),
        KeyringError::Full(_) | KeyringError::NotAuthorized => error.audit_code().to_owned(),
        other => match KmsError::of_refusal(other) {
            Some(refused) => refused.name.to_string(),
            None => other.audit_code().to_owned(),
        },
    }
}
