//! Which key wraps what: what a new header is wrapped under, who may use a key, and which keys files still need.

pub(super) mod census;
mod count_file;
mod header_keys;
pub(super) mod moves;
mod policy;
pub(super) mod scan;
pub(super) mod stale;
pub(super) mod wrapping;
