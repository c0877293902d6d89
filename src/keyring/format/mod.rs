//! The bytes of a keyring file (docs/format.md, "Keyring"): frame and readable header, the sealed body and what is in
//! it. No I/O, and nothing of what changes mean.

pub(in crate::keyring) mod body;
pub(in crate::keyring) mod data_use;
mod encoding;
pub(in crate::keyring) mod extensions;
pub(in crate::keyring) mod gaps;
pub(in crate::keyring) mod header;
pub(in crate::keyring) mod key_backups;
pub(in crate::keyring) mod line;
pub(in crate::keyring) mod model;
pub(in crate::keyring) mod ranges;
pub(in crate::keyring) mod slot_labels;
pub(in crate::keyring) mod untagged;
