//! `rekeyfs unlock`: what unlocks a vault. Every change asks for a secret that opens the vault now, also
//! while it is mounted, and is made in the keyring file, whose own lock keeps it apart from the mount's.

use std::fmt::Write;

use serde::Serialize;

use super::args::{self, UnlockCommand};
use super::errors;
use super::exit::{Exit, Failure, Outcome};
use super::init;
use super::open_keyring::{Unlocked, check_writable, open_keyring};
use super::output;
use super::secrets::{self, NewSecretPlan};
use super::target::Target;
use crate::crypto::password::KdfParams;
use crate::ids::{self, SlotId, VaultId};
use crate::keyring::{KeyringError, KeyringFile, Opened};
use crate::mount::VaultLock;
use crate::printable;
use crate::unlock::{self, KdfChoice, Secret, SlotInfo};

/// Runs one of the four.
///
/// # Errors
/// What resolving the target, reading a secret or changing the keyring may say.
pub(super) fn run(command: &UnlockCommand) -> Outcome {
    match command {
        UnlockCommand::List(args) => list(args),
        UnlockCommand::Add(args) => add(args),
        UnlockCommand::Remove(args) => remove(args),
        UnlockCommand::Change(args) => change(args),
    }
}

#[derive(Serialize)]
struct Listing {
    vault_id: VaultId,
    slots: Vec<Row>,
}

#[derive(Serialize)]
struct Row {
    id: Option<SlotId>,
    kind: String,
    created: Option<String>,
    kdf: Option<KdfParams>,
}

impl From<SlotInfo> for Row {
    fn from(slot: SlotInfo) -> Self {
        Self {
            id: slot.id,
            kind: slot.kind,
            created: slot.created.map(|time| time.to_string()),
            kdf: slot.kdf,
        }
    }
}

fn list(args: &args::UnlockList) -> Outcome {
    let target = Target::resolve(&args.target)?;
    let header = KeyringFile::read_header(target.vault()).map_err(|error| errors::opening(&error))?;
    let slots: Vec<Row> = header.slots.list().into_iter().map(Row::from).collect();
    if args.json {
        return output::print_json(&Listing { vault_id: header.vault, slots });
    }
    let mut out =
        String::from("slot                                  kind        made                  costs\n");
    for slot in slots {
        let id = slot.id.map_or_else(|| "-".to_owned(), |id| id.to_string());
        let costs = slot
            .kdf
            .map(|kdf| {
                format!(
                    "Argon2id, {} MiB, {}, {}",
                    kdf.memory_kib >> 10,
                    printable::counted(kdf.passes, "pass", "passes"),
                    printable::counted(kdf.lanes, "lane", "lanes")
                )
            })
            .unwrap_or_default();
        // Writing to a string can't fail.
        let line = format!(
            "{id:<36}  {:<10}  {:<20}  {costs}",
            printable::line(&slot.kind),
            slot.created.unwrap_or_default()
        );
        let _ = writeln!(out, "{}", line.trim_end());
    }
    output::print(&out)
}

fn add(args: &args::UnlockAdd) -> Outcome {
    let target = Target::resolve(&args.target)?;
    check_writable(target.vault())?;
    let opened = open_keyring(target.vault(), &args.open)?.opened;
    let new = New::read(&target, &args.new, None)?;
    new.show()?;
    let id =
        opened.keys.add_slot(&opened.proof, &new.secret, new.kdf).map_err(|error| errors::keyring(&error))?;
    output::print(&format!("slot {id} ({}) is added\n", new.secret.kind()))
}

fn remove(args: &args::UnlockRemove) -> Outcome {
    let target = Target::resolve(&args.target)?;
    let slot = slot_named(&args.slot, &target)?;
    check_writable(target.vault())?;
    if args.revoke.revoke {
        let revocation = Revocation::prepare(&target, &args.open, &args.revoke)?;
        let kdf = calibrate(KdfChoice::Calibrated, None)?;
        return revocation.carry_out(slot, true, &[], kdf);
    }
    let opened = open_keyring(target.vault(), &args.open)?.opened;
    opened.keys.remove_slot(&opened.proof, slot).map_err(|error| errors::keyring(&error))?;
    output::print(&format!("slot {slot} is removed\n"))
}

fn change(args: &args::UnlockChange) -> Outcome {
    let target = Target::resolve(&args.target)?;
    let slot = args.slot.as_deref().map(|slot| slot_named(slot, &target)).transpose()?;
    check_writable(target.vault())?;
    if args.revoke.revoke {
        if args.new.new_recovery_key {
            let cause = "--revoke makes a new recovery key anyway; leave out --new-recovery-key";
            return Err(Failure::new(Exit::Usage, "command line", cause));
        }
        let revocation = Revocation::prepare(&target, &args.open, &args.revoke)?;
        let opened = &revocation.unlocked.opened;
        let own = opened.proof.slot();
        let (slot, old) = replaced(opened, slot, &args.new)?;
        let new = New::read(&target, &args.new, old.kdf)?;
        return revocation.carry_out(slot, slot != own, &[&new.secret], new.kdf);
    }
    let opened = open_keyring(target.vault(), &args.open)?.opened;
    let (slot, old) = replaced(&opened, slot, &args.new)?;
    let new = New::read(&target, &args.new, old.kdf)?;
    new.show()?;
    let id = opened
        .keys
        .change_slot(&opened.proof, slot, &new.secret, new.kdf)
        .map_err(|error| errors::keyring(&error))?;
    let (was, is) = (printable::line(&old.kind), new.secret.kind());
    output::print(&format!("slot {slot} ({was}) is replaced by slot {id} ({is})\n"))
}

