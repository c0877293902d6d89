//! What a custodian is told of a wrapped key, and what it says of its own.

use crate::ids::{SlotId, VaultId};

/// What a wrapped key is for. Custodians see it, and may keep it in their own audit log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Use {
    /// An unlock slot.
    Unlock(SlotId),
}

/// What a custodian authenticates with a wrapped key, if it can: AWS's encryption context, an AEAD's AAD.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Context {
    /// The vault.
    pub vault: VaultId,
    /// What for.
    pub purpose: Use,
}

/// How a custodian's key stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Standing {
    /// Whether the blob was made by an older version of the custodian's key, and should be made by the present one.
    pub rewrap: bool,
}
