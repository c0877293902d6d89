//! The interface that AWS KMS has, on this keyring: the same operations, fields, states and error names.
//! [`Keys::call`] does one operation; what it means for keys is in the state machine (state.rs).

mod call;
mod error;
mod import;
mod names;
mod perform;
mod policy;
mod re_encrypt;
mod shapes;
mod tags;

pub use call::{Call, Materials, NewKey, Page, Tag};
pub use error::{KmsError, KmsErrorName};
pub(super) use names::{key as key_of, key_or_alias};
pub use policy::KeyUse;
pub(super) use policy::Policy;

use crate::ids::KeyId;
use crate::keyring::Keys;
use crate::keyring::model::Body;

/// The key that a call names, if there is one.
pub(super) fn key_named(body: &Body, call: &Call) -> Option<KeyId> {
    let call = serde_json::to_value(call).ok()?;
    let named = ["key_id", "target_key_id", "alias_name"].iter().find_map(|field| call[field].as_str());
    names::key_or_alias(body, named?).ok()
}
