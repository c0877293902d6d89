//! What goes to standard output and standard error.

use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use serde::Serialize;

use super::exit::{Exit, Failure, Outcome};
use crate::printable;

/// Writes lines to standard output; what isn't safe on a terminal is escaped.
///
/// # Errors
/// If it can't be written: a full disk must not look like success to a script. [`Exit::Pipe`] if its reader has closed
/// it, of which nothing is said.
pub(super) fn print(text: &str) -> Outcome {
    write(&printable::lines(text))
}

/// Writes JSON to standard output; characters that aren't safe on a terminal are escaped as JSON has it.
///
/// # Errors
/// As [`print`].
pub(super) fn print_json_text(text: &str) -> Outcome {
    write(&printable::json(text))
}

/// Writes what may be coloured to standard output: whoever made it has escaped what isn't safe on a terminal.
///
/// # Errors
/// As [`print`].
pub(super) fn print_painted(text: &str) -> Outcome {
    write(text)
}

fn write(text: &str) -> Outcome {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(unwritten)
}

/// The schema of what `--json` prints, which docs/cli-abi.md describes: each object names it.
const SCHEMA: u32 = 1;

/// What a command answers.
#[derive(Serialize)]
struct Answer<'a, T> {
    schema: u32,
    #[serde(flatten)]
    answer: &'a T,
}

/// Writes an object to standard output as indented JSON and a line feed, with the number of its schema.
///
/// # Errors
/// As [`print`].
pub(super) fn print_json(answer: &impl Serialize) -> Outcome {
    print_json_with(answer, serde_json::to_string_pretty)
}

/// Writes an object to standard output as one line of JSON, with the number of its schema.
///
/// # Errors
/// As [`print`].
pub(super) fn print_json_line(answer: &impl Serialize) -> Outcome {
    print_json_with(answer, serde_json::to_string)
}

fn print_json_with<'a, T: Serialize>(
    answer: &'a T,
    written: impl FnOnce(&Answer<'a, T>) -> serde_json::Result<String>,
) -> Outcome {
    let text = written(&Answer { schema: SCHEMA, answer });
    let text = text.map_err(|error| Failure::new(Exit::Other, "standard output", error))?;
    print_json_text(&(text + "\n"))
}

/// Writes a path to standard output as it is, and a NUL: for a program that reads it so, not for a terminal.
///
/// # Errors
/// As [`print`].
pub(super) fn print_path0(path: &Path) -> Outcome {
    let mut out = io::stdout().lock();
    let bytes = [path.as_os_str().as_bytes(), b"\0"].concat();
    out.write_all(&bytes).and_then(|()| out.flush()).map_err(unwritten)
}

/// Writes `rekeyfs: …` to standard error, if it can be written.
pub(super) fn complain(line: &impl std::fmt::Display) {
    let _ = writeln!(io::stderr().lock(), "rekeyfs: {}", printable::line(&line.to_string()));
}

/// As [`complain`], without the program's name.
pub(super) fn complain_bare(line: &impl std::fmt::Display) {
    let _ = writeln!(io::stderr().lock(), "{}", printable::line(&line.to_string()));
}

fn unwritten(error: io::Error) -> Failure {
    let exit = if error.kind() == io::ErrorKind::BrokenPipe { Exit::Pipe } else { Exit::Other };
    Failure::new(exit, "standard output", error)
}
