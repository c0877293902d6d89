//! `rekeyfs generate`: what a package holds beside the program, made from the definitions of the commands.

use std::fs;
use std::path::Path;

use super::args::{self, Generated};
use super::exit::{Exit, Failure, Outcome};

/// Writes manual pages or completions.
///
/// # Errors
/// [`Exit::Other`] for what can't be written.
pub(super) fn run(what: &Generated) -> Outcome {
    match what {
        Generated::Man { dir } => args::manual().iter().try_for_each(|page| {
            let section = dir.join(format!("man{}", page.section));
            write(&section, &page.file_name(), page.roff.as_bytes())
        }),
        Generated::Completions { dir } => {
            args::completions().iter().try_for_each(|shell| write(dir, shell.file, &shell.script))
        }
    }
}

fn write(dir: &Path, name: &str, content: &[u8]) -> Outcome {
    let path = dir.join(name);
    fs::create_dir_all(dir)
        .and_then(|()| fs::write(&path, content))
        .map_err(|error| Failure::new(Exit::Other, path.display(), error))
}
