//! What a monitoring system reads: counters of requests, the table of all metrics, samples of them as the control
//! protocol passes them on, and Prometheus' text format.
//!
//! **Rule.** A metric is in [`catalogue`] or it isn't shown: names, types, labels and help texts stand there alone, and
//! docs/metrics.md has the same table, which a test compares. A daemon answers with samples, not with text: the command
//! that prints them joins those of several mounts, and takes from a daemon, which may be another user's, only
//! what the catalogue has, in the shape it has there.
//!
//! Requests are counted without a lock, and by threads in cache lines of their own ([`requests`]).

pub mod catalogue;
pub mod exposition;
mod report;
pub mod requests;

pub use report::{MetricsReport, Sample, Value};
pub use requests::{Operation, Requests};
