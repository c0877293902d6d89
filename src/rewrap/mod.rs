//! Work on the files of a vault. A worker re-wraps stale files that were opened under the key version that their alias resolves
//! to (lazy re-wrap). A sweep does so for the whole tree; it can be stopped and started again at any time. The other two count
//! files by key, and re-encrypt them.

mod count;
mod reencrypt;
mod sweep;
mod total;
mod walk;
mod worker;

pub use count::{Count, count};
pub use reencrypt::{FileOutcome, ReencryptReport, reencrypt_all, reencrypt_file};
pub use sweep::{SweepOptions, SweepReport, sweep};
pub use worker::Worker;
