//! What a request does: each operation checks what may be done on this mount, has the namespace (`tree`) and the
//! content (`file`) do it, and reports refusals.

pub(super) mod audit_paths;
pub(super) mod inode_gates;
mod names;
pub(super) mod open;
mod quiesce;
pub(super) mod reencrypt;
