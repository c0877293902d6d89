//! Where log lines go: to the terminal while there is one, to the system log once a daemon has let go of it.
//! `REKEYFS_LOG` says which lines, as in `REKEYFS_LOG=info` or `rekeyfs::vault=debug`; without it, warnings.

use std::io::{self, Write};
use std::os::unix::net::UnixDatagram;
use std::sync::OnceLock;

use tracing::{Level, Metadata};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

use crate::printable;

/// The system log's socket; set once the terminal is let go of.
static SYSTEM: OnceLock<Option<UnixDatagram>> = OnceLock::new();

const SOCKET: &str = "/dev/log";

/// The facility for daemons, as syslog(3) numbers it.
const DAEMON: u8 = 3 << 3;

/// Says which lines are wanted.
const VARIABLE: &str = "REKEYFS_LOG";

/// fuser warns of each request that is left unanswered on purpose, and logs plaintext names with each request:
/// only its errors, unless it is asked for by name.
fn filter(asked: &str) -> String {
    if asked.contains("fuser") { asked.to_owned() } else { format!("{asked},fuser=error") }
}

/// Starts logging. Once, at the start of the process; a second time does nothing.
pub fn start() {
    let asked = std::env::var(VARIABLE).unwrap_or_else(|_| "warn".to_owned());
    let filter = EnvFilter::try_new(filter(&asked)).unwrap_or_else(|_| EnvFilter::new(filter("warn")));
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .without_time()
        .with_target(false)
        .with_ansi(false)
        .with_writer(Output)
        .try_init();
    // The standard library's own goes to standard error, which a daemon hasn't got.
    std::panic::set_hook(Box::new(|panic| tracing::error!("{}", panic.to_string().replace('\n', " "))));
}

/// From here on lines go to the system log, or nowhere if there is none.
pub(super) fn leave_terminal() {
    let connect = || {
        let socket = UnixDatagram::unbound().ok()?;
        socket.connect(SOCKET).ok()?;
        // A line lost is better than a request that waits for the system log.
        socket.set_nonblocking(true).ok()?;
        Some(socket)
    };
    let _ = SYSTEM.set(connect());
}

struct Output;

/// One line on its way.
enum Line {
    Terminal,
    System { priority: u8 },
}

impl<'a> MakeWriter<'a> for Output {
    type Writer = Line;

    fn make_writer(&'a self) -> Line {
        Line::to_where_lines_go(6)
    }

    fn make_writer_for(&'a self, metadata: &Metadata<'_>) -> Line {
        Line::to_where_lines_go(match *metadata.level() {
            Level::ERROR => 3,
            Level::WARN => 4,
            Level::INFO => 6,
            Level::DEBUG | Level::TRACE => 7,
        })
    }
}

impl Line {
    fn to_where_lines_go(severity: u8) -> Self {
        match SYSTEM.get() {
            Some(_) => Self::System { priority: DAEMON | severity },
            None => Self::Terminal,
        }
    }
}

/// A line as it is written anywhere: one, whatever the paths and names in it hold.
fn shown(line: &[u8]) -> String {
    printable::line(&String::from_utf8_lossy(line.trim_ascii())).into_owned()
}

impl Write for Line {
    /// Takes a whole line: the formatter hands over one at a time.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        match self {
            Self::Terminal => {
                io::stderr().lock().write_all(format!("rekeyfs: {}\n", shown(line)).as_bytes())?
            }
            Self::System { priority } => {
                if let Some(Some(socket)) = SYSTEM.get() {
                    let message = format!("<{priority}>rekeyfs[{}]: {}", std::process::id(), shown(line));
                    let _ = socket.send(message.as_bytes());
                }
            }
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_one_line_whatever_a_path_in_it_holds() {
        assert_eq!(shown(b"  WARN /a\nrekeyfs: forged\x1b[2J\n"), "WARN /a\\nrekeyfs: forged\\u{1b}[2J");
    }

    #[test]
    fn requests_with_their_names_are_logged_only_on_demand() {
        assert_eq!(filter("debug"), "debug,fuser=error");
        assert_eq!(filter("fuser=debug"), "fuser=debug");
        assert!(EnvFilter::try_new(filter("rekeyfs::vault=debug")).is_ok());
    }
}
