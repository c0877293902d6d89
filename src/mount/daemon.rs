//! Going to the background: the process splits before it unlocks, and its parent, still in the terminal's
//! foreground, says how it went. Two messages can come through the pipe between them: "ready", or an exit
//! code with a line of text. Neither, and the daemon died.

use std::cell::Cell;
use std::fs::File;
use std::io::{Read, Write};

use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, WaitOptions, setsid, waitpid};

use super::error::{Failure, MountError};
use super::log;
use crate::sys::process::{Forked, fork};

/// The exit code that stands for "ready" in the pipe.
const READY: u8 = 0;

/// Which process this is now.
pub(super) enum Side {
    /// The one that was started; it waits.
    Parent(Waiting),
    /// The daemon to be.
    Daemon(Starting),
}

/// The parent's end of the pipe.
pub(super) struct Waiting {
    daemon: Pid,
    from_daemon: File,
}

/// The daemon's end, until it has spoken; closed in silence, the parent reports a death.
pub(super) struct Starting {
    /// `None` in the foreground, where there is nobody to tell, and once it is told.
    to_parent: Cell<Option<File>>,
}

/// Splits the process; the daemon gets a session of its own, so that no terminal's signals reach it.
pub(super) fn split() -> Result<Side, MountError> {
    let failed = |error: rustix::io::Errno| MountError::Daemon(error.into());
    let (from_daemon, to_parent) = pipe_with(PipeFlags::CLOEXEC).map_err(failed)?;
    match fork().map_err(failed)? {
        Forked::Parent(daemon) => {
            drop(to_parent);
            Ok(Side::Parent(Waiting { daemon, from_daemon: from_daemon.into() }))
        }
        Forked::Child => {
            drop(from_daemon);
            // It fails for a group leader only, which a new process isn't.
            let _ = setsid();
            Ok(Side::Daemon(Starting { to_parent: Cell::new(Some(to_parent.into())) }))
        }
    }
}

impl Waiting {
    /// Waits until the daemon serves, or has failed.
    pub(super) fn wait(mut self) -> Result<(), MountError> {
        let mut message = Vec::new();
        // A read error ends the message as its end would.
        let _ = self.from_daemon.read_to_end(&mut message);
        match message.split_first() {
            Some((&READY, _)) => Ok(()),
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

/// The daemon's life, and its process's end. A failure before it was ready goes to the parent, a later one to
/// the log alone.
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

    /// Tells the parent that the mount serves, and lets go of the terminal.
    ///
    /// # Errors
    /// The parent is gone (interrupted from the terminal): whoever asked wants no mount any more.
    pub(super) fn ready(&self) -> Result<(), MountError> {
        let Some(mut to_parent) = self.to_parent.take() else { return Ok(()) };
        log::leave_terminal();
        if let Ok(null) = File::options().read(true).write(true).open("/dev/null") {
            let _ = rustix::stdio::dup2_stdin(&null);
            let _ = rustix::stdio::dup2_stdout(&null);
            let _ = rustix::stdio::dup2_stderr(&null);
        }
        to_parent.write_all(&[READY]).map_err(MountError::Daemon)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(message: &[u8]) -> Result<(), MountError> {
        let (from_daemon, to_parent) = pipe_with(PipeFlags::CLOEXEC).unwrap();
        File::from(to_parent).write_all(message).unwrap();
        Waiting { daemon: rustix::process::getpid(), from_daemon: from_daemon.into() }.wait()
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