/// The slot that `unlock change` replaces: the one that is named, else the one that was opened, if the new secret is
/// of its kind. A user who opens a vault with the recovery key because a passphrase is forgotten means the
/// passphrase's slot, and would be left without a recovery key.
fn replaced(opened: &Opened, named: Option<SlotId>, new: &args::NewSecret) -> Outcome<(SlotId, SlotInfo)> {
    let slots = opened.keys.slots().map_err(|error| errors::keyring(&error))?;
    let own = opened.proof.slot();
    let slot = named.unwrap_or(own);
    let Some(old) = slots.into_iter().find(|info| info.id == Some(slot)) else {
        return Err(errors::keyring(&KeyringError::UnknownSlot(slot)));
    };
    let kind = NewSecretPlan::new(new).kind();
    if named.is_none() && old.kind != kind.name() {
        let cause = format!(
            "the secret that was given opens this slot, of kind {}, and the new one is a {kind}; name the slot to \
             replace with --slot (`rekeyfs unlock list` shows them), or use `rekeyfs unlock add`",
            old.kind
        );
        return Err(Failure::new(Exit::Usage, format!("unlock slot {own}"), cause));
    }
    Ok((slot, old))
}

/// A change of the root key. The vault is locked for it: a mount would go on under the old one.
struct Revocation {
    unlocked: Unlocked,
    keep: Vec<Secret>,
    _lock: VaultLock,
}

impl Revocation {
    fn prepare(target: &Target, open: &args::Open, args: &args::Revoke) -> Outcome<Self> {
        let vault = target.unmounted("its root key is replaced")?;
        let lock = VaultLock::take(vault).map_err(|error| errors::mount(&error))?;
        let unlocked = open_keyring(vault, open)?;
        let files = args.keep_passfile.iter().map(|path| secrets::read_kept_passfile(path, vault));
        let keep = files.chain(args.keep_keyfile.iter().map(|path| secrets::read_key_file(path)));
        Ok(Self { unlocked, keep: keep.collect::<Outcome<_>>()?, _lock: lock })
    }

    /// Replaces the root key. The slot `gone` is removed; the one that was opened stays if `keep_own` is set.
    fn carry_out(self, gone: SlotId, keep_own: bool, add: &[&Secret], kdf: KdfParams) -> Outcome {
        let Unlocked { opened, secret } = &self.unlocked;
        let failed = |error: KeyringError| errors::keyring(&error);
        if !opened.keys.slots().map_err(failed)?.iter().any(|slot| slot.id == Some(gone)) {
            return Err(failed(KeyringError::UnknownSlot(gone)));
        }
        let mut keep: Vec<&Secret> = self.keep.iter().collect();
        if keep_own {
            keep.push(secret);
        }
        for secret in &keep {
            if opened.keys.prove(secret).map_err(failed)?.slot() == gone {
                let cause = "this is the slot of a secret that is to be kept; unlock with another one";
                return Err(Failure::new(Exit::Usage, format!("unlock slot {gone}"), cause));
            }
        }
        let done = opened.keys.revoke(&opened.proof, &keep, add, kdf).map_err(failed)?;
        let mut out = String::from(
            "the root key is replaced; every slot is a new one, and every key has a new version\n\
             files written until now still open with an old keyring file and its secret: `rekeyfs reencrypt -r` \
             gives them new data keys\n",
        );
        for key in &done.imported {
            let _ = writeln!(
                out,
                "key {key} has imported material, which an old keyring file has too: import new material \
                 (--import-type NEW_KEY_MATERIAL) and rotate it"
            );
        }
        output::print(&out)?;
        init::show_recovery_key(&done.recovery)
    }
}

fn calibrate(choice: KdfChoice, old: Option<KdfParams>) -> Outcome<KdfParams> {
    unlock::calibrate_in_place_of(choice, old)
        .map_err(|error| Failure::new(Exit::Usage, "--kdf-memory", error))
}

/// A new secret with the costs of its slot.
struct New {
    secret: Secret,
    kdf: KdfParams,
}

impl New {
    /// `old` are the costs of the slot that it replaces: lower ones are taken only where they are asked for.
    fn read(target: &Target, args: &args::NewSecret, old: Option<KdfParams>) -> Outcome<Self> {
        let plan = NewSecretPlan::new(args);
        let kdf = calibrate(plan.kdf, old)?;
        Ok(Self { secret: plan.read(target.vault())?, kdf })
    }

    /// A recovery key has to be seen once, before the vault depends on it; other secrets never are.
    fn show(&self) -> Outcome {
        match &self.secret {
            Secret::Recovery(key) => init::show_recovery_key(&key.to_text()),
            Secret::Passphrase(_) | Secret::KeyFile(_) => Ok(()),
        }
    }
}

/// The slot that an id or its beginning names, among those of the keyring's header. Whether there still is such a slot is
/// for the change itself to see.
fn slot_named(text: &str, target: &Target) -> Outcome<SlotId> {
    let failed = |cause: String| {
        Failure::new(Exit::Usage, "unlock slot", format!("{cause}; `rekeyfs unlock list` shows them"))
    };
    let header = KeyringFile::read_header(target.vault()).map_err(|error| errors::opening(&error))?;
    let ids = header.slots.list().into_iter().filter_map(|slot| slot.id);
    let named = ids::named(text, ids).map_err(|_| failed(format!("{text:?} is no slot id")))?;
    named.map_err(|why| failed(format!("{text:?}: {why}")))
}
