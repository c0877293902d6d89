//! Moving files to the key version that their alias resolves to now: a worker that follows what is opened
//! (lazy re-wrap), and a sweep over the whole tree that can be stopped and begun again at any instant; and
//! counting them, and re-encrypting them.

mod count;
mod reencrypt;
mod sweep;
mod walk;
mod worker;

pub use count::{Count, count};
pub use reencrypt::{FileOutcome, ReencryptReport, reencrypt_all, reencrypt_file};
pub use sweep::{Progress, SweepOptions, SweepReport, sweep};
pub use worker::Worker;
