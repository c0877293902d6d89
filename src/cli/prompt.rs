//! Asking for a secret at a terminal, without showing what is typed.
//!
//! The terminal is the controlling one (/dev/tty). `su -c`, `setsid` and some containers give a program a terminal as
//! standard input and none to control: then it is standard input, and the prompt goes to standard error.
//!
//! However asking ends, the terminal is as it was before. A signal that ends the program (SIGINT, SIGTERM, SIGHUP,
//! SIGQUIT) is held back while it is asked, and ends it once that is so; one that is ignored stays ignored. ^C is read as a
//! character, and becomes a SIGINT to this program.

use std::fs::File;
use std::io::{self, IsTerminal, Read, Write};
use std::os::fd::{AsFd, OwnedFd};

use rpassword::{ConfigBuilder, read_password_with_config};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::termios::{LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcsetattr};
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};
use zeroize::Zeroizing;

use crate::printable;
use crate::sys::signals::{HeldBack, is_ignored};

/// The controlling terminal.
const TERMINAL: &str = "/dev/tty";

/// Shows a prompt, and returns the line that is typed. To be called where standard input is a terminal.
///
/// # Errors
/// There is no terminal, or it can't be set up or read; ^C, where SIGINT is ignored; ^D.
pub(super) fn ask(prompt: &str) -> io::Result<Zeroizing<Vec<u8>>> {
    let ending = [SIGINT, SIGTERM, SIGHUP, SIGQUIT].into_iter().filter(|signal| !is_ignored(*signal));
    // Given up last: what it lets through may end the process.
    let held_back = HeldBack::new(ending)?;
    let mut terminal = Terminal::open()?;
    let hidden = Hidden::new(terminal.input.try_clone()?)?;
    terminal.write(&printable::line(prompt))?;
    let typed =
        Typed { terminal: terminal.input.try_clone()?, signals: held_back.arrivals().try_clone_to_owned()? };
    let config = ConfigBuilder::new().input_reader(typed).output_discard().build();
    let line = read_password_with_config(config).map(|line| Zeroizing::new(line.into_bytes()));
    // The line feed that was typed isn't shown either.
    let _ = terminal.write("\n");
    drop(hidden);
    drop(held_back);
    line
}

struct Terminal {
    input: File,
    output: File,
}

impl Terminal {
    fn open() -> io::Result<Self> {
        match File::options().read(true).write(true).open(TERMINAL) {
            Ok(input) => Ok(Self { output: input.try_clone()?, input }),
            Err(error) => Self::of_standard_input().ok_or(error),
        }
    }

    fn of_standard_input() -> Option<Self> {
        let same = |fd: std::os::fd::BorrowedFd<'_>| fd.try_clone_to_owned().ok().map(File::from);
        let (input, errors) = (io::stdin(), io::stderr());
        if !input.is_terminal() {
            return None;
        }
        // A terminal is open for both, most often.
        let output = if errors.is_terminal() { errors.as_fd() } else { input.as_fd() };
        Some(Self { input: same(input.as_fd())?, output: same(output)? })
    }

    fn write(&mut self, text: &str) -> io::Result<()> {
        self.output.write_all(text.as_bytes())
    }
}

/// A terminal that shows nothing of what is typed and hands each character over, until this is dropped.
struct Hidden {
    terminal: File,
    before: Termios,
}

impl Hidden {
    fn new(terminal: File) -> io::Result<Self> {
        let before = tcgetattr(&terminal)?;
        let mut hidden = before.clone();
        hidden
            .local_modes
            .remove(LocalModes::ECHO | LocalModes::ECHONL | LocalModes::ICANON | LocalModes::ISIG);
        hidden.special_codes[SpecialCodeIndex::VMIN] = 1;
        hidden.special_codes[SpecialCodeIndex::VTIME] = 0;
        tcsetattr(&terminal, OptionalActions::Now, &hidden)?;
        Ok(Self { terminal, before })
    }
}

impl Drop for Hidden {
    fn drop(&mut self) {
        let _ = tcsetattr(&self.terminal, OptionalActions::Now, &self.before);
    }
}

/// What is typed, until a signal comes.
struct Typed {
    terminal: File,
    signals: OwnedFd,
}

impl Read for Typed {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        loop {
            let mut ready =
                [PollFd::new(&self.signals, PollFlags::IN), PollFd::new(&self.terminal, PollFlags::IN)];
            match poll(&mut ready, None) {
                Err(Errno::INTR) => continue,
                Err(error) => return Err(error.into()),
                Ok(_) if !ready[0].revents().is_empty() => return Err(io::Error::other("interrupted")),
                Ok(_) => {}
            }
            match self.terminal.read(buf) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                read => return read,
            }
        }
    }
}
