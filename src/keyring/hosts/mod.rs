//! The hosts that share a vault: who they are, and that a change of the keyring is in force on all of them when it returns
//! (docs/hosts.md).
//!
//! **Members.** Each mount of a shared vault has a slot in `hosts/`: a record (`crate::hosts`) under the keyring's root key, which it
//! writes anew with each renewal, in a file that it holds locked. It registers under the keyring's lock before it reads the
//! keyring that it serves, so that whoever changes the keyring afterwards sees it.
//!
//! **Lease.** A renewal is, in this order: the time; the own slot, read; the beat, durably; the own
//! slot, read back; the epoch. It gives the member
//! [`lease`] from that time on, as soon as that epoch is in force. A member whose slot has another record was evicted, or there are two of it, as after a clone of
//! its machine: it ends.
//!
//! **Epoch.** A change of the keyring saves it, then makes a new epoch durable, both under the keyring's lock, then waits
//! until each member has acknowledged the epoch, or for a lease and a twentieth: a member that renewed its lease after the epoch was durable has read
//! it, and one that acknowledges has it in force. Nothing else is held meanwhile: a member may have to save something to be able to. If a
//! changer dies after its save, the next member or change makes up for the epoch.
//!
//! **Reading.** A client of a cluster may show what an open descriptor showed before, on some for good. So each look at a record
//! opens its file anew, and drops the pages that the kernel has of it.

mod acks;
mod evict;
mod files;
mod member;

use std::time::Duration;

pub(in crate::keyring) use acks::{Announced, announce};
pub(in crate::keyring) use evict::{Eviction, Steps, evict_readers};
pub(in crate::keyring) use files::HostsDir;
pub use files::{DIR_NAME, Listed, list};
pub(in crate::keyring) use member::{Gone, Registration, gone};
pub use member::{Identity, Membership, NotRenewed};

/// How long a lease lasts.
const LEASE: Duration = Duration::from_secs(10);

/// How long a lease lasts.
#[cfg(not(any(test, feature = "fault-injection")))]
pub fn lease() -> Duration {
    LEASE
}

/// How long a lease lasts: in tests as long as they say, in milliseconds.
#[cfg(any(test, feature = "fault-injection"))]
pub fn lease() -> Duration {
    let asked = std::env::var("REKEYFS_LEASE").ok().and_then(|lease| lease.parse().ok());
    asked.map_or(if cfg!(test) { Duration::from_millis(1000) } else { LEASE }, Duration::from_millis)
}

/// How long a change waits for those that don't acknowledge it: their clocks may go a little slower than this host's.
pub fn patience() -> Duration {
    lease() + lease() / 20
}

/// For how long a beat has to stand still until its member counts as gone.
pub fn stillness() -> Duration {
    lease() * 3
}

#[cfg(test)]
mod tests;
