//! The interface that AWS KMS has, on the keyring: the same operations, fields, states and error names. A [`Call`] is one
//! operation with what was typed for it; `Keys::call` (dispatch.rs) does it. What it means for keys is in the keyring,
//! which knows nothing of this interface. This module parses texts, shapes answers as AWS does (responses.rs), and names the
//! keyring's refusals as AWS does (error.rs).
//!
//! ARCHITECTURE.md ("Where to add") says what a new verb takes.

pub mod api;
mod data;
mod dispatch;
mod error;
mod import;
mod principal;
mod refusals;
mod request;
mod responses;
mod tags;

pub use data::{DataKey, Decrypt, Encrypt, Pairs, Random, ReEncrypt, SecretText, wipe};
pub use error::{CallError, KmsError, KmsErrorName};
pub use request::{Call, Materials, NewKey, Page, Tag};

pub use crate::keyring::policy_is_understood;

#[cfg(test)]
mod tests;
