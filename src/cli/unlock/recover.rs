//! `rekeyfs recover`: the way back in with the recovery key, when the passphrase is forgotten. The slot of the forgotten one
//! is replaced by one of a new passphrase, and the recovery key, if that is asked for, by a new one: in one change of the
//! keyring, so that a crash leaves the ways in of before or those of after.

use serde_json::json;

use super::slot_ref::{KnownSlot, find, known_slots, parse_label};
use crate::cli::args::{self, NewSecret};
use crate::cli::errors;
use crate::cli::exit::{Exit, Failure, Outcome};
use crate::cli::init;
use crate::cli::open_keyring::{check_writable, open_keyring};
use crate::cli::output;
use crate::cli::secrets::{NewSecretPlan, calibrate};
use crate::cli::target::Target;
use crate::ids::SlotId;
use crate::keyring::NewSlot;
use crate::printable;
use crate::unlock::{RecoveryKey, Secret, SecretKind};

/// Replaces a forgotten passphrase.
///
/// # Errors
/// [`Exit::Usage`] if it isn't plain which slot is the forgotten one's; those of opening and saving the keyring.
pub(in crate::cli) fn run(args: &args::Recover) -> Outcome {
    let label = parse_label(args.label.as_deref())?;
    if args.open.pass.keyfile.is_some() {
        let cause =
            "recover takes the recovery key; with a key file, `rekeyfs unlock change --slot` does the same";
        return Err(Failure::new(Exit::Usage, "--keyfile", cause));
    }
    if args.open.custodian.is_some() {
        let cause =
            "recover takes the recovery key; with a custodian, `rekeyfs unlock change --slot` does the same";
        return Err(Failure::new(Exit::Usage, "--custodian", cause));
    }
    let target = Target::resolve(&args.target)?;
    check_writable(target.vault())?;
    let open = args::Open { recovery_key: true, ..args.open.clone() };
    let opened = open_keyring(target.vault(), &open)?.opened;
    let used = opened.proof.slot();
    let slots = known_slots(&opened)?;
    let gone = forgotten(args, &slots, used)?;
    let old = gone.and_then(|slot| slots.iter().find(|known| known.info.id == Some(slot)));

    let plan = NewSecretPlan::new(&NewSecret {
        new_passfile: args.new_passfile.clone(),
        new_extpass: args.new_extpass.clone(),
        new_keyfile: None,
        new_recovery_key: false,
        kdf: args.kdf.clone(),
    });
    let kdf = calibrate(plan.kdf, old.and_then(|known| known.info.kdf))?;
    let secret = plan.read(target.vault())?;
    let recovery = args.new_recovery_key.then(RecoveryKey::generate);
    if let Some(recovery) = &recovery {
        // It has to be seen before the vault depends on it.
        init::show_recovery_key(&recovery.to_text(), *args.json)?;
    }
    let recovery = recovery.map(Secret::Recovery);
    let label_of = |slot: SlotId| {
        let known = slots.iter().find(|known| known.info.id == Some(slot));
        known.and_then(|known| known.label.clone())
    };
    let mut new = vec![NewSlot { secret: &secret, kdf, label: label.or(gone.and_then(label_of)) }];
    let mut removed: Vec<SlotId> = gone.into_iter().collect();
    if let Some(recovery) = &recovery {
        new.push(NewSlot { secret: recovery, kdf, label: label_of(used) });
        removed.push(used);
    }
    let made =
        opened.keys.replace_slots(&opened.proof, &removed, &new).map_err(|error| errors::keyring(&error))?;

    if *args.json {
        return output::print_json(&json!({ "added": made, "removed": removed }));
    }
    let mut out = String::new();
    if let Some(slot) = made.first() {
        out += &format!("slot {slot} ({}) is added\n", secret.kind());
    }
    match old {
        Some(old) => out += &format!("slot {} is removed\n", old.name()),
        None => out += "no slot is removed: none is of a passphrase\n",
    }
    out += &if args.new_recovery_key {
        "the recovery key that was used opens the vault no more; the new one stands above\n".to_owned()
    } else {
        let place = printable::shell(&args.target);
        format!(
            "the recovery key opens the vault as before; if others may have seen it, `rekeyfs unlock change {place} \
             --recovery-key --new-recovery-key` replaces it\n"
        )
    };
    output::print(&out)
}

/// The slot of the forgotten passphrase: the one that is named, else the only one of a passphrase; none where there is none.
fn forgotten(args: &args::Recover, slots: &[KnownSlot], used: SlotId) -> Outcome<Option<SlotId>> {
    if let Some(asked) = &args.slot {
        let slot = find(asked, slots)?;
        if slot == used {
            let cause = "the recovery key that was given opens this slot; --new-recovery-key replaces it";
            return Err(Failure::new(Exit::Usage, format!("unlock slot {slot}"), cause));
        }
        return Ok(Some(slot));
    }
    let of_passphrases: Vec<&KnownSlot> =
        slots.iter().filter(|known| known.info.kind == SecretKind::Passphrase.name()).collect();
    match of_passphrases.as_slice() {
        [] => Ok(None),
        [one] => Ok(one.info.id),
        several => {
            let names: Vec<String> = several.iter().map(|known| known.name()).collect();
            let cause = format!(
                "the vault has several passphrases; name the slot of the forgotten one with --slot: {}. Nothing was \
                 changed",
                names.join("; ")
            );
            Err(Failure::new(Exit::Usage, args.target.display(), cause))
        }
    }
}
