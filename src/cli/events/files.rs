//! `rekeyfs events rotate` and `events prune`: the files of the log.

use std::path::Path;

use serde_json::json;

use crate::cli::args::{EventsPrune, EventsRotate, Open};
use crate::cli::errors;
use crate::cli::exit::Outcome;
use crate::cli::open_target::{Access, OpenTarget};
use crate::cli::output;
use crate::cli::target::Target;
use crate::events;

fn open(target: &Path, args: &Open) -> Outcome<OpenTarget> {
    OpenTarget::open(&Target::resolve(target)?, args, Access::Change)
}

/// Closes the log's file.
///
/// # Errors
/// Those of opening the target; the log can't be continued, or the keyring can't be saved.
pub(super) fn rotate(args: &EventsRotate) -> Outcome {
    let opened = open(&args.target, &args.open)?;
    let closed = opened.operations().rotate_events().map_err(|error| errors::operation(&error))?;
    if *args.json {
        return output::print_json(&json!({"closed": closed}));
    }
    output::print(&format!("{} is closed as {closed}; the log continues in a new file\n", events::FILE_NAME))
}

/// Removes old files of the log.
///
/// # Errors
/// Those of opening the target; the log doesn't verify; the keyring can't be saved.
pub(super) fn prune(args: &EventsPrune) -> Outcome {
    let opened = open(&args.target, &args.open)?;
    let removed = opened.operations().prune_events(args.keep).map_err(|error| errors::operation(&error))?;
    if *args.json {
        return output::print_json(&json!({"removed": removed}));
    }
    let shown = removed.iter().map(|name| format!("{name} is removed\n")).collect::<String>();
    output::print(if shown.is_empty() { "no closed file of the log is to be removed\n" } else { &shown })
}
