//! The interface that AWS KMS has, on this keyring: the same operations, fields, states and error names.
//! [`Keys::call`] does one operation; what it means for keys is in the state machine (rules/state.rs).

mod dispatch;
mod error;
mod import;
mod re_encrypt;
mod request;
mod responses;
mod tags;

pub(super) use error::alias_arn;
pub use error::{KmsError, KmsErrorName};
pub use request::{Call, Materials, NewKey, Page, Tag};

use crate::ids::KeyId;
use crate::keyring::Keys;
use crate::keyring::format::model::Body;
use crate::keyring::rules::key_refs;

/// The key that a call names, if there is one.
pub(super) fn key_named(body: &Body, call: &Call) -> Option<KeyId> {
    let call = serde_json::to_value(call).ok()?;
    let named = ["key_id", "target_key_id", "alias_name"].iter().find_map(|field| call[field].as_str());
    key_refs::key_or_alias(body, named?).ok()
}
