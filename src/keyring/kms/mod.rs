//! The interface that AWS KMS has, on this keyring: the same operations, fields, states and error names.
//! [`Keys::call`] does one operation; what it means for keys is in the state machine (state.rs).

mod call;
mod error;
mod names;
mod perform;
mod policy;
mod shapes;

pub use call::{Call, Materials, NewKey, Page, Tag};
pub use error::{KmsError, KmsErrorName};

use crate::keyring::Keys;
