//! What keys and aliases may do and become: functions of what the keyring holds and of the time, which is a parameter. No
//! I/O, no lock, no clock.

mod blobs;
mod departures;
pub(in crate::keyring) mod error;
pub(in crate::keyring) mod follow;
pub(in crate::keyring) mod import;
pub(in crate::keyring) mod key_refs;
pub(in crate::keyring) mod labels;
pub(in crate::keyring) mod loss;
pub(in crate::keyring) mod policy;
pub(in crate::keyring) mod state;
