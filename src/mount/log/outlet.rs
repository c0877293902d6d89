//! Where lines go: to standard error, to the journal of systemd, or to the system log.
//!
//! Nothing waits for a log that is stuck. Sockets aren't connected: each line looks the path up again, so that a log that
//! starts later than the mount, or restarts, gets the next line. Lines that could not be written are counted, and the first
//! thing that a log gets when it is back is their number.

use std::ffi::OsString;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::net::SendFlags;

use super::journal;
use crate::printable::counted;

/// Where the system log listens.
const SYSLOG: &str = "/dev/log";

/// A line, and what is known of it beside its text.
pub(super) struct Message {
    /// As syslog(3) numbers it.
    pub(super) severity: libc::c_int,
    pub(super) text: String,
    /// The fields of the journal.
    pub(super) fields: Vec<(String, OsString)>,
}

/// Which process writes.
enum Outlet {
    /// One with a terminal, or whose caller reads standard error.
    Caller,
    /// A service of systemd: standard error leads to the journal too.
    Service(SystemLog),
}

static OUTLET: OnceLock<Outlet> = OnceLock::new();
/// Set once a daemon has let go of its terminal.
static DAEMON: OnceLock<SystemLog> = OnceLock::new();

/// To be called at the start of the process, before any line.
pub(super) fn choose() {
    let service = || Outlet::Service(SystemLog::at(journal::SOCKET, Otherwise::Stream));
    let _ = OUTLET.set(if journal::is_stderr() { service() } else { Outlet::Caller });
}

/// From here on lines go to the journal, or where there is none to the system log.
pub(super) fn leave_terminal() {
    let _ = DAEMON.set(SystemLog::at(journal::SOCKET, Otherwise::Syslog(SYSLOG.into())));
}

/// Writes a line.
pub(super) fn write(message: &Message) -> io::Result<()> {
    match (DAEMON.get(), OUTLET.get()) {
        (Some(log), _) | (None, Some(Outlet::Service(log))) => log.write(message),
        _ => io::stderr().lock().write_all(format!("rekeyfs: {}\n", message.text).as_bytes())?,
    }
    Ok(())
}

/// Where lines go while there is no journal.
enum Otherwise {
    /// To standard error, a stream to the journal.
    Stream,
    /// To the socket of a log daemon.
    Syslog(PathBuf),
}

/// The log of a process without a terminal.
struct SystemLog {
    journal: PathBuf,
    otherwise: Otherwise,
    /// None if the process has no descriptor left; all lines are lost then.
    socket: Option<UnixDatagram>,
    /// Lines that could not be written, and that no line has reported.
    lost: AtomicU64,
}

/// What became of a line.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Sent {
    Written,
    /// Nobody listens there.
    Away,
    /// Someone listens, and takes nothing now.
    Stuck,
}

impl From<io::Result<usize>> for Sent {
    fn from(sent: io::Result<usize>) -> Self {
        match sent {
            Ok(_) => Self::Written,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Self::Stuck,
            Err(_) => Self::Away,
        }
    }
}

impl SystemLog {
    fn at(journal: impl Into<PathBuf>, otherwise: Otherwise) -> Self {
        let socket = UnixDatagram::unbound().ok().filter(|socket| socket.set_nonblocking(true).is_ok());
        Self { journal: journal.into(), otherwise, socket, lost: AtomicU64::new(0) }
    }

    fn write(&self, message: &Message) {
        let lost = self.lost.swap(0, Ordering::Relaxed);
        if lost > 0 && self.send(&lost_lines(lost)) != Sent::Written {
            self.lost.fetch_add(lost + 1, Ordering::Relaxed);
        } else if self.send(message) != Sent::Written {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn send(&self, message: &Message) -> Sent {
        match self.send_to(&self.journal, &message.for_journal()) {
            Sent::Away => match &self.otherwise {
                Otherwise::Syslog(socket) => self.send_to(socket, message.for_syslog().as_bytes()),
                Otherwise::Stream => {
                    let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
                    let line = message.for_stream();
                    let sent = rustix::net::send(io::stderr().as_fd(), line.as_bytes(), flags);
                    sent.map_err(io::Error::from).into()
                }
            },
            sent => sent,
        }
    }

    fn send_to(&self, socket: &Path, datagram: &[u8]) -> Sent {
        self.socket.as_ref().map_or(Sent::Away, |from| from.send_to(datagram, socket).into())
    }
}

fn lost_lines(lost: u64) -> Message {
    let text = format!("WARN {} could not be written to the log before this", counted(lost, "line", "lines"));
    Message { severity: libc::LOG_WARNING, text, fields: Vec::new() }
}

impl Message {
    fn for_journal(&self) -> Vec<u8> {
        let mut datagram = Vec::with_capacity(self.text.len() + 256);
        journal::push(&mut datagram, "SYSLOG_IDENTIFIER", b"rekeyfs");
        // Facility `daemon`: LOG_DAEMON is shifted by the three bits of the severity.
        let facility = libc::LOG_DAEMON >> 3;
        journal::push(&mut datagram, "SYSLOG_FACILITY", facility.to_string().as_bytes());
        journal::push(&mut datagram, "PRIORITY", self.severity.to_string().as_bytes());
        journal::push(&mut datagram, "MESSAGE", self.text.as_bytes());
        for (name, value) in &self.fields {
            journal::push(&mut datagram, name, value.as_bytes());
        }
        datagram
    }

    fn for_syslog(&self) -> String {
        format!("<{}>rekeyfs[{}]: {}", libc::LOG_DAEMON | self.severity, std::process::id(), self.text)
    }

    /// As sd-daemon(3) has it: systemd takes the priority off, and adds the program's name.
    fn for_stream(&self) -> String {
        format!("<{}>{}\n", self.severity, self.text)
    }
}

#[cfg(test)]
mod tests;
