//! What this machine spends on unlock slots: the costs of a new one, measured here, and the bounds for those of a keyring
//! that may be forged. The slots themselves are `rekeyfs_format::unlock`, whose names are here too.

mod calibrate;
mod limit;

pub use calibrate::{KdfChoice, MIN_MEMORY_MIB, calibrate, calibrate_in_place_of};
pub use limit::CostLimit;
pub use rekeyfs_format::unlock::*;
