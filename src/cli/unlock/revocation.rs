//! `--revoke`: a new root key with the change of a slot.

use std::time::Duration;

use std::fmt::Write;

use serde_json::json;

use super::custodian::{NewCustodian, of_custodian};
use super::new_slot::New;
use super::slot_ref::known_slots;
use crate::cli::args;
use crate::cli::custodian_choice::limit;
use crate::cli::errors;
use crate::cli::exit::{Exit, Failure, Outcome};
use crate::cli::init;
use crate::cli::open_keyring::{Unlocked, open_locked_keyring};
use crate::cli::output;
use crate::cli::secrets;
use crate::cli::target::Target;
use crate::crypto::password::KdfParams;
use crate::ids::SlotId;
use crate::keyring::{KeyringError, NewSlot, Opened, SlotLabel};
use crate::mount::{MountError, TakeOverWatch, VaultLock};
use crate::printable;
use crate::unlock::{Secret, SecretKind};

/// New KEKs for the custodians' slots: each wraps one root key.
struct Rewrapped {
    kept: Vec<(New, Option<SlotLabel>)>,
    /// Those whose custodian didn't do it, and why.
    dropped: Vec<(SlotId, Failure)>,
}

impl Rewrapped {
    /// Has the custodians of all slots but `gone` wrap new KEKs. One that doesn't unwrap the old one is another than the slot's, though
    /// it goes by the same parameters: this host's TPM, or the FIDO2 key that is plugged in. That one would open a slot of somebody else's.
    fn of_all(opened: &Opened, gone: SlotId, limit: Duration) -> Outcome<Self> {
        let (mut kept, mut dropped) = (Vec::new(), Vec::new());
        for known in known_slots(opened)? {
            let Some(old) = of_custodian(&known).filter(|old| old.id != gone) else { continue };
            let (again, vault) = (NewCustodian::again(&old.custody, None), opened.keys.vault_id());
            // The one that has opened the vault just now needn't show it once more.
            let is_its = if old.id == opened.proof.slot() { Ok(()) } else { again.opens(vault, &old, limit) };
            match is_its.and_then(|()| again.hold(vault, limit)) {
                Ok(held) => kept.push((New::held(held), known.label)),
                Err(why) => dropped.push((old.id, why)),
            }
        }
        Ok(Self { kept, dropped })
    }

    fn slots(&self) -> impl Iterator<Item = NewSlot<'_>> {
        self.kept.iter().map(|(new, label)| new.slot(label.clone()))
    }
}

/// A change of the root key. The vault is locked for it: a mount would go on under the old one.
pub(super) struct Revocation {
    pub(super) unlocked: Unlocked,
    keep: Vec<Secret>,
    /// How long each custodian may take.
    limit: Duration,
    /// Ends this process if another host takes the vault over.
    _watch: Option<TakeOverWatch>,
    _lock: VaultLock,
}

impl Revocation {
    pub(super) fn prepare(target: &Target, open: &args::Open, args: &args::Revoke) -> Outcome<Self> {
        let vault = target.unmounted("its root key is replaced")?;
        let lock = VaultLock::take(vault).map_err(|error| errors::mount(&error))?;
        let unlocked = open_locked_keyring(vault, open, &lock)?;
        let watch = lock.watch().map_err(|error| errors::mount(&MountError::Daemon(error)))?;
        let files = args.keep_passfile.iter().map(|path| secrets::read_kept_passfile(path, vault));
        let keep = files.chain(args.keep_keyfile.iter().map(|path| secrets::read_key_file(path)));
        let limit = limit(Some(open), None);
        Ok(Self { unlocked, keep: keep.collect::<Outcome<_>>()?, limit, _watch: watch, _lock: lock })
    }

    /// Replaces the root key. The slot `gone` is removed; the one that was opened stays if `keep_own` is set.
    pub(super) fn carry_out(
        self,
        gone: SlotId,
        keep_own: bool,
        add: &[NewSlot<'_>],
        kdf: KdfParams,
        as_json: bool,
    ) -> Outcome {
        let Unlocked { opened, secret } = &self.unlocked;
        let failed = |error: KeyringError| errors::keyring(&error);
        if !opened.keys.slots().map_err(failed)?.iter().any(|slot| slot.id == Some(gone)) {
            return Err(failed(KeyringError::UnknownSlot(gone)));
        }
        let mut keep: Vec<&Secret> = self.keep.iter().collect();
        // A custodian's KEK is of one slot and of one root key: it gets a new one below.
        if keep_own && secret.kind() != SecretKind::Custodian {
            keep.push(secret);
        }
        for secret in &keep {
            if opened.keys.prove(secret).map_err(failed)?.slot() == gone {
                let cause = "this is the slot of a secret that is to be kept; unlock with another one";
                return Err(Failure::new(Exit::Usage, format!("unlock slot {gone}"), cause));
            }
        }
        let custodians = Rewrapped::of_all(opened, gone, self.limit)?;
        let add: Vec<NewSlot<'_>> = add.iter().cloned().chain(custodians.slots()).collect();
        let done = opened.keys.revoke(&opened.proof, &keep, &add, kdf).map_err(failed)?;
        if as_json {
            let imported: Vec<_> = done.imported.iter().collect();
            let dropped: Vec<_> = custodians.dropped.iter().map(|(slot, _)| slot).collect();
            output::print_json(&json!({
                "revoked": true, "keys_with_imported_material": imported, "dropped_custodians": dropped,
            }))?;
            return init::show_recovery_key(&done.recovery, true);
        }
        let mut out = String::from(
            "the root key is replaced; every slot is a new one, and every key has a new version\n\
             files written until now still open with an old keyring file and its secret: `rekeyfs reencrypt -r` \
             gives them new data keys\n",
        );
        for (slot, why) in &custodians.dropped {
            let _ = writeln!(out, "slot {slot} is dropped, since its key could not be wrapped anew: {why}");
        }
        for key in &done.imported {
            let _ = writeln!(
                out,
                "key {key} has imported material, which an old keyring file has too: import new material \
                 (--import-type NEW_KEY_MATERIAL) and rotate it"
            );
        }
        for to in &done.no_longer_kept {
            let _ = writeln!(
                out,
                "the key backup {} is no longer kept, as an old keyring file has the key that seals it: \
                 `rekeyfs key-backup keep` begins a new one",
                printable::path(to)
            );
        }
        output::print(&out)?;
        init::show_recovery_key(&done.recovery, false)
    }
}
