//! `rekeyfs unlock`: what unlocks a vault. Every change asks for a secret that opens the vault now, also
//! while it is mounted, and is made in the keyring file, whose own lock keeps it apart from the mount's.

mod custodian;
mod new_slot;
mod recover;
mod revocation;
mod slot_lines;
mod slot_ref;
mod try_secret;

use serde::Serialize;
use serde_json::json;

use super::args::{self, UnlockCommand};
use super::custodian_choice::limit;
use super::errors;
use super::exit::{Exit, Failure, Outcome};
use super::open_keyring::{Unlocked, check_writable, look_at_vault, open_keyring, trust_keyring};
use super::output;
use super::secrets::{NewSecretPlan, calibrate};
use super::target::Target;
use super::terminal;
use crate::control::Client;
use crate::ids::{PathText, SlotId, VaultId};
use crate::keyring::{KeyringError, KeyringFile, Opened, SlotLabel};
use crate::local_time;
use crate::printable;
use crate::service::Operations;
use crate::unlock::{KdfChoice, SecretKind};

use custodian::{NewCustodian, of_custodian, parse_params};
use new_slot::New;
pub(super) use recover::run as recover;
use revocation::Revocation;
pub(super) use slot_lines::{Row, slot_lines, unlabelled};
use slot_ref::{KnownSlot, find, known_slots, parse_label};

/// Runs one of them.
///
/// # Errors
/// What resolving the target, reading a secret or changing the keyring may say.
pub(super) fn run(command: &UnlockCommand) -> Outcome {
    match command {
        UnlockCommand::List(args) => list(args),
        UnlockCommand::Test(args) => try_secret::run(args),
        UnlockCommand::Label(args) => label(args),
        UnlockCommand::Add(args) => add(args),
        UnlockCommand::Remove(args) => remove(args),
        UnlockCommand::Change(args) => change(args),
        UnlockCommand::Rebind(args) => rebind(args),
        UnlockCommand::Trust(args) => trust(args),
    }
}

#[derive(Serialize)]
struct Listing {
    vault_id: VaultId,
    /// Whether labels could be read: they are sealed.
    labels_known: bool,
    slots: Vec<Row>,
}

fn list(args: &args::UnlockList) -> Outcome {
    let target = Target::resolve(&args.target)?;
    let header = KeyringFile::read_header(target.vault()).map_err(|error| errors::opening(&error))?;
    let labels = labels(&target, args)?;
    let slots: Vec<Row> = KnownSlot::all(header.slots.list(), labels.as_deref().unwrap_or_default())
        .into_iter()
        .map(Row::from)
        .collect();
    if *args.json {
        let labels_known = labels.is_some();
        return output::print_json(&Listing { vault_id: header.vault, labels_known, slots });
    }
    output::print(&slot_lines(&slots, terminal::width(), &local_time::zone()))
}

/// The labels, where they can be known: from a mount's daemon, or with a secret that the user gives.
fn labels(target: &Target, args: &args::UnlockList) -> Outcome<Option<Vec<(SlotId, SlotLabel)>>> {
    if args.labels || args.open.gives_a_secret() || args.open.custodian.is_some() {
        return look_at_vault(target.vault(), &args.open).map(|looked| Some(looked.slot_labels()));
    }
    match target {
        Target::Vault(_) => Ok(None),
        // The daemon of an older version doesn't know the question, and the list doesn't depend on it.
        Target::Mounted(entry) => Ok(Client::of(entry).slot_labels().ok()),
    }
}

fn add(args: &args::UnlockAdd) -> Outcome {
    let label = parse_label(args.label.as_deref())?;
    let target = Target::resolve(&args.target)?;
    check_writable(target.vault())?;
    let custodian = NewCustodian::named(&args.custodian)?;
    let opened = open_keyring(target.vault(), &args.open)?.opened;
    let new = match &custodian {
        Some(custodian) => New::held(custodian.hold(opened.keys.vault_id(), limit(Some(&args.open), None))?),
        None => New::read(&target, &args.new, None)?,
    };
    new.show(*args.json)?;
    let id =
        opened.keys.add_slot(&opened.proof, &new.slot(label)).map_err(|error| errors::keyring(&error))?;
    if *args.json {
        return output::print_json(&json!({ "added": id, "kind": new.secret.kind().name() }));
    }
    output::print(&format!("slot {id} ({}) is added\n", new.name()))
}

fn label(args: &args::UnlockLabel) -> Outcome {
    let unnamed = || Failure::new(Exit::Usage, "SLOT", "it is neither an id nor a label; it is no UTF-8");
    let args::Labelling { target, slot, label } = args.labelling().ok_or_else(unnamed)?;
    let label = if label.is_empty() { None } else { parse_label(Some(&label))? };
    let target = Target::resolve(&target)?;
    check_writable(target.vault())?;
    let opened = open_keyring(target.vault(), &args.open)?.opened;
    let slot = find(&slot, &known_slots(&opened)?)?;
    let (keys, proof) = (&opened.keys, &opened.proof);
    keys.label_slot(proof, slot, label.clone()).map_err(|error| errors::keyring(&error))?;
    if *args.json {
        return output::print_json(&json!({ "slot_id": slot, "label": label }));
    }
    output::print(&match label {
        Some(label) => format!("slot {slot} is labelled {label}\n"),
        None => format!("slot {slot} has no label\n"),
    })
}

