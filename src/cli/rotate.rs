//! `rekeyfs rotate`.

use serde::Serialize;
use serde_json::json;

use super::args;
use super::errors;
use super::exit::{Exit, Failure, Outcome};
use super::key_backup;
use super::open_target::{Access, OpenTarget};
use super::output;
use super::target::Target;
use crate::ids::AliasName;
use crate::service::{KeyRef, ManualRotation, Rotation};

/// Rotates a key, in the mount if there is one.
///
/// # Errors
/// [`Exit::Usage`] for what is no alias or key id, [`Exit::Key`] if there is no such one or it can't be
/// rotated now, and what opening the vault may say.
pub(super) fn run(args: &args::Rotate) -> Outcome {
    let which = which(args)?;
    let open = OpenTarget::open(&Target::resolve(&args.target)?, &args.open, Access::Change)?;
    if args.due {
        return run_due(args, &open);
    }
    if let (true, KeyRef::Alias(alias)) = (args.new_key, &which) {
        return run_new_key(args, &open, alias);
    }
    let rotated = open.operations().rotate(&which).map_err(|error| errors::operation(&error))?;
    print(args, &open, &rotated, &text(&rotated))
}

/// Puts a new key in the place of the one that an alias points at.
fn run_new_key(args: &args::Rotate, open: &OpenTarget, alias: &AliasName) -> Outcome {
    let renewed = open.operations().replace_key(alias).map_err(|error| errors::operation(&error))?;
    let ManualRotation { alias, old, new, dated } = &renewed;
    print(args, open, &renewed, &format!("{alias}: key {old} -> {new}; {dated} is the old one's\n"))
}

/// Rotates what is due; nothing being due is fine, and says nothing.
fn run_due(args: &args::Rotate, open: &OpenTarget) -> Outcome {
    let rotated = open.operations().rotate_due().map_err(|error| errors::operation(&error))?;
    open.delete_due()?;
    if rotated.is_empty() && !*args.json {
        return Ok(());
    }
    print(args, open, &json!({ "rotated": rotated }), &rotated.iter().map(text).collect::<String>())
}

/// Prints what was rotated, as JSON or as the text, and how far key backups are behind it.
fn print(args: &args::Rotate, open: &OpenTarget, done: &impl Serialize, text: &str) -> Outcome {
    let known = key_backup::known(open);
    if *args.json {
        return output::print_json(&key_backup::with_backup(done, known));
    }
    let backup = known.as_ref().map(key_backup::after_rotation).unwrap_or_default();
    output::print(&format!("{text}{backup}"))
}

fn which(args: &args::Rotate) -> Outcome<KeyRef> {
    match (&args.alias, &args.key_id) {
        (_, Some(id)) => KeyRef::parse_key(id).map_err(|_| {
            let cause = format!("{id:?} is no key id; `rekeyfs status` shows them");
            Failure::new(Exit::Usage, "--key-id", cause)
        }),
        (Some(alias), None) => {
            let whole = if alias.starts_with(AliasName::PREFIX) {
                alias.clone()
            } else {
                format!("{}{alias}", AliasName::PREFIX)
            };
            whole.parse().map(KeyRef::Alias).map_err(|error| Failure::new(Exit::Usage, "--alias", error))
        }
        (None, None) => Ok(KeyRef::Alias(AliasName::default_alias())),
    }
}

fn text(rotated: &Rotation) -> String {
    let alias = rotated.alias.as_ref().map(|alias| format!("{alias}: ")).unwrap_or_default();
    format!("{alias}key {}: version {} -> {}\n", rotated.key, rotated.old, rotated.new)
}
