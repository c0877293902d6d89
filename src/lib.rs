//! rekeyfs: a transparent encrypted filesystem for Linux.
//!
//! Every file is sealed under a data key (DEK) of its own; the DEK is wrapped by one version of a key found
//! through an alias. All versions are kept, so old files always decrypt; rotation takes constant time and
//! files move to the new version lazily. `docs/format.md` describes the bytes on disk.
//!
//! Layers, each importing only from those after it: `cli`, `mount`, `fuse`, `control`, `service`, (`rewrap`,
//! `fsck`), `vault`, `kms`, `keyring`, `unlock`, (`custody`, `events`), `storage`, `metrics`, `monitor`, `local_time`,
//! `sys`. Above all of them, and in no release, is `fuzzing`.
//!
//! Below all of them is the crate `rekeyfs-format`, which knows nothing of them: the format as bytes in, bytes out, and
//! the only user of cipher crates. Its modules have their names here too.

pub mod cli;
pub mod console;
pub mod control;
pub mod custody;
pub mod events;
pub mod fsck;
pub mod fuse;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
pub mod keyring;
pub mod kms;
pub mod local_time;
pub mod metrics;
pub mod monitor;
pub mod mount;
pub mod printable;
pub mod rewrap;
pub mod service;
pub mod storage;
pub mod sys;
pub mod unlock;
pub mod vault;

pub use rekeyfs_format::{blob, content, crypto, header, hosts, ids, names};
