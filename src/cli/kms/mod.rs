//! `rekeyfs kms VERB`: what was typed becomes parameters in AWS's JSON and these a call, the mount's daemon or the opened
//! vault answers it, and the answer or the error is printed as the AWS CLI prints it.

mod answer;
mod files;
mod import;
mod paging;
mod parameters;
mod re_encrypt;
mod serve;
mod shorthand;
mod skeleton;

use serde_json::{Value, json};

use super::args;
use super::args::kms::{Kms, OwnVerb, Skeleton, Verb, VerbArgs};
use super::errors;
use super::exit::{Exit, Failure, Outcome};
use super::open_target::{Access, OpenTarget};
use super::output;
use super::progress::{Display, long_work};
use super::target::Target;
use crate::keyring::Keys;
use crate::kms::{Call, KmsErrorName, api};
use crate::monitor::Monitor;
use crate::service::{KmsReply, Operations};
use answer::{Answer, Form};
use paging::Paging;

/// The command line isn't right.
const USAGE: u8 = 252;
/// The vault can't be opened or asked.
const ENVIRONMENT: u8 = 253;
/// None of the others.
const OTHER: u8 = 255;
/// SIGINT or SIGTERM.
const INTERRUPTED: u8 = 130;

/// Items asked for at a time where pages can't be seen.
const PAGE: i64 = 1000;

/// Does one verb.
///
/// # Errors
/// [`Exit::Kms`] with AWS's words for what KMS refuses; what resolving the target, asking the daemon or
/// opening the vault may say.
pub(super) fn run(args: &Kms) -> Outcome {
    match &args.verb {
        Verb::Operation(args) => of_the_table(args),
        Verb::Absent(operation) => {
            api::call(operation, &json!({})).map(drop).map_err(|error| errors::kms(operation, &error))
        }
        Verb::Own(OwnVerb::ReEncrypt(args)) => re_encrypt::run(args),
        Verb::Own(OwnVerb::Serve(args)) => serve::run(args),
    }
}

/// The status of a verb that failed: that which version 2 of the AWS CLI has for it.
pub(super) fn status(exit: Exit) -> u8 {
    match exit {
        Exit::Ok | Exit::Pipe | Exit::Kms => exit as u8,
        Exit::Usage => USAGE,
        Exit::Interrupted => INTERRUPTED,
        Exit::Vault
        | Exit::Keyring
        | Exit::ReadSecret
        | Exit::WrongSecret
        | Exit::RecoveryKey
        | Exit::Control
        | Exit::EmptyPassphrase
        | Exit::KeyringMissing
        | Exit::InUse
        | Exit::RolledBack
        | Exit::NotMounted => ENVIRONMENT,
        _ => OTHER,
    }
}

fn of_the_table(args: &VerbArgs) -> Outcome {
    let (operation, common) = (args.operation, &args.common);
    // What is wrong with what was typed is said before anything is done.
    let form = Form::of(&common.form)?;
    match args.skeleton {
        Some(Skeleton::Input) => return output::print_json_text(&answer::json(&skeleton::input(operation))?),
        Some(Skeleton::YamlInput) => return output::print(&skeleton::input_as_yaml(operation)),
        Some(Skeleton::Output) => {
            return form.print(operation.name, Answer::Whole(skeleton::output(operation)));
        }
        None => {}
    }
    let parameters = parameters::json(args)?;
    let paging = args.part.as_ref().map(|part| paging_of(part, &parameters)).transpose()?;
    let mut call = operation.call(&parameters).map_err(|error| match error.name {
        // What the aws command refuses before it asks the service.
        KmsErrorName::SerializationException => {
            Failure::line(Exit::Usage, format_args!("Parameter validation failed: {}", error.message))
        }
        _ => errors::kms(operation.name, &error),
    })?;
    let target = Target::resolve(&common.vault)?;
    let access = if call.changes() { Access::Change } else { Access::Read };
    let open = OpenTarget::open(&target, &common.open, access)?;
    // A user who cancels a deletion too late must not cause it.
    if !matches!(call, Call::CancelKeyDeletion { .. }) {
        open.delete_due()?;
    }
    if let Call::ScheduleKeyDeletion { key_id, force, .. } = &mut call
        && args.force
    {
        *force = Some(open.force(&target, &common.open, key_id, Keys::deletion_order)?);
    }
    let vault = open.operations();
    if let Some(file) = &args.key_material_file {
        import::wrap_file(file, &mut call, |parameters| once(vault, parameters))?;
    }
    let forced = matches!(&call, Call::ScheduleKeyDeletion { force: Some(_), .. });
    let answer = answered(vault, call, paging, &form)?;
    form.print(operation.name, answer)?;
    if forced {
        output::complain(
            &"backups whose files bear this key in their headers can't be opened any more once it is deleted",
        );
    }
    Ok(())
}

/// How a list is walked, by its flags or by what `--cli-input-json` has in their place.
fn paging_of(part: &args::Part, parameters: &Value) -> Outcome<Paging> {
    let mut part = part.clone();
    part.limit = part.limit.or_else(|| parameters["Limit"].as_i64());
    part.marker = part.marker.or_else(|| parameters["Marker"].as_str().map(str::to_owned));
    Paging::of(&part)
}

/// The answer to one call. Only a deletion takes long: files are counted before it is scheduled.
fn once(vault: &dyn Operations, call: &Call) -> Outcome<Value> {
    let reply = match call {
        Call::ScheduleKeyDeletion { .. } => {
            long_work(Display::counting(), |monitor| vault.kms(call, None, monitor))?
        }
        _ => vault.kms(call, None, &mut Monitor::unattended()).map_err(|error| errors::operation(&error))?,
    };
    match reply {
        KmsReply::Done { answer } => Ok(answer),
        KmsReply::Failed { error } => Err(errors::kms(call.operation(), &error)),
    }
}

/// What a call gives: of a list all pages, unless one is asked for.
fn answered(vault: &dyn Operations, mut call: Call, paging: Option<Paging>, form: &Form) -> Outcome<Answer> {
    let mut ask = |page| {
        if let Some(asked) = call.page_mut() {
            *asked = page;
        }
        once(vault, &call)
    };
    match paging {
        None => once(vault, &call).map(Answer::Whole),
        Some(Paging::One(page)) => ask(page).map(Answer::Whole),
        Some(Paging::All(part)) => {
            let page_size = (!form.shows_pages()).then_some(PAGE);
            paging::walk(&part, page_size, ask).map(Answer::Listed)
        }
    }
}
