//! An access key, however it was found.

use rekeyfs_custodians::{Kind, Refusal};
use rekeyfs_sigv4::SecretKey;
use serde_json::Value;
use zeroize::Zeroizing;

use super::super::answer::text;

/// An access key.
pub(in super::super) struct Credentials {
    pub(in super::super) access_key: String,
    pub(in super::super) secret: SecretKey,
    /// Of a session.
    pub(in super::super) token: Option<Zeroizing<String>>,
}

impl Credentials {
    pub(super) fn new(access_key: String, secret: String, token: Option<String>) -> Self {
        Self { access_key, secret: SecretKey::new(secret), token: token.map(Zeroizing::new) }
    }

    /// Those of an object; `token` is what it calls a session's.
    pub(super) fn of_json(object: &Value, token: &str) -> Option<Self> {
        let member = |name: &str| Some(text(object, name)?.to_string());
        Some(Self::new(member("AccessKeyId")?, member("SecretAccessKey")?, member(token)))
    }
}

/// Why there are none.
pub(super) fn denied(why: impl std::fmt::Display) -> Refusal {
    Refusal::new(Kind::Denied, why)
}

/// A variable that the host's list lets through.
pub(super) fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}
