//! `rekeyfs kms VERB`: the verb becomes a call, the mount's daemon or the opened vault answers it, and the
//! answer or the error is printed as the AWS CLI prints it.

mod answer;
mod import;
mod paging;
mod re_encrypt;
mod serve;

use std::path::Path;

use serde_json::Value;

use super::args::kms::{KeyVerb, Kms, KmsCommon, Materials, Verb};
use super::errors;
use super::exit::{Exit, Failure, Outcome};
use super::open_target::{Access, OpenTarget};
use super::output;
use super::progress::{Display, long_work};
use super::target::Target;
use crate::keyring::Keys;
use crate::kms::{Call, Materials as Listed, NewKey, Page, Tag};
use crate::monitor::Monitor;
use crate::service::{KmsReply, Operations};
use answer::{Answer, Form};
use paging::Paging;

/// Items asked for at a time where pages can't be seen.
const PAGE: i64 = 1000;

/// Does one verb.
///
/// # Errors
/// [`Exit::Kms`] with AWS's words for what KMS refuses; what resolving the target, asking the daemon or
/// opening the vault may say.
pub(super) fn run(args: &Kms) -> Outcome {
    match &args.verb {
        Verb::OfKeys(verb) => of_keys(verb),
        Verb::ReEncrypt(args) => re_encrypt::run(args),
        Verb::Serve(args) => serve::run(args),
    }
}

