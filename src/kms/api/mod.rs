//! The operations of the KMS interface are one table ([`operations()`]): for each operation AWS's name of it, its parameters
//! and their types, what its answer has, whether that comes in pages, and how a [`Call`] is made of the parameters. From the
//! table come the verbs and flags of `rekeyfs kms`, their help, the skeletons that they print, and [`call`], by which
//! parameters in AWS's JSON become a call. A new operation is a new entry.
//!
//! No parameter is ignored silently. What AWS doesn't know is refused, and so is what rekeyfs can't do. A parameter is
//! accepted without effect where it has none on a keyring of one host (`GrantTokens`), or says what holds anyway
//! (`KeySpec`).
//!
//! Only names and types are checked here. Whether there is such a key, and what its state allows, is dispatch.rs's and the
//! keyring's.

mod absent;
mod answers;
mod check;
mod operations;
mod parameters;
mod shape;

use serde_json::Value;

pub use absent::{ABSENT, Absent};
pub use operations::{RE_ENCRYPT, operations};
pub use shape::{Kind, Member, Operation, Support};

use super::error::KmsError;
use super::request::Call;

/// The operation that AWS calls so, if rekeyfs has it.
pub fn operation(name: &str) -> Option<&'static Operation> {
    operations().chain([&RE_ENCRYPT]).find(|operation| operation.name == name)
}

/// The call for an operation, with its parameters as AWS's JSON has them: blobs in base64, times as seconds since 1970 (or
/// as text), a parameter that is null as one that is left out.
///
/// # Errors
/// `UnknownOperationException` for what AWS doesn't have, `UnsupportedOperationException` for an operation or a parameter
/// that rekeyfs doesn't, `SerializationException` for a wrong type or a parameter that AWS doesn't know,
/// `ValidationException` for one that is missing, or a value that is none of its values.
pub fn call(name: &str, parameters: &Value) -> Result<Call, KmsError> {
    match operation(name) {
        Some(operation) => operation.call(parameters),
        None => Err(absent::refusal(name)),
    }
}

impl Operation {
    /// The call for these parameters (see [`call`]).
    ///
    /// # Errors
    /// As [`call`].
    pub fn call(&self, parameters: &Value) -> Result<Call, KmsError> {
        check::parameters(self.members, parameters).map(|parameters| (self.make)(&parameters))
    }
}

#[cfg(test)]
mod tests;