fn remove(args: &args::UnlockRemove) -> Outcome {
    let target = Target::resolve(&args.target)?;
    check_writable(target.vault())?;
    if args.revoke.revoke {
        let revocation = Revocation::prepare(&target, &args.open, &args.revoke)?;
        let slot = find(&args.slot, &known_slots(&revocation.unlocked.opened)?)?;
        let kdf = calibrate(KdfChoice::Calibrated, None)?;
        return revocation.carry_out(slot, true, &[], kdf, *args.json);
    }
    let opened = open_keyring(target.vault(), &args.open)?.opened;
    let slot = find(&args.slot, &known_slots(&opened)?)?;
    opened.keys.remove_slot(&opened.proof, slot).map_err(|error| errors::keyring(&error))?;
    if *args.json {
        return output::print_json(&json!({ "removed": slot, "vault": PathText(target.vault().to_owned()) }));
    }
    output::print(&format!("slot {slot} of {} is removed\n", printable::path(target.vault())))
}

fn change(args: &args::UnlockChange) -> Outcome {
    let label = parse_label(args.label.as_deref())?;
    let target = Target::resolve(&args.target)?;
    check_writable(target.vault())?;
    if args.revoke.revoke {
        if args.new.new_recovery_key {
            let cause = "--revoke makes a new recovery key anyway; leave out --new-recovery-key";
            return Err(Failure::new(Exit::Usage, "command line", cause));
        }
        let revocation = Revocation::prepare(&target, &args.open, &args.revoke)?;
        let opened = &revocation.unlocked.opened;
        let own = opened.proof.slot();
        let (slot, old) = replaced(opened, args)?;
        let new = New::read(&target, &args.new, old.info.kdf)?;
        return revocation.carry_out(
            slot,
            slot != own,
            &[new.slot(label.or(old.label))],
            new.kdf,
            *args.json,
        );
    }
    let opened = open_keyring(target.vault(), &args.open)?.opened;
    let (slot, old) = replaced(&opened, args)?;
    let new = New::read(&target, &args.new, old.info.kdf)?;
    new.show(*args.json)?;
    let id = opened
        .keys
        .change_slot(&opened.proof, slot, &new.slot(label))
        .map_err(|error| errors::keyring(&error))?;
    if *args.json {
        return output::print_json(
            &json!({ "added": id, "kind": new.secret.kind().name(), "removed": slot }),
        );
    }
    let (was, is) = (printable::line(&old.info.kind), new.secret.kind());
    output::print(&format!("slot {slot} ({was}) is replaced by slot {id} ({is})\n"))
}

fn rebind(args: &args::UnlockRebind) -> Outcome {
    let params = parse_params("--params", args.params.as_deref())?;
    let target = Target::resolve(&args.target)?;
    check_writable(target.vault())?;
    let opened = open_keyring(target.vault(), &args.open)?.opened;
    let slots = known_slots(&opened)?;
    let slot = find(&args.slot, &slots)?;
    let Some(old) = slots.iter().find(|known| known.info.id == Some(slot)).and_then(of_custodian) else {
        let cause = "it is no custodian's; `rekeyfs unlock change --slot` replaces it";
        return Err(Failure::new(Exit::Usage, format!("unlock slot {slot}"), cause));
    };
    let limit = limit(Some(&args.open), None);
    let new = New::held(NewCustodian::again(&old.custody, params).hold(opened.keys.vault_id(), limit)?);
    let id = opened
        .keys
        .change_slot(&opened.proof, slot, &new.slot(None))
        .map_err(|error| errors::keyring(&error))?;
    if *args.json {
        return output::print_json(
            &json!({ "added": id, "kind": new.secret.kind().name(), "removed": slot }),
        );
    }
    let custodian = old.custody.custodian();
    output::print(&format!("slot {slot} ({custodian}) is replaced by slot {id}\n"))
}

/// Opening a keyring makes this host remember it, so there is nothing else to do.
fn trust(args: &args::UnlockTrust) -> Outcome {
    let target = Target::resolve(&args.target)?;
    let Unlocked { opened, secret } = trust_keyring(target.vault(), &args.open)?;
    if !opened.keys.is_known_here() {
        let cause = "this host's memory of vaults can't be written, so a custodian won't open it here";
        return Err(Failure::new(Exit::Other, target.vault().display(), cause));
    }
    let (vault, slot) = (opened.keys.vault_id(), opened.proof.slot());
    if *args.json {
        return output::print_json(
            &json!({ "vault_id": vault, "slot_id": slot, "kind": secret.kind().name() }),
        );
    }
    let kind = secret.kind();
    output::print(&format!("this host knows vault {vault} now, which slot {slot} ({kind}) opened\n"))
}

/// The slot that `unlock change` replaces: the one that is named, else the one that was opened, if the new secret is
/// of its kind. A user who opens a vault with the recovery key because a passphrase is forgotten means the
/// passphrase's slot, and would be left without a recovery key.
fn replaced(opened: &Opened, args: &args::UnlockChange) -> Outcome<(SlotId, KnownSlot)> {
    let slots = known_slots(opened)?;
    let own = opened.proof.slot();
    let named = args.slot.as_deref().map(|asked| find(asked, &slots)).transpose()?;
    let slot = named.unwrap_or(own);
    let Some(old) = slots.into_iter().find(|known| known.info.id == Some(slot)) else {
        return Err(errors::keyring(&KeyringError::UnknownSlot(slot)));
    };
    let kind = NewSecretPlan::new(&args.new).kind();
    if named.is_none() && old.info.kind != kind.name() {
        let remedy = if old.info.kind == SecretKind::Recovery.name() {
            "to replace a forgotten passphrase use `rekeyfs recover`, which takes the same options, or name its slot with --slot"
        } else {
            "name the slot to replace with --slot (`rekeyfs unlock list` shows them), or use `rekeyfs unlock add`"
        };
        let cause = format!(
            "the secret that was given opens this slot, of kind {}, and the new one is a {kind}; {remedy}",
            old.info.kind
        );
        return Err(Failure::new(Exit::Usage, format!("unlock slot {own}"), cause));
    }
    Ok((slot, old))
}
