//! Progress of a sweep on standard error: a bar on a terminal, else a line now and then. Nothing is drawn before the work
//! reports: until then a secret may be asked for.

use std::cell::OnceCell;
use std::fmt;
use std::io::{self, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressState, ProgressStyle};
use jiff::SignedDuration;
use parking_lot::Mutex;

use super::errors;
use super::exit::{Exit, Outcome};
use super::interrupt;
use super::terminal;
use crate::monitor::time_left::TimeLeft;
use crate::monitor::{Monitor, Progress};
use crate::printable;
use crate::service;

/// How often a line is written where there is no terminal.
const LINE_INTERVAL: Duration = Duration::from_secs(5);

/// The time left is told to the second up to this, then to the minute.
const IN_SECONDS: u64 = 600;

/// Shows progress until it is dropped.
pub(super) struct Display {
    bar: OnceCell<Option<ProgressBar>>,
    last_line: Instant,
    /// What was reported last, and when the work ends by that: a report stays true only for a moment.
    left: Option<TimeLeft>,
    ends: Arc<Mutex<Option<Instant>>>,
    summary: fn(&Progress) -> String,
}

impl Display {
    /// A display of a sweep.
    pub(super) fn new() -> Self {
        Self::with(summary)
    }

    /// A display of a count, which changes nothing.
    pub(super) fn counting() -> Self {
        Self::with(|progress| format!("{} counted", files(progress.seen)))
    }

    /// A display of a re-encryption.
    pub(super) fn reencrypting() -> Self {
        Self::with(reencrypted)
    }

    fn with(summary: fn(&Progress) -> String) -> Self {
        Self { bar: OnceCell::new(), last_line: Instant::now(), left: None, ends: Arc::default(), summary }
    }

    /// Shows how far it is now.
    pub(super) fn update(&mut self, progress: &Progress) {
        if progress.left != self.left {
            self.left = progress.left;
            *self.ends.lock() = progress.left.map(|left| Instant::now() + left.duration());
        }
        match self.bar.get_or_init(terminal::spinner) {
            Some(bar) => {
                let first = bar.length().is_none();
                if let Some(total) = progress.total {
                    // An estimate, which gets better.
                    bar.set_length(total);
                }
                if progress.total.is_some() && first {
                    // A template that doesn't parse would leave the spinner.
                    if let Ok(style) = ProgressStyle::with_template("{bar:30} {pos}/{len} files {msg}{left}")
                    {
                        let ends = Arc::clone(&self.ends);
                        let left = move |_: &ProgressState, to: &mut dyn fmt::Write| {
                            if let Some(ends) = *ends.lock() {
                                let _ = write!(
                                    to,
                                    "{}",
                                    in_words(ends.saturating_duration_since(Instant::now()))
                                );
                            }
                        };
                        bar.set_style(terminal::plain(style.with_key("left", left)));
                    }
                }
                bar.set_position(progress.seen);
                let message = (self.summary)(progress);
                // The bar itself shows how many were seen.
                let told = message.split_once(", ").map_or("", |(_, rest)| rest).to_owned();
                bar.set_message(if progress.total.is_some() { told } else { message });
            }
            None if progress.seen > 0 && self.last_line.elapsed() >= LINE_INTERVAL => {
                self.last_line = Instant::now();
                let _ = writeln!(io::stderr().lock(), "{}", (self.summary)(progress));
            }
            None => {}
        }
    }
}

impl Drop for Display {
    fn drop(&mut self) {
        if let Some(Some(bar)) = self.bar.get() {
            bar.finish_and_clear();
        }
    }
}

/// Does long work: shows how far it is, and cancels it at a signal.
///
/// # Errors
/// Those of the work.
pub(super) fn long_work<T>(
    mut display: Display,
    work: impl FnOnce(&mut Monitor<'_>) -> service::Result<T>,
) -> Outcome<T> {
    let interrupted = interrupt::watch(Exit::Interrupted as u8)?;
    let done = work(&mut Monitor::new(&interrupted, &mut |progress| display.update(&progress)));
    drop(display);
    done.map_err(|error| errors::operation(&error))
}

/// As precise as it is known: whole minutes would be a third too much where it is a minute and a half.
fn in_words(left: Duration) -> String {
    let secs = left.as_secs_f64().round() as u64;
    let secs = if secs < IN_SECONDS { secs } else { (secs + 30) / 60 * 60 };
    format!(" ({:#} left)", SignedDuration::from_secs(secs as i64))
}

/// The counts of a re-encryption in words.
pub(super) fn reencrypted(progress: &Progress) -> String {
    let left = if progress.failed == 0 { String::new() } else { format!(", {} left", progress.failed) };
    format!("{} seen, {} re-encrypted{left}", files(progress.seen), progress.rewrapped)
}

fn counts(progress: &Progress) -> String {
    let failed = if progress.failed == 0 { String::new() } else { format!(", {} failed", progress.failed) };
    format!("{} re-wrapped{failed}", progress.rewrapped)
}

/// The counts in words.
pub(super) fn summary(progress: &Progress) -> String {
    format!("{} seen, {}", files(progress.seen), counts(progress))
}

fn files(n: u64) -> String {
    printable::counted(n, "file", "files")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_left_is_told_as_precisely_as_it_is_known() {
        let told = |secs| in_words(Duration::from_millis(secs));
        assert_eq!([0, 1400, 95_000].map(told), [" (0s left)", " (1s left)", " (1m 35s left)"]);
        assert_eq!([660_000, 3_700_000].map(told), [" (11m left)", " (1h 2m left)"]);
    }

    #[test]
    fn counts_are_told() {
        let progress = Progress { seen: 9, rewrapped: 4, ..Progress::default() };
        assert_eq!(summary(&progress), "9 files seen, 4 re-wrapped");
        assert_eq!(summary(&Progress { failed: 1, ..progress }), "9 files seen, 4 re-wrapped, 1 failed");
        assert_eq!(summary(&Progress { seen: 1, ..progress }), "1 file seen, 4 re-wrapped");
    }
}
