//! A program that a helper runs.
//!
//! It is found in the `PATH` that rekeyfs sets, and gets no shell. It is in the helper's session, so it ends with it; there
//! is no terminal that it could ask at.

use std::ffi::OsStr;
use std::io::{self, ErrorKind, Read, Write};
use std::process::{Command, Stdio};

use zeroize::Zeroizing;

use super::protocol::{Kind, Refusal};

/// The most that is read of what it prints.
const MAX_OUTPUT: usize = 64 << 10;

/// A program, and what it is run with.
pub struct Tool(Command);

/// What it came to.
pub struct Ended {
    /// Whether it ended with 0.
    pub success: bool,
    /// What it printed; wiped, since it may be a secret.
    pub out: Zeroizing<Vec<u8>>,
    /// What it said on standard error.
    pub errors: String,
}

impl Tool {
    /// A program by its name.
    pub fn new(program: &str) -> Self {
        Self(Command::new(program))
    }

    /// With an argument.
    pub fn arg(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.0.arg(argument);
        self
    }

    /// With a variable.
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.0.env(name, value);
        self
    }

    /// Runs it with this as its standard input.
    ///
    /// # Errors
    /// [`Kind::Missing`] if it isn't there, [`Kind::Internal`] if it can't be run or prints too much.
    pub fn run(mut self, input: &[u8]) -> Result<Ended, Refusal> {
        let program = self.0.get_program().to_string_lossy().into_owned();
        let failed = |error: io::Error| match error.kind() {
            ErrorKind::NotFound => {
                Refusal::new(Kind::Missing, format!("the program {program} isn't installed"))
            }
            _ => Refusal::new(Kind::Internal, format!("{program}: {error}")),
        };
        let piped = Stdio::piped;
        let mut child = self.0.stdin(piped()).stdout(piped()).stderr(piped()).spawn().map_err(failed)?;
        let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let mut out = Zeroizing::new(Vec::with_capacity(MAX_OUTPUT + 1));
        let mut errors = Vec::new();
        std::thread::scope(|scope| {
            // One that refuses its arguments doesn't read its input.
            scope.spawn(move || stdin.map(|mut stdin| stdin.write_all(input)));
            scope.spawn(|| {
                let mut stderr = stderr?;
                (&mut stderr).take(MAX_OUTPUT as u64).read_to_end(&mut errors).ok()?;
                io::copy(&mut stderr, &mut io::sink()).ok()
            });
            stdout.map_or(Ok(0), |stdout| stdout.take(MAX_OUTPUT as u64 + 1).read_to_end(&mut out))
        })
        .map_err(failed)?;
        let status = child.wait().map_err(failed)?;
        if out.len() > MAX_OUTPUT {
            return Err(Refusal::new(Kind::Internal, format!("{program} printed more than 64 KiB")));
        }
        let errors = String::from_utf8_lossy(&errors).into_owned();
        Ok(Ended { success: status.success(), out, errors })
    }
}

impl Ended {
    /// The refusal for what it said: the kind of the first of these texts that is in it, with its line; else the last line.
    pub fn refusal(&self, texts: &[(&str, Kind)]) -> Refusal {
        let found = texts
            .iter()
            .find_map(|(text, kind)| Some((self.error_lines().find(|line| line.contains(text))?, *kind)));
        let (line, kind) = found.unwrap_or_else(|| (self.last_error(), Kind::Internal));
        Refusal::new(kind, line)
    }

    /// The last line that it said.
    pub fn last_error(&self) -> &str {
        self.error_lines().next_back().unwrap_or("it failed, and doesn't say why")
    }

    fn error_lines(&self) -> impl DoubleEndedIterator<Item = &str> {
        self.errors.lines().map(str::trim).filter(|line| !line.is_empty())
    }
}
