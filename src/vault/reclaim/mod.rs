//! Memory and descriptors that are given back off the path of requests.

pub(super) mod deferred_close;
pub(super) mod memory;
