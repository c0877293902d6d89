//! One run of a helper: its pipes, its end. Nothing here blocks but [`Running::drop`], which kills, and waits a second at most for what
//! that doesn't end: a process inside of a call that can't be interrupted (state D). Such a one is left behind, and init reaps it
//! after this process. No thread is started for that, since this process may still have to fork.

use std::ffi::OsString;
use std::io::{self, ErrorKind, Read, Write};
use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::ioctl_fionbio;
use rustix::process::{
    Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, kill_process_group, pidfd_open, pidfd_send_signal, waitid,
};
use zeroize::Zeroizing;

use super::prompt::PromptKind;
use super::protocol::{Line, line_kind};
use crate::sys::process::confined_helper;

/// The most that a helper may print.
const MAX_OUTPUT: usize = 64 << 10;
/// So much of the end of its standard error is kept.
const KEPT_ERRORS: usize = 4 << 10;
/// For what was killed to end.
const LAST: Duration = Duration::from_secs(1);

/// How a run goes on.
pub(super) enum Progress {
    /// It has neither asked nor ended.
    Going,
    /// It wants something of a person.
    Prompt(PromptKind, String),
    /// It printed too much, or something after its answer.
    Babbles(&'static str),
    /// It has ended, and its group with it.
    Ended(ExitStatus),
}

/// What is run.
#[derive(Clone, Debug)]
pub(super) struct Program {
    pub(super) path: PathBuf,
    /// Its whole environment.
    pub(super) variables: Vec<(OsString, OsString)>,
}

/// A helper that runs.
pub(super) struct Running {
    child: Child,
    pid: Pid,
    pidfd: OwnedFd,
    input: Option<ChildStdin>,
    /// What is still to be written begins at `written`.
    to_write: Zeroizing<Vec<u8>>,
    written: usize,
    /// Whether answers to prompts may follow.
    keep_input: bool,
    output: Option<ChildStdout>,
    /// Allocated once: a vector that grows leaves copies of secrets behind.
    printed: Zeroizing<Vec<u8>>,
    /// Where the first line that wasn't looked at begins.
    line_at: usize,
    answer: Option<Range<usize>>,
    errors: Option<ChildStderr>,
    kept_errors: Vec<u8>,
    reaped: bool,
}

impl Running {
    pub(super) fn start(program: &Program, request: &[u8], interactive: bool) -> io::Result<Self> {
        let mut command = confined_helper(&program.path);
        command.envs(program.variables.iter().map(|(name, value)| (name, value)));
        let piped = Stdio::piped;
        let mut child = command.stdin(piped()).stdout(piped()).stderr(piped()).spawn()?;
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        let (Some(pid), Some(input), Some(output), Some(errors)) =
            (pid, child.stdin.take(), child.stdout.take(), child.stderr.take())
        else {
            return Err(ErrorKind::BrokenPipe.into());
        };
        let opened = pidfd_open(pid, PidfdFlags::empty()).and_then(|pidfd| {
            [input.as_fd(), output.as_fd(), errors.as_fd()]
                .into_iter()
                .try_for_each(|fd| ioctl_fionbio(fd, true))?;
            Ok(pidfd)
        });
        let pidfd = match opened {
            Ok(pidfd) => pidfd,
            Err(errno) => {
                let _ = kill_process_group(pid, Signal::KILL);
                let _ = child.wait();
                return Err(errno.into());
            }
        };
        Ok(Self {
            child,
            pid,
            pidfd,
            input: Some(input),
            to_write: Zeroizing::new(request.to_vec()),
            written: 0,
            keep_input: interactive,
            output: Some(output),
            printed: Zeroizing::new(Vec::with_capacity(MAX_OUTPUT)),
            line_at: 0,
            answer: None,
            errors: Some(errors),
            kept_errors: Vec::new(),
            reaped: false,
        })
    }

    /// What to wait for.
    pub(super) fn poll_on<'a>(&'a self, fds: &mut Vec<PollFd<'a>>) {
        fds.push(PollFd::new(&self.pidfd, PollFlags::IN));
        fds.extend(self.output.as_ref().map(|output| PollFd::new(output, PollFlags::IN)));
        fds.extend(self.errors.as_ref().map(|errors| PollFd::new(errors, PollFlags::IN)));
        if let Some(input) = self.input.as_ref().filter(|_| self.written < self.to_write.len()) {
            fds.push(PollFd::new(input, PollFlags::OUT));
        }
    }

    /// Does what can be done without waiting.
    pub(super) fn advance(&mut self) -> Progress {
        let ended = self.has_ended();
        self.write();
        self.read_errors();
        if let Some(babble) = self.read_output() {
            return Progress::Babbles(babble);
        }
        while let Some(line) = self.next_line(ended) {
            match line {
                // It may see that nobody answers, and end, before this is read.
                Ok((kind, text)) if !ended || !self.keep_input => return Progress::Prompt(kind, text),
                // It didn't wait for an answer.
                Ok(_) => {}
                Err(babble) => return Progress::Babbles(babble),
            }
        }
        if ended { Progress::Ended(self.reap()) } else { Progress::Going }
    }

    /// The line that should be the answer.
    pub(super) fn answer(&self) -> &[u8] {
        self.answer.clone().and_then(|range| self.printed.get(range)).unwrap_or_default()
    }

