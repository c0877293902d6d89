//! `--revoke`: a new root key with the change of a slot.

use std::fmt::Write;

use serde_json::json;

use crate::cli::args;
use crate::cli::errors;
use crate::cli::exit::{Exit, Failure, Outcome};
use crate::cli::init;
use crate::cli::open_keyring::{Unlocked, open_keyring};
use crate::cli::output;
use crate::cli::secrets;
use crate::cli::target::Target;
use crate::crypto::password::KdfParams;
use crate::ids::SlotId;
use crate::keyring::{KeyringError, NewSlot};
use crate::mount::VaultLock;
use crate::printable;
use crate::unlock::Secret;

/// A change of the root key. The vault is locked for it: a mount would go on under the old one.
pub(super) struct Revocation {
    pub(super) unlocked: Unlocked,
    keep: Vec<Secret>,
    _lock: VaultLock,
}

impl Revocation {
    pub(super) fn prepare(target: &Target, open: &args::Open, args: &args::Revoke) -> Outcome<Self> {
        let vault = target.unmounted("its root key is replaced")?;
        let lock = VaultLock::take(vault).map_err(|error| errors::mount(&error))?;
        let unlocked = open_keyring(vault, open)?;
        let files = args.keep_passfile.iter().map(|path| secrets::read_kept_passfile(path, vault));
        let keep = files.chain(args.keep_keyfile.iter().map(|path| secrets::read_key_file(path)));
        Ok(Self { unlocked, keep: keep.collect::<Outcome<_>>()?, _lock: lock })
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
        if as_json {
            let imported: Vec<_> = done.imported.iter().collect();
            output::print_json(&json!({ "revoked": true, "keys_with_imported_material": imported }))?;
            return init::show_recovery_key(&done.recovery, true);
        }
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
