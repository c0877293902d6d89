//! The table, a file for each subject.

mod aliases;
mod data;
mod import;
mod keys;
mod rotation;
mod shared;

use super::shape::Operation;

/// The operations, in the order in which they are shown.
pub fn operations() -> impl Iterator<Item = &'static Operation> {
    [keys::OPERATIONS, aliases::OPERATIONS, rotation::OPERATIONS, import::OPERATIONS, data::OPERATIONS]
        .into_iter()
        .flatten()
}

/// `ReEncrypt` of a blob, which is none of [`operations`]: on the command line `re-encrypt` is the verb of files.
pub static RE_ENCRYPT: Operation = data::RE_ENCRYPT;
