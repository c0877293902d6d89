//! `rekeyfs inspect`: which key version wraps which file.

mod columns;
mod file;
mod filter;
mod tree;

use super::args;
use super::exit::{Exit, Failure, Outcome};
use super::output;
use file::{Inspector, text};

/// Inspects each path; one that fails is reported and the others are still done.
///
/// # Errors
/// That of the first path that failed.
pub(super) fn run(args: &args::Inspect) -> Outcome {
    let inspector = Inspector::new();
    let mut failed = None;
    let mut failure = |failure: Failure| {
        if failed.is_some() {
            output::complain(&failure);
        } else {
            // The first is reported by the caller, who makes its status ours.
            failed = Some(failure);
        }
    };
    for path in &args.paths {
        if args.recursive {
            match tree::list(&inspector, args, path, &mut failure) {
                // Nothing can be written any more.
                Err(unwritten) if unwritten.exit == Exit::Pipe => return Err(unwritten),
                listed => listed.unwrap_or_else(&mut failure),
            }
            continue;
        }
        match inspector.inspect(path) {
            Ok(row) if *args.json => output::print_json(&row)?,
            Ok(row) => output::print(&text(&row))?,
            Err(error) => failure(error),
        }
    }
    failed.map_or(Ok(()), Err)
}