    /// The last thing that it wrote to standard error.
    pub(super) fn last_error_line(&self) -> String {
        let text = String::from_utf8_lossy(&self.kept_errors);
        text.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or_default().to_owned()
    }

    /// The end of its standard error.
    pub(super) fn errors(&self) -> String {
        String::from_utf8_lossy(&self.kept_errors).into_owned()
    }

    /// Answers a prompt.
    pub(super) fn reply(&mut self, line: Zeroizing<Vec<u8>>) {
        self.to_write = line;
        self.written = 0;
        self.write();
    }

    /// Asks it to end.
    pub(super) fn terminate(&self) {
        let _ = pidfd_send_signal(&self.pidfd, Signal::TERM);
        let _ = kill_process_group(self.pid, Signal::TERM);
    }

    fn write(&mut self) {
        while let (Some(input), Some(rest)) =
            (&mut self.input, self.to_write.get(self.written..).filter(|rest| !rest.is_empty()))
        {
            match input.write(rest) {
                Ok(n) => self.written += n,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                // A helper that refuses what it was started for needn't read it.
                Err(_) => self.input = None,
            }
        }
        if !self.keep_input {
            self.input = None;
        }
    }

    fn read_errors(&mut self) {
        let mut buf = [0; KEPT_ERRORS];
        // One that writes without end is not read without end.
        for _ in 0..MAX_OUTPUT / KEPT_ERRORS {
            let Some(n) = read_some(&mut self.errors, &mut buf) else { return };
            self.kept_errors.extend_from_slice(&buf[..n]);
            let surplus = self.kept_errors.len().saturating_sub(KEPT_ERRORS);
            self.kept_errors.drain(..surplus);
        }
    }

    fn read_output(&mut self) -> Option<&'static str> {
        let mut buf = Zeroizing::new([0; 4096]);
        while let Some(n) = read_some(&mut self.output, &mut *buf) {
            if self.printed.len() + n > MAX_OUTPUT {
                return Some("it printed more than 64 KiB");
            }
            self.printed.extend_from_slice(&buf[..n]);
        }
        None
    }

    /// Looks at the next whole line, or at what is left once it has ended.
    fn next_line(&mut self, ended: bool) -> Option<Result<(PromptKind, String), &'static str>> {
        loop {
            let rest = self.printed.get(self.line_at..).filter(|rest| !rest.is_empty())?;
            let len = match rest.iter().position(|b| *b == b'\n') {
                Some(len) => len,
                None if ended => rest.len(),
                None => return None,
            };
            let range = self.line_at..self.line_at + len;
            self.line_at = (range.end + 1).min(self.printed.len());
            let line = self.printed.get(range.clone()).unwrap_or_default();
            if line.trim_ascii().is_empty() {
                continue;
            }
            if self.answer.is_some() {
                return Some(Err("it printed something after its answer"));
            }
            match line_kind(line) {
                Line::Prompt(kind, text) => return Some(Ok((kind, text))),
                Line::Last => self.answer = Some(range),
            }
        }
    }

    /// It isn't reaped by this: its number and group stay its own.
    fn has_ended(&self) -> bool {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        !matches!(waitid(WaitId::PidFd(self.pidfd.as_fd()), options), Ok(None))
    }

    /// Kills what it left behind, and reaps it.
    fn reap(&mut self) -> ExitStatus {
        // While it isn't reaped, no other group can have its number.
        let _ = kill_process_group(self.pid, Signal::KILL);
        self.reaped = true;
        self.child.wait().unwrap_or_else(|_| ExitStatus::from_raw(libc::SIGKILL))
    }
}

/// None if there is nothing now; a pipe that has ended is closed.
fn read_some(pipe: &mut Option<impl Read>, buf: &mut [u8]) -> Option<usize> {
    loop {
        match pipe.as_mut()?.read(buf) {
            Ok(n) if n > 0 => return Some(n),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => return None,
            Ok(_) | Err(_) => *pipe = None,
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if !self.reaped {
            let _ = pidfd_send_signal(&self.pidfd, Signal::KILL);
            if ended_within(self.pidfd.as_fd(), LAST) {
                self.reap();
            } else {
                let _ = kill_process_group(self.pid, Signal::KILL);
            }
        }
    }
}

/// Whether a process ends within this time.
fn ended_within(pidfd: BorrowedFd<'_>, limit: Duration) -> bool {
    let until = Instant::now() + limit;
    loop {
        let left = until.saturating_duration_since(Instant::now());
        let timeout = Timespec::try_from(left).ok();
        match poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], timeout.as_ref()) {
            Ok(ready) => return ready > 0,
            Err(rustix::io::Errno::INTR) if !left.is_zero() => {}
            Err(_) => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn nobody_waits_longer_than_a_moment_for_what_does_not_end() {
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let pid = Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
        let pidfd = pidfd_open(pid, PidfdFlags::empty()).unwrap();
        let began = Instant::now();
        assert!(!ended_within(pidfd.as_fd(), Duration::from_millis(100)));
        // The process sleeps for longer.
        assert!((100..30_000).contains(&began.elapsed().as_millis()));
        child.kill().unwrap();
        assert!(ended_within(pidfd.as_fd(), Duration::from_secs(30)));
        child.wait().unwrap();
    }
}