fn of_keys(verb: &KeyVerb) -> Outcome {
    let (mut call, common) = plan(verb)?;
    // What is wrong with them is said before anything is done.
    let (form, paging) = (Form::of(&common.form)?, verb.part().map(Paging::of).transpose()?);
    let target = Target::resolve(&common.vault)?;
    let access = if call.changes() { Access::Change } else { Access::Read };
    let open = OpenTarget::open(&target, &common.open, access)?;
    // A user who cancels a deletion too late must not cause it.
    if !matches!(call, Call::CancelKeyDeletion { .. }) {
        open.delete_due()?;
    }
    if let (KeyVerb::ScheduleKeyDeletion(args), Call::ScheduleKeyDeletion { key_id, force, .. }) =
        (verb, &mut call)
        && args.force
    {
        *force = Some(open.force(&target, &common.open, key_id, Keys::deletion_order)?);
    }
    let vault = open.operations();
    if let KeyVerb::ImportKeyMaterial(args) = verb
        && let Some(file) = &args.key_material_file
    {
        import::wrap_file(file, &mut call, |parameters| once(vault, parameters))?;
    }
    let operation = call.operation();
    let forced = matches!(&call, Call::ScheduleKeyDeletion { force: Some(_), .. });
    let answer = answered(vault, call, paging, &form)?;
    form.print(operation, answer)?;
    if forced {
        output::complain(
            &"backups whose files bear this key in their headers can't be opened any more once it is deleted",
        );
    }
    Ok(())
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
        KmsReply::Failed { error } => Err(Failure::line(
            Exit::Kms,
            format_args!(
                "An error occurred ({}) when calling the {} operation: {}",
                error.name,
                call.operation(),
                error.message
            ),
        )),
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

fn plan(verb: &KeyVerb) -> Outcome<(Call, &KmsCommon)> {
    let all = Page::default;
    Ok(match verb {
        KeyVerb::CreateKey(args) => {
            let key = NewKey {
                description: args.description.clone(),
                key_usage: args.key_usage.clone(),
                origin: args.origin.clone(),
                policy: args.policy.as_deref().map(text_or_file).transpose()?,
                bypass_policy_lockout_safety_check: args.bypass_policy_lockout_safety_check,
                tags: tags(&args.tags)?,
            };
            (Call::CreateKey { key }, &args.common)
        }
        KeyVerb::DescribeKey(args) => (Call::DescribeKey { key_id: args.key_id.clone() }, &args.common),
        KeyVerb::ListKeys(args) => (Call::ListKeys { page: all() }, &args.common),
        KeyVerb::CreateAlias(args) => {
            let (alias_name, target_key_id) = (args.alias_name.clone(), args.target_key_id.clone());
            (Call::CreateAlias { alias_name, target_key_id }, &args.common)
        }
        KeyVerb::UpdateAlias(args) => {
            let (alias_name, target_key_id) = (args.alias_name.clone(), args.target_key_id.clone());
            (Call::UpdateAlias { alias_name, target_key_id }, &args.common)
        }
        KeyVerb::DeleteAlias(args) => {
            (Call::DeleteAlias { alias_name: args.alias_name.clone() }, &args.common)
        }
        KeyVerb::ListAliases(args) => {
            (Call::ListAliases { key_id: args.key_id.clone(), page: all() }, &args.common)
        }
        KeyVerb::EnableKey(args) => (Call::EnableKey { key_id: args.key_id.clone() }, &args.common),
        KeyVerb::DisableKey(args) => (Call::DisableKey { key_id: args.key_id.clone() }, &args.common),
        KeyVerb::EnableKeyRotation(args) => {
            let rotation_period_in_days = args.rotation_period_in_days;
            let key_id = args.key.key_id.clone();
            (Call::EnableKeyRotation { key_id, rotation_period_in_days }, &args.key.common)
        }
        KeyVerb::DisableKeyRotation(args) => {
            (Call::DisableKeyRotation { key_id: args.key_id.clone() }, &args.common)
        }
        KeyVerb::GetKeyRotationStatus(args) => {
            (Call::GetKeyRotationStatus { key_id: args.key_id.clone() }, &args.common)
        }
        KeyVerb::RotateKeyOnDemand(args) => {
            (Call::RotateKeyOnDemand { key_id: args.key_id.clone() }, &args.common)
        }
        KeyVerb::ListKeyRotations(args) => {
            let materials = match args.include_key_material {
                Materials::All => Listed::All,
                Materials::RotationsOnly => Listed::RotationsOnly,
            };
            let key_id = args.key.key_id.clone();
            (Call::ListKeyRotations { key_id, materials, page: all() }, &args.key.common)
        }
        KeyVerb::ScheduleKeyDeletion(args) => {
            let pending_window_in_days = args.pending_window_in_days;
            let key_id = args.key.key_id.clone();
            let force = None;
            (Call::ScheduleKeyDeletion { key_id, pending_window_in_days, force }, &args.key.common)
        }
        KeyVerb::CancelKeyDeletion(args) => {
            (Call::CancelKeyDeletion { key_id: args.key_id.clone() }, &args.common)
        }
        KeyVerb::GetParametersForImport(args) => {
            let (wrapping_algorithm, wrapping_key_spec) =
                (args.wrapping_algorithm.clone(), args.wrapping_key_spec.clone());
            let key_id = args.key.key_id.clone();
            let call = Call::GetParametersForImport { key_id, wrapping_algorithm, wrapping_key_spec };
            (call, &args.key.common)
        }
        KeyVerb::ImportKeyMaterial(args) => (import::call(args)?, &args.key.common),
        KeyVerb::DeleteImportedKeyMaterial(args) => {
            let (key_id, key_material_id) = (args.key.key_id.clone(), args.key_material_id.clone());
            (Call::DeleteImportedKeyMaterial { key_id, key_material_id }, &args.key.common)
        }
        KeyVerb::TagResource(args) => {
            (Call::TagResource { key_id: args.key.key_id.clone(), tags: tags(&args.tags)? }, &args.key.common)
        }
        KeyVerb::UntagResource(args) => {
            let (key_id, tag_keys) = (args.key.key_id.clone(), args.tag_keys.clone());
            (Call::UntagResource { key_id, tag_keys }, &args.key.common)
        }
        KeyVerb::ListResourceTags(args) => {
            (Call::ListResourceTags { key_id: args.key.key_id.clone(), page: all() }, &args.key.common)
        }
        KeyVerb::UpdateKeyDescription(args) => {
            let (key_id, description) = (args.key_id.clone(), args.description.clone());
            (Call::UpdateKeyDescription { key_id, description }, &args.common)
        }
        KeyVerb::ListKeyPolicies(args) => {
            (Call::ListKeyPolicies { key_id: args.key.key_id.clone(), page: all() }, &args.key.common)
        }
        KeyVerb::GetKeyPolicy(args) => {
            let (key_id, policy_name) = (args.key.key_id.clone(), args.policy_name.clone());
            (Call::GetKeyPolicy { key_id, policy_name }, &args.key.common)
        }
        KeyVerb::PutKeyPolicy(args) => {
            let (key_id, policy_name) = (args.key.key_id.clone(), args.policy_name.clone());
            let policy = text_or_file(&args.policy)?;
            let bypass_policy_lockout_safety_check = args.bypass_policy_lockout_safety_check;
            (
                Call::PutKeyPolicy { key_id, policy_name, policy, bypass_policy_lockout_safety_check },
                &args.key.common,
            )
        }
    })
}

/// A value as it stands, or what is in the file that `file://PATH` names, as with the AWS CLI.
fn text_or_file(value: &str) -> Outcome<String> {
    match value.strip_prefix("file://") {
        None => Ok(value.to_owned()),
        Some(path) => {
            std::fs::read_to_string(Path::new(path)).map_err(|error| Failure::new(Exit::Usage, path, error))
        }
    }
}

/// Tags in the AWS CLI's shorthand, or as JSON.
fn tags(typed: &[String]) -> Outcome<Vec<Tag>> {
    let wrong = |text: &str| {
        let cause = format!("{text:?} is no tag; write TagKey=NAME,TagValue=VALUE, or a JSON list of tags");
        Failure::new(Exit::Usage, "--tags", cause)
    };
    if let [json] = typed
        && json.trim_start().starts_with('[')
    {
        return serde_json::from_str(json).map_err(|_| wrong(json));
    }
    let one = |text: &String| {
        let (key, value) = text.strip_prefix("TagKey=")?.split_once(",TagValue=")?;
        Some(Tag { tag_key: key.to_owned(), tag_value: value.to_owned() })
    };
    typed.iter().map(|text| one(text).ok_or_else(|| wrong(text))).collect()
}
