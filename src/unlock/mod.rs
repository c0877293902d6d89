//! What this machine spends on unlock slots: the costs of a new one, measured here, and the bounds for those of a keyring
//! that may be forged; and how custodians are asked for theirs. The slots themselves are `rekeyfs_format::unlock`, whose names
//! are here too.

mod calibrate;
pub mod custodian;
mod limit;

pub use calibrate::{KdfChoice, MIN_MEMORY_MIB, calibrate, calibrate_in_place_of};
pub use limit::CostLimit;
pub use rekeyfs_format::unlock::*;

/// What opens a vault, and what is to be done with its slots once it is open.
pub struct Unlocking {
    /// What opens it.
    pub secret: Secret,
    /// What takes the place of the custodian's slot that it opens, if the custodian has a newer version of its key.
    pub replacement: Option<Secret>,
}

impl From<Secret> for Unlocking {
    fn from(secret: Secret) -> Self {
        Self { secret, replacement: None }
    }
}
