//! Progress of a sweep on standard error: a bar on a terminal, else a line now and then.

use std::io::{self, Write};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use super::errors;
use super::exit::{Exit, Outcome};
use super::interrupt;
use super::terminal;
use crate::monitor::{Monitor, Progress};
use crate::printable;
use crate::service;

/// How often a line is written where there is no terminal.
const LINE_INTERVAL: Duration = Duration::from_secs(5);

/// Shows progress until it is dropped.
pub(super) struct Display {
    bar: Option<ProgressBar>,
    last_line: Instant,
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
        Self { bar: terminal::spinner(), last_line: Instant::now(), summary }
    }

    /// Shows how far it is now.
    pub(super) fn update(&mut self, progress: &Progress) {
        match &self.bar {
            Some(bar) => {
                let first = bar.length().is_none();
                if let Some(total) = progress.total {
                    // An estimate, which gets better.
                    bar.set_length(total);
                }
                if progress.total.is_some() && first {
                    // A template that doesn't parse would leave the spinner.
                    if let Ok(style) =
                        ProgressStyle::with_template("{bar:30} {pos}/{len} files {msg} ({eta} left)")
                    {
                        bar.set_style(terminal::plain(style));
                    }
                }
                bar.set_position(progress.seen);
                let message = (self.summary)(progress);
                // The bar itself shows how many were seen.
                let told = message.split_once(", ").map_or("", |(_, rest)| rest);
                bar.set_message(if progress.total.is_some() { told.to_owned() } else { message });
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
        if let Some(bar) = &self.bar {
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
    fn counts_are_told() {
        let progress = Progress { seen: 9, rewrapped: 4, failed: 0, total: None };
        assert_eq!(summary(&progress), "9 files seen, 4 re-wrapped");
        assert_eq!(summary(&Progress { failed: 1, ..progress }), "9 files seen, 4 re-wrapped, 1 failed");
        assert_eq!(summary(&Progress { seen: 1, ..progress }), "1 file seen, 4 re-wrapped");
    }
}
