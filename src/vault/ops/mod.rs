//! What a request does: each operation checks what may be done on this mount, has the namespace (`tree`) and the
//! content (`file`) do it, and reports refusals.

mod audit;
pub(super) mod audit_paths;
pub(super) mod counters;
pub(super) mod counts;
pub(super) mod file_names;
pub(super) mod handles;
pub(super) mod inode_gates;
mod listing;
mod named_files;
mod names;
mod open;
mod quiesce;
pub(super) mod reencrypt;
mod workers;
mod xattrs;
