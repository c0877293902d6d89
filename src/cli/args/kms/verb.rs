//! A verb of the table as clap takes it.

use std::path::PathBuf;

use clap::error::ErrorKind;
use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches, ValueEnum, value_parser};

use super::globals::{self, BinaryFormat};
use crate::cli::args::common::{KmsCommon, Part};
use crate::kms::api::{Kind, Member, Operation, Support};

const INPUT_JSON: &str = "cli-input-json";
const INPUT_YAML: &str = "cli-input-yaml";
const SKELETON: &str = "generate-cli-skeleton";
/// What may stand for all parameters.
pub(super) const FOR_ALL_PARAMETERS: [&str; 3] = [INPUT_JSON, INPUT_YAML, SKELETON];
const BINARY_FORMAT: &str = "cli-binary-format";
const FORCE: &str = "force";
const MATERIAL_FILE: &str = "key-material-file";
/// What `--key-material-file` is in the place of.
const OF_MATERIAL_FILE: [&str; 2] = ["ImportToken", "EncryptedKeyMaterial"];

/// What was typed for a verb.
#[derive(Debug)]
pub(in crate::cli) struct VerbArgs {
    pub(in crate::cli) operation: &'static Operation,
    /// The parameters that were given as flags, in the table's order.
    pub(in crate::cli) values: Vec<(&'static Member, Typed)>,
    pub(in crate::cli) input: Option<CliInput>,
    pub(in crate::cli) skeleton: Option<Skeleton>,
    pub(in crate::cli) binary_format: BinaryFormat,
    /// Of a list: which part of it.
    pub(in crate::cli) part: Option<Part>,
    /// Delete a key though files need it.
    pub(in crate::cli) force: bool,
    /// The key material itself, to be wrapped here.
    pub(in crate::cli) key_material_file: Option<PathBuf>,
    pub(in crate::cli) common: KmsCommon,
}

/// A value as it was typed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(in crate::cli) enum Typed {
    /// A flag, or the one with `no-` before it.
    Is(bool),
    /// The value of an option.
    One(String),
    /// The values of an option that takes several.
    Several(Vec<String>),
}

/// Parameters in one piece: a text, or the `file://` that it is in.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(in crate::cli) enum CliInput {
    Json(String),
    Yaml(String),
}

/// What is shown instead of doing anything.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(in crate::cli) enum Skeleton {
    /// Parameters as JSON.
    Input,
    /// Parameters as YAML.
    YamlInput,
    /// An answer.
    Output,
}

/// The definition.
pub(super) fn command(operation: &'static Operation) -> Command {
    let command = Command::new(operation.verb())
        .override_usage(usage(operation))
        // As with argparse, what is typed last counts.
        .args_override_self(true)
        .args(flags(operation).flat_map(of_member));
    let command = own(operation).into_iter().fold(command, Command::arg);
    let command = if operation.is_list() { Part::augment_args(command) } else { command };
    let text = |id: &'static str, help: &'static str| Arg::new(id).long(id).value_name("TEXT").help(help);
    let command = KmsCommon::augment_args(command)
        .arg(
            text(INPUT_JSON, "Take parameters from JSON or file://PATH; flags win over it")
                .conflicts_with(INPUT_YAML),
        )
        .arg(text(INPUT_YAML, "The same in YAML"))
        .arg(
            Arg::new(SKELETON)
                .long(SKELETON)
                .value_name("WHAT")
                .num_args(0..=1)
                .default_missing_value("input")
                .value_parser(value_parser!(Skeleton))
                .help("Do nothing but print parameters to be filled in, or an answer as it would look"),
        )
        .arg(
            Arg::new(BINARY_FORMAT)
                .long(BINARY_FORMAT)
                .value_name("FORMAT")
                .value_parser(value_parser!(BinaryFormat))
                .hide(!operation.members.iter().any(|member| member.kind == Kind::Blob))
                .help("What the text of a parameter that is bytes is [default: base64]"),
        );
    // Last, since what is flattened into it brings an about of its own.
    globals::without_effect(command).about(operation.help)
}

/// A verb that AWS has and rekeyfs doesn't, with whatever stands behind it.
pub(super) fn absent(verb: String) -> Command {
    let rest = Arg::new("rest").num_args(0..).trailing_var_arg(true).allow_hyphen_values(true);
    Command::new(verb).hide(true).disable_help_flag(true).arg(rest)
}

fn usage(operation: &Operation) -> String {
    let required = operation.members.iter().filter(|member| member.required);
    let required: String = required.map(|m| format!("--{} {} ", m.flag(), value_name(m))).collect();
    format!("rekeyfs kms {} {required}[OPTIONS]", operation.verb())
}

