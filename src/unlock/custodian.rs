//! Unlock slots whose KEK a custodian keeps: made, and opened, by asking its helper (crate::custody).
//!
//! A KEK is drawn for one slot and used once: what replaces a slot has a new one, and a new id. When a custodian has wrapped a
//! KEK, it is asked for it again at once: a vault never gets a slot that its custodian can't open.

use rekeyfs_format::unlock::{CustodianName, Custody, CustodyParams, HeldKek, Secret, Slots};
use subtle::ConstantTimeEq;

use super::CostLimit;
use crate::crypto::keys::CustodyKek;
use crate::custody::{Context, Host, Prompt, Refusal, RefusalKind, Standing, Unwrap, Use, unwrap_any};
use crate::ids::{SlotId, VaultId};

/// Has the custodian `name` keep a new KEK, for a slot of `vault` that is to be made.
///
/// # Errors
/// [`Refusal`], also if the custodian doesn't give back what it has wrapped.
pub fn hold(
    host: &Host,
    vault: VaultId,
    name: &CustodianName,
    params: &CustodyParams,
    on: &mut dyn Prompt,
) -> Result<HeldKek, Refusal> {
    let helper = host.helper(name)?;
    let (slot, kek) = (SlotId::random(), CustodyKek::generate());
    let context = Context { vault, purpose: Use::Unlock(slot) };
    let custody = helper.wrap(params, &context, &kek, on)?;
    let (again, _) = helper.unwrap(&custody, &context, on)?;
    if !bool::from(again.expose().ct_eq(kek.expose())) {
        let cause = "it gives back another key than it was given to wrap; nothing was changed";
        return Err(Refusal::new(RefusalKind::Internal, cause));
    }
    Ok(HeldKek::new(slot, custody, &kek))
}

/// A custodian's slot.
#[derive(Clone, Debug)]
pub struct CustodySlot {
    /// Its id.
    pub id: SlotId,
    /// What it says.
    pub custody: Custody,
}

impl CustodySlot {
    fn context(&self, vault: VaultId) -> Context {
        Context { vault, purpose: Use::Unlock(self.id) }
    }
}

/// A slot that its custodian opened.
pub struct HeldOpen {
    /// Its KEK.
    pub held: HeldKek,
    /// Whether the custodian has a newer version of its key than the one that wrapped the KEK.
    pub rewrap: bool,
}

/// What became of asking all custodians at once.
pub struct AskedAll {
    /// The first slot that opened.
    pub opened: Option<HeldOpen>,
    /// The numbers of those that were refused, and why.
    pub refused: Vec<(usize, Refusal)>,
}

/// Asks the custodians of all these slots at once, under one deadline, and nobody for a PIN. A KEK counts if it opens its slot
/// in `slots`.
pub fn ask_all(host: &Host, vault: VaultId, slots: &Slots, of: &[CustodySlot]) -> AskedAll {
    let (mut refused, mut helpers) = (Vec::new(), Vec::new());
    for (at, slot) in of.iter().enumerate() {
        match host.helper(slot.custody.custodian()) {
            Ok(helper) => helpers.push((at, helper)),
            Err(refusal) => refused.push((at, refusal)),
        }
    }
    let questions: Vec<Unwrap<'_>> = helpers
        .iter()
        .map(|(at, helper)| {
            let slot = &of[*at];
            Unwrap { helper, custody: &slot.custody, context: slot.context(vault) }
        })
        .collect();
    let tried = unwrap_any(&questions, host.limit, |at, kek, standing| {
        opens(vault, slots, &of[helpers[at].0], kek, standing)
    });
    refused.extend(tried.refused.into_iter().map(|(at, refusal)| (helpers[at].0, refusal)));
    refused.sort_by_key(|(at, _)| *at);
    AskedAll { opened: tried.opened.map(|(_, opened)| opened), refused }
}

/// Asks the custodian of one slot, which may ask a person.
///
/// # Errors
/// [`Refusal`]; [`RefusalKind::Damaged`] if the KEK doesn't open the slot.
pub fn ask_one(
    host: &Host,
    vault: VaultId,
    slots: &Slots,
    slot: &CustodySlot,
    on: &mut dyn Prompt,
) -> Result<HeldOpen, Refusal> {
    let helper = host.helper(slot.custody.custodian())?;
    let (kek, standing) = helper.unwrap(&slot.custody, &slot.context(vault), on)?;
    let wrong = || Refusal::new(RefusalKind::Damaged, "the key that it gave doesn't open the slot");
    opens(vault, slots, slot, &kek, standing).ok_or_else(wrong)
}

/// Has the custodian of one slot unwrap its KEK, which isn't used.
///
/// # Errors
/// [`Refusal`].
pub fn unwraps(host: &Host, vault: VaultId, slot: &CustodySlot, on: &mut dyn Prompt) -> Result<(), Refusal> {
    let helper = host.helper(slot.custody.custodian())?;
    helper.unwrap(&slot.custody, &slot.context(vault), on).map(|_| ())
}

fn opens(
    vault: VaultId,
    slots: &Slots,
    slot: &CustodySlot,
    kek: &CustodyKek,
    standing: Standing,
) -> Option<HeldOpen> {
    let secret = Secret::Custodian(HeldKek::new(slot.id, slot.custody.clone(), kek));
    // Its KEK has no cost.
    slots.unlock(vault, &secret, CostLimit::Usual).ok()?;
    let Secret::Custodian(held) = secret else { return None };
    Some(HeldOpen { held, rewrap: standing.rewrap })
}
