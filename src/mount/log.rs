//! Where log lines go: to the terminal while there is one, to the system log once a daemon has let go of it.
//! `REKEYFS_LOG` says which lines, as in `REKEYFS_LOG=info` or `rekeyfs::vault=debug`; without it, warnings. What lines
//! hold, and what they never hold, is in docs/logging.md.
//!
//! The system log is written to through its socket, in three lines of code: syslog(3) waits for a log daemon that is
//! stuck, and the requests of the mount would wait with it; the crates for it bring clocks and host names along, which the
//! daemon puts in itself.

mod repeats;

use std::io::{self, Write};
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::sync::OnceLock;

use tracing::{Level, Metadata};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::prelude::*;

use crate::printable;
use repeats::{RepeatLimit, take_all_held_back, take_held_back};

/// The system log's socket; set once the terminal is let go of.
static SYSTEM: OnceLock<Option<UnixDatagram>> = OnceLock::new();

/// Appended to each warning and error: the mount that it is about.
static MOUNT: OnceLock<String> = OnceLock::new();

const SOCKET: &str = "/dev/log";

/// The environment variable that selects lines.
const VARIABLE: &str = "REKEYFS_LOG";

/// The directives for [`VARIABLE`]. Warnings stay on unless `asked` has a level for all targets: who asks for more of one part
/// still needs them. fuser warns of each request that is left unanswered on purpose, and logs plaintext names with each
/// request, so only its errors are shown, unless it is asked for by name.
fn filter(asked: &str) -> String {
    if asked.contains("fuser") { format!("warn,{asked}") } else { format!("warn,{asked},fuser=error") }
}

/// Starts logging. Once, at the start of the process; a second time does nothing.
pub fn start() {
    let asked = std::env::var(VARIABLE).unwrap_or_default();
    let (filter, wrong) = match EnvFilter::try_new(filter(&asked)) {
        Ok(filter) => (filter, None),
        Err(error) => (EnvFilter::new(filter("")), Some(error)),
    };
    let lines = tracing_subscriber::fmt::layer()
        .without_time()
        .with_target(false)
        .with_ansi(false)
        .with_writer(Output);
    // The last layer is asked first, so that unwanted lines don't count as repeated.
    let _ = tracing_subscriber::registry().with(lines).with(RepeatLimit).with(filter).try_init();
    if let Some(error) = wrong {
        tracing::warn!("{VARIABLE}={asked}: {error}; only warnings are logged (docs/logging.md)");
    }
    // The standard library's own hook writes to standard error, which a daemon doesn't have.
    std::panic::set_hook(Box::new(|panic| tracing::error!("{}", panic.to_string().replace('\n', " "))));
}

/// From here on warnings and errors name this mount.
pub(super) fn name_mount(vault: &Path, mountpoint: &Path) {
    let _ = MOUNT.set(format!(" vault={vault:?} mountpoint={mountpoint:?}"));
}

/// To be called when a mount ends: reports how many lines were held back.
pub(super) fn finish() {
    let lines = take_all_held_back();
    if lines > 0 {
        tracing::warn!("{lines} more lines were like others before them, and were held back");
    }
}

/// From here on lines go to the system log, or nowhere if there is none.
pub(super) fn leave_terminal() {
    let connect = || {
        let socket = UnixDatagram::unbound().ok()?;
        socket.connect(SOCKET).ok()?;
        // A lost line is better than a request that waits for the system log.
        socket.set_nonblocking(true).ok()?;
        Some(socket)
    };
    let _ = SYSTEM.set(connect());
}

struct Output;

/// One line on its way.
struct Line {
    level: Level,
    /// Lines like it that were held back before it.
    held_back: u64,
}

impl<'a> MakeWriter<'a> for Output {
    type Writer = Line;

    fn make_writer(&'a self) -> Line {
        Line { level: Level::INFO, held_back: 0 }
    }

    fn make_writer_for(&'a self, metadata: &Metadata<'_>) -> Line {
        Line { level: *metadata.level(), held_back: take_held_back(metadata) }
    }
}

impl Line {
    /// The line as it is written anywhere: one, whatever the paths and names in it hold.
    fn shown(&self, line: &[u8], mount: Option<&str>) -> String {
        let line = String::from_utf8_lossy(line.trim_ascii());
        let mount = mount.filter(|_| self.level <= Level::WARN).unwrap_or_default();
        let repeats = match self.held_back {
            0 => String::new(),
            more => format!(" (and {more} more like it, held back)"),
        };
        printable::line(&format!("{line}{mount}{repeats}")).into_owned()
    }

    /// Facility and severity, as syslog(3) numbers them.
    fn priority(&self) -> libc::c_int {
        libc::LOG_DAEMON
            | match self.level {
                Level::ERROR => libc::LOG_ERR,
                Level::WARN => libc::LOG_WARNING,
                Level::INFO => libc::LOG_INFO,
                Level::DEBUG | Level::TRACE => libc::LOG_DEBUG,
            }
    }
}

impl Write for Line {
    /// Takes a whole line: the formatter hands over one at a time.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let shown = self.shown(line, MOUNT.get().map(String::as_str));
        match SYSTEM.get() {
            None => io::stderr().lock().write_all(format!("rekeyfs: {shown}\n").as_bytes())?,
            Some(None) => {}
            Some(Some(socket)) => {
                let message = format!("<{}>rekeyfs[{}]: {shown}", self.priority(), std::process::id());
                let _ = socket.send(message.as_bytes());
            }
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests;
