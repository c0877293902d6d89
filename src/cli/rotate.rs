//! `rekeyfs rotate`.

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
    let known = key_backup::known(&open);
    if *args.json {
        return output::print_json(&key_backup::with_backup(&rotated, known));
    }
    let backup = known.as_ref().map(key_backup::after_rotation).unwrap_or_default();
    output::print(&format!("{}{backup}", text(&rotated)))
}

/// Puts a new key in the place of the one that an alias points at.
fn run_new_key(args: &args::Rotate, open: &OpenTarget, alias: &AliasName) -> Outcome {
    let renewed = open.operations().replace_key(alias).map_err(|error| errors::operation(&error))?;
    let known = key_backup::known(open);
    if *args.json {
        return output::print_json(&key_backup::with_backup(&renewed, known));
    }
    let ManualRotation { alias, old, new, dated } = &renewed;
    let backup = known.as_ref().map(key_backup::after_rotation).unwrap_or_default();
    output::print(&format!("{alias}: key {old} -> {new}; {dated} is the old one's\n{backup}"))
}

/// Rotates what is due; nothing being due is fine, and says nothing.
fn run_due(args: &args::Rotate, open: &OpenTarget) -> Outcome {
    let rotated = open.operations().rotate_due().map_err(|error| errors::operation(&error))?;
    open.delete_due()?;
    let known = key_backup::known(open);
    if *args.json {
        return output::print_json(&key_backup::with_backup(&json!({ "rotated": rotated }), known));
    }
    let backup = known.as_ref().filter(|_| !rotated.is_empty()).map(key_backup::after_rotation);
    output::print(&format!("{}{}", rotated.iter().map(text).collect::<String>(), backup.unwrap_or_default()))
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