/// The parameters that are flags of their own. Those of paging are [`Part`]'s.
fn flags(operation: &'static Operation) -> impl Iterator<Item = &'static Member> {
    let is_list = operation.is_list();
    operation.members.iter().filter(move |member| !(is_list && matches!(member.name, "Limit" | "Marker")))
}

fn of_member(member: &'static Member) -> Vec<Arg> {
    let id = member.name;
    let hidden = matches!(member.support, Support::Refused(_));
    let arg = Arg::new(id).long(member.flag()).help(member.help).hide(hidden);
    match member.kind {
        Kind::Boolean => {
            let no = format!("no-{}", member.flag());
            let not = Arg::new(no.clone()).long(no.clone()).action(ArgAction::SetTrue).hide(hidden);
            let not =
                not.help(format!("The opposite of --{}, and the default", member.flag())).conflicts_with(id);
            vec![arg.action(ArgAction::SetTrue), not]
        }
        Kind::List(_) => vec![arg.value_name(value_name(member)).num_args(0..).allow_negative_numbers(true)],
        _ => vec![arg.value_name(value_name(member)).allow_negative_numbers(true)],
    }
}

fn value_name(member: &Member) -> &'static str {
    match (member.name, member.kind) {
        ("KeyId" | "TargetKeyId" | "SourceKeyId" | "DestinationKeyId", _) => "KEY",
        ("AliasName", _) => "ALIAS",
        (_, Kind::Integer) => "NUMBER",
        (_, Kind::Time) => "TIME",
        (_, Kind::Blob) => "BYTES",
        (_, Kind::List(_)) => "VALUE",
        (_, Kind::Map | Kind::Structure(_)) => "NAME=VALUE,...",
        _ => "TEXT",
    }
}

/// What of rekeyfs's own a verb takes.
fn own(operation: &Operation) -> Option<Arg> {
    match operation.name {
        "ScheduleKeyDeletion" => Some(Arg::new(FORCE).long(FORCE).action(ArgAction::SetTrue).help(
            "Do it, and delete the key after the window, though files need it; asks for an unlock secret, also on a \
             mounted vault",
        )),
        "ImportKeyMaterial" => Some(
            Arg::new(MATERIAL_FILE)
                .long(MATERIAL_FILE)
                .value_name("FILE")
                .value_parser(value_parser!(PathBuf))
                .conflicts_with_all(OF_MATERIAL_FILE)
                .help("A file of 32 bytes that is the material itself; it is wrapped here"),
        ),
        _ => None,
    }
}

/// The flags of a verb that the aws command doesn't have.
pub(super) fn own_flags(operation: &Operation) -> Vec<String> {
    let common = KmsCommon::augment_args(Command::new("own")).args(own(operation));
    let flags = common.get_arguments().filter_map(Arg::get_long);
    flags.filter(|flag| !globals::is_of_aws(flag)).map(str::to_owned).collect()
}

impl VerbArgs {
    /// What clap found.
    ///
    /// # Errors
    /// clap's, if a parameter is missing that must be there.
    pub(super) fn read(operation: &'static Operation, found: &ArgMatches) -> Result<Self, clap::Error> {
        let text = |id: &str| found.get_one::<String>(id).cloned();
        let input = text(INPUT_JSON).map(CliInput::Json).or_else(|| text(INPUT_YAML).map(CliInput::Yaml));
        let args = Self {
            operation,
            values: flags(operation).filter_map(|member| Some((member, typed(member, found)?))).collect(),
            input,
            skeleton: found.get_one::<Skeleton>(SKELETON).copied(),
            binary_format: found.get_one::<BinaryFormat>(BINARY_FORMAT).copied().unwrap_or_default(),
            part: operation.is_list().then(|| Part::from_arg_matches(found)).transpose()?,
            force: found.try_get_one::<bool>(FORCE).ok().flatten().copied().unwrap_or_default(),
            key_material_file: found.try_get_one::<PathBuf>(MATERIAL_FILE).ok().flatten().cloned(),
            common: KmsCommon::from_arg_matches(found)?,
        };
        if args.input.is_none() && args.skeleton.is_none() {
            let given = |member: &Member| args.values.iter().any(|(given, _)| given.name == member.name);
            let missing: Vec<String> =
                args.missing(|member| !given(member)).map(|m| format!("--{}", m.flag())).collect();
            if !missing.is_empty() {
                let message = format!("the following arguments are required: {}\n", missing.join(", "));
                return Err(clap::Error::raw(ErrorKind::MissingRequiredArgument, message));
            }
        }
        Ok(args)
    }

    /// The parameters that must be there, nothing takes the place of, and `absent` says are not there.
    pub(in crate::cli) fn missing(
        &self,
        absent: impl Fn(&Member) -> bool,
    ) -> impl Iterator<Item = &'static Member> {
        let replaced = self.key_material_file.is_some();
        self.operation.members.iter().filter(move |member| {
            member.required && absent(member) && !(replaced && OF_MATERIAL_FILE.contains(&member.name))
        })
    }
}

fn typed(member: &Member, found: &ArgMatches) -> Option<Typed> {
    let is_set = |id: &str| found.get_flag(id);
    match member.kind {
        Kind::Boolean if is_set(member.name) => Some(Typed::Is(true)),
        Kind::Boolean => is_set(&format!("no-{}", member.flag())).then_some(Typed::Is(false)),
        Kind::List(_) => {
            let given = found.contains_id(member.name);
            let values = found.get_many::<String>(member.name).into_iter().flatten().cloned().collect();
            given.then_some(Typed::Several(values))
        }
        _ => found.get_one::<String>(member.name).cloned().map(Typed::One),
    }
}
