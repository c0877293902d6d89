//! Going to the background. The process forks before it unlocks the vault; the parent stays in the terminal's foreground and
//! reports the outcome. The daemon sends one of two messages through a pipe: "ready", or an exit status with a line of text.
//! If neither comes, the daemon died.

use std::cell::Cell;
use std::fs::File;
use std::io::{Read, Write};

use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, WaitOptions, setsid, waitpid};

use super::error::{Failure, MountError};
use super::log;
use crate::sys::process::{Forked, fork};

/// The byte for "ready" in the pipe, where an exit status stands otherwise.
const READY: u8 = 0;

/// Which process this is after the fork.
pub(super) enum Side {
    /// The original process, which waits.
    Parent(Waiting),
    /// The child, which becomes the daemon.
    Daemon(Starting),
}

/// The parent's end of the pipe.
pub(super) struct Waiting {
    daemon: Pid,
    from_daemon: File,
}

/// The daemon's end, until it has sent its message. If it is closed without one, the parent reports that the daemon died.
pub(super) struct Starting {
    /// `None` in the foreground, where no parent waits, and once the message is sent.
    to_parent: Cell<Option<File>>,
}

/// Forks. The daemon gets a session of its own, so that no terminal's signals reach it.
pub(super) fn split() -> Result<Side, MountError> {
    let failed = |error: rustix::io::Errno| MountError::Daemon(error.into());
    let (from_daemon, to_parent) = pipe_with(PipeFlags::CLOEXEC).map_err(failed)?;
    match fork().map_err(failed)? {
        Forked::Parent(daemon) => {
            drop(to_parent);
            Ok(Side::Parent(Waiting { daemon, from_daemon: from_daemon.into() }))
        }
        Forked::Child => {
            // Asking a custodian before the fork has used some.
            crate::sys::locked::forget_after_fork();
            drop(from_daemon);
            // It fails for a group leader only, which a new process isn't.
            let _ = setsid();
            Ok(Side::Daemon(Starting { to_parent: Cell::new(Some(to_parent.into())) }))
        }
    }
}

impl Waiting {
    /// Waits until the daemon serves, or has failed. Returns its process id.
    pub(super) fn wait(mut self) -> Result<Pid, MountError> {
        let mut message = Vec::new();
        // A read error ends the message as its end would.
        let _ = self.from_daemon.read_to_end(&mut message);
        match message.split_first() {
            Some((&READY, _)) => Ok(self.daemon),
            Some((&code, text)) => {
                Err(MountError::Reported(Failure { code, text: String::from_utf8_lossy(text).into_owned() }))
            }
            None => Err(MountError::Died(how_it_ended(self.daemon))),
        }
    }
}

fn how_it_ended(daemon: Pid) -> String {
    let ended = waitpid(Some(daemon), WaitOptions::empty()).ok().flatten().map(|(_, status)| status);
    match ended.and_then(|status| status.terminating_signal().map(|signal| (status, signal))) {
        Some((_, signal)) => format!("killed by signal {signal}"),
        None => match ended.and_then(|status| status.exit_status()) {
            Some(code) => format!("exit status {code}"),
            None => "its end was not seen".to_owned(),
        },
    }
}

/// Runs the daemon, and ends its process. A failure before it was ready is sent to the parent; a later one only goes to the
/// log.
pub(super) fn live(
    starting: &Starting,
    exit_code: fn(&MountError) -> u8,
    serve: impl FnOnce(&Starting) -> Result<(), MountError>,
) -> ! {
    let code = match serve(starting) {
        Ok(()) => 0,
        Err(error) => {
            let code = exit_code(&error).max(1);
            match starting.to_parent.take() {
                Some(mut to_parent) => {
                    let text = error.to_string();
                    let _ = to_parent.write_all(&[&[code], text.as_bytes()].concat());
                }
                None => tracing::error!("{error}"),
            }
            code
        }
    };
    std::process::exit(i32::from(code))
}

impl Starting {
    /// For a mount in the foreground.
    pub(super) fn in_foreground() -> Self {
        Self { to_parent: Cell::new(None) }
    }

    /// Detaches from the terminal, calls `first`, whose log lines no longer go there, and sends "ready" to the parent.
    ///
    /// # Errors
    /// The parent is gone (interrupted from the terminal), so the user wants no mount any more.
    pub(super) fn ready(&self, first: impl FnOnce()) -> Result<(), MountError> {
        let Some(mut to_parent) = self.to_parent.take() else {
            first();
            return Ok(());
        };
        log::leave_terminal();
        if let Ok(null) = File::options().read(true).write(true).open("/dev/null") {
            let _ = rustix::stdio::dup2_stdin(&null);
            let _ = rustix::stdio::dup2_stdout(&null);
            let _ = rustix::stdio::dup2_stderr(&null);
        }
        first();
        to_parent.write_all(&[READY]).map_err(MountError::Daemon)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(message: &[u8]) -> Result<(), MountError> {
        let (from_daemon, to_parent) = pipe_with(PipeFlags::CLOEXEC).unwrap();
        File::from(to_parent).write_all(message).unwrap();
        Waiting { daemon: rustix::process::getpid(), from_daemon: from_daemon.into() }.wait().map(drop)
    }

    #[test]
    fn the_parent_hears_how_it_went() {
        assert!(told(&[READY]).is_ok());
        let failure = Failure { code: 12, text: "v: wrong passphrase".to_owned() };
        assert!(
            matches!(told(b"\x0cv: wrong passphrase"), Err(MountError::Reported(told)) if told == failure)
        );
        assert!(matches!(told(b""), Err(MountError::Died(_))));
    }

    #[test]
    fn a_process_with_threads_does_not_split() {
        let running = std::thread::spawn(std::thread::park);
        assert!(
            matches!(split(), Err(MountError::Daemon(error)) if error.raw_os_error() == Some(libc::EBUSY))
        );
        running.thread().unpark();
        running.join().unwrap();
    }
}
