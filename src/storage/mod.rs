//! The lower filesystem.

pub use crate::ids::{Time, TimeChange};
