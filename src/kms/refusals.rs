//! Operations for the audit log: those that were refused or failed, and on behalf of a principal those that only looked.
//!
//! A principal that is a user causes requests as fast as it likes. So what comes of them is recorded within limits
//! ([`Class::Requests`](crate::events::Class::Requests)), beyond which only the first of a kind in a while is ([`RequestKind`]),
//! and waits for no disk; what the vault's owner asks for and is refused is durable. A sync
//! of the disk for each request would cost most of its time: on ext4 some 130 a second were answered instead of 590.

use super::error::{KmsError, KmsErrorName};
use super::request::Call;
use crate::events::{Actor, Event, Principal, RequestKind};
use crate::ids::BackingKeyId;
use crate::keyring::{KeyError, KeyRef, KeyringError, Keys};

impl Keys {
    /// Records an operation of the KMS interface that changed nothing, with the reason's name. One that only looks isn't
    /// recorded, unless it was asked for on behalf of a principal.
    pub fn record_refused_call(&self, call: &Call, code: &str) {
        let principal = Actor::current().principal;
        if call.uses_data() || matches!(principal, Some(Principal::User(_))) || !call.changes() {
            if call.uses_data() || principal.is_some() {
                self.record_request(call, None, Some(code));
            }
        } else {
            self.record_refused(call.operation(), about(call).as_ref(), code);
        }
    }

    /// Records an operation that only looked, if it was asked for on behalf of a principal.
    pub fn record_look(&self, call: &Call) {
        if Actor::current().principal.is_some() && !call.changes() && !call.uses_data() {
            self.record_request(call, None, None);
        }
    }

    /// Records an operation that used this version for data; that of random bytes uses none.
    pub(super) fn record_data_use(&self, call: &Call, used: Option<BackingKeyId>) {
        self.record_request(call, used, None);
    }

    fn record_request(&self, call: &Call, used: Option<BackingKeyId>, code: Option<&str>) {
        let named = || about(call).and_then(|about| self.of_key(&about, |key| key.id).ok());
        let key = used.map(|used| used.key).or_else(named);
        let kind = RequestKind { operation: call.operation(), key, refused: code.is_some() };
        self.events().record_request(kind, || Event::KmsRequest {
            operation: kind.operation,
            key,
            version: used.map(|used| used.version),
            code: code.map(str::to_owned),
        });
    }

    /// Records a rotation that was refused.
    pub fn record_refused_rotation(&self, target: &KeyRef, error: &KeyringError) {
        self.record_refused("RotateKey", Some(target), &code(error));
    }
}

/// The key that a call is about, if it names one.
fn about(call: &Call) -> Option<KeyRef> {
    call.about().and_then(|asked| KeyRef::parse(&asked).ok())
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
