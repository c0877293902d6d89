//! A new secret with the costs of its slot.

use crate::cli::args;
use crate::cli::exit::Outcome;
use crate::cli::init;
use crate::cli::secrets::{NewSecretPlan, calibrate};
use crate::cli::target::Target;
use crate::crypto::password::KdfParams;
use crate::keyring::{NewSlot, SlotLabel};
use crate::unlock::Secret;

/// A new secret with the costs of its slot.
pub(super) struct New {
    pub(super) secret: Secret,
    pub(super) kdf: KdfParams,
}

impl New {
    /// `old` are the costs of the slot that it replaces: lower ones are taken only where they are asked for.
    ///
    /// # Errors
    /// Those of reading a secret; costs that can't be.
    pub(super) fn read(target: &Target, args: &args::NewSecret, old: Option<KdfParams>) -> Outcome<Self> {
        let plan = NewSecretPlan::new(args);
        let kdf = calibrate(plan.kdf, old)?;
        Ok(Self { secret: plan.read(target.vault())?, kdf })
    }

    /// A KEK that a custodian keeps, which has no costs.
    pub(super) fn held(secret: Secret) -> Self {
        Self { secret, kdf: KdfParams { memory_kib: 0, passes: 0, lanes: 0 } }
    }

    /// What opens the slot, for a person: its kind, or the custodian that keeps it.
    pub(super) fn name(&self) -> String {
        match &self.secret {
            Secret::Custodian(held) => held.custody().custodian().to_string(),
            secret => secret.kind().to_string(),
        }
    }

    /// The slot that it is to have.
    pub(super) fn slot(&self, label: Option<SlotLabel>) -> NewSlot<'_> {
        NewSlot { secret: &self.secret, kdf: self.kdf, label }
    }

    /// A recovery key has to be seen once, before the vault depends on it; other secrets never are.
    ///
    /// # Errors
    /// Standard output can't be written.
    pub(super) fn show(&self, as_json: bool) -> Outcome {
        match &self.secret {
            Secret::Recovery(key) => init::show_recovery_key(&key.to_text(), as_json),
            Secret::Passphrase(_) | Secret::KeyFile(_) | Secret::Custodian(_) => Ok(()),
        }
    }
}
