//! Moving files to the key version that their alias resolves to now: a worker that follows what is opened
//! (lazy re-wrap), and a sweep over the whole tree that can be stopped and begun again at any instant.

mod sweep;
mod worker;

pub use sweep::{Progress, SweepOptions, SweepReport, sweep};
pub use worker::Worker;
