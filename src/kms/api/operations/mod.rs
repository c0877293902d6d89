//! The table, a file for each subject.

mod aliases;
mod import;
mod keys;
mod rotation;
mod shared;

use super::shape::Operation;

/// The operations, in the order in which they are shown.
pub fn operations() -> impl Iterator<Item = &'static Operation> {
    [keys::OPERATIONS, aliases::OPERATIONS, rotation::OPERATIONS, import::OPERATIONS].into_iter().flatten()
}
