//! `rekeyfs unlock test`: which slot a secret opens. It reads the keyring file and nothing else, so it changes nothing: no
//! event is recorded, nor that a secret was wrong. A mount isn't asked.

use std::time::Instant;

use serde_json::json;

use super::slot_ref::KnownSlot;
use crate::cli::args;
use crate::cli::backup_opener::Opener;
use crate::cli::custodian_choice::Choice;
use crate::cli::custodians::Answer;
use crate::cli::errors;
use crate::cli::exit::Outcome;
use crate::cli::open_keyring::look_custodians;
use crate::cli::output;
use crate::cli::secrets::{self, SecretPlan};
use crate::cli::target::Target;
use crate::keyring::{FILE_NAME, KeyringFile, OpenOptions};

/// Reports the slot that the secret opens, and how long that took.
///
/// # Errors
/// [`Exit::WrongSecret`](crate::cli::exit::Exit::WrongSecret) if it opens none; those of reading the keyring and the
/// secret.
pub(super) fn run(args: &args::UnlockTest) -> Outcome {
    let (file, named) = match &args.keyring {
        Some(file) => (file.clone(), file.clone()),
        None => {
            let target = Target::resolve(&args.target)?;
            (target.vault().join(FILE_NAME), target.vault().to_owned())
        }
    };
    let sealed = KeyringFile::look(&file).map_err(|error| errors::opening(&error))?;
    let (vault, slots) = sealed.vault_and_slots().map_err(|error| errors::opening(&error))?;
    let plan = SecretPlan::new(&args.open);
    let limit = secrets::cost_limit(args.open.any_cost);
    let options = OpenOptions { limit, ..OpenOptions::default() };
    let mut began = Instant::now();
    let named_custodian = matches!(plan.custodians().choice, Choice::Only(_));
    let answer =
        if named_custodian { look_custodians(&sealed, &plan, &named, &options)? } else { Answer::NotAsked };
    let opener = if let Answer::Opens(unlocking) = answer {
        Opener::Secret(unlocking.secret)
    } else {
        let opener = Opener::read(args.identity.as_deref(), &sealed.age_files(), &plan, &named)?;
        // The time that a custodian takes counts; that in which a secret is typed doesn't.
        began = Instant::now();
        opener
    };
    let looked = sealed.open(opener.borrowed(), &options).map_err(|error| errors::opening(&error))?;
    let (slot, seconds) = (looked.keys.unlocked_by(), began.elapsed().as_secs_f64());
    let labels = looked.slot_labels();
    let opened = KnownSlot::all(slots, &labels).into_iter().find(|known| known.info.id == Some(slot));
    if *args.json {
        let label = opened.and_then(|known| known.label);
        return output::print_json(&json!({
            "vault_id": vault, "slot_id": slot, "kind": opener.kind(), "label": label,
            "seconds": (seconds * 1e3).round() / 1e3,
        }));
    }
    let name = opened.map_or_else(|| slot.to_string(), |known| known.name());
    output::print(&format!("it opens slot {name}, in {seconds:.2} s\n"))
}
