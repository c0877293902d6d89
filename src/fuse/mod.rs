//! The FUSE adapter: converts a request, calls the vault, replies. It decides nothing about files. It decides how the
//! kernel may cache (everything, for a day: the vault's lock makes the mount its only user; of a vault that another host writes,
//! what is compared before it is used) and on which thread a request
//! runs (syncs on a [`Pool`], all else on the session's).
//!
//! Each request has one `answer::Answer`, which goes with it from thread to thread. A handler that panics answers EIO:
//! fuser replies so for a reply that is dropped.

mod activity;
mod adapter;
mod answer;
mod busy_poll;
mod convert;
mod data;
mod errno;
mod kernel;
mod listing;
mod operations;
mod owed;
mod panics;
mod pool;
mod replies;
mod trace;
mod xattrs;

pub use activity::Activity;
pub use adapter::Adapter;
pub use busy_poll::BusyPoller;
pub use errno::errno;
pub use kernel::{KernelCache, Permissions};
pub use pool::Pool;
