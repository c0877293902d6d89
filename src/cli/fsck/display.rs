//! Progress of a check on standard error: a spinner with the rate on a terminal, else a line now and then. Nothing is drawn
//! before the check reports: until then a secret may be asked for.

use std::cell::OnceCell;
use std::io::{self, Write};
use std::time::{Duration, Instant};

use indicatif::{HumanBytes, ProgressBar};

use crate::cli::terminal;
use crate::fsck::CheckProgress;
use crate::printable::counted;

/// How often a line is written where there is no terminal.
const LINE_INTERVAL: Duration = Duration::from_secs(5);

/// Shows progress until it is dropped.
pub(super) struct Display {
    bar: OnceCell<Option<ProgressBar>>,
    began: Instant,
    last_line: Instant,
}

impl Display {
    /// A display of nothing yet.
    pub(super) fn new() -> Self {
        let now = Instant::now();
        Self { bar: OnceCell::new(), began: now, last_line: now }
    }

    /// Shows how far it is now.
    pub(super) fn update(&mut self, progress: &CheckProgress) {
        match self.bar.get_or_init(terminal::spinner) {
            Some(bar) => bar.set_message(line(progress, self.began.elapsed())),
            None if self.last_line.elapsed() >= LINE_INTERVAL => {
                self.last_line = Instant::now();
                let _ = writeln!(io::stderr().lock(), "{}", line(progress, self.began.elapsed()));
            }
            None => {}
        }
    }

    /// Writes something else to the terminal, with the display out of the way.
    pub(super) fn aside<T>(&self, write: impl FnOnce() -> T) -> T {
        match self.bar.get() {
            Some(Some(bar)) => bar.suspend(write),
            Some(None) | None => write(),
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

fn line(progress: &CheckProgress, elapsed: Duration) -> String {
    let rate = progress.bytes as f64 / elapsed.as_secs_f64().max(0.001);
    let found = match progress.findings {
        0 => String::new(),
        n => format!(", {}", counted(n, "finding", "findings")),
    };
    format!(
        "{}, {}, {}/s{found}",
        counted(progress.files, "file", "files"),
        HumanBytes(progress.bytes),
        HumanBytes(rate as u64)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_bytes_and_rate_are_told() {
        let progress = CheckProgress { files: 3, bytes: 4 << 20, findings: 0 };
        assert_eq!(line(&progress, Duration::from_secs(2)), "3 files, 4.00 MiB, 2.00 MiB/s");
        let progress = CheckProgress { findings: 1, ..progress };
        assert_eq!(line(&progress, Duration::from_secs(2)), "3 files, 4.00 MiB, 2.00 MiB/s, 1 finding");
    }
}
