//! How many files a batch of a sweep has.

use std::num::NonZeroU32;
use std::time::Duration;

/// Batches at a time, unless the rate is limited: while one waits for the disk, another uses a core.
pub(super) const TOGETHER: usize = 2;
/// The most files in a batch. All of them are open at once.
pub(super) const MOST: usize = 4096;
/// The fewest files in a batch, but for the last one or a limited rate: where syncs alone take longer than a batch should, smaller ones
/// would only be more.
pub(super) const LEAST: usize = 256;
/// How long a batch should take. Each is synced twice, which takes tens of milliseconds however little there is to sync; but a
/// sweep that is to stop finishes its batches first.
pub(super) const TAKES: std::ops::RangeInclusive<Duration> =
    Duration::from_millis(700)..=Duration::from_secs(2);

/// The most files in a batch: all batches together may use half of the vault's descriptors, and a batch takes at most a second's
/// worth of a limited rate.
pub(super) fn most(descriptors: usize, max_rate: Option<NonZeroU32>) -> usize {
    let most = MOST.min(descriptors / 2 / TOGETHER);
    let rate = max_rate.map_or(most, |rate| usize::try_from(rate.get()).unwrap_or(most));
    most.min(rate).max(1)
}

/// How many files the next batch has, if one of `batch` files took so long.
pub(super) fn next(batch: usize, took: Duration, most: usize) -> usize {
    let next = if took < *TAKES.start() {
        batch * 2
    } else if took > *TAKES.end() {
        batch / 2
    } else {
        batch
    };
    next.clamp(LEAST.min(most), most)
}
