//! `rekeyfs kms VERB` as clap takes it. The verbs of AWS and their flags are made from the table of operations
//! ([`crate::kms::api`]); what else a verb takes stands in verb.rs, and verbs of our own below.

mod globals;
mod line;
mod verb;

use std::ffi::OsStr;
use std::path::PathBuf;

use clap::{ArgMatches, Args, Command, FromArgMatches, Subcommand};

pub(in crate::cli) use globals::BinaryFormat;
pub(super) use line::as_kms_takes_it;
pub(in crate::cli) use verb::{CliInput, Skeleton, Typed, VerbArgs};

use super::common::Form;
use super::kms_serve::KmsServe;
use crate::kms::api::{self, ABSENT, RE_ENCRYPT};

/// The statuses of `rekeyfs kms`, which aren't those of the other commands.
const STATUS: &str = "\
Options of the aws command are taken before and after the verb, and may be abbreviated; those that are about a network have
no effect. Any value may be that of a file: file://PATH, or fileb://PATH for bytes.

Exit status, as the aws command has it:
   0  done
 130  stopped by SIGINT or SIGTERM
 141  standard output was closed before all was written, as by `head`
 252  the command line isn't right, or a value isn't of its type
 253  the vault can't be opened: there is none, the secret is wrong, the keyring is missing, the mount can't be asked
 254  the verb was refused, with AWS's name for the reason
 255  another failure";

/// `rekeyfs kms`.
#[derive(Debug)]
pub(in crate::cli) struct Kms {
    pub(in crate::cli) verb: Verb,
}

/// A verb.
#[derive(Debug)]
pub(in crate::cli) enum Verb {
    /// One that is in the table of operations.
    Operation(Box<VerbArgs>),
    /// One that AWS has and rekeyfs doesn't: the operation's name.
    Absent(&'static str),
    /// One of our own.
    Own(OwnVerb),
}

/// Verbs that aren't operations of the table.
#[derive(Subcommand, Debug)]
pub(in crate::cli) enum OwnVerb {
    /// Re-wrap the data keys of files under another key; contents stay as they are (`rekeyfs reencrypt` encrypts
    /// them again). They follow no alias from then on. With --ciphertext-blob instead of files it is the operation of
    /// AWS: what `encrypt` gave, under another key
    ReEncrypt(ReEncrypt),
    /// Serve AWS KMS's protocol to programs of this host, for the vault of a mount: the aws command, AWS's SDKs
    Serve(KmsServe),
}

/// `rekeyfs kms re-encrypt`.
#[derive(Args, Debug)]
pub(in crate::cli) struct ReEncrypt {
    /// Files in a mount; there is an answer for each
    #[arg(required = true)]
    pub(in crate::cli) files: Vec<PathBuf>,
    /// The key's id or ARN, an alias or its ARN
    #[arg(long, value_name = "KEY")]
    pub(in crate::cli) destination_key_id: String,
    #[command(flatten)]
    pub(in crate::cli) form: Form,
}

/// Whether a verb is one of our own, which has the statuses of other commands of rekeyfs.
pub(super) fn is_own_verb(verb: &OsStr) -> bool {
    verb.to_str().is_some_and(OwnVerb::has_subcommand)
}

/// What AWS has and rekeyfs doesn't, but for a verb that is one of our own here.
fn absent() -> impl Iterator<Item = (&'static str, String)> {
    ABSENT.iter().flat_map(|absent| absent.verbs()).filter(|(_, verb)| !OwnVerb::has_subcommand(verb))
}

/// The definition of `kms` with that of each verb.
pub(super) fn with_verbs(command: Command) -> Command {
    // What is flattened into it brings an about of its own.
    let about = command.get_about().cloned().unwrap_or_default();
    let verbs = api::operations().map(verb::command);
    let command = command.subcommand_required(true).arg_required_else_help(true).after_help(STATUS);
    let own = OwnVerb::augment_subcommands(command.subcommands(verbs)).about(about);
    let absent = absent().map(|(_, verb)| verb::absent(verb));
    let own = own.subcommand(verb::command(&RE_ENCRYPT).name(line::RE_ENCRYPT_BLOB).hide(true));
    own.subcommands(absent).mut_subcommand("re-encrypt", globals::without_effect)
}

impl Args for Kms {
    /// Verbs have more definitions than all other commands, which do without: they are made where `kms` is typed.
    fn augment_args(command: Command) -> Command {
        command.defer(with_verbs)
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for Kms {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let (name, given) = matches.subcommand().unwrap_or(("", matches));
        let operation = match name {
            line::RE_ENCRYPT_BLOB => Some(&RE_ENCRYPT),
            name => api::operations().find(|operation| operation.verb() == name),
        };
        if let Some(operation) = operation {
            let verb = Verb::Operation(Box::new(VerbArgs::read(operation, given)?));
            return Ok(Self { verb });
        }
        let verb = match absent().find(|(_, verb)| *verb == name) {
            Some((operation, _)) => Verb::Absent(operation),
            None => Verb::Own(OwnVerb::from_arg_matches(matches)?),
        };
        Ok(Self { verb })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}
