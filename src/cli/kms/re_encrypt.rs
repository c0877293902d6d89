//! `rekeyfs kms re-encrypt`: the DEKs of files in a mount, re-wrapped by its daemon under a key of choice.

use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::answer::{Answer, Form};
use crate::cli::args::kms::ReEncrypt;
use crate::cli::errors;
use crate::cli::exit::{Exit, Failure, Outcome};
use crate::cli::output;
use crate::cli::target::{self, Destination};
use crate::control::Client;
use crate::ids::Ino;
use crate::kms::KmsError;
use crate::service::{KmsReply, Operations};
use crate::storage;

const OPERATION: &str = "ReEncrypt";

/// Re-wraps each file; one that fails is reported and the others are still done.
///
/// # Errors
/// That of the first file that failed: [`Exit::Kms`] with AWS's words for what KMS refuses.
pub(super) fn run(args: &ReEncrypt) -> Outcome {
    let form = Form::of(&args.form)?;
    let mut failed = None;
    for path in &args.files {
        match re_encrypt(path, args, &form) {
            Ok(()) => {}
            Err(failure) if failed.is_none() => failed = Some(failure),
            Err(failure) => output::complain(&failure),
        }
    }
    failed.map_or(Ok(()), Err)
}

fn re_encrypt(path: &Path, args: &ReEncrypt, form: &Form) -> Outcome {
    let failed = |error| target::unread(path, error);
    // While this is open the kernel, and so the mount, knows the inode.
    let held = File::from(storage::hold_walked(path).map_err(failed)?);
    let meta = held.metadata().map_err(failed)?;
    let known = target::known().into_iter().find(|entry| entry.mount_dev == meta.dev());
    // One that has lost its socket is waited for.
    let waited_for = || Destination::of(path).ok()?.entry.filter(|entry| entry.mount_dev == meta.dev());
    let Some(entry) = known.or_else(|| waited_for().map(|entry| *entry)) else {
        let cause = "not in a mount that can be asked; mount its vault first";
        return Err(Failure::new(Exit::NotMounted, path.display(), cause));
    };
    let client = Client::of(&entry);
    let reply = client.rewrap_to(Ino(meta.ino()), &args.destination_key_id);
    match reply.map_err(|error| errors::operation(&error))? {
        KmsReply::Done { answer } => form.print(OPERATION, Answer::Whole(answer)),
        KmsReply::Failed { error } => {
            let message = format!("{} ({})", error.message, path.display());
            Err(errors::kms(OPERATION, &KmsError { message, ..error }))
        }
    }
}
